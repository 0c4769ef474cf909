"""The workflow on a real Slurm: devices, faults as the conclusions tell them, and what a rerun does.

Run by `make test-cluster`, which installs Debian's slurm-wlm; needs root.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import ways
from conftest import copy_project, planned_jobs

sys.path.insert(0, str(Path(__file__).resolve().parent))

from slurm import cluster

SMALL = {
    "mode": "smoke",
    "input_size": {"default": [64, 64]},
    "infer": {"images": 2, "min_samples": 4, "warmup": 1},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
}
FOREVER = 1_000_000
RESOURCES = ["train:mem_mb=2500", "evaluate:mem_mb=1500", "export:mem_mb=1500", "infer:mem_mb=1000"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")) as host:
        yield host


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("cluster") / "project")


def command(*arguments):
    profile = ["--profile", "profiles/slurm", "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "3"]
    return [sys.executable, "-m", "snakemake", *profile, *arguments]


def run(project, *arguments, timeout=500):
    environment = {**os.environ, "TIPC_SLURM_PARTITION": "gpu"}
    return subprocess.run(
        command(*arguments), cwd=project, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def conclusions(project):
    return json.loads((project / "results/smoke/conclusions.json").read_text(encoding="utf-8"))


def write_config(project, name, **more):
    (project / name).write_text(yaml.safe_dump({**SMALL, **more}))
    return ["--configfile", name]


def test_gpu_jobs_planned_on_a_head_node_without_one_get_devices_of_their_own(slurm, project):
    config = write_config(project, "gpu.yaml", hardware="gpu", models=["pp_humanseg_lite", "pp_humanseg_mobile"])
    done = run(project, *config, "--set-resources", *RESOURCES, "--until", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in project.glob("results/smoke/*/*/train.json")]
    assert len(records) == 9, "two models x two topologies x two precisions, and a static graph"
    spans = []
    for record in records:
        assert record["gpus_by"] == "scheduler"
        devices = {device["visible"] for device in record["gpus"]}
        assert len(devices) == record["requested"]["devices"]
        # This Paddle has no CUDA: the cell says so, and is not passed.
        assert record["status"] == "unverified" and "GPU build" in record["reason"]
        begin = datetime.fromisoformat(record["started"]).timestamp()
        spans.append((begin, begin + record["wall_s"] - 1, devices))  # times of day are in whole seconds
    together = [(a, b) for a, b in itertools.combinations(spans, 2) if a[0] < b[1] and b[0] < a[1]]
    assert together, "no two jobs ran at once, so this shows nothing"
    for one, other in together:
        assert not one[2] & other[2], "two jobs at once on one device"


def test_cancelled_late_and_fat_jobs_are_told_apart_and_a_rerun_does_only_what_is_red(slurm, project):
    """lite: its evaluation is over its memory; mobile: training over its time; server: training is cancelled."""
    models = ["pp_humanseg_lite", "pp_humanseg_mobile", "pp_humanseg_server"]
    faulty = write_config(
        project, "faulty.yaml", hardware="cpu", models=models,
        train={
            "iters": {**dict.fromkeys(["default", *models], FOREVER), "pp_humanseg_lite": 3},
            "topologies": ["single"],
        },
    )  # fmt: skip
    resources = [*(r for r in RESOURCES if "evaluate" not in r), "train:runtime=1", "evaluate:mem_mb=200"]
    environment = {**os.environ, "TIPC_SLURM_PARTITION": "gpu"}
    with (project / "faulty.log").open("w") as log:
        process = subprocess.Popen(
            command(*faulty, "--set-resources", *resources), cwd=project, env=environment, stdout=log, stderr=log
        )
        cancel_training_of(project, "pp_humanseg_server")
        code = process.wait(600)
    output = (project / "faulty.log").read_text()
    assert code != 0, output
    found = conclusions(project)
    assert found["red"] is True
    status = {
        (c["model"], c["stage"]): c
        for c in found["cells"]
        if c["train_cell"] == "single_fp32" and c["status"] != "unverified" and c["stage"] != "infer"
    }
    cancelled, late = status["pp_humanseg_server", "train"], status["pp_humanseg_mobile", "train"]
    fat = status["pp_humanseg_lite", "eval"]
    for cell, words in (
        (cancelled, "CANCELLED: cancelled"),
        (late, "TIMEOUT: over its time limit"),
        (fat, "over its memory"),
    ):
        assert cell["status"] == "failed" and words in cell["reason"], cell["reason"]
        assert Path(project / cell["log"]).is_file()
    assert status["pp_humanseg_lite", "train"]["status"] == status["pp_humanseg_lite", "export"]["status"] == "passed"
    blocked = {c["model"] for c in found["cells"] if c["status"] == "blocked"}
    assert blocked == set(models)

    mended = write_config(
        project, "mended.yaml", hardware="cpu", models=models, train={"iters": 3, "topologies": ["single"]}
    )
    planned = run(project, *mended, "-n")
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert {rule: jobs[rule] for rule in ("train", "evaluate", "export", "infer")} == {
        "train": 2,
        "evaluate": 4,  # lite's static graph too
        "export": 2,
        "infer": 3 * len(ways.HERE) + ways.BESIDE,
    }
    cell = "python_infer_cpu_onnxruntime_threads_1_precision_fp32_batchsize_1"
    target = f"results/smoke/pp_humanseg_lite/single_fp32/infer/{cell}.json"
    again = run(project, *mended, "--set-resources", *RESOURCES, "--", target)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((project / target).read_text())["status"] == "passed"


def cancel_training_of(project, model):
    """scancel the job once its worker is started: on a busy machine its minute may be over before it trains."""
    log = project / f"results/smoke/{model}/single_fp32/train.log"
    for _ in range(600):
        if log.exists() and log.stat().st_size:
            break
        time.sleep(0.5)
    queue = subprocess.run(
        ["squeue", "-h", "-o", "%i %k"], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    (job,) = [line.split()[0] for line in queue.splitlines() if model in line]
    subprocess.run(["scancel", job], timeout=20, check=True)
