"""int8 on a checkpoint that has learned: cells whose gates hold, the original, and plain use of the same file."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
from contender import Contender
from harness import Bench, BenchError, row, say
from ours import Workflow
from part_latency import ORIGINAL, QUICK, SIZES, batch_file, originals, turns

from segcert import machine

MODE = "bench_int8"
# Two to eight minutes each, by the CPU; with fewer, label maps hold hardly more than one class.
ITERS = {
    "pp_liteseg_stdc1": 60,
    "pp_liteseg_stdc2": 50,
    "pp_humanseg_lite": 150,
    "pp_humanseg_mobile": 150,
    "pp_humanseg_server": 50,
    "fcn_hrnet_w18": 50,
    "ocrnet_hrnetw18": 16,
    "ocrnet_hrnetw48": 10,
}
# Trained at half the size that they are exported at: an iteration at the whole takes up to half a minute.
HALF = ("ocrnet_hrnetw18", "ocrnet_hrnetw48")
ENGINES = ("onnxruntime", "openvino")
TARGET, PLAIN_TARGET = 3.5, 0.95


def iterations(bench: Bench, model: str) -> int:
    return 2 if bench.quick else ITERS[model]


def trained_at(model: str, size: tuple[int, int]) -> list[int]:
    return [side // 2 if model in HALF else side for side in size]


def certified(
    bench: Bench, model: str, size: tuple[int, int]
) -> tuple[Workflow, dict[tuple[str, str], dict[str, Any]]]:
    """A run that trains, quantises and holds cells to the shipped gates; (engine, precision) -> what is concluded."""
    ways = [{"engine": engine, "precision": precision} for engine in ENGINES for precision in ("fp32", "int8")]
    ways += [{"engine": "onednn", "precision": "fp32"}, {"engine": "openvino", "precision": "bf16"}]
    mode = {
        "input_size": trained_at(model, size),
        "export": {"input_size": list(size)},
        "train": {
            "iters": iterations(bench, model),
            "batch_size": 4,
            "workers": 1,
            "topologies": ["single"],
            "precisions": [{"precision": "fp32"}],
            "pretrained_backbone": False,
            "snapshot_iters": 0,
        },
        "infer": {
            "from_topologies": ["single"],
            "cpu": ways,
            "gpu": [],
            "cpu_threads": [min(2, machine.cores())],
            "min_samples": 10,
            "images": 8,
        },
    }
    workflow = Workflow(bench, f"int8_{model}", {"mode": MODE, "modes": {MODE: mode}, "models": [model]})
    try:
        workflow.run()
    except BenchError as error:  # a gate that does not hold makes a run red: it is told, and the others are measured
        say(f"int8: {model}: {str(error).splitlines()[0][:120]}")
    concluded = json.loads((workflow.results / "conclusions.json").read_text(encoding="utf-8"))
    cells = {
        (cell["requested"]["engine"], cell["requested"]["precision"]): cell
        for cell in concluded["cells"]
        if cell["stage"] == "infer"
    }
    return workflow, cells


def contenders(
    bench: Bench, model: str, size: tuple[int, int], workflow: Workflow, ways: list[tuple[str, str]]
) -> list[Contender]:
    """This project's engines in those ways, the original on the same weights, and plain use of the quantised file."""
    chain = workflow.results / model / "single_fp32"
    export, quantised = chain / "export", chain / "quantised"
    shutil.rmtree(chain / "original", ignore_errors=True)  # the checkpoint may be another than at the last time
    threads = min(2, machine.cores())
    common = {
        "batch": str(batch_file(bench, model, export)),
        "threads": threads,
        "warm_s": 0.1 if bench.quick else 1.0,
    }
    logs = bench.work / f"logs/int8_{model}"

    def ours(engine: str, precision: str) -> Contender:
        folder = quantised if precision == "int8" else export
        options = {**common, "export": str(export), "folder": str(folder), "engine": engine, "precision": precision}
        log = logs / f"ours_{engine}_{precision}.log"
        return Contender(
            f"ours {engine} {precision}",
            bench.python,
            "worker_ours.py",
            options,
            log,
            {"OMP_NUM_THREADS": str(threads)},
        )

    def plain(library: str) -> Contender:
        options = {**common, "library": library, "precision": None, "model": str(quantised / "model.onnx")}
        return Contender(f"plain {library}", bench.python, "worker_plain.py", options, logs / f"plain_{library}.log")

    return [
        *(ours(*way) for way in ways),
        *originals(bench, model, size, chain / "model.pdparams", common, logs),
        *(plain(library) for library in ENGINES),
    ]


def int8(bench: Bench) -> list[dict]:
    """For each model: the fastest cell in any precision whose gates hold, and int8 against plain use of its file."""
    rows = []
    for model in bench.models:
        say(f"int8: {model}")
        size = QUICK if bench.quick else SIZES[model]
        workflow, cells = certified(bench, model, size)
        passed = [way for way, cell in cells.items() if cell["status"] == "passed"]
        asked = [*passed, *((engine, "int8") for engine in ENGINES if (engine, "int8") not in passed)]
        samples, _, why = turns(bench, contenders(bench, model, size, workflow, asked))
        medians = {name: float(np.median(values)) for name, values in samples.items()}
        said = ", ".join(f"{name} {median:.4g}" for name, median in medians.items())
        held = "; ".join(f"{engine} int8 {_told(cells.get((engine, 'int8')))}" for engine in ENGINES)
        failed = f" Not built: {', '.join(why)}." if why else ""
        valid = [name for engine, precision in passed if (name := f"ours {engine} {precision}") in samples]
        if not valid:
            raise BenchError(f"int8: {model}: no cell passed; see {workflow.results}")
        own = min(valid, key=medians.__getitem__)
        original = min((name for name in medians if name.startswith("original")), key=medians.__getitem__)
        width, height = trained_at(model, size)
        trained = f"{size[0]}x{size[1]}, trained for {iterations(bench, model)} iterations at {width}x{height}"
        note = f"{trained}; {own}; {held}. ms: {said}.{failed}"
        further = {"target": TARGET, "note": note, "cell": own}
        rows.append(row(f"int8/{model}", samples[own], samples[original], "ms", ORIGINAL, **further))
        for engine in ENGINES:
            ours, plain = f"ours {engine} int8", f"plain {engine}"
            if ours in samples and plain in samples:
                against = f"{engine} plainly, same file"
                name = f"int8/{model} {engine}"
                rows.append(row(name, samples[ours], samples[plain], "ms", against, target=PLAIN_TARGET))
    return rows


def _told(cell: dict[str, Any] | None) -> str:
    """How a cell in int8 ended, with its numbers."""
    if cell is None or not (told := cell.get("metrics") or {}).get("pixel_agreement"):
        return cell["status"] if cell else "was not asked for"
    drop, l2 = told.get("miou_drop"), told.get("logits_l2")
    return f"{cell['status']} (agrees on {told['pixel_agreement']:.4f}, mIoU drop {drop:.4f}, logits {l2:.3f})"
