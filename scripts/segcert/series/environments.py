"""What a side is run with: an interpreter with that Paddle, or a folder with that commit of PaddleSeg.

Environments are made once, below one folder, under names of what is in them. One that is there is whole: it has a
mark that is written last, and a folder without it is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from segcert import machine
from segcert.asked import ask
from segcert.errors import ConfigError, StageError
from segcert.files import sha256, write_text
from segcert.masking import masked
from segcert.sides import COMMIT, PADDLES, WHEEL, Side

MARK = ".complete"
PADDLE = PADDLES[0]
TOLD_S = 30  # between two lines of progress
ASKED_S = 120  # that an interpreter may take to list what it has
GIT_S = 600  # that git may take to check a commit out
PIP_S = 3600  # that one call of pip may take: a Paddle is some 200 MB, its companions as much again
IMPORT_S = 600  # that the first import of a Paddle may take
LAST_LINES = 3  # of a log, in a message
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# What an installed interpreter has: distributions by name.
LISTS = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
TELLS = "import paddle; print('paddle', paddle.__version__)"


@dataclass(frozen=True)
class Made:
    """What a side changes in a run, and how that came about.

    Attributes:
        changes: keys of the configuration.
    """

    changes: Mapping[str, str]
    how: str


@dataclass(frozen=True)
class Lock:
    """A file of pins: what Paddle it has, and every other distribution with its hashes."""

    file: Path
    entries: Mapping[str, str]  # name -> its lines
    pins: Mapping[str, str]  # name -> version, of those that this interpreter needs

    @classmethod
    def read(cls, file: Path) -> Lock:
        entries: dict[str, str] = {}
        pins: dict[str, str] = {}
        for entry in re.split(r"\n(?=\S)", file.read_text(encoding="utf-8")):
            line = entry.split("\n", 1)[0].partition(" \\")[0]
            if not line.strip() or line.startswith("#"):
                continue
            asked = Requirement(line.partition(" --hash")[0])
            if asked.marker and not asked.marker.evaluate():
                continue
            name = canonicalize_name(asked.name)
            entries[name] = entry.rstrip("\n")
            pins[name] = next(iter(asked.specifier)).version
        return cls(file, entries, pins)

    @property
    def paddle(self) -> Version:
        return Version(self.pins[PADDLE])

    @property
    def companions(self) -> str:
        """All but Paddle, with their hashes."""
        return "\n".join(entry for name, entry in self.entries.items() if name != PADDLE) + "\n"

    @property
    def constraints(self) -> str:
        """The same for pip to choose by, where it follows the requirements of a Paddle."""
        return "".join(f"{name}=={version}\n" for name, version in self.pins.items() if name != PADDLE)


def locks(envs: Path) -> list[Lock]:
    """The locks of environments with a CPU build of Paddle, by its version."""
    found = [Lock.read(file) for file in (envs / "cpu.txt", *sorted(envs.glob("paddle-[0-9]*.txt"))) if file.is_file()]
    return sorted((lock for lock in found if PADDLE in lock.pins), key=lambda lock: lock.paddle)


def closest(version: Version, among: Sequence[Lock]) -> Lock:
    """The lock of the generation that a version is nearest to, of its own major one if there is one; of two the newer.

    Raises:
        StageError: there is none at all.
    """
    if not among:
        raise StageError("envs/: no lock of an environment is there")

    def far(lock: Lock) -> tuple[int, int]:
        there = lock.paddle
        return abs(there.major - version.major), abs(there.minor - version.minor) if there.major == version.major else 0

    return min(reversed(among), key=far)


@dataclass(frozen=True)
class _Planned:
    """What a Paddle is to be run with.

    Attributes:
        lock: the pins that it goes by.
        asked: what pip is to install beside its companions; None: all is in the lock.
        there: an interpreter that has all of them already; None: none has.
        name: of the folder of its environment, where none has.
        wheel: the sha256 of the wheel that was named, if one was.
    """

    lock: Lock
    asked: str | None
    there: str | None = None
    name: str = ""
    wheel: str | None = None


@dataclass
class Maker:
    """Makes what sides are run with.

    Attributes:
        folder: where environments are kept.
        envs: the folder of the locks.
        python: the interpreter that the configuration names: it may be what is asked for already.
        beside: further interpreters that may be.
        checkout: the PaddleSeg that the configuration names; None where it names none.
        tell: takes lines of progress.
    """

    folder: Path
    envs: Path
    python: str
    beside: Sequence[str] = ()
    checkout: Path | None = None
    tell: Callable[[str], None] = print
    _has: dict[str, dict[str, str]] = field(default_factory=dict)

    def make(self, side: Side) -> Made:
        """What a side is run with.

        Raises:
            StageError: that cannot be made; the message says why.
        """
        if side.kind == COMMIT:
            return self._commit(side)
        if (version := side.version) is None:
            # Not resolved: it is the link that an interpreter knows its environment by.
            return Made({"python": os.path.abspath(shutil.which(side.what) or side.what)}, "as it is")  # noqa: PTH100
        return self._paddle(side, version)

    def content(self, side: Side) -> dict[str, Any]:
        """What a side is by content, without making it: another answer may follow once this is another.

        Of a side that cannot be made there is the reason.
        """
        try:
            if side.kind == COMMIT:
                return {"commit": self._commit_of(side), "python": self._interpreter(self.python)}
            if (version := side.version) is None:
                return {"python": self._interpreter(side.what)}
            planned = self._planned(side, version)
            if planned.there:
                return {"python": self._interpreter(planned.there)}
            return {"environment": planned.name, "wheel": planned.wheel}
        except (StageError, OSError) as error:
            return {"why_not": str(error)}

    def _interpreter(self, python: str) -> dict[str, Any]:
        """An interpreter's file, the Paddle that it reports, and every distribution that it has."""
        place = shutil.which(python) or python
        file = Path(place).resolve()
        stat = file.stat()
        build = machine.paddle_build(place)
        return {
            "file": [str(file), stat.st_size, stat.st_mtime_ns],
            "paddle": [build.get("full_version"), build.get("commit")],
            "has": self._distributions(place),
        }

    # -- a Paddle -----------------------------------------------------------------------------

    def _planned(self, side: Side, version: Version) -> _Planned:
        lock = closest(version, locks(self.envs))
        pinned = side.kind != WHEEL and lock.paddle == version
        if pinned and (there := self._that_has(lock)):
            return _Planned(lock, None, there=there)
        wheel = Path(side.what).resolve() if side.kind == WHEEL else None
        asked = f"{PADDLE}=={version}" if wheel is None else str(wheel)
        held = None if wheel is None else sha256(wheel)
        what = [lock.entries[PADDLE] if pinned else held or asked, lock.companions]
        what += [platform.python_version(), platform.machine()]
        name = f"paddle-{version}-{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]}"
        return _Planned(lock, None if pinned else asked, name=name, wheel=held)

    def _paddle(self, side: Side, version: Version) -> Made:
        planned = self._planned(side, version)
        lock, there = planned.lock, planned.there
        if there:
            return Made({"python": there}, f"{Path(there).parent.parent.name} has every pin of {lock.file.name}")
        in_place = f", Paddle {version} in place of {lock.paddle}" if planned.asked else ""
        how = f"pins of {lock.file.name}{in_place}"
        with self._held(planned.name) as place:
            if (place / MARK).is_file() and self._is_still(place, side, version):
                self.tell(f"{side.name}: its environment is there: {place}")
            else:
                self._fill(place, side, lock, planned.asked, version)
        return Made({"python": os.path.abspath(place / "bin/python")}, how)  # noqa: PTH100

    def _that_has(self, lock: Lock) -> str | None:
        """An interpreter that has every pin of a lock."""
        for python in dict.fromkeys([self.python, *self.beside]):
            if (path := shutil.which(python)) and all(
                self._distributions(path).get(name) == version for name, version in lock.pins.items()
            ):
                return os.path.abspath(path)  # noqa: PTH100  (of an environment, not what it links to)
        return None

    def _distributions(self, python: str) -> dict[str, str]:
        if python not in self._has:
            answer = ask([python, "-I", "-c", LISTS], ASKED_S)
            with contextlib.suppress(ValueError):
                listed = {} if answer.why_not else json.loads(answer.text)
                self._has[python] = {canonicalize_name(name): version for name, version in listed.items() if name}
        return self._has.get(python, {})

    def _fill(self, place: Path, side: Side, lock: Lock, asked: str | None, version: Version) -> None:
        """Make the environment at its place; nothing is left there where it cannot be made.

        Args:
            asked: what pip is to install beside the companions; None: all is in the lock.
        """
        shutil.rmtree(place, ignore_errors=True)
        log = self.folder / f"{place.name}.log"
        self.tell(f"{side.name}: making {place} with the pins of {lock.file.name} (about 1 GB is downloaded)")
        pins, constraints = self.folder / f".{place.name}.pins.txt", self.folder / f".{place.name}.constraints.txt"
        write_text(pins, lock.companions if asked else "\n".join(lock.entries.values()) + "\n")
        write_text(constraints, lock.constraints)
        python = place / "bin/python"
        pip = [*PIP, "--python", str(python), "install", "--no-input", "--no-compile"]
        steps = [
            ("its interpreter", [sys.executable, "-m", "venv", "--without-pip", str(place)], PIP_S),
            ("its companions", [*pip, "--no-deps", "--require-hashes", "-r", str(pins)], PIP_S),
        ]
        if asked:
            # Of a Paddle that nobody pinned the requirements are followed, held to the pins.
            steps.append((f"Paddle {version}", [*pip, "-c", str(constraints), asked], PIP_S))
        try:
            log.unlink(missing_ok=True)
            for what, command, seconds in steps:
                _run(f"{side.name}: {what}", command, log, seconds, self.tell)
            # Without compiled bytecode every start of Paddle costs several seconds more.
            ask([str(python), "-m", "compileall", "-q", "-j", "0", str(place / "lib")], PIP_S)
            self._require(python, version)
            write_text(place / MARK, json.dumps({"side": side.what, "lock": lock.file.name}) + "\n")
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        finally:
            pins.unlink(missing_ok=True)
            constraints.unlink(missing_ok=True)

    def _is_still(self, place: Path, side: Side, version: Version) -> bool:
        """Whether an environment that was whole once has that Paddle yet: somebody may have installed another there."""
        try:
            self._require(place / "bin/python", version)
        except StageError as error:
            self.tell(f"{side.name}: {place}: {error}: it is made anew")
            return False
        return True

    def _require(self, python: Path, version: Version) -> None:
        """StageError where Paddle does not import, or is another."""
        answer = ask([str(python), "-I", "-c", TELLS], IMPORT_S)
        told = re.search(r"^paddle (\S+)$", answer.text, re.M)
        if answer.why_not or not told:
            raise StageError(f"import paddle: {answer.why_not or 'it says nothing'}: {_last(answer.text)}")
        if Version(told[1]).public != version.public:
            raise StageError(f"it has Paddle {told[1]}, and {version} was asked for")

    # -- a commit of PaddleSeg ----------------------------------------------------------------

    def _commit_of(self, side: Side) -> str:
        if self.checkout is None:
            raise ConfigError(
                f"paddleseg: has to name a checkout of PaddleSeg for the side {side.entry}: --config paddleseg=FOLDER"
            )
        return commit_of(self.checkout, side.what)

    def _commit(self, side: Side) -> Made:
        commit = self._commit_of(side)
        with self._held(f"paddleseg-{commit[:12]}") as place:
            if place.exists():
                self._require_commit(place, commit)
            if not place.exists():
                self.tell(f"{side.name}: checking out {commit[:12]} in {place}")
                ask(["git", "-C", str(self.checkout), "worktree", "prune"], GIT_S)
                add = ["git", "-C", str(self.checkout), "worktree", "add", "--detach", str(place.resolve()), commit]
                answer = ask(add, GIT_S)
                if answer.why_not:
                    shutil.rmtree(place, ignore_errors=True)
                    raise StageError(f"git worktree add: {_last(answer.text)}")
        changes = {"paddleseg": str(place.resolve()), "python": self.python}
        return Made(changes, f"commit {commit[:12]} of {self.checkout}")

    @staticmethod
    def _require_commit(place: Path, commit: str) -> None:
        """Raise StageError where what was checked out once is not that commit, whole and unedited, any more."""
        git = ["git", "-C", str(place)]
        # What git is told not to look at (`update-index --assume-unchanged`, `--skip-worktree`) may hold anything.
        unseen = [line for line in ask([*git, "ls-files", "-v"], GIT_S).text.splitlines() if line[:1] != "H"]
        edited = ask([*git, "status", "--porcelain"], GIT_S).text.strip()
        head = ask([*git, "rev-parse", "HEAD"], GIT_S).text.strip()
        if edited or unseen or head != commit:
            raise StageError(f"{place}: it is edited, of another commit, or half is missing: delete it, and run again")

    @contextlib.contextmanager
    def _held(self, name: str) -> Iterator[Path]:
        """The place of an environment, which nobody else makes meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{name}.lock").open("w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield self.folder / name


def commit_of(checkout: Path, revision: str) -> str:
    """The hash of a commit.

    Raises:
        StageError: git knows none of that name there.
    """
    command = [
        "git",
        "-C",
        str(checkout),
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{revision}^{{commit}}",
    ]
    answer = ask(command, GIT_S)
    if answer.why_not:
        raise StageError(f"paddleseg@{revision}: {checkout} has no such commit: {_last(answer.text) or answer.why_not}")
    return answer.text.split()[-1]


def commits_between(checkout: Path, good: str, bad: str) -> list[str]:
    """The commits from one to another by first parents, both of them in it.

    Raises:
        StageError: the one is no ancestor of the other.
    """
    first, last = commit_of(checkout, good), commit_of(checkout, bad)
    listed = ask(["git", "-C", str(checkout), "rev-list", "--first-parent", "--reverse", f"{first}..{last}"], GIT_S)
    among = listed.text.split()
    parent = ask(["git", "-C", str(checkout), "rev-parse", f"{among[0]}^"], GIT_S).text.strip() if among else ""
    if listed.why_not or parent != first:
        raise StageError(f"paddleseg@{good}: no ancestor of {bad} by first parents in {checkout}")
    return [first, *among]


def published() -> list[Version]:
    """The versions of Paddle on the package index, oldest first.

    Raises:
        StageError: it cannot be asked.
    """
    answer = ask([*PIP, "index", "versions", PADDLE], ASKED_S)
    told = re.search(r"^Available versions: (.+)$", answer.text, re.M)
    if answer.why_not or not told:
        raise StageError(f"pip index versions {PADDLE}: {answer.why_not or 'no list'}: {_last(answer.text)}")
    return sorted(Version(version) for version in told[1].split(", "))


# -- programs ---------------------------------------------------------------------------------


def _run(what: str, command: Sequence[str], log: Path, seconds: float, tell: Callable[[str], None]) -> None:
    """Run a program with what it prints in a log, and a line of progress now and then.

    Raises:
        StageError: it failed, with the last it said, or took too long.
    """
    begun = time.monotonic()
    told = begun
    with log.open("ab") as stream:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(1)
                    break
                now = time.monotonic()
                if now - begun > seconds:
                    raise StageError(f"{what}: not ended after {seconds:g} s; its log: {log}")
                if now - told > TOLD_S:
                    told = now
                    tell(f"{what}: {now - begun:.0f} s")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if child.returncode:
        said = log.read_text(encoding="utf-8", errors="replace")
        raise StageError(f"{what}: exit code {child.returncode}: {_last(said)}; its log: {log}")


def _last(text: str) -> str:
    """The last lines of what a program said, on one line."""
    return masked("; ".join(line.strip() for line in text.strip().splitlines()[-LAST_LINES:]))
