"""Several requests at once: how many really compute at a time, whether each gets its own answer, and how fast that is.

Two scenarios, after MLPerf Inference: *offline*, where all images are there from the beginning and images a second
count, and *server*, where requests come at random times and the highest rate counts at which the 99th percentile of
their latency stays below a bound.

A *stream* is what takes one request at a time: a function that a thread of its own calls (`Engine.streams`). The
threads live as long as the measurement, because libraries keep what they have prepared by thread.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert import proof
from segcert.compute import outputs, stats
from segcert.compute.engines.base import Engine, Run
from segcert.errors import Unverified
from segcert.numbers import finite
from segcert.requests.infer import Infer
from segcert.stage.load import OtherLoad
from segcert.stage.worker import Result

WORST_IMAGES = 3
PASSES = 8  # of the offline scenario, at least: six samples have an interval of their median
REQUESTS_OF_A_STREAM = 4  # in a pass, at least, so that it is not all beginning and end
WINDOW_S = 0.25  # of seeing how many requests are computed at a time, at least
LOOK_S = 0.001  # between two looks at that
BEGUN = 0.2  # the share of a request that must be computed for it to be in the middle: to wait takes some as well
LITTLE = 0.1  # of what the thread computes that computes most
TRIES = 8  # to see as many at a time as there are streams, at most: on a busy machine they may miss one another
LEAST = 0.6  # what one alone is taken for where less of it is seen: on a busy machine looks are late
SEEN = 0.4  # the share of looks, at least, at which one alone must be in the middle for several to be told apart
STEPS = 6  # of the search for a rate: it is known to 1/64 of what the engine gets through
SEED = 1  # of arrivals
ROWS = 16  # of scores, label maps of every such row alone are made while others are timed: all would take long
MOST_BYTES = 512 * 2**20  # of batches that are kept ready: a request is timed without its preprocessing


@dataclass(frozen=True)
class Fed:
    """A batch as it is fed.

    Attributes:
        names: label maps of its images.
        labels: what the engine gave for it while nothing else was asked of it.
    """

    names: list[str]
    batch: NDArray[np.float32]
    labels: NDArray[np.integer[Any]]


def feed(runner: Engine, prepared: Iterable[tuple[list[str], NDArray[np.float32]]]) -> list[Fed]:
    """Batches with their label maps, computed one by one; as many as MOST_BYTES admit, and at least two."""
    fed: list[Fed] = []
    taken = 0
    for names, batch in prepared:
        taken += batch.nbytes
        if len(fed) > 1 and taken > MOST_BYTES:
            break
        # A copy: the next run may write over it.
        fed.append(Fed(names, batch, np.array(outputs.label_maps(runner.run(batch)))))
    return fed


class Threads:
    """A thread for each stream."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self._pools = [ThreadPoolExecutor(1, f"stream-{number}") for number in range(len(runs))]

    def start(self, work: Callable[[int, Run], Any], only: int | None = None) -> list[Future[Any]]:
        """Have each thread, or as many as `only` says, do work with the number and the function of its stream."""
        chosen = list(zip(self._pools, self.runs, strict=True))[:only]
        return [pool.submit(work, number, run) for number, (pool, run) in enumerate(chosen)]

    def each(self, work: Callable[[int, Run], Any], only: int | None = None) -> list[Any]:
        """What the work comes to in each thread."""
        return [future.result() for future in self.start(work, only)]

    def end(self) -> None:
        for pool in self._pools:
            pool.shutdown()


@contextmanager
def threads(runs: Sequence[Run]) -> Iterator[Threads]:
    made = Threads(runs)
    try:
        yield made
    finally:
        made.end()


# -- what is in flight, and whose answer it is -------------------------------------------------


class Answers:
    """Whether label maps are those that the same batch gets alone, by image."""

    def __init__(self) -> None:
        self.differing: dict[str, float] = {}  # image -> the largest share of its pixels that differed
        self.seen: set[str] = set()
        self.requests = 0
        self._lock = threading.Lock()

    def hold(self, fed: Fed, given: NDArray[Any], rows: int = 1) -> None:
        """Note what was given for a batch.

        Args:
            rows: of scores (N x C x H x W) each row of so many is held, of label maps each.
        """
        scores = given.ndim == 4
        labels = outputs.label_maps(given[:, :, ::rows] if scores else given)
        right = fed.labels[:, ::rows] if scores else fed.labels
        same = labels.shape == right.shape and np.array_equal(labels, right)
        with self._lock:
            self.requests += 1
            self.seen.update(fed.names)
            for name, share in () if same else _shares(fed.names, labels, right):
                self.differing[name] = max(share, self.differing.get(name, 0.0))

    @property
    def equal(self) -> float:
        """The share of images whose label maps were always right, bit by bit."""
        return 1 - len(self.differing) / len(self.seen)

    def worst(self) -> list[dict[str, Any]]:
        found = sorted(self.differing.items(), key=lambda item: -item[1])[:WORST_IMAGES]
        return [{"image": name, "differing": finite(share)} for name, share in found]


