"""The PaddleSeg at hand: which one the stages import, and what it is.

It is the one installed beside their interpreter, or a folder, as `paddleseg` in the configuration says; never one that
a variable around a run brings in. Its files say what it is: the version that they name, their commit, whether they
were edited since, and what they hold.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import csv
import hashlib
import json
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import Any

from segcert import machine
from segcert.asked import ask
from segcert.checkout import sources
from segcert.checkout.pinned import KEPT, PACKAGE, Finder
from segcert.errors import ConfigError

AUTO, INSTALLED = "auto", "installed"
SCRIPTS = ("tools", "deploy/python")  # of a checkout, beside the package: what may run as it is
CONFIGURATIONS, PARAMS = (".yml", ".yaml"), (".txt",)  # of models; params files of TIPC, which lie in test_tipc/
LINK = "120000"  # mode of a link in a commit (documentation of git, "git-fast-import")
IMPORT_S = 300  # seconds that an import may take
# What stages import of it.
STAGES_IMPORT = ("core.infer", "core.train", "datasets", "deploy.export", "models", "optimizers", "transforms")
IMPORTED = (PACKAGE, *(f"{PACKAGE}.{name}" for name in STAGES_IMPORT))
GIT_S = 20  # seconds that git may take
SHA256_DIGITS = 64
COMMIT_DIGITS = 8  # of a commit, where people read it
TOLD_FILES = 3  # edited files that are named where people read
# Set by the workflow for its stages: what the plan found, so that not each of them finds it anew.
HANDED_ON = "SEGCERT_PADDLESEG"


@dataclass(frozen=True)
class Tree:
    """A PaddleSeg: the folder that holds the package `paddleseg`.

    Attributes:
        installed: whether it is that because an interpreter has it installed, and not because somebody named it.
    """

    folder: Path
    installed: bool = False

    @cached_property
    def version(self) -> str | None:
        """What the package calls itself, where its file says so in one place; records have what was seen."""
        try:
            body = ast.parse((self.folder / PACKAGE / "__init__.py").read_bytes()).body
        except (OSError, SyntaxError, ValueError):
            return None
        naming = [node for node in body if "__version__" in ast.dump(node)]
        match naming:
            case [ast.Assign(targets=[ast.Name(id="__version__")], value=ast.Constant(value=str(version)))]:
                return version
        return None

    @cached_property
    def commit(self) -> str | None:
        """The commit that its files are of; None where they are in no repository."""
        tracked = self._git("ls-files", "--error-unmatch", "--", f"{PACKAGE}/__init__.py")
        return self._git("rev-parse", "HEAD") if tracked else None

    @cached_property
    def branch(self) -> str | None:
        found = self._git("rev-parse", "--abbrev-ref", "HEAD") if self.commit else None
        return None if found == "HEAD" else found

    @cached_property
    def edited(self) -> list[str] | None:
        """Files that are not as they were committed, or as they came in the wheel; None where nobody can tell."""
        if self.commit:
            return self._against_commit()
        records = list(self.folder.glob(f"{PACKAGE}-*.dist-info/RECORD"))
        return self._against(records[0]) if len(records) == 1 else None

    def _against_commit(self) -> list[str] | None:
        """Files that differ from those of the commit by what they hold, whatever the index has been told of them.

        Of the package all, also those that git is told to ignore; beside it those of the scripts that git knows, all
        code that a script may import by its name, and configurations, with new ones in the folders of those.
        """
        beside = sources.beside(self.folder, SCRIPTS)
        own = sources.paths(self.folder)
        outside = [name for name in own if not _is_below(name, [PACKAGE])]
        places = dict.fromkeys([PACKAGE, *SCRIPTS, *outside, *(name.partition("/")[0] for name in beside)])
        listed = self._git("ls-tree", "-r", "-z", "HEAD")
        if listed is None:
            return None
        committed: dict[str, str] = {}
        links: dict[str, str] = {}
        for line in filter(None, listed.split("\0")):
            kind, _, name = line.partition("\t")
            if not (_is_below(name, places) or _is_configuration(name)):
                continue
            if not _is_below(name, (PACKAGE, *SCRIPTS)) and not name.endswith(
                (*sources.CODE, *CONFIGURATIONS, *PARAMS)
            ):
                continue  # of the folders of code beside, what is no code
            if not any(map(sources.is_left_out, name.split("/"))):
                (links if kind.startswith(LINK) else committed)[name] = kind.split()[2]
        there = {**own, **beside}
        among = {self.folder / name for name in committed} | set(self._new_configurations(committed))
        there |= {path.relative_to(self.folder).as_posix(): path for path in among if path.is_file()}
        same_links = [name for name, blob in links.items() if self._is_link(name, blob)]
        there = {name: path for name, path in there.items() if not _is_below(name, same_links)}
        other = {name for name, path in there.items() if committed.get(name) != _blob(path, committed.get(name, ""))}
        lacking = {name for name in committed.keys() - there.keys() if self._is_lacking(name)}
        return sorted((other - self._of_other_line_ends(other, committed)) | lacking | (links.keys() - same_links))

    def _new_configurations(self, committed: Iterable[str]) -> Iterator[Path]:
        """What lies where those are that are committed and may be named as well, or inherited from.

        In a folder `configs` anywhere, also in folders of its own; elsewhere, where data may lie, beside others.
        """
        whole: dict[Path, bool] = {}
        for committed_as in (PurePosixPath(name) for name in committed if _is_configuration(name)):
            within = [place for place in committed_as.parents if place.name == "configs"]
            whole[self.folder / (within or committed_as.parents)[0]] = bool(within)
        for folder, below in whole.items():
            for path in folder.rglob("*.*") if below else folder.glob("*.*"):
                name = path.relative_to(self.folder)
                if _is_configuration(name.as_posix()) and not any(map(sources.is_left_out, name.parts)):
                    yield path

    def _is_link(self, name: str, blob: str) -> bool:
        """Whether a link is as it was committed, to a place in this folder: what is elsewhere, no commit holds."""
        path = self.folder / name
        if not path.is_symlink() or self.folder not in path.resolve().parents:
            return False
        return _hashed(os.fsencode(path.readlink()), blob) == blob

    def _is_lacking(self, name: str) -> bool:
        """Whether a file was taken away; not, with all of the scripts in its folder, left out (a sparse checkout)."""
        return name.startswith(f"{PACKAGE}/") or (self.folder / name).parent.is_dir()

    def _of_other_line_ends(self, names: Iterable[str], committed: Mapping[str, str]) -> set[str]:
        """Those of the files that are as committed but for the ends of their lines, as git was told to write these."""
        found = []
        for name in sorted(names):
            lines = (self.folder / name).read_bytes().replace(b"\r\n", b"\n") if name in committed else b""
            if name in committed and _hashed(lines, committed[name]) == committed[name]:
                found.append(name)
        told = (self._git("hash-object", "--", *found) or "").splitlines() if found else []
        return {name for name, blob in zip(found, told, strict=False) if blob == committed[name]}

    def _against(self, record: Path) -> list[str]:
        """Files of the package that differ from a wheel's list of them (PyPA, "Recording installed projects")."""
        with record.open(encoding="utf-8", newline="") as stream:
            listed = {row[0]: row[1] for row in csv.reader(stream) if row and row[0].startswith(f"{PACKAGE}/")}
        listed = {name: digest for name, digest in listed.items() if not any(map(sources.is_left_out, name.split("/")))}
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
            ConfigError: a file cannot be read.
        """
        return sources.digest(sources.files_of(self.folder, content, self._read))

    @cached_property
    def _read(self) -> tuple[dict[str, sources.Source], dict[str, str]]:
        """The package as it was when it was first asked about: a plan asks for each of its models."""
        return sources.read(self.folder)

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
        # Whoever owns it: what is in it is about to be imported. GIT_DIR and its like would name another repository.
        options = [
            "--no-optional-locks",
            "--no-replace-objects",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "safe.directory=*",
        ]
        answer = ask(["git", "-C", str(self.folder), *options, *arguments], GIT_S, without="GIT_")
        return None if answer.why_not else answer.text.strip("\n")


def _blob(path: Path, like: str) -> str:
    """The name that git gives a file's content, by the hash that another name was made with ("gitformat-pack")."""
    return _hashed(sources.content_of(path), like)


