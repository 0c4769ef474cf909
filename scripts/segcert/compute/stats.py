"""Statistics of timings, from raw samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segcert.numbers import finite

MIN_SAMPLES_P99 = 100
BOOTSTRAPS = 1000
STEADY_WINDOW = 3  # batches whose median is compared with that of as many before them
STEADY_CHANGE = 0.05


def summarize(samples_ms: Sequence[float]) -> dict[str, Any]:
    """Mean, median with its 95 % interval, percentiles, extremes and spread of samples in milliseconds.

    The interval of the median is distribution-free, from order statistics (`median_ranks`); None below six
    samples, whose whole range covers the median in less than 95 % of cases.
    p99 is given from 100 samples on: below that it is the maximum under another name.

    Raises:
        ValueError: there is no sample.
    """
    if not len(samples_ms):
        raise ValueError("no samples to summarize")
    ordered = np.sort(np.asarray(samples_ms, float))
    count = len(ordered)
    ranks = median_ranks(count)
    p50, p90, p95, p99 = (finite(float(value)) for value in np.percentile(ordered, [50, 90, 95, 99]))
    return {
        "count": count,
        "mean": finite(float(ordered.mean())),
        "p50": p50,
        "p50_ci95": [finite(float(ordered[rank - 1])) for rank in ranks] if ranks else None,
        "p90": p90,
        "p95": p95,
        "p99": p99 if count >= MIN_SAMPLES_P99 else None,
        "min": finite(float(ordered[0])),
        "max": finite(float(ordered[-1])),
        "std": finite(float(ordered.std(ddof=1))) if count > 1 else None,
    }


def median_ranks(count: int) -> tuple[int, int] | None:
    """Ranks (from 1) of the two ordered samples that hold the median between them in at least 95 % of cases.

    The number of samples below the median is binomial(count, 1/2); the ranks are the innermost that lie
    symmetrically (Conover, Practical Nonparametric Statistics, 3rd ed., 3.2). None where there are none.
    """
    rank, ways, below = 0, 1, 1  # below: of 2**count equally likely cases, those with at most `rank` samples below
    while 40 * below <= 2**count:  # 2.5 % on either side
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    return (rank, count - rank + 1) if rank else None


def percentile_interval(samples: Sequence[float], percent: float) -> list[float | None]:
    """A 95 % interval of a percentile, by bootstrap with a fixed seed: that many samples are drawn anew, many times.

    So it holds no more than the samples do: of a percentile near 100 it ends at their maximum.
    """
    known = np.asarray(samples, float)
    drawn = np.random.default_rng(0).choice(known, (BOOTSTRAPS, len(known)))
    low, high = np.percentile(np.percentile(drawn, percent, axis=1), [2.5, 97.5])
    return [finite(float(low)), finite(float(high))]


def is_steady(samples_ms: Sequence[float]) -> bool:
    """Whether the last batches took as long as those before: medians of two windows within 5 %."""
    if len(samples_ms) < 2 * STEADY_WINDOW:
        return False
    earlier = float(np.median(samples_ms[-2 * STEADY_WINDOW : -STEADY_WINDOW]))
    return abs(float(np.median(samples_ms[-STEADY_WINDOW:])) - earlier) <= STEADY_CHANGE * earlier
