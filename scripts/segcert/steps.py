"""Steps in short and noisy series of figures: by t tests of every stretch, with all that was looked at allowed for.

The first part of a series is held against the rest by a two-sided t test, wherever both have three points at least (two
in a series that is too short for that): that is a step. So is each stretch of at least five within it against what is
around it: a step, and one back; fewer may be a spell in which the machine was busy. Of those whose medians are far
enough from their neighbours' to count, the one is taken that the test says most against. It is a step if its p, times
the stretches that there were, times the series that are looked at together, is not above ALPHA (Bonferroni). Then its
parts are looked at in the same way. So where nothing but normal noise is, at most ALPHA of all histories show a step.
bench/false_alarms.py measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

ALPHA = 0.05
SIDE, LEAST_SIDE = 3, 2  # points at least on each side of a step, and in a series that is too short for those
BACK = 5  # points at least between a step and one back
FEWEST = 2 * LEAST_SIDE  # points of a series that may have a step
Values = NDArray[np.float64]
# Whether the difference between the points from a first place to a second, and from there to a third, is large enough.
Counts = Callable[[int, int, int], bool]


@dataclass(frozen=True)
class Step:
    """A place at which a series steps.

    Attributes:
        at: of the first point after it.
        p: of all that was looked at, the chance that noise of that spread shows such a step anywhere.
    """

    at: int
    p: float


def find(values: Sequence[float], together: int, counts: Counts, *, ratios: bool) -> list[Step]:
    """The steps of a series, in order.

    Args:
        together: how many series are looked at, this one among them.
        ratios: the noise is in proportion to the value, as that of times is.
    """
    told = np.asarray(values, dtype=float)
    scaled = np.log(told) if ratios and (told > 0).all() else told
    side = SIDE if len(told) >= 2 * SIDE else LEAST_SIDE
    return _within(scaled, 0, len(told), side, together, counts)


def _within(scaled: Values, begin: int, end: int, side: int, together: int, counts: Counts) -> list[Step]:
    first, last, p = _tested(scaled[begin:end], side)
    for index in np.argsort(p, kind="stable"):
        corrected = float(p[index]) * len(p) * together
        if corrected > ALPHA:
            break
        places = [begin, *(begin + int(at) for at in (first[index], last[index]) if at), end]
        if all(counts(*three) for three in zip(places, places[1:], places[2:], strict=False)):
            found = [Step(at, corrected) for at in places[1:-1]]
            parts = [_within(scaled, one, other, side, together, counts) for one, other in pairwise(places)]
            return sorted([*found, *(step for part in parts for step in part)], key=lambda step: step.at)
    return []


def _tested(values: Values, side: int) -> tuple[Any, Any, Values]:
    """Of each stretch its first place, that behind its last, and p of the t test of it against the others."""
    size = len(values)
    pairs = [(0, at) for at in range(side, size - side + 1)]
    pairs += [(i, j) for i in range(side, size) for j in range(i + BACK, size - side + 1)]
    first, last = np.array(pairs, dtype=int).reshape(-1, 2).T
    if not len(first):
        return first, last, np.array([])
    centred = values - values.mean()
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    inside, outside = last - first, size - (last - first)
    total = sums[last] - sums[first]
    means = total / inside, (sums[-1] - total) / outside
    squares = (centred**2).sum() - inside * means[0] ** 2 - outside * means[1] ** 2
    # Of figures that are the same in every run nothing is left but what arithmetic leaves: any difference is one.
    spread = np.sqrt(np.maximum(squares, 0) / (size - 2) * (1 / inside + 1 / outside))
    apart = np.abs(means[0] - means[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return first, last, 2 * stdtr(size - 2, -np.nan_to_num(apart / spread, nan=0.0, posinf=np.inf))
