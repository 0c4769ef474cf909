"""Another program asked for what it prints, within a time limit that holds whatever that program does.

Python's own `subprocess.run` waits for the end of what it has killed. A program that hangs in a call of
the driver's ends when the driver lets it, which may be never; so here nobody waits for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

MOST_BYTES = 4 << 20  # of what a program prints
LAST_WAIT_S = 1  # for the end of a program that was killed


@dataclass(frozen=True)
class Answer:
    """What a program said.

    Attributes:
        text: everything that it printed, its errors last; empty where it printed nothing.
        why_not: in words, why this is no good answer; None where it is one.
    """

    text: str
    why_not: str | None = None


def ask(command: Sequence[str], seconds: float, without: str | None = None) -> Answer:
    """Run a program and return what it printed, after `seconds` at the latest. Raises nothing.

    Args:
        without: how the names of variables begin that it does not get.
    """
    kept = None if without is None else {key: value for key, value in os.environ.items() if not key.startswith(without)}
    name = command[0]
    if not shutil.which(name):
        found_on = "is not there" if os.sep in name else "is not found on PATH"
        return Answer("", f"{name} {found_on}")
    # Files and no pipes: whatever a program leaves running may hold a pipe open for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True, env=kept
            )
        except OSError as error:
            return Answer("", f"{name} cannot be started: {error}")
        why_not = None
        try:
            code = child.wait(seconds)
            if code:
                why_not = f"{name} ended with exit code {code}" if code > 0 else f"{name} was ended by signal {-code}"
        except subprocess.TimeoutExpired:
            why_not = f"{name} gave no answer in {seconds:g} s"
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LAST_WAIT_S)
        said = b""
        for stream in (out, errors):
            stream.seek(0)
            said += stream.read(MOST_BYTES)
    return Answer(said.decode("utf-8", "replace"), why_not)
