"""Statistics of timings: each figure against its definition, worked out here another way."""

import math
import statistics

import pytest

from segcert import noise
from segcert.compute import stats
from segcert.concluded import Concluded
from segcert.show import plots


def coverage(count, low, high):
    """Chance that the median lies between two ordered samples: that many of `count` samples lie below it."""
    return sum(math.comb(count, below) for below in range(low, high)) / 2**count


def test_below_six_samples_no_interval_of_the_median_covers_95_percent():
    for count in range(1, 6):
        assert coverage(count, 1, count) < 0.95
        assert stats.median_ranks(count) is None
        assert stats.summarize(range(1, count + 1))["p50_ci95"] is None
    assert stats.median_ranks(6) == (1, 6)


@pytest.mark.parametrize("count", [6, 7, 8, 9, 11, 16, 20, 21, 25, 50, 99, 100, 333, 1000])
def test_the_interval_of_the_median_covers_95_percent_and_is_the_narrowest_that_does(count):
    low, high = stats.median_ranks(count)
    assert low + high == count + 1
    assert coverage(count, low, high) >= 0.95
    assert coverage(count, low + 1, high - 1) < 0.95
    samples = list(range(1, count + 1))
    assert stats.summarize(samples[::-1])["p50_ci95"] == [low, high], "the samples of these ranks"


def test_percentiles_lie_between_the_samples_that_they_fall_between():
    """Linear interpolation: the p-th percentile of n ordered samples lies at position p (n - 1)."""
    samples = [7.0, 1.0, 4.0, 2.0, 9.0, 30.0, 3.0]
    found = stats.summarize(samples)
    ordered = sorted(samples)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95)):
        whole, part = divmod(share * (len(ordered) - 1), 1)
        expected = ordered[int(whole)] + part * (ordered[min(int(whole) + 1, len(ordered) - 1)] - ordered[int(whole)])
        assert found[name] == pytest.approx(expected, rel=1e-6)
    assert found["p50"] == statistics.median(samples) == 4
    assert (found["count"], found["min"], found["max"]) == (7, 1, 30)
    assert found["mean"] == pytest.approx(statistics.fmean(samples))
    assert found["std"] == pytest.approx(statistics.stdev(samples), rel=1e-5)
    assert found["p99"] is None


def test_the_99th_percentile_is_given_from_100_samples_on():
    assert stats.summarize(range(99))["p99"] is None
    assert stats.summarize(range(100))["p99"] == pytest.approx(98.01)


def test_one_sample_has_no_spread_and_none_no_statistics():
    assert stats.summarize([5])["std"] is None
    with pytest.raises(ValueError, match="no samples"):
        stats.summarize([])


@pytest.mark.parametrize(
    ("samples", "steady"),
    [
        ([10, 10, 10, 10, 10], False),  # one short of two windows
        ([10, 10, 10, 10, 10, 10], True),
        ([99, 99, 10, 10, 10, 10.5, 10.5, 10.5], True),  # just 5 %, and what was before does not count
        ([10, 10, 10, 10.6, 10.6, 10.6], False),
        ([10, 10, 10, 9.4, 9.4, 9.4], False),
        ([10, 10, 90, 10, 90, 10], True),  # medians: a single slow batch is none
    ],
)
def test_times_are_steady_when_two_windows_have_about_one_median(samples, steady):
    assert stats.is_steady(samples) is steady


def test_a_median_without_an_interval_is_shown_and_not_compared():
    asked = {"engine": "native", "precision": "fp32", "threads": 1, "batch_size": 1}
    cell = {"status": "passed", "stage": "infer", "requested": asked}
    few, many = ([value] * 5 + [value] * more for value, more in ((10.0, 0), (20.0, 5)))
    timed = ({**cell, "metrics": {"inference_ms": stats.summarize(samples)}} for samples in (many, few))
    slow, fast = map(Concluded, timed)
    points = plots.latency_points([fast, slow])
    drawn = plots.latency(points)["data"][0]
    assert drawn["error_x"]["array"] == [0, 0] and "interval -" in drawn["text"][0]["en"]
    assert "[20, 20]" in drawn["text"][1]["en"]
    metric = noise.BY_NAME["inference_ms"]
    assert not noise.has_interval(fast, metric) and noise.has_interval(slow, metric)
