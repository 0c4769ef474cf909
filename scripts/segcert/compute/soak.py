"""Long runs: whether a process takes more memory with every batch that it runs, or every iteration that it trains."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from segcert import proof
from segcert.stage.worker import Result

BATCHES = 8  # different ones, at most, that are run in turn
LOOKS = 100  # at the memory, over all batches or iterations
SETTLING = 0.5  # of them: until then allocators and caches fill, and no look counts
MIB = 2**20


class Looks:
    """Looks at the resident memory of this process while it goes through a long run.

    Args:
        what: is run: batches | iterations.
        asked: how many of them.
        before: the number of the last one that is not of the long run.
        trims: whether the allocator is to give back what it holds free before each look, where it can (glibc). A
            training frees its activations in another order each time, and what stays with the allocator comes and
            goes by tens of MiB; what is leaked is not free.
    """

    def __init__(self, what: str, asked: int, before: int = 0, trims: bool = False) -> None:
        self._what, self._asked, self._before = what, asked, before
        self._every = max(1, asked // LOOKS)
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if trims else None
        self._process = psutil.Process()
        self._ran = 0
        self._settled: list[tuple[int, float]] = []

    def after(self, number: int) -> None:
        """Look, if it is time to; to be called after each batch or iteration, with its number, from 1 on."""
        done = number - self._before
        if done < 1:
            return
        self._ran += 1
        if done % self._every == 0 and done > SETTLING * self._asked:
            if self._trim:
                self._trim(0)
            self._settled.append((number, round(self._process.memory_info().rss / MIB, 3)))

    def judge(self, most: float) -> Result:
        """What the looks come to: parts of a cell's result.

        Args:
            most: MiB that a thousand may take.
        """
        if len(self._settled) < 2:  # a process that began just before the end: what it lacks is told by its `soak`
            return Result({"soak": self._ran})
        slope = theil_sen(*zip(*self._settled, strict=True))
        growth, low, high = (round(1000 * value, 4) for value in slope)
        told: dict[str, Any] = {self._what: self._ran, "every": self._every, "looks": len(self._settled)}
        told |= {"from_mb": self._settled[0][1], "to_mb": self._settled[-1][1], "growth_ci95": [low, high]}
        sentence = (
            f"its memory grows by {growth:.4g} MiB in a thousand {self._what} (95 % interval {low:.4g} to {high:.4g}, "
            f"seen over {self._ran}); at most {most:g} is asked"
        )
        # A step or a leak near an end of the looks moves a slope by Theil and Sen little, however large it is.
        risen = proof.rise(self._settled, most)
        besides = (
            f"its memory is {risen:.4g} MiB higher at the end of the looks than {most:g} in a thousand {self._what} "
            f"make it ({told['from_mb']:.4g} to {told['to_mb']:.4g} MiB); at most {proof.MOST_RISE_MB} is allowed"
        )
        return Result(
            {"soak": self._ran},
            {"growth_mb_per_1000": growth, "soak": told},
            [
                proof.gate(proof.GROWTH, growth, "at most", most, sentence),
                proof.gate(proof.RISE, risen, "at most", proof.MOST_RISE_MB, besides),
            ],
            {"samples_soak_mb": [list(look) for look in self._settled]},
        )


def theil_sen(places: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """The slope of values over places, and its 95 % interval: the median of the slopes between each two.

    The interval is by ranks (Sen 1968), for values that are independent of one another: those of memory are not, so
    that it is rather too narrow.
    """
    at, of = np.asarray(places, float), np.asarray(values, float)
    first, second = np.triu_indices(len(at), 1)
    slopes = np.sort((of[second] - of[first]) / (at[second] - at[first]))
    spread = 1.96 * np.sqrt(len(at) * (len(at) - 1) * (2 * len(at) + 5) / 18) / 2
    middle = len(slopes) / 2
    low, high = max(0, int(middle - spread)), min(len(slopes) - 1, int(np.ceil(middle + spread)))
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def measure(
    run: Callable[[NDArray[np.float32]], Any], batches: Iterable[NDArray[np.float32]], asked: int, most: float
) -> Result:
    """Run as many batches as are asked for, and see what memory they leave taken: parts of a cell's result.

    Args:
        batches: that are run in turn.
        most: MiB that a thousand may take.
    """
    looks = Looks("batches", asked)
    for number, batch in enumerate(itertools.islice(itertools.cycle(batches), asked), 1):
        run(batch)
        looks.after(number)
    return looks.judge(most)
