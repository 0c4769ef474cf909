"""The logs that TIPC's tools read, read as they read them: benchmark logs and results_python.log."""

import re
from collections.abc import Iterator
from typing import Any

from segcert.tipc import benchlog

_PREFIX = re.compile(r"^\[?\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d\S*\]?\s+(?:\S+\s+)?\[?INFO\]?:?\s?(?P<text>.*)$")


class LogError(Exception):
    """A text that should be a benchmark log and is not."""


def benchmark(text: str) -> dict[str, dict[str, Any]]:
    """Block -> key -> value, read from a log that may hold other lines before and after.

    Values become int, float, bool or None where they read so; anything else stays text. A line that
    holds no key continues the value above it, as nvcc's build line does under CUDA_version. `engine` is a
    key that AutoLog does not have.

    Raises:
        LogError: a block or a key of AutoLog's is missing.
    """
    found: dict[str, dict[str, Any]] = {}
    headings = {heading: block for block, heading in benchlog.HEADINGS.items()}
    block: str | None = None
    last: str | None = None
    for prefixed, line in _lines(text):
        if line.strip() in headings:
            block, last = headings[line.strip()], None
            found[block] = {}
        elif block is None:
            continue
        elif prefixed and (values := _values(line, block)):
            found[block].update(values)
            last = next(reversed(values))
            if block == "perf" and benchlog.LAYOUT["perf"][-1][-1] in values:
                block = None  # the last line of the last block: what follows is another's
        elif last is not None and line.strip():
            found[block][last] = f"{found[block][last]}\n{line.strip()}"
    for name, lines in benchlog.LAYOUT.items():
        missing = [key for keys in lines for key in keys if key not in found.get(name, {})]
        if missing:
            raise LogError(f"no benchmark log: block {benchlog.HEADINGS[name].strip('- ')} has no {', '.join(missing)}")
    return found


def _lines(text: str) -> Iterator[tuple[bool, str]]:
    for line in text.splitlines():
        match = _PREFIX.match(line)
        yield (True, match["text"]) if match else (False, line)


def _values(line: str, block: str) -> dict[str, Any]:
    """The keys that a line holds, with their values."""
    for keys in (*benchlog.LAYOUT[block], ("engine",)):
        pattern = (
            r"\s*" + r",\s*".join(rf"{re.escape(key)}:\s?(?P<v{index}>.*?)" for index, key in enumerate(keys)) + r"\s*$"
        )
        match = re.match(pattern, line)
        if match:
            return {
                key: _value(match[f"v{index}"].removesuffix("%" if key in benchlog.PERCENT else "\0"))
                for index, key in enumerate(keys)
            }
    return {}


def _value(text: str) -> Any:
    text = text.strip()
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind, pattern in ((int, r"[+-]?\d+"), (float, r"[+-]?\d+\.\d+(?:[eE][+-]?\d+)?")):
        if len(text) < 400 and re.fullmatch(pattern, text):  # Python refuses to read integers of thousands of digits
            return kind(text)
    return text


_STATUS_LINE = re.compile(
    r"\033\[33m (?P<verb>Run successfully|Run failed) with command"
    r" - (?P<model>.*?) - (?P<command>.*) - (?P<log>.*?)\s+\033\[0m"
)


def status_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a results_python.log: model, command, log, ok."""
    return [
        {"model": m["model"], "command": m["command"], "log": m["log"], "ok": m["verb"] == "Run successfully"}
        for m in _STATUS_LINE.finditer(text)
    ]
