"""The PaddleSeg of one stage: the one that it is told to use, what it is, and whether it is what was imported."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcert import modelconfig
from segcert.checkout import pinned, sources, tree
from segcert.checkout.tree import INSTALLED, Tree
from segcert.errors import ConfigError

Stamp = tuple[int, int, int, int]
HASH, TREE = "paddleseg_hash", "paddleseg_tree"  # of a record's env


@dataclass(frozen=True)
class AtHand:
    """The PaddleSeg of a stage, as it is before the work.

    Attributes:
        hash: of those of its files that the model's results follow from; None where that cannot be told.
        stamps: of all its files.
        config: the model's configuration, which tells which files those are; None where that is not known.
    """

    tree: Tree
    hash: str | None
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    config: str | None = None

    @property
    def env(self) -> dict[str, Any]:
        return {**self.tree.env, HASH: self.hash}

    def changed(self) -> str | None:
        """In words, what was written since of that which the results follow from; None where nothing of it was.

        Also what holds now what it held before: nobody knows what it held when it was imported.
        """
        now = _stamps(self.tree.folder)
        other = sorted(name for name in self.stamps.keys() | now if self.stamps.get(name) != now.get(name))
        followed = self._followed() if other else None
        if followed is not None and sources.digest(followed) == self.hash:
            other = [name for name in other if name in followed]  # of another model's files nothing follows
        return f"{self.tree.folder / other[0]} was edited while it was worked with; run it again" if other else None

    def _followed(self) -> Mapping[str, str] | None:
        """The files that the results follow from, as they are now; None where nobody can tell."""
        if self.config is None:
            return None
        try:
            return sources.files_of(self.tree.folder, modelconfig.content(Path(self.config)))
        except ConfigError:
            return None

    def differs_from(self, above: Mapping[str, Any], path: str) -> str | None:
        """In words, why what a record tells of was made by other code; None where it was not, or does not say."""
        env = above.get("env") or {}
        # Where nobody knows what the model follows from, that is the whole tree.
        key, own = (HASH, self.hash) if self.hash else (TREE, self.tree.digest)
        if env.get(key) in (None, own):
            return None
        return (
            f"{path}: was made by other code of PaddleSeg ({tree.said(env)}; hash {env[key]}) than is at hand now "
            f"({tree.said(self.env)}; hash {own}); make it again first: snakemake makes what is stale by itself"
        )


def pin(asked: str | None) -> None:
    """See to it that this process imports the PaddleSeg that it is told to use."""
    folder = _folder(asked)
    if folder:
        pinned.pin(folder)


def _folder(asked: str | None) -> Path | None:
    """The folder that holds it; None where none is asked for, or none is installed."""
    if asked is None:
        return None
    return tree.installed() if asked == INSTALLED else tree.named(asked, "--paddleseg").folder


def look(asked: str | None, model: str | None, config: str | None, above: Sequence[Mapping[str, Any]]) -> AtHand | None:
    """The PaddleSeg that a stage is told to use; None where it needs none, or none is installed.

    Args:
        asked: installed | a folder | None.
        model: its name, by which the plan handed on what it found.
        config: the model's configuration, where the stage has it.
        above: records of what the stage is made from.

    Raises:
        ConfigError: it cannot be had, or read.
    """
    folder = _folder(asked)
    if folder is None:
        return None
    found = Tree(folder)
    stamps = _stamps(folder)  # before it is read: what is written meanwhile shows afterwards
    config = config or _planned().get("configs", {}).get(model)
    own = _hash(found, model, config, above)
    planned = _planned().get("hashes", {}).get(model)
    if own and planned and own != planned:
        raise ConfigError(f"{folder}: was edited since this run was planned; start it again")
    found.env  # noqa: B018  (now: what is edited during the work is not what ran)
    return AtHand(found, own, stamps, config)


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Name -> what changes when a file is written, of each file of the package."""
    found = {}
    for name, path in sources.paths(folder).items():
        stat = path.stat()
        found[name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


def _planned() -> dict[str, Any]:
    """What the plan handed on; nothing where a stage is run by hand."""
    try:
        planned = json.loads(os.environ.get(tree.HANDED_ON, "{}"))
    except ValueError:
        return {}
    return planned if isinstance(planned, dict) else {}


def _hash(found: Tree, model: str | None, config: str | None, above: Sequence[Mapping[str, Any]]) -> str | None:
    """From the plan or a parent where those saw the same files, because it takes a while."""
    planned = _planned()
    if planned.get(TREE) == found.digest and model in planned.get("hashes", {}):
        return str(planned["hashes"][model])
    for env in (record["env"] for record in above if record.get("env")):
        if env.get(TREE) == found.digest and env.get(HASH):
            return str(env[HASH])
    return found.hash_of(modelconfig.content(Path(config))) if config else None


def not_it(asked: AtHand, imported: Sequence[str]) -> str | None:
    """In words, that something of another PaddleSeg was imported than was asked for; None where nothing was."""
    other = [folder for folder in imported if Path(folder) != asked.tree.folder]
    if not other:
        return None
    return (
        f"paddleseg was imported from {other[0]}, and {asked.tree.folder} was asked for; look what this Python imports "
        "when it starts (sitecustomize, .pth files)"
    )