def _hashed(content: bytes, like: str) -> str:
    digest = hashlib.new("sha256" if len(like) == SHA256_DIGITS else "sha1", usedforsecurity=False)
    digest.update(b"blob %d\0" % len(content) + content)
    return digest.hexdigest()


def _is_configuration(name: str) -> bool:
    """Whether a file may be a configuration of a model, or a params file; at the root there is none."""
    suffixes = CONFIGURATIONS + (PARAMS if name.startswith("test_tipc/") else ())
    return "/" in name and name.endswith(suffixes)


def _is_below(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def _urlsafe(path: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(sources.content_of(path)).digest()).rstrip(b"=").decode()


def said(env: Mapping[str, Any]) -> str:
    """A PaddleSeg in words, from a record's env: `develop, d7975e7c, edited: 2 files (...)`."""
    commit, edited = env.get("paddleseg_commit"), env.get("paddleseg_edited")
    parts = [env.get("paddleseg_branch") if commit else None, commit[:COMMIT_DIGITS] if commit else None]
    if not commit:
        parts = [env.get("paddleseg") or "of no version", "as installed" if edited == [] else None]
    if edited is None:
        parts.append("edited or not: unknown")
    if edited:
        names = ", ".join(edited[:TOLD_FILES]) + (", ..." if len(edited) > TOLD_FILES else "")
        parts.append(f"edited: {len(edited)} file{'s' if len(edited) > 1 else ''} ({names})")
    return ", ".join(filter(None, parts))


def require_importable(found: Tree, python: str) -> None:
    """Raise ConfigError where a tree cannot be imported: an error in any file of it breaks every model.

    Importing takes seconds, so once for what a tree holds; what is as it was installed is taken to be importable.
    Where the interpreter does not run at all, the first job says so.
    """
    mark = KEPT / f"imported-{found.digest}"
    if mark.is_file():
        return
    try:
        installed_folder = installed_for(python)
    except (OSError, subprocess.SubprocessError):
        return
    own = Tree(installed_folder) if installed_folder else None
    if own and found.digest == own.digest and own.edited == []:
        return
    code = (
        "import sys; from pathlib import Path; from segcert.checkout import pinned; "
        f"pinned.pin(Path({str(found.folder)!r})); import {', '.join(IMPORTED)}; "
        f"print({found.digest!r})"
    )
    try:
        answer = machine.said_by(python, code, IMPORT_S)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"paddleseg: {found.folder} cannot be imported: not within {IMPORT_S:g} s; look what it does at its import"
        ) from None
    except subprocess.CalledProcessError as error:
        told = (error.stderr or "").strip()
        places = re.findall(rf'^ *File "({re.escape(str(found.folder))}/[^"]+)", line (\d+)', told, re.M)
        place = f" ({places[-1][0]}, line {places[-1][1]})" if places else ""
        last = told.rpartition("\n")[2] or f"{python} ended with exit code {error.returncode}"
        raise ConfigError(f"paddleseg: {found.folder} cannot be imported: {last}{place}") from None
    if found.digest not in answer:
        raise ConfigError(
            f"paddleseg: {found.folder} cannot be imported: it ends Python with exit code 0 as it is imported"
        )
    if KEPT.parent.is_dir():
        with contextlib.suppress(OSError):
            KEPT.mkdir(exist_ok=True)
            mark.touch()