def _shares(
    names: Sequence[str], labels: NDArray[np.integer[Any]], right: NDArray[np.integer[Any]]
) -> Iterator[tuple[str, float]]:
    """Of a batch, the images whose label maps differ, with the share of pixels that do."""
    if labels.shape != right.shape:
        yield from ((name, 1.0) for name in names)
        return
    for name, own, other in zip(names, labels, right, strict=True):
        if share := float(np.mean(own != other)):
            yield name, share


def cpu_clock(thread: int) -> int:
    """The clock that tells how long a thread of this process has computed, by the number that the system gives it.

    Source: `pthread_getcpuclockid` of the GNU C library makes the same of a thread's number.
    """
    return (~thread << 3) | 6


class Progress:
    """How much each thread has computed of what it is at.

    What waits for a lock, in a queue, or for Python's own lock makes none, however long it was started; and what has
    made some and has not ended is being computed, also while other programs have the cores.
    """

    def __init__(self) -> None:
        self._since: dict[int, float] = {}  # thread -> CPU seconds when it began its request
        self._lock = threading.Lock()

    def begin(self) -> None:
        """This thread is at the beginning or the end of a request."""
        self._since[threading.get_native_id()] = time.thread_time()

    def watch(self, without: Iterable[int]) -> None:
        """Look at all threads of the process but some: those of a library, which do not say where they are."""
        found = {int(task.name) for task in Path("/proc/self/task").iterdir()} - {*without}
        with self._lock:
            self._since = {thread: self._seconds(thread, 0) + self._since.get(thread, 0) for thread in found}

    def end_of(self, threads: int) -> None:
        """A request ended in as many threads that do not say so: in those that have made the most progress."""
        with self._lock:
            now = {thread: self._seconds(thread, begun) for thread, begun in self._since.items()}
            for thread in sorted(now, key=now.__getitem__, reverse=True)[:threads]:
                self._since[thread] += now[thread]

    def at_work(self, enough: float) -> list[int]:
        """Threads that have computed for so many seconds since their last beginning."""
        with self._lock:
            return [thread for thread, begun in self._since.items() if self._seconds(thread, begun) >= enough]

    def seconds(self) -> dict[int, float]:
        """All that each thread has computed so far."""
        return {thread: self._seconds(thread, 0) for thread in list(self._since)}

    @staticmethod
    def _seconds(thread: int, begun: float) -> float:
        try:
            return time.clock_gettime(cpu_clock(thread)) - begun
        except OSError:  # it has ended
            return 0.0


@dataclass(frozen=True)
class Load:
    """Streams that were kept busy.

    Attributes:
        looks: how many requests were in the middle, at each look.
        cpu_s: CPU time of a request, in each thread that computes it.
    """

    looks: list[float]
    cpu_s: float
    answers: Answers

    def share(self, count: int) -> float:
        """Of the looks at which so many requests were in the middle."""
        return float(np.mean([seen >= count for seen in self.looks])) if self.looks else 0.0

    def at_once(self, alone: float, most: int) -> int:
        """How many requests were computed at a time.

        If each is in the middle at a share of the looks, whatever the others do, that many are at once at that share to
        the power of how many they are. Half of that is asked; those that wait for one another come to next to nothing.

        Args:
            alone: that share, where there is one stream.
            most: as many as there are.
        """
        return max((count for count in range(2, most + 1) if self.share(count) >= alone**count / 2), default=1)


