"""The PaddleSeg at hand: which one the stages import, and what it is.

It is the one installed beside their interpreter, or a folder, as `paddleseg` in the configuration says; never one that
a variable around a run brings in. Its files say what it is: the version that they name, their commit, whether they
were edited since, and what they hold.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import importlib.abc
import json
import os
import site
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from segcert import machine
from segcert.asked import ask
from segcert.checkout import sources
from segcert.errors import ConfigError

AUTO, INSTALLED = "auto", "installed"
GIT_S = 20  # seconds that git may take
COMMIT_DIGITS = 8  # of a commit, where people read it
TOLD_FILES = 3  # edited files that are named where people read
# Set by the workflow for its stages: what the plan found, so that not each of them finds it anew.
HANDED_ON = "SEGCERT_PADDLESEG"


@dataclass(frozen=True)
class Tree:
    """A PaddleSeg: the folder that holds the package `paddleseg`."""

    folder: Path

    @cached_property
    def version(self) -> str | None:
        """What the package calls itself."""
        try:
            body = ast.parse((self.folder / sources.PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
        except (OSError, SyntaxError, ValueError):
            return None
        for node in body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
                return str(ast.literal_eval(node.value)) if isinstance(node.value, ast.Constant) else None
        return None

    @cached_property
    def commit(self) -> str | None:
        """The commit that its files are of; None where they are in no repository."""
        tracked = self._git("ls-files", "--error-unmatch", f"{sources.PACKAGE}/__init__.py")
        return self._git("rev-parse", "HEAD") if tracked else None

    @cached_property
    def branch(self) -> str | None:
        found = self._git("rev-parse", "--abbrev-ref", "HEAD") if self.commit else None
        return None if found == "HEAD" else found

    @cached_property
    def edited(self) -> list[str] | None:
        """Files that are not as they were committed, or as they came in the wheel; None where nobody can tell."""
        if self.commit:
            told = self._git("status", "--porcelain", "--untracked-files=all", "--no-renames", "-z", sources.PACKAGE)
            return None if told is None else sorted(line[3:] for line in told.split("\0") if line[3:])
        records = list(self.folder.glob(f"{sources.PACKAGE}-*.dist-info/RECORD"))
        return self._against(records[0]) if len(records) == 1 else None

    def _against(self, record: Path) -> list[str]:
        """Files of the package that differ from a wheel's list of them (PyPA, "Recording installed projects")."""
        with record.open(encoding="utf-8", newline="") as stream:
            listed = {row[0]: row[1] for row in csv.reader(stream) if row and row[0].startswith(f"{sources.PACKAGE}/")}
        known = {name: digest for name, digest in listed.items() if digest.startswith("sha256=")}
        there = sources.paths(self.folder)
        other = [name for name, path in there.items() if known.get(name) != f"sha256={_urlsafe(path)}"]
        return sorted({*other, *(name for name in known if name not in there and "__pycache__" not in name)})

    @cached_property
    def files(self) -> dict[str, str]:
        """File -> first digits of its sha256, of the whole package."""
        return sources.digests(self.folder)

    @property
    def digest(self) -> str:
        """One hash of all its files."""
        return sources.digest(self.files)

    def hash_of(self, content: Mapping[str, Any]) -> str:
        """One hash of those files that a model's results follow from.

        Args:
            content: the model's configuration, with what it inherits.

        Raises:
            ConfigError, OSError: a file is no Python, or cannot be read.
        """
        return sources.digest(sources.files_of(self.folder, content))

    @cached_property
    def env(self) -> dict[str, Any]:
        """Of a record's env, what is so for all models."""
        return {
            "paddleseg": self.version,
            "paddleseg_commit": self.commit,
            "paddleseg_branch": self.branch,
            "paddleseg_edited": self.edited,
            "paddleseg_folder": str(self.folder),
            "paddleseg_tree": self.digest,
        }

    def _git(self, *arguments: str) -> str | None:
        """What git says of the folder; None where it says nothing, or is not there."""
        command = ["git", "--no-optional-locks", "-C", str(self.folder), "-c", "core.fsmonitor=false", *arguments]
        answer = ask(command, GIT_S)
        return None if answer.why_not else answer.text.strip("\n")


