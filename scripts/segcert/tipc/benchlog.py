"""The benchmark log of an inference cell: the blocks that AutoLog writes.

Headings, keys, their order and their spelling (`drivier_version`) are AutoLog's, because tools that
read these logs know them so.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def format_log(fields: Mapping[str, Mapping[str, Any]], now: datetime) -> str:
    """The log with the given values: block -> key -> value; KeyError where one is missing.

    A key that AutoLog does not have stands at the end of its block.
    """
    stamp = now.strftime("%Y-%m-%d %H:%M:%S")
    lines = []
    for block, heading in HEADINGS.items():
        lines.append(f"{stamp} [INFO]    {heading}")
        known = {key for keys in LAYOUT[block] for key in keys}
        for keys in (*LAYOUT[block], *((key,) for key in fields[block] if key not in known)):
            text = ", ".join(f"{key}: {fields[block][key]}{'%' if key in PERCENT else ''}" for key in keys)
            lines.append(f"{stamp} [INFO]     {text}")
    return "\n".join(lines) + "\n"
