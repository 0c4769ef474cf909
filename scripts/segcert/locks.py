"""Snakemake's locks of a working directory, let go of where the run that took them was killed.

Snakemake leaves its lock files behind when it is killed, and refuses to start until they are removed by
hand. Every run of this workflow holds a shared flock(2) as long as it lives, which the kernel ends with
it. Who finds nobody else holding it knows that whatever lock files there are belong to the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from pathlib import Path
from typing import IO

ALIVE = "segcert.alive"  # in Snakemake's folder: the file that is locked, with the host of who locked it last


def hold(folder: Path | str = ".snakemake") -> IO[str] | None:
    """Remove the lock files of dead runs, and hold our own lock until the answer is closed or we end.

    A network file system may keep flocks of one machine from the others, so what another machine's run
    left is not touched: there Snakemake's own message and `--unlock` remain. None where nothing can be
    locked.
    """
    folder = Path(folder)
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    stream = os.fdopen(descriptor, "r+", encoding="utf-8")
    with contextlib.suppress(OSError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stream.read() in ("", platform.node()):
            for lock in (folder / "locks").glob("*.lock"):
                lock.unlink(missing_ok=True)
        stream.seek(0)
        stream.truncate()
        stream.write(platform.node())
        stream.flush()
    try:
        fcntl.flock(stream, fcntl.LOCK_SH)
    except OSError:
        stream.close()
        return None
    return stream
