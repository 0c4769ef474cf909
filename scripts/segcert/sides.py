"""The sides of a comparison, as a configuration names them: versions of Paddle, wheels, interpreters, commits.

An entry is read here and nothing is made of it: segcert/series/environments.py makes what a side is run with.
"""

from __future__ import annotations

import glob
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from segcert.errors import ConfigError
from segcert.masking import masked

VERSION, WHEEL, PYTHON, COMMIT = "version", "wheel", "python", "commit"
OF_PADDLESEG = "paddleseg@"  # how a commit of a checkout is written
PADDLES = ("paddlepaddle", "paddlepaddle-gpu")  # what a wheel may be of
LONGEST_NAME = 100  # it is the name of a folder, in paths that have others below it
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{LONGEST_NAME - 1}}}")
# Files that stand beside the folders of the sides: no side is called so.
TAKEN = ("bisect.json", "bisect.md", "upgrade.html", "upgrade.json", "upgrade.md")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/~^@{}-]*")  # never an option of git's
ALLOWED = (
    "a version of Paddle (3.2.2), the path of a wheel or a pattern of such paths (wheels/*.whl), a Python interpreter "
    "(.venv-paddle-3.3/bin/python), a commit of the checkout that `paddleseg` names (paddleseg@COMMIT), or one of "
    "these with a name of your own ({name: mine, side: 3.2.2})"
)


@dataclass(frozen=True)
class Side:
    """One side, as it is asked for.

    Attributes:
        name: what it is called, and the folder of its runs; no two of a comparison are alike.
        kind: version | wheel | python | commit.
        what: the version, the path of the wheel or the interpreter, or the commit, as it was written.
    """

    name: str
    kind: str
    what: str

    @property
    def entry(self) -> str:
        """As the configuration has it."""
        return f"{OF_PADDLESEG}{self.what}" if self.kind == COMMIT else self.what

    @property
    def version(self) -> Version | None:
        """The version of Paddle, where the entry tells it."""
        if self.kind == VERSION:
            return Version(self.what)
        return parse_wheel_filename(Path(self.what).name)[1] if self.kind == WHEEL else None


def parse(entries: Iterable[Any], key: str) -> list[Side]:
    """The sides that a list of the configuration names, in its order.

    Raises:
        ConfigError: an entry is none, two have one name, or two are one version; it names the key and the value.
    """
    found = [side for number, entry in enumerate(entries) for side in _read(entry, f"{key}.{number}")]
    for side in found:
        alike = [other for other in found if other.name == side.name or _is_one_version(other, side)]
        if len(alike) > 1:
            same = ", ".join(json.dumps(other.entry) for other in alike)
            raise ConfigError(
                f"{key}: {same}: {len(alike)} sides are called {side.name}; give them names: "
                f"{{name: ..., side: {side.entry}}}"
            )
    return found


def _is_one_version(*sides: Side) -> bool:
    """Whether sides that nobody gave a name are one version, however it is written: 3.2.2 and 03.2.2."""
    unnamed = all(side.kind == VERSION and side.name == side.what for side in sides)
    return unnamed and len({side.version for side in sides}) == 1


def one(entry: Any, key: str) -> Side:
    """The side that a single value of the configuration names.

    Raises:
        ConfigError: it is none, or stands for several.
    """
    found = _read(entry, key)
    if len(found) != 1:
        raise _refused(key, entry, f"one side; these are {len(found)}: {', '.join(side.what for side in found)}")
    return found[0]


def _read(entry: Any, key: str) -> list[Side]:
    """The sides of one entry: several where a pattern fits several wheels."""
    found = _sides_of(entry, key)
    for side in found:
        if side.name.lower() in TAKEN:  # of a file system that does not tell cases apart, too
            meant = f"a name other than {', '.join(TAKEN)}, which are files beside the folders of the sides"
            if isinstance(entry, Mapping):
                raise _refused(f"{key}.name", side.name, meant)
            raise _refused(key, entry, f"{meant}; this would be called {side.name}: {{name: ..., side: {entry}}}")
    return found


def _sides_of(entry: Any, key: str) -> list[Side]:
    if isinstance(entry, Mapping):
        own = entry.get("name")
        if set(entry) != {"name", "side"} or not isinstance(own, str) or not NAME.fullmatch(own):
            raise _refused(
                key,
                entry,
                f"the keys name ({LONGEST_NAME} letters, digits and ._+- at most, beginning with a letter or digit) "
                "and side",
            )
        side = one(entry["side"], f"{key}.side")
        return [Side(own, side.kind, side.what)]
    if not isinstance(entry, str) or not entry or entry != entry.strip():
        meant = f"; a version is text: '{entry}'" if isinstance(entry, float | int) else ""
        raise _refused(key, entry, f"{ALLOWED}{meant}")
    if entry.startswith(OF_PADDLESEG):
        commit = entry.removeprefix(OF_PADDLESEG)
        if not REVISION.fullmatch(commit):
            raise _refused(key, entry, f"{OF_PADDLESEG}COMMIT, where git knows COMMIT")
        return [Side(as_name(f"paddleseg-{commit}"), COMMIT, commit)]
    if entry.endswith(".whl"):
        return _wheels(entry, key)
    try:
        Version(entry)
    except InvalidVersion:
        return [_interpreter(entry, key)]
    return [Side(entry, VERSION, entry)]


def _wheels(entry: str, key: str) -> list[Side]:
    # A file of that very name first: a name may hold brackets.
    paths = [entry] if Path(entry).is_file() else sorted(glob.glob(entry))  # noqa: PTH207  (as it was written)
    if not paths:
        raise _refused(key, entry, "the path of a wheel that is there, or a pattern that fits one")
    found = []
    for path in paths:
        try:
            project, version, build, _ = parse_wheel_filename(Path(path).name)
        except (InvalidWheelFilename, InvalidVersion) as error:
            raise _refused(key, path, f"a wheel, by its name; this is none: {error}") from None
        if project not in PADDLES:
            raise _refused(key, path, f"a wheel of {' or '.join(PADDLES)}; this is one of {project}")
        marks = [*(["gpu"] if project != PADDLES[0] else []), *(["".join(map(str, build))] if build else []), "wheel"]
        found.append(Side(as_name("-".join([str(version), *marks])), WHEEL, path))
    return found


def _interpreter(entry: str, key: str) -> Side:
    if not shutil.which(entry):
        raise _refused(key, entry, ALLOWED)
    parts = [part for part in Path(entry).parts if part not in ("/", "..", ".", "bin")]
    # .venv-paddle-3.3/bin/python is named by its environment
    named = parts[-2] if len(parts) > 1 and parts[-1].startswith("python") else parts[-1]
    return Side(as_name(named), PYTHON, entry)


def is_public(seen: str, asked: str) -> bool:
    """Whether a Paddle that was seen is of the version that is asked for, but for what a build adds (+cpu)."""
    try:
        return Version(seen).public == Version(asked).public
    except InvalidVersion:
        return False


def as_name(text: str) -> str:
    """A text as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).lstrip("._+-")[:LONGEST_NAME] or "side"


def _refused(key: str, value: Any, allowed: str) -> ConfigError:
    shown = masked(json.dumps(value, ensure_ascii=False, default=str))
    return ConfigError(f"{key}: {shown} is refused; allowed: {allowed}")
