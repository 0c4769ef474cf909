"""MLPerf's load generator over the streams of an engine: its Offline and Server scenarios, and what it says of them.

It decides which request comes when, takes the time and judges; the threads that compute are those of the crew. One of
its samples is one batch. Each run leaves its logs in a folder of its own.

Source: `test_settings.h` of mlcommons/inference; the names of settings and results are the load generator's.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlperf_loadgen

from segcert.compute.streams import Fed, Threads

LOG, MARK = "mlperf_log_detail.txt", ":::MLLOG "


def offline(crew: Threads, fed: Sequence[Fed], seconds: float, expected: float, folder: Path) -> dict[str, Any]:
    """Requests a second, where all are there from the beginning.

    Args:
        seconds: how long it must take, or it is not valid.
        expected: requests a second, by which it chooses how many there are.
    """
    asked = {"min_duration_ms": round(1000 * seconds), "min_query_count": 1, "offline_expected_qps": expected}
    found = run(crew, fed, "Offline", folder, asked)
    return {**judged(found), "rate": found["result_samples_per_second"]}


def server(
    crew: Threads, fed: Sequence[Fed], queries: int, most_s: float, rate: float, bound_ms: float, folder: Path
) -> dict[str, Any]:
    """The 99th percentile of latency, where so many requests a second come at random times.

    Args:
        queries: how many requests there must be, or it is not valid.
        most_s: it ends after that, however many there were.
        bound_ms: what that percentile may be at most, or it is not valid; it wants to be sure of that, too.
    """
    asked = {
        "min_duration_ms": 0,
        "min_query_count": queries,
        "max_duration_ms": round(1000 * most_s),
        "server_target_qps": rate,
        "server_target_latency_ns": round(1e6 * bound_ms),
        "server_target_latency_percentile": 0.99,
    }
    found = run(crew, fed, "Server", folder, asked)
    return {
        **judged(found),
        "p99_ms": found["result_99.00_percentile_latency_ns"] / 1e6,
        "early_stopping": found["early_stopping_met"],
        "queries": found["result_query_count"],
        "late": found["result_overlatency_query_count"],
    }


def judged(found: dict[str, Any]) -> dict[str, Any]:
    return {"valid": found["result_validity"] == "VALID", "version": found["loadgen_version"].split()[0]}


def run(
    crew: Threads, fed: Sequence[Fed], scenario: str, folder: Path, asked: dict[str, int | float]
) -> dict[str, Any]:
    """A run in performance mode: what its log says, by key.

    Raises:
        Exception: what a stream raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    broken: list[Exception] = []

    def answer(_number: int, compute: Any) -> None:
        while (one := waiting.get()) is not None:
            sample, index = one
            try:
                if not broken:
                    compute(fed[index].batch)
            except Exception as error:  # it waits for every answer, so the others are given without being computed
                broken.append(error)
            mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(sample, 0, 0)])

    def issue(samples: Sequence[Any]) -> None:
        for sample in samples:
            waiting.put((sample.id, sample.index))

    settings = mlperf_loadgen.TestSettings()
    settings.scenario = getattr(mlperf_loadgen.TestScenario, scenario)
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    for name, value in asked.items():
        setattr(settings, name, value)
    logs = mlperf_loadgen.LogSettings()
    logs.enable_trace = False
    logs.log_output.outdir = str(folder)
    under_test = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(len(fed), len(fed), lambda _indices: None, lambda _indices: None)
    at_work = crew.start(answer)
    try:
        # The last is a file that would change the settings; by default it is looked for where the process stands.
        mlperf_loadgen.StartTestWithLogSettings(under_test, library, settings, logs, str(folder / "audit.config"))
    finally:
        for _ in at_work:
            waiting.put(None)
        for one in at_work:
            one.result()
        mlperf_loadgen.DestroyQSL(library)
        mlperf_loadgen.DestroySUT(under_test)
    if broken:
        raise broken[0]
    return read(folder / LOG)


def read(log: Path) -> dict[str, Any]:
    """What stands in a log, by key; of one that comes twice the last."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith(MARK)]
    entries = [json.loads(line.removeprefix(MARK)) for line in lines]
    return {entry["key"]: entry["value"] for entry in entries}
