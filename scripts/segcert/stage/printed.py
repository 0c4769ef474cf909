"""What a process printed before native code ended it: often the only place that says why."""

from __future__ import annotations

import re
import signal

KEPT = 1 << 16  # bytes of the end that are looked at
MOST = 400  # characters of it in a reason
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
RULE = re.compile(r"[-=*~\s]*")  # a line that shows nothing
# Paddle's own account of the end, which names the signal and the stack but no reason.
ACCOUNT = re.compile(r"^C\+\+ Traceback \(most recent call last\):(?=[\s\S]+is detected by the operating system)", re.M)
ERROR = re.compile(r"\berror\b|^terminate called|^\s*what\(\):", re.I)


def why(how: str, code: int, printed: bytes) -> str | None:
    """Why a process ended, by the last line that it printed; None where it printed none, or has not ended itself.

    Args:
        how: in words, how it ended.
        code: as `subprocess` has it.
        printed: as `last` has it.
    """
    from_outside = code in (-signal.SIGKILL, -signal.SIGTERM)
    found = None if from_outside else last(printed)
    return f"{found} (the last that it printed; {how})" if found else None


def last(printed: bytes) -> str | None:
    """The last line that says something, together with those right before it that tell of errors as it does.

    Of `ERROR cannot do X`, `ERROR there are errors` the first is the cause.

    Args:
        printed: what a process printed, or the end of it.
    """
    text = COLOURS.sub("", printed[-KEPT:].decode("utf-8", "replace"))
    lines = [line.strip() for line in ACCOUNT.split(text, maxsplit=1)[0].splitlines() if not RULE.fullmatch(line)]
    found = lines[-1:]
    if found and ERROR.search(found[0]):
        found = _trailing(lines)
    told = " ".join(" ".join(dict.fromkeys(found)).split())
    return (told if len(told) <= MOST else f"{told[:MOST]} ...") or None


def _trailing(lines: list[str]) -> list[str]:
    """Those at the end that tell of errors, in their order."""
    first = len(lines)
    while first and ERROR.search(lines[first - 1]):
        first -= 1
    return lines[first:]
