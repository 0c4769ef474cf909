"""Statistics of timings, from raw samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from segcert.record import finite

MIN_SAMPLES_P99 = 100
STEADY_WINDOW = 3  # batches whose median is compared with that of as many before them
STEADY_CHANGE = 0.05
Z95 = 1.959964  # of the normal distribution, for a 95 % interval


def summarize(samples_ms: Sequence[float]) -> dict[str, Any]:
    """Mean, median with its 95 % interval, percentiles, extremes and spread of samples in milliseconds.

    The interval of the median is distribution-free, from order statistics with the normal
    approximation of the binomial (Conover, Practical Nonparametric Statistics, 3rd ed., 3.2).
    p99 is given from 100 samples on: below that it is the maximum under another name.

    Raises:
        ValueError: there is no sample.
    """
    if not len(samples_ms):
        raise ValueError("no samples to summarize")
    ordered = np.sort(np.asarray(samples_ms, float))
    count = len(ordered)
    half = Z95 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - half))
    high = min(count - 1, math.ceil(count / 2 + half) - 1)
    p50, p90, p95, p99 = (finite(float(value)) for value in np.percentile(ordered, [50, 90, 95, 99]))
    return {
        "count": count,
        "mean": finite(float(ordered.mean())),
        "p50": p50,
        "p50_ci95": [finite(float(ordered[low])), finite(float(ordered[high]))],
        "p90": p90,
        "p95": p95,
        "p99": p99 if count >= MIN_SAMPLES_P99 else None,
        "min": finite(float(ordered[0])),
        "max": finite(float(ordered[-1])),
        "std": finite(float(ordered.std(ddof=1))) if count > 1 else None,
    }


def is_steady(samples_ms: Sequence[float]) -> bool:
    """Whether the last batches took as long as those before: medians of two windows within 5 %."""
    if len(samples_ms) < 2 * STEADY_WINDOW:
        return False
    earlier = float(np.median(samples_ms[-2 * STEADY_WINDOW : -STEADY_WINDOW]))
    return abs(float(np.median(samples_ms[-STEADY_WINDOW:])) - earlier) <= STEADY_CHANGE * earlier