def under_load(
    crew: Threads,
    fed: Sequence[Fed],
    requests: int,
    *,
    cpu_s: float | None = None,
    of_library: int = 0,
    only: int | None = None,
    answers: Answers | None = None,
) -> Load:
    """Keep streams busy at once, see how many requests are being computed at a time, and what they answer.

    Each begins with another image, so that they are asked different things. None stops before all have had so many
    requests, so that none has the engine to itself.

    Args:
        requests: of each stream, at least.
        cpu_s: of a request; None: this is to find it, and looks say nothing.
        of_library: how many threads of its own the library computes a request in; 0: the calling thread does.
        only: so many of the streams.
        answers: where to note what they answer.
    """
    count = only or len(crew.runs)
    answers = Answers() if answers is None else answers
    progress, together, known = Progress(), threading.Barrier(count + 1), answers.requests
    lacking = set(range(count))
    callers = {threading.get_native_id()}

    def work(number: int, run: Run) -> float:
        callers.add(threading.get_native_id())
        together.wait()
        begun = time.perf_counter()
        spent: list[float] = []
        try:
            for asked in itertools.count(1):
                one = fed[(number * len(fed) // count + asked) % len(fed)]
                if not of_library:
                    progress.begin()
                before = time.thread_time()
                given = run(one.batch)
                spent.append(time.thread_time() - before)
                progress.end_of(of_library) if of_library else progress.begin()
                answers.hold(one, given)
                if asked >= requests and time.perf_counter() - begun >= WINDOW_S:
                    lacking.discard(number)
                if not lacking:
                    break
        finally:
            lacking.clear()  # one that failed must not keep the others waiting
        return float(np.median(spent))

    at_work = crew.start(work, only)
    together.wait()
    if of_library:
        progress.watch(callers)
    before, seen = progress.seconds(), []
    while not all(one.done() for one in at_work):
        time.sleep(LOOK_S)
        seen.append(progress.at_work(BEGUN * (cpu_s or 0)))
    computed = {thread: spent - before.get(thread, 0) for thread, spent in progress.seconds().items()}
    own = [one.result() for one in at_work]
    # Threads of a library that only hand on what others compute are no part of it.
    working = {thread for thread, spent in computed.items() if spent >= LITTLE * max(computed.values())}
    each = sum(computed.values()) / (answers.requests - known) / of_library if of_library else float(np.median(own))
    return Load([len(working.intersection(look)) / (of_library or 1) for look in seen], each, answers)


# -- the scenarios ----------------------------------------------------------------------------


def offline(crew: Threads, fed: Sequence[Fed], seconds: float, answers: Answers) -> list[float]:
    """Images a second of each pass: all requests are there, and each stream takes the next when it has done one.

    What it answers is looked at, which is part of what whoever asks must do with it, and so of the time.
    """
    count = max(len(fed), REQUESTS_OF_A_STREAM * len(crew.runs))
    images = sum(len(fed[number % len(fed)].names) for number in range(count))
    passes: list[float] = []
    started = time.perf_counter()
    while len(passes) < PASSES or time.perf_counter() - started < seconds:
        numbers = iter(range(count))

        def work(_number: int, run: Run, numbers: Iterator[int] = numbers) -> None:
            for number in numbers:
                one = fed[number % len(fed)]
                answers.hold(one, run(one.batch), ROWS)

        begun = time.perf_counter()
        crew.each(work)
        passes.append(images / (time.perf_counter() - begun))
    return passes


def arrivals(rate: float, count: int, seed: int = SEED) -> list[float]:
    """Seconds at which requests come: so many a second on average, independent of one another (a Poisson process).

    Of one seed they have the same pattern at any rate, so that rates can be told apart with few of them.
    """
    gaps = np.random.default_rng(seed).exponential(size=count)
    return [float(moment) for moment in np.cumsum(gaps) / rate]


def served(crew: Threads, fed: Sequence[Fed], due: Sequence[float], answers: Answers) -> list[float]:
    """Seconds from when each request was due to when it had its answer.

    Whoever comes first is first served, by the first stream that is free. One that is sent late, because the machine is
    busy, waits all the same from when it was due. An answer is looked at before the stream takes the next request.
    """
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    took = [math.inf] * len(due)
    begun = time.perf_counter()

    def work(_number: int, run: Run) -> None:
        while (number := waiting.get()) is not None:
            one = fed[number % len(fed)]
            given = run(one.batch)
            took[number] = time.perf_counter() - begun - due[number]
            answers.hold(one, given, ROWS)

    at_work = crew.start(work)
    for number, moment in enumerate(due):
        time.sleep(max(0.0, begun + moment - time.perf_counter()))
        waiting.put(number)
    for _ in crew.runs:
        waiting.put(None)
    for one in at_work:
        one.result()
    return took


@dataclass(frozen=True)
class Trial:
    """A rate that was tried: latencies in milliseconds, and whether their 99th percentile is within the bound."""

    rate: float
    took_ms: list[float]
    holds: bool

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.took_ms, 99))


def search(try_rate: Callable[[float], Sequence[float]], most: float, bound_ms: float) -> list[Trial]:
    """Try rates until the highest one that holds is known to 1/2**STEPS of `most`; the trials, in their order.

    Args:
        try_rate: latencies in milliseconds at a rate (requests a second).
        most: a rate that cannot be held for long: what the engine gets through.
    """
    low, high = 0.0, most
    trials: list[Trial] = []
    for _ in range(STEPS):
        rate = (low + high) / 2
        took = list(try_rate(rate))
        trials.append(Trial(rate, took, float(np.percentile(took, 99)) <= bound_ms))
        low, high = (rate, high) if trials[-1].holds else (low, rate)
    return trials


def best_of(trials: Sequence[Trial], most: float) -> tuple[Trial | None, float]:
    """The trial with the highest rate that held, and the lowest rate above it that did not, or was the most to try."""
    held = max((trial for trial in trials if trial.holds), key=lambda trial: trial.rate, default=None)
    return held, min((trial.rate for trial in trials if not trial.holds), default=most)


