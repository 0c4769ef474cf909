"""Logs as they are shown: their last lines, without colours and control characters."""

from __future__ import annotations

import re
from pathlib import Path

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# What neither XML 1.0 nor a reader can take: control characters but tab and newline, surrogates, non-characters.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
LONGEST_LINE = 600


def plain(text: str) -> str:
    """The text without terminal escapes and without characters that no document may hold."""
    text = ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def tail(path: Path | str, most_lines: int, most_bytes: int) -> str | None:
    """The end of a log, in whole lines where they are not longer than that; None where there is no such file."""
    path = Path(path)
    if most_lines < 1 or most_bytes < 1 or not path.is_file():
        return None
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        begin = max(0, size - most_bytes)
        stream.seek(begin)
        text = plain(stream.read().decode("utf-8", "replace"))
    lines = text.rstrip("\n").split("\n")
    if begin and len(lines) > 1:
        lines = lines[1:]  # the first one is cut
    shown = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in lines[-most_lines:]]
    return "\n".join(shown)
