"""Memory: the smoke matrix's largest jobs, and an inference cell against the original's."""

from __future__ import annotations

import json
import os
import subprocess
import time

import psutil
from contender import HERE
from harness import Bench, BenchError, row, say
from original import Original
from ours import Workflow, export
from part_chain import STAGES, image_list, layout_of
from part_latency import QUICK, SIZES, original_export

from segcert import record


def memory(bench: Bench) -> list[dict]:
    """Peaks of the largest model's jobs in mode smoke, as their records tell, against the target of 4 GB."""
    model = "ocrnet_hrnetw48" if "ocrnet_hrnetw48" in bench.models and not bench.quick else bench.models[0]
    say(f"memory: {model} on one and two ranks, evaluated, exported and run")
    config = {
        "mode": "smoke",
        "models": [model],
        "train": {**STAGES, "topologies": ["single", "multi"]},
        "infer": {"from_topologies": ["single"], "gpu": []},
    }
    workflow = Workflow(bench, "memory", config)
    workflow.prepare()
    workflow.from_nothing()
    peaks: dict[str, float] = {}
    for file in workflow.results.rglob("*.json"):
        if file.name.startswith("conclusions") or file.parent.name in ("export", "reference"):
            continue
        content = record.read(file)
        label = f"{content['stage']} {content['cell']}"
        peaks[label] = content["peak_rss_mb"]
    largest = max(peaks, key=peaks.__getitem__)
    listed = ", ".join(f"{name} {value:.0f}" for name, value in sorted(peaks.items(), key=lambda item: -item[1]))
    note = (
        f"{model}; the workflow runs no two jobs at once that declare more cores than there are. MB of each: {listed}"
    )
    rows = [
        row("memory/smoke matrix, largest job", [peaks[largest]], [4096], "MB", "limit of 4 GB", target=1, note=note)
    ]
    return [*rows, *_inference(bench)]


def _inference(bench: Bench) -> list[dict]:
    model = "pp_humanseg_lite"
    size = QUICK if bench.quick else SIZES[model]
    checkpoint, folder = export(bench, model, size)
    original = Original(bench, bench.work / "original")
    images = image_list(bench, layout_of(model), 10)
    command = [
        bench.theirs,
        "deploy/python/infer.py",
        "--device",
        "cpu",
        "--enable_mkldnn",
        "True",
        "--cpu_threads",
        "2",
    ]
    command += ["--config", str(original_export(bench, model, size, checkpoint) / "deploy.yaml")]
    command += ["--image_path", str(images), "--save_dir", str(bench.work / "memory/theirs")]
    theirs = peak_mb(command, original.folder, original.environment)
    options = {"export": str(folder), "engine": "onednn", "precision": "fp32", "threads": 2}
    code = (
        "import sys, json; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "from segcert.stage import deferred; deferred.defer()\n"
        "from pathlib import Path\nfrom segcert.compute.engines import library\n"
        "from segcert.compute.preprocess import Preprocess, deploy_config\n"
        "o = json.loads(sys.argv[3]); f = Path(o['export']); d = deploy_config(f); p = Preprocess(d['transforms'])\n"
        "e = library.create(o['engine'], f, d['model'], 'cpu', o['precision'], o['threads'])\n"
        "for line in open(sys.argv[4]): e.run(p.batch([line.strip()]))\n"
    )
    command = [bench.python, "-c", code, str(HERE.parent / "scripts"), str(HERE), json.dumps(options), str(images)]
    ours = peak_mb(command, bench.work, {"OMP_NUM_THREADS": "2"})
    return [row("memory/inference", [ours], [theirs], "MB", "PaddleSeg's infer.py", note=f"{model}, oneDNN, 10 images")]


def peak_mb(command: list[str], cwd: object, env: dict[str, str]) -> float:
    """Largest sum of proportional set sizes of a command's processes, looked at ten times a second."""
    process = subprocess.Popen(
        command, cwd=str(cwd), env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    root, peak = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        total = 0
        for member in [root, *root.children(recursive=True)]:
            try:
                total += member.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, total / 2**20)
        time.sleep(0.1)
    if process.returncode:
        raise BenchError(f"{' '.join(command[:3])}: exit code {process.returncode}")
    return peak
