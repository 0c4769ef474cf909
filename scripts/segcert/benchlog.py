"""The benchmark log of an inference cell: the blocks that AutoLog writes, written and read.

Headings, keys, their order and their spelling (`drivier_version`) are AutoLog's, because tools that
read these logs know them so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

# Block -> heading, as AutoLog writes it.
HEADINGS = {
    "env": "---------------------- Env info ----------------------",
    "paddle": "---------------------- Paddle info ----------------------",
    "conf": "----------------------- Conf info -----------------------",
    "model": "----------------------- Model info ----------------------",
    "data": "----------------------- Data info -----------------------",
    "perf": "----------------------- Perf info -----------------------",
}
# Block -> lines, each a tuple of the keys that share it.
LAYOUT: dict[str, tuple[tuple[str, ...], ...]] = {
    "env": (("OS_version",), ("CUDA_version",), ("CUDNN_version",), ("drivier_version",)),
    "paddle": (("paddle_version",), ("paddle_commit",), ("log_api_version",)),
    "conf": (
        ("runtime_device",),
        ("ir_optim",),
        ("enable_memory_optim",),
        ("enable_tensorrt",),
        ("enable_mkldnn",),
        ("cpu_math_library_num_threads",),
    ),
    "model": (("model_name",), ("precision",)),
    "data": (("batch_size",), ("input_shape",), ("data_num",)),
    "perf": (
        ("cpu_rss(MB)", "gpu_rss(MB)", "gpu_util"),
        ("total time spent(s)",),
        ("preprocess_time(ms)", "inference_time(ms)", "postprocess_time(ms)"),
    ),
}
PERCENT = {"gpu_util"}
_PREFIX = re.compile(r"^\[?\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d\S*\]?\s+(?:\S+\s+)?\[?INFO\]?:?\s?(?P<text>.*)$")


class LogError(Exception):
    """A text that should be a benchmark log and is not."""


def format_log(fields: Mapping[str, Mapping[str, Any]], now: datetime) -> str:
    """The log with the given values: block -> key -> value; KeyError where one is missing."""
    stamp = now.strftime("%Y-%m-%d %H:%M:%S")
    lines = []
    for block, heading in HEADINGS.items():
        lines.append(f"{stamp} [INFO]    {heading}")
        for keys in LAYOUT[block]:
            text = ", ".join(f"{key}: {fields[block][key]}{'%' if key in PERCENT else ''}" for key in keys)
            lines.append(f"{stamp} [INFO]     {text}")
    return "\n".join(lines) + "\n"


def parse_log(text: str) -> dict[str, dict[str, Any]]:
    """Block -> key -> value, read from a log that may hold other lines before and after.

    Values become int, float, bool or None where they read so; anything else stays text. A line that
    holds no key continues the value above it, as nvcc's build line does under CUDA_version.

    Raises:
        LogError: a block or a key of AutoLog's is missing.
    """
    found: dict[str, dict[str, Any]] = {}
    headings = {heading: block for block, heading in HEADINGS.items()}
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
            if block == "perf" and LAYOUT["perf"][-1][-1] in values:
                block = None  # the last line of the last block: what follows is another's
        elif last is not None and line.strip():
            found[block][last] = f"{found[block][last]}\n{line.strip()}"
    for name, lines in LAYOUT.items():
        missing = [key for keys in lines for key in keys if key not in found.get(name, {})]
        if missing:
            raise LogError(f"no benchmark log: block {HEADINGS[name].strip('- ')} has no {', '.join(missing)}")
    return found


def _lines(text: str) -> Iterator[tuple[bool, str]]:
    for line in text.splitlines():
        match = _PREFIX.match(line)
        yield (True, match["text"]) if match else (False, line)


def _values(line: str, block: str) -> dict[str, Any]:
    """The keys that a line holds, with their values."""
    for keys in LAYOUT[block]:
        pattern = (
            r"\s*" + r",\s*".join(rf"{re.escape(key)}:\s?(?P<v{index}>.*?)" for index, key in enumerate(keys)) + r"\s*$"
        )
        match = re.match(pattern, line)
        if match:
            return {
                key: _value(match[f"v{index}"].removesuffix("%" if key in PERCENT else "\0"))
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