# -- which one --------------------------------------------------------------------------------


def is_package(folder: Path) -> bool:
    """Whether a folder holds the package, as far as it can be looked at."""
    with contextlib.suppress(OSError):
        return (folder / PACKAGE / "__init__.py").is_file()
    return False


def above(file: Path) -> Path | None:
    """The nearest folder above a file that holds a PaddleSeg."""
    return next((folder for folder in file.resolve().parents if is_package(folder)), None)


def installed() -> Path | None:
    """The folder of the PaddleSeg that is installed for this interpreter; None where there is none.

    A variable (PYTHONPATH) or the folder that one happens to be in brings nothing in, nor does what such a folder has
    Python run as it starts (sitecustomize): another Python is asked, that has none. Of a package that was installed to
    be edited (`pip install -e`), it is the folder that its installer left.
    """
    if os.environ.get("PYTHONPATH"):
        return _installed_for(sys.executable)
    lasting = {*map(os.path.realpath, [*site.getsitepackages(), site.getusersitepackages()])}
    lasting |= {os.path.realpath(line) for place in lasting for line in _pth_lines(Path(place))}
    passing = {"", os.getcwd(), os.path.realpath(os.curdir)}  # noqa: PTH109
    places = [place for place in sys.path if os.path.realpath(place) in lasting or place not in passing]
    finders = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]
    for finder in finders:
        spec = finder.find_spec(PACKAGE, places if finder is PathFinder else None)
        if spec and spec.origin and Path(spec.origin).name == "__init__.py":
            return Path(spec.origin).resolve().parents[1]
    return None


