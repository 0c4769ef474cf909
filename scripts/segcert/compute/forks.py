"""What a process must be like before it forks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import cv2


@contextlib.contextmanager
def forkable() -> Iterator[None]:
    """OpenCV computes without threads of its own meanwhile, and in what is forked meanwhile for good.

    A fork has none of the threads of its parent. OpenCV does not know: the first call there that resizes its pool of
    threads, or uses it, waits for ever for those that are not there.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # ends the threads of the pool
    try:
        yield
    finally:
        cv2.setNumThreads(before)
