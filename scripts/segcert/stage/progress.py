"""Progress: a bar where a person watches, plain lines in the log otherwise."""

from __future__ import annotations

import os
import sys
from typing import Any

from segcert.masking import masked
from segcert.stage.worker import PROGRESS_FD


def progress(total: int | None, description: str, **more: Any) -> Any:
    """A progress bar (tqdm) on the terminal where a person watches; silent otherwise, the log has plain lines."""
    from tqdm import tqdm

    try:
        terminal = os.fdopen(os.dup(int(os.environ[PROGRESS_FD])), "w")
    except (KeyError, ValueError, OSError):  # nobody watches, or the launcher of ranks closed the terminal
        return tqdm(total=total, disable=True)
    return tqdm(total=total, desc=description, file=terminal, dynamic_ncols=True, disable=total == 0, **more)


def say(text: str) -> None:
    """A plain line in the log."""
    print(masked(text), file=sys.stderr, flush=True)
