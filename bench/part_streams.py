"""Several requests at once: this project's scenarios against MLPerf's own load generator, over the same streams."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from contender import Contender
from harness import HIGHER, Bench, BenchError, in_turns, row, say
from ours import export
from part_latency import QUICK, SIZES, batch_file

MODELS = ("pp_humanseg_lite", "pp_liteseg_stdc1")
ENGINES = ("onnxruntime", "openvino")  # one computes in the threads that ask, the other in its own
STREAMS = (1, 2)
THREADS = 1  # of each stream
IMAGES = 4
BOUND = 5  # of the server scenario: so many times what one request takes alone
# The load generator wants to be sure of the percentile: with none above the bound it needs 459 requests, else more.
QUERIES, MOST_S = 1000, 60
OFFLINE, SERVER = "MLPerf's load generator, Offline", "MLPerf's load generator, Server"


def contender(bench: Bench, model: str, engine: str, count: int) -> Contender:
    """An engine with so many streams, in a process of its own, which both sides measure."""
    size = QUICK if bench.quick else SIZES[model]
    _, folder = export(bench, model, size)
    logs = bench.work / f"logs/streams_{model}"
    options = {
        "export": str(folder),
        "batch": str(batch_file(bench, model, folder, IMAGES)),
        "engine": engine,
        "threads": THREADS,
        "streams": count,
        "warm_s": 0 if bench.quick else 1.0,
        "bound": 1000 if bench.quick else BOUND,
        "logs": str(logs / f"{engine}_{count}"),
    }
    name = f"{model} {engine} streams {count}"
    log = logs / f"{engine}_{count}.log"
    return Contender(name, bench.python, "worker_streams.py", options, log, {"OMP_NUM_THREADS": str(THREADS)})


def streams(bench: Bench) -> list[dict]:
    """Images a second in the offline scenario, and of the first model and engine the server scenario at our rate.

    Raises:
        BenchError: the load generator is not there, or an engine cannot be built.
    """
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise BenchError("streams: mlcommons-loadgen is not there; make env-dev installs it, on Linux on x86-64")
    models = [model for model in MODELS if model in bench.models]
    rows: list[dict] = []
    for model in models[:1] if bench.quick else models:
        for engine in ENGINES[:1] if bench.quick else ENGINES:
            for count in STREAMS:
                say(f"streams: {model}, {engine}, {count}")
                with contender(bench, model, engine, count) as both:
                    both.ready()
                    rows.append(offline(bench, both))
                    if (model, engine) == (models[0], ENGINES[0]) and count > 1:
                        rows += server(bench, both)
    return rows


def offline(bench: Bench, both: Contender) -> dict:
    seconds = 0.3 if bench.quick else 2
    told: list[dict[str, Any]] = []

    def ours() -> float:
        return float(both.ask(scenario="offline", seconds=seconds)[0])

    def theirs() -> float:
        told.append(both.ask(scenario="loadgen offline", seconds=seconds)[0])
        return float(told[-1]["rate"])

    samples = in_turns(bench.repeats, ours=ours, theirs=theirs)
    return offline_row(both.name, samples["ours"], samples["theirs"], told)


def offline_row(name: str, ours: Sequence[float], theirs: Sequence[float], told: Sequence[Mapping[str, Any]]) -> dict:
    """A row from images a second, a figure for each turn, and what the load generator said of each."""
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    note = f"by turn {min(ratios):.3f} to {max(ratios):.3f}; the load generator says: {valid(told)}"
    further = {"better": HIGHER, "note": note, "loadgen": told[0]["version"]}
    return row(f"streams/{name} offline", ours, theirs, "images/s", OFFLINE, **further)


def server(bench: Bench, both: Contender) -> list[dict]:
    # In --quick the bound is far, so that a rate is found however busy the machine is.
    how = {"seconds": 0.3, "queries": 100} if bench.quick else {"seconds": 2, "queries": QUERIES}
    found = [both.ask(scenario="server", most_s=MOST_S, **how)[0] for _ in range(bench.repeats)]
    return server_rows(both.name, found)


def server_rows(name: str, found: Sequence[Mapping[str, Any]]) -> list[dict]:
    """A row from what each search found, and what the load generator said at that rate; none where none found any."""
    held = [one for one in found if one["loadgen"]]
    bound = f"the bound of {found[0]['bound_ms']:.4g} ms"
    if not held:
        say(f"streams: {name}: no rate is within {bound}: no row")
        return []
    told = [one["loadgen"] for one in held]
    rates = ", ".join(f"{one['rate']:.4g}" for one in held)
    late = ", ".join(f"{one['late']} of {one['queries']}" for one in told)
    unsure = sum(not one["early_stopping"] for one in told)
    note = (
        f"99th percentile at {rates} requests/s, found with {found[0]['requests']} requests a trial for {bound}; the "
        f"load generator says: {valid(told)}, {late} above the bound"
        + (f", not sure enough of the percentile (early stopping) in {unsure}" if unsure else "")
        + (f"; no rate was found in {len(found) - len(held)} of {len(found)}" if len(held) < len(found) else "")
    )
    ours, theirs = [one["p99_ms"] for one in held], [one["p99_ms"] for one in told]
    return [row(f"streams/{name} server", ours, theirs, "ms", SERVER, note=note, loadgen=told[0]["version"])]


def valid(told: Sequence[Mapping[str, Any]]) -> str:
    return f"{sum(one['valid'] for one in told)} of {len(told)} runs valid"
