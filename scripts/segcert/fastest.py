"""Which engine to ship: of the inference cells of a checkpoint that passed, the fastest, and at which loss.

Only cells are compared that ask for the same but for engine, precision and threads, and whose times can be compared:
passed on evidence that is not weak, timed alone, and on machines that are alike. Those of several streams are no part
of it: what counts of them is no time of a batch. Medians whose 95 % intervals overlap are a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segcert import statuses
from segcert.concluded import Concluded
from segcert.numbers import finite, is_number

PRECISIONS = ("fp32", "fp16", "bf16", "int8")  # the more exact first
CHOSEN = ("engine", "precision", "threads")  # what a choice is between
# Why the time of a cell that passed does not count.
WEAK, NOT_TIMED, NOT_ALONE = "on weak evidence", "not timed", "not timed alone"
ELSEWHERE = "timed on another machine"


def choices(cells: Iterable[Concluded]) -> list[dict[str, Any]]:
    """For each model, checkpoint, device and batch size, which cell is the fastest.

    Args:
        cells: of conclusions. Those count that were timed with no other job of their run beside them, and those during
            which nothing else was seen to run.

    Returns:
        In the order of the matrix: `model`, `train_cell`, `asked` (what its cells have in common), `best` over all
        numbers of threads, `by_threads` (a list, with `threads`; where cells differ in them), and `left_out`, by
        reason, how many were not compared. Of a best, `fp32` and `any` (precision) are a choice, or None where
        there is none; see `_choice`.
    """
    groups: dict[tuple[Any, ...], list[Concluded]] = {}
    for cell in cells:
        if cell["stage"] == "infer" and cell.status is not statuses.SKIPPED and "streams" not in cell.requested:
            groups.setdefault((cell["model"], cell["train_cell"], *sorted(_asked(cell).items())), []).append(cell)
    return [_of_group(group) for group in groups.values()]


def _asked(cell: Concluded) -> dict[str, Any]:
    return {key: _frozen(value) for key, value in cell.requested.items() if key not in CHOSEN}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _of_group(cells: Sequence[Concluded]) -> dict[str, Any]:
    left_out = Counter(why for cell in cells if (why := why_not(cell)))
    comparable = [cell for cell in cells if not why_not(cell)]
    # Of several machines that one counts which has timed the most, or of these the one that is first in the matrix.
    machines = Counter(cell.machine for cell in comparable).most_common(1)
    compared = [cell for cell in comparable if cell.machine == machines[0][0]]
    left_out += Counter({ELSEWHERE: len(comparable) - len(compared)})
    threads = sorted({cell.requested["threads"] for cell in compared if cell.requested.get("threads")})
    asked = {key: list(value) if isinstance(value, tuple) else value for key, value in _asked(cells[0]).items()}
    by_threads = [
        {"threads": number, **_best([cell for cell in compared if cell.requested.get("threads") == number])}
        for number in threads
    ]
    return {
        "model": cells[0]["model"],
        "train_cell": cells[0]["train_cell"],
        "asked": asked,
        "best": _best(compared),
        "by_threads": by_threads if len(threads) > 1 else [],
        "left_out": dict(left_out),
    }


def why_not(cell: Concluded) -> str | None:
    """Why a cell's time, or what several streams of it get through, does not count; None where it does."""
    if cell.status is not statuses.PASSED:
        return cell.status.name
    if cell.weak:
        return WEAK
    if not is_number(cell.p50):
        return NOT_TIMED
    load = cell.metrics.get("load")
    seen = (cell.metrics.get("offline") or {}).get("load") if "streams" in cell.requested else load
    planned_alone = isinstance(load, Mapping) and load.get("jobs_beside") == "none"
    seen_alone = isinstance(seen, Mapping) and seen.get("noticed") is False
    return None if planned_alone or seen_alone else NOT_ALONE


def _best(cells: Sequence[Concluded]) -> dict[str, Any]:
    exact = [cell for cell in cells if cell.requested.get("precision") == PRECISIONS[0]]
    fp32 = _choice(exact)
    return {"fp32": fp32, "any": _choice(cells, fp32)}


def _choice(cells: Sequence[Concluded], fp32: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The fastest of cells that are compared; None where there are none.

    A tie are all whose intervals overlap that of the lowest median. Of these the most exact precision is named, and of
    that the lowest median; all others are told of in `ties`.

    Args:
        fp32: the choice among the exact ones, for `speedup`: how many times as fast this is.
    """
    if not cells:
        return None
    lowest = min(cells, key=_p50)
    tied = sorted((cell for cell in cells if cell is lowest or _overlap(cell, lowest)), key=_exactness)
    named, *others = tied
    speedup = fp32["p50_ms"] / _p50(named) if fp32 and _p50(named) else None
    return {
        **_of_cell(named),
        "p50_ci95_ms": named.timing.get("p50_ci95"),
        "speedup": finite(speedup, 4),
        "pixel_agreement": named.metrics.get("pixel_agreement"),
        "miou_drop": named.metrics.get("miou_drop"),
        "logits": {
            gate["name"]: gate.get("value") for gate in named.gates if str(gate.get("name")).startswith("logits")
        },
        # A cell that others disturbed may be faster than it seems, so each that is compared counts.
        "other_load": any((cell.metrics.get("load") or {}).get("noticed") for cell in cells),
        "ties": [_of_cell(cell) for cell in others],
        "record": named["record"],
    }


def _of_cell(cell: Concluded) -> dict[str, Any]:
    return {"cell": cell["cell"], **{key: cell.requested.get(key) for key in CHOSEN}, "p50_ms": cell.p50}


def _p50(cell: Concluded) -> float:
    return float(cell.p50 or 0)


def _overlap(one: Concluded, other: Concluded) -> bool:
    """Whether two medians cannot be told apart: their intervals meet, or one has none (fewer than six samples)."""
    first, second = one.timing.get("p50_ci95"), other.timing.get("p50_ci95")
    if not (first and second):
        return True
    return bool(first[0] <= second[1] and second[0] <= first[1])


def _exactness(cell: Concluded) -> tuple[int, float]:
    precision = cell.requested.get("precision")
    return PRECISIONS.index(precision) if precision in PRECISIONS else len(PRECISIONS), _p50(cell)
