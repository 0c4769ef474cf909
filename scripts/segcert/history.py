"""The loss curve of a training, read from the history.csv beside its record."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert.files import sha256
from segcert.numbers import finite

POINTS = 400  # of a curve that is kept or drawn: more than a plot has pixels; history.csv has every iteration
DIGITS = 9  # of a loss, as history.csv has them: all that float32 has


def step(count: int) -> int:
    """Of a curve of so many values every how manieth is taken, so that they are at most POINTS."""
    return max(1, -(-count // POINTS))


def read(cell: Mapping[str, Any]) -> tuple[list[int], list[float | None]] | None:
    """Iterations and losses of a train cell of the conclusions; a loss that is not finite is None.

    Returns:
        None where the history is not there, is not the one that the cell's record names, or is none.
    """
    path = Path(cell["record"]).with_name("history.csv")
    digest = (cell.get("outputs") or {}).get(path.as_posix())
    if digest is None or not path.is_file() or sha256(path) != digest:
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [int(row["iter"]) for row in rows], [finite(float(row["loss"]), DIGITS) for row in rows]
    except (KeyError, TypeError, ValueError):
        return None
