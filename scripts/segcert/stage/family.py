"""The processes below this one: their memory, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time

import psutil


def adopt_orphans() -> None:
    """Ask Linux for the children of children that end: so none escapes its supervisor (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def end_orphans(patience: float) -> None:
    """End what a worker left behind in groups of its own, such as ranks, and wait for it: it may hold a device.

    What cannot be killed, because it waits for a broken driver, is waited for so many seconds and no longer.
    """
    deadline = time.monotonic() + patience
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to all processes of the group that the child leads, if there are any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def resident_bytes(process: psutil.Process) -> int:
    """Bytes of resident memory of a process and all below it, pages that they share counted once.

    That is the sum of proportional set sizes (Linux); elsewhere of resident set sizes.
    """
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            full = member.memory_full_info()
            total += getattr(full, "pss", full.rss)
        except psutil.Error:
            continue
    return total
