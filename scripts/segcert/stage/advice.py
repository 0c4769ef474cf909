"""What to do about failures whose own message does not say it."""

from __future__ import annotations

import os
import re
from pathlib import Path

LITTLE = 1 << 20  # bytes of free disk below which a failure may well be due to that
ADVICE = (
    (
        r"Out of memory error on GPU|CUDA(?: error)?[: ]+out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUDNN\w+ALLOC_FAILED",
        "the GPU's memory does not suffice: lower train.batch_size, infer.batch_sizes or input_size, or see who else "
        "computes on it (nvidia-smi)",
    ),
    (
        r"MemoryError|bad_alloc|Cannot allocate memory|Unable to allocate|ResourceExhausted|killed for its memory",
        "the memory does not suffice: run fewer jobs at a time (--cores), lower train.batch_size, train.workers or "
        "input_size, or give the job more",
    ),
    (
        r"No space left on device|Disk quota exceeded|is the disk full",
        "make room there, or put the working directory on a larger disk, and run it again",
    ),
    (r"File too large", "raise the limit on the size of files (ulimit -f) and run it again"),
    (
        r"Read-only file system|Permission denied|Operation not permitted",
        "make the folder writable for you, or work in another (snakemake --directory), and run it again",
    ),
    (
        r"more than [\w.]*memory_gb allows",
        "raise that where the machine has more, or lower input_size or the sizes of batches",
    ),
    (r"timed out after", "raise the timeout_min of its stage where it needs longer; the log tells how far it came"),
)


def with_advice(reason: str, folder: Path) -> str:
    """A reason, and what to do about it where that is known.

    Args:
        reason: why something failed.
        folder: where it wrote: one on a full disk is told of, because native code often does not say why.
    """
    free = _free(folder)
    if free is not None and free < LITTLE and "No space left" not in reason:
        reason = f"{reason}; {folder}: No space left on device, {free} bytes are free"
    told = next((advice for pattern, advice in ADVICE if re.search(pattern, reason)), None)
    return f"{reason}; {told}" if told else reason


def _free(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None