def _urlsafe(path: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def said(env: Mapping[str, Any]) -> str:
    """A PaddleSeg in words, from a record's env: `develop, d7975e7c, edited: 2 files (...)`."""
    commit, edited = env.get("paddleseg_commit"), env.get("paddleseg_edited")
    parts = [env.get("paddleseg_branch") if commit else None, commit[:COMMIT_DIGITS] if commit else None]
    if not commit:
        parts = [env.get("paddleseg") or "of no version", None if edited else "as installed" if edited == [] else None]
    if edited:
        names = ", ".join(edited[:TOLD_FILES]) + (", ..." if len(edited) > TOLD_FILES else "")
        parts.append(f"edited: {len(edited)} file{'s' if len(edited) > 1 else ''} ({names})")
    return ", ".join(filter(None, parts))


# -- which one --------------------------------------------------------------------------------


def is_package(folder: Path) -> bool:
    return (folder / sources.PACKAGE / "__init__.py").is_file()


def above(file: Path) -> Path | None:
    """The nearest folder above a file that holds a PaddleSeg."""
    return next((folder for folder in file.resolve().parents if is_package(folder)), None)


def installed() -> Path | None:
    """The folder of the PaddleSeg that is installed for this interpreter; None where there is none.

    A variable (PYTHONPATH) or the folder that one happens to be in brings nothing in. Of a package that was installed
    to be edited (`pip install -e`), it is the folder that its installer left.
    """
    lasting = {*map(os.path.realpath, [*site.getsitepackages(), site.getusersitepackages()])}
    passing = {os.getcwd(), "", *os.environ.get("PYTHONPATH", "").split(os.pathsep)}  # noqa: PTH109
    places = [place for place in sys.path if os.path.realpath(place) in lasting or place not in passing]
    finders = [finder for finder in sys.meta_path if not isinstance(finder, Pinned)]
    for finder in finders:
        spec = finder.find_spec(sources.PACKAGE, places if finder is PathFinder else None)
        if spec and spec.origin and Path(spec.origin).name == "__init__.py":
            return Path(spec.origin).resolve().parents[1]
    return None


def installed_for(python: str) -> Path | None:
    """`installed`, for another interpreter."""
    if python == sys.executable:
        return installed()
    answer = machine.said_by(python, "from segcert.checkout import tree; print(tree.installed() or '')").strip()
    return Path(answer) if answer else None


def named(value: str, key: str = "paddleseg") -> Tree:
    """The tree in a folder that was named.

    Raises:
        ConfigError: there is none.
    """
    folder = Path(value).expanduser()
    if folder.name == sources.PACKAGE and (folder / "__init__.py").is_file() and not is_package(folder):
        folder = folder.parent
    if not is_package(folder):
        raise ConfigError(
            f"{key}: {json.dumps(value)} is refused: there is no {sources.PACKAGE}/__init__.py in it; allowed: auto, "
            "installed, or a folder that holds PaddleSeg's package (a checkout of it)"
        )
    return Tree(folder.resolve())


def chosen(setting: str, root: str | None, files: Sequence[Path], python: str) -> Tree | None:
    """The PaddleSeg of a run; None where it is the installed one, and none is installed.

    Args:
        setting: auto | installed | a folder.
        root: the folder that params files start from, if one is named.
        files: the params files.
        python: the interpreter of the stages.

    Raises:
        ConfigError: it cannot be had, or the params files lie in several.
        OSError, subprocess.SubprocessError: the interpreter does not run.
    """
    if setting not in (AUTO, INSTALLED):
        return named(setting)
    if setting == AUTO:
        if root and is_package(Path(root)):
            return named(root, "paddleseg_root")
        found = list(dict.fromkeys(folder for folder in map(above, files) if folder))
        if len(found) > 1:
            raise ConfigError(
                f"paddleseg: auto: the params files lie in several PaddleSegs, {', '.join(map(str, found))}; name the "
                "one that is to run: --config paddleseg=FOLDER"
            )
        if found:
            return Tree(found[0])
    folder = installed_for(python)
    return Tree(folder) if folder else None


# -- what is imported --------------------------------------------------------------------------


class Pinned(importlib.abc.MetaPathFinder):
    """Finds the package `paddleseg` in one folder, whatever stands on the path, and nothing else there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, fullname: str, _path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != sources.PACKAGE:
            return None
        return PathFinder.find_spec(fullname, [str(self.folder)], target)


def pin(folder: Path) -> None:
    """See to it that `import paddleseg` of this process, and of its forks, imports the one in the folder."""
    sys.meta_path.insert(0, Pinned(folder))


def imported() -> Path | None:
    """The folder of the PaddleSeg that this process did import; None where it did not."""
    file = getattr(sys.modules.get(sources.PACKAGE), "__file__", None)
    return Path(file).resolve().parents[1] if file else None