def _pth_lines(folder: Path) -> Iterator[Path]:
    """Folders that the .pth files of a folder of packages add to the path (documentation of Python's module site)."""
    for file in folder.glob("*.pth"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.strip() and not line.startswith(("#", "import ", "import\t")):
                    yield folder / line.strip()


def installed_for(python: str) -> Path | None:
    """`installed`, for another interpreter."""
    return installed() if python == sys.executable else _installed_for(python)


def _installed_for(python: str) -> Path | None:
    code = "from segcert.checkout import tree; print(tree.installed() or '')"
    answer = machine.said_by(python, code, without=("PYTHONPATH",)).strip()
    return Path(answer) if answer else None


def named(value: str, key: str = "paddleseg") -> Tree:
    """The tree in a folder that was named.

    Raises:
        ConfigError: there is none.
    """
    folder = package_in(value)
    if folder is None:
        raise ConfigError(
            f"{key}: {json.dumps(value)} is refused: {_why_none(Path(value))}; allowed: auto, installed, or a folder "
            "that holds PaddleSeg's package (a checkout of it)"
        )
    return Tree(folder)


def package_in(value: str) -> Path | None:
    """The folder that holds the package, by its own name or that of the package; None where there is none."""
    folder = Path(value)
    with contextlib.suppress(RuntimeError, OSError):  # of nobody whom the system knows
        if value.startswith("~") and not folder.exists():
            folder = folder.expanduser()
    if folder.name == PACKAGE and is_package(folder.parent) and not is_package(folder):
        folder = folder.parent
    return folder.resolve() if is_package(folder) else None


def _why_none(folder: Path) -> str:
    """In words, why a folder is taken for one without the package."""
    try:
        (folder / PACKAGE / "__init__.py").stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    return f"there is no {PACKAGE}/__init__.py in it"


def chosen(setting: str, root: str | None, files: Sequence[Path], python: str | None) -> Tree | None:
    """The PaddleSeg of a run; None where it is the installed one, and none is installed, or nobody can tell yet.

    Args:
        setting: auto | installed | a folder.
        root: the folder that params files start from, if one is named.
        files: the params files.
        python: the interpreter of the stages; None: it is not there yet.

    Raises:
        ConfigError: it cannot be had, or the params files lie in several.
    """
    if setting not in (AUTO, INSTALLED):
        return named(setting)
    if setting == AUTO:
        if root and not Path(root).is_dir():
            raise ConfigError(f"paddleseg_root: {json.dumps(root)} is refused: there is no such folder")
        if root and (folder := package_in(root)):
            return Tree(folder)
        found = list(dict.fromkeys(folder for folder in map(above, files) if folder))
        if len(found) > 1:
            raise ConfigError(
                f"paddleseg: auto: the params files lie in several PaddleSegs, {', '.join(map(str, found))}; name the "
                "one that is to run: --config paddleseg=FOLDER"
            )
        if found:
            return Tree(found[0])
    try:
        own = installed_for(python) if python else None
    except (OSError, subprocess.SubprocessError):
        return None  # the interpreter does not run: the first job says so
    return Tree(own, installed=True) if own else None
