"""Why something failed, as a person needs it: one line of an exception whose traceback the log has.

Many an exception carries a traceback in its own message: Paddle's, where it converts a model's source, where a process
of its data loader fails, and where an operator of a graph does. What counts of it is its end.
"""

from __future__ import annotations

import itertools
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from segcert.errors import StageError, Unverified

OWN = Path(__file__).parents[2]  # the folder of the scripts and of this package
PACKAGES = ("site-packages", "dist-packages")
MODELS = "paddleseg"  # the package that models are written in
FRAME = re.compile(r'^[ \t]*File "(?P<file>[^"\n]+)", line (?P<line>\d+).*$', re.M)
# What Paddle sets before an error of an operator, and before its own account of one after a traceback of C++.
HEADS = re.compile(r"\A\s*In (?:user|transformed) code:\s*|\A.*^Error Message Summary:\s*(?:-+\s)?", re.M | re.S)
MOST = (400, 100)  # characters of a message, of its beginning and of its end: it may print all that it was given
MOST_OF_GROUP = 3  # exceptions of a group that are told of

Place = tuple[str, int]  # file and line


def reason(error: BaseException) -> str:
    """One line for a record: what is said to a person stays whole; of anything else its message, and where it was."""
    if isinstance(error, StageError | Unverified):
        return _one_line(str(error))
    if isinstance(error, BaseExceptionGroup):
        inner = [reason(one) for one in error.exceptions[:MOST_OF_GROUP]]
        more = len(error.exceptions) - len(inner)
        return f"{error.message}: {'; '.join(inner)}{f'; and {more} more' if more else ''}"
    return f"{short(error)}{_at(_places(error))}"


def short(error: BaseException) -> str:
    """The last exception that a message tells of, with its type; the message's own where it tells of no other."""
    message = _message(error)
    told = _end(message)
    text = _one_line(f"{type(error).__name__}: {message}" if told is None else told)
    begin, end = MOST
    return text if len(text) <= begin + end else f"{text[:begin]} ... {text[-end:]}"


def texts(error: BaseException) -> list[str]:
    """All that an exception says, each message as one line: its own, those of its group and those it was made from."""
    said = isinstance(error, StageError | Unverified)
    found = [_one_line(str(error) if said else f"{type(error).__name__}: {error}")]
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (*inner, *filter(None, [error.__cause__])):
        found += texts(other)
    return found


def _message(error: BaseException) -> str:
    """The message as it came: a KeyError shows its key with quotes, and line ends as two characters."""
    key = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else None
    return key if isinstance(key, str) and FRAME.search(key) else str(error)


def _end(message: str) -> str | None:
    """What stands after the last traceback in a message; None where there is none."""
    *_, last = [None, *FRAME.finditer(message)]
    if last is not None:
        rest = message[last.end() :].splitlines()
        # The source of a frame stands further right than the frame.
        after = itertools.dropwhile(lambda line: not line.strip() or _depth(line) > _depth(last[0]), rest)
        message = "\n".join(after)
    end = HEADS.sub("", message)
    return end if end.strip() and (last is not None or end != message) else None


def _depth(line: str) -> int:
    line = line.expandtabs()
    return len(line) - len(line.lstrip())


def _places(error: BaseException) -> list[Place]:
    """Where an exception came from, innermost last: by its message, else by its own traceback."""
    told = [(found["file"], int(found["line"])) for found in FRAME.finditer(_message(error))]
    return told or [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]


def _at(places: Sequence[Place]) -> str:
    """The innermost place in the model, else in a library, else in this project; empty where there is none."""
    kinds = [_kind(file) for file, _ in places]
    for kind in ("model", "library", "own"):
        if kind in kinds:
            file, line = places[len(kinds) - 1 - kinds[::-1].index(kind)]
            return f" ({_shown(file)}, line {line})"
    return ""


def _kind(file: str) -> str:
    """model (PaddleSeg's, or a user's own code) | library | own | python."""
    path = Path(file).absolute()
    package = next((path.parts[at + 1] for at, part in enumerate(path.parts[:-1]) if part in PACKAGES), None)
    if package is not None:
        return "model" if package == MODELS else "library"
    if file.startswith("<") or path.is_relative_to(sysconfig.get_path("stdlib")):
        return "python"
    return "own" if path.is_relative_to(OWN) else "model"


def _shown(file: str) -> str:
    """A file as an import would name it, else from the working directory, else in full."""
    folders = [folder for folder in (*sys.path, Path.cwd().as_posix()) if folder and Path(file).is_relative_to(folder)]
    return Path(file).relative_to(max(folders, key=len)).as_posix() if folders else file


def _one_line(text: str) -> str:
    return " ".join(text.split())  # as tables want it; the log has it as it came