# -- together ---------------------------------------------------------------------------------


def measure(
    request: Infer, runner: Engine, prepared: Iterable[tuple[list[str], NDArray[np.float32]]], alone_ms: float
) -> Result:
    """Run several requests at once, in both scenarios: what a cell's result has of them.

    Args:
        prepared: batches, with the names of their images' label maps.
        alone_ms: median of a request with nothing beside it.

    Raises:
        Unverified: how many requests compute at a time cannot be seen here.
    """
    fed = feed(runner, prepared)
    runs = runner.streams()
    of_library = 0 if runner.computes_in_callers else runner.threads
    requests = max(request.min_samples, len(fed))
    with threads(runs) as crew:
        for _ in range(max(1, request.warmup)):
            crew.each(lambda _number, run: run(fed[0].batch))
        answers = Answers()
        cpu_s = under_load(crew, fed, requests, of_library=of_library, only=1, answers=answers).cpu_s
        one = under_load(crew, fed, requests, cpu_s=cpu_s, of_library=of_library, only=1, answers=answers)
        alone = min(one.share(1), 1 - BEGUN)
        if alone < SEEN:
            raise Unverified("requests are too short to see how many are computed at a time: take a larger batch")
        alone = max(alone, LEAST)
        seen = [1, 1]  # and the largest twice, so that one odd try is none
        for _ in range(TRIES):
            together = under_load(crew, fed, requests, cpu_s=cpu_s, of_library=of_library, answers=answers)
            seen.append(together.at_once(alone, len(runs)))
            if seen.count(len(runs)) == 2:
                break
        watched = OtherLoad()
        passes = offline(crew, fed, request.min_seconds, answers)
        load = watched.seen()
        summary = stats.summarize(passes)
        server = _server(request, crew, fed, summary["p50"], alone_ms, answers)
    distinct = len({one.labels.tobytes() for one in fed})
    return Result(
        {"streams": sorted(seen)[-2]},
        {
            "stream_labels": answers.equal,
            "streams": {
                "in_the_middle": [finite(together.share(count), 4) for count in range(1, len(runs) + 1)],
                "in_the_middle_alone": finite(alone, 4),
                "looks": len(together.looks),
                "seen_of": "threads of the library" if of_library else "the calling threads",
                "cpu_ms": finite(1000 * cpu_s, 4),
                "requests": answers.requests,
                "images": len(answers.seen),
                "distinct": distinct,
                "worst_images": answers.worst(),
            },
            "throughput_ips": summary["p50"],
            "offline": {
                "ips": summary["p50"],
                "ips_ci95": summary["p50_ci95"],
                "passes": summary["count"],
                "load": load,
            },
            "server": server,
        },
        [judge(answers, distinct)],
        {"samples_offline_ips": [finite(value) for value in passes]},
    )


def judge(answers: Answers, distinct: int) -> dict[str, Any]:
    """The gate: every label map is the one that the same image gets alone."""
    worst = ", ".join(f"{one['image']} ({one['differing']:.3g} of its pixels)" for one in answers.worst())
    made = proof.gate(
        "stream_labels",
        answers.equal,
        "at least",
        1,
        f"label maps of {len(answers.differing)} of {len(answers.seen)} images were others, with several requests at "
        f"once, than those that the same images get alone; the worst: {worst}",
    )
    # An answer that is another stream's cannot be told where all are alike.
    return made | ({"weak": True} if distinct == 1 else {})


def _server(
    request: Infer, crew: Threads, fed: Sequence[Fed], offline_ips: float, alone_ms: float, answers: Answers
) -> dict[str, Any] | None:
    """The server scenario, as a record holds it; None where it is not asked for."""
    bound = request.server_p99_ms
    if bound is None:
        return None
    count = max(request.min_samples, stats.MIN_SAMPLES_P99)
    most = offline_ips / request.batch_size

    def try_rate(rate: float) -> list[float]:
        return [1000 * seconds for seconds in served(crew, fed, arrivals(rate, count), answers)]

    trials = search(try_rate, most, bound) if alone_ms <= bound else []  # what is slower alone holds at no rate
    held, above = best_of(trials, most)
    return {
        "rate": finite(held.rate) if held else None,
        "rate_range": [finite(held.rate), finite(above)] if held else None,
        "bound_ms": bound,
        "p99_ms": finite(held.p99_ms) if held else None,
        "p99_ci95": stats.percentile_interval(held.took_ms, 99) if held else None,
        "requests": count,
        "seed": SEED,
        "trials": [{"rate": finite(t.rate), "p99_ms": finite(t.p99_ms), "holds": t.holds} for t in trials],
    }
