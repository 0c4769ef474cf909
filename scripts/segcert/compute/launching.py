"""Paddle's launcher of ranks."""

from __future__ import annotations

import sys
from pathlib import Path

from paddle.distributed.launch.main import launch as paddle_launch


def launch(ranks: int, logs: Path) -> int:
    """Become the launcher of so many ranks, each of which runs this script again; its exit code.

    Args:
        logs: the folder for a log of each rank.
    """
    options = ["--nproc_per_node", str(ranks), "--log_dir", str(logs)]
    # Otherwise it asks the driver for the devices' use every few seconds, while ranks are timed on them.
    options += ["--enable_gpu_log", "false"]
    sys.argv = ["paddle.distributed.launch", *options, sys.argv[0]]
    return int(paddle_launch() or 0)
