"""The GPU path from the plan to the page, on stand-ins for four devices: `--cores 2 --resources gpu=4`.

Real are Snakemake, the supervisors, the leases, Paddle's launcher and its ranks, and all of Paddle but its kernels for
a GPU: what was given a device computes on the CPU, and the records say so. So nothing here can be passed, and what is
held is everything around the kernels: which job had which devices and what in its environment, what was asked and
observed, and that nothing fails for a reason of this project's.
"""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest
import yaml
from conftest import copy_project
from gpu import rig, stand_in_driver

from segcert import gpus, record
from segcert.stage import leases

WHOLE = os.environ.get("RIG") == "whole"  # PaddleSeg's plan, which is long: make test-gpu-whole
MODELS = ["pp_humanseg_lite", "pp_liteseg_stdc1"]
AMP = [("O1", "float16")] if WHOLE else [("O1", "float16"), ("O1", "bfloat16"), ("O2", "float16")]
GPU_CELLS = [("native", "fp32"), ("native", "fp16"), ("tensorrt", "fp16"), ("onnxruntime", "fp32")]
IMAGES = {"images": {"train": 8, "val": 2, "test": 2}}
CONFIG = {
    "mode": "smoke",
    "train": {
        "iters": dict.fromkeys(MODELS, 3) | {"default": 2},
        "workers": 0,
        "precisions": [
            {"precision": "fp32"},
            *({"precision": "amp", "level": level, "dtype": dtype} for level, dtype in AMP),
        ],
    },
    "infer": {
        "images": 2,
        "min_samples": 4,
        "warmup": 1,
        "cpu": [{"engine": "native", "precision": "fp32"}],
        "gpu": [{"engine": engine, "precision": precision} for engine, precision in GPU_CELLS],
    },
    "datasets": {"mini_supervisely_synthetic": IMAGES, "cityscapes_synthetic": IMAGES},
}
if not WHOLE:
    CONFIG |= {"models": MODELS, "input_size": {"default": [64, 64], "pp_liteseg_stdc1": [256, 128]}}


class Walked:
    """A run on the rig: what it printed, its records, and who computed."""

    def __init__(self, folder, python, done):
        self.folder, self.done, self.diary = folder, done, rig.diary(python)
        self.conclusions = json.loads((folder / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
        self.records = [record.read(folder / cell["record"]) for cell in self.conclusions["cells"]]

    def of(self, stage):
        return [content for content in self.records if content["stage"] == stage]

    def processes(self, content):
        """The diary's lines of a record's job, in order."""
        own = f".{os.path.basename(record_path(content))[:-5]}."
        folder = os.path.dirname(record_path(content))
        return [line for line in self.diary if line["environment"]["SEGCERT_WORKER"].startswith(f"{folder}/{own}")]


def record_path(content):
    return re.search(r"--record (\S+)", content["command"])[1]


@pytest.fixture(scope="session")
def walked(tmp_path_factory):
    home = tmp_path_factory.mktemp("rig")
    folder = copy_project(home / "project")
    python = rig.make(home / "python")
    (folder / "mine.yaml").write_text(yaml.safe_dump({**CONFIG, "python": str(python)}))
    env = {**os.environ, **stand_in_driver.install(home / "driver"), leases.FOLDER: str(home / "locks")}
    for name in (gpus.POOL, gpus.VISIBLE, gpus.ANSWER, *gpus.SCHEDULERS):
        env.pop(name, None)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--resources", "gpu=4", "--configfile", "mine.yaml"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=5000, check=False)
    return Walked(folder, python, done)


def test_the_whole_plan_is_walked_and_nothing_of_it_is_passed(walked):
    told = [(c["stage"], c["cell"], c["status"], c["reason"]) for c in walked.conclusions["cells"]]
    assert {status for *_, status, _ in told} == {"unverified"}, [line for line in told if line[2] != "unverified"]
    assert {reason for *_, reason in told} == {
        "computed on a stand-in: tests/gpu: the CPU computes in place of the GPUs"
    }
    models = 8 if WHOLE else len(MODELS)
    trained, exported = models * 2 * (1 + len(AMP)), models * len(AMP)
    assert Counter(content["stage"] for content in walked.records) == {
        "train": trained,
        "eval": trained,
        "export": exported,
        "infer": exported * (1 + len(GPU_CELLS)),
    }
    assert {certificate["verdict"] for certificate in walked.conclusions["certificates"]} == {"unverified"}
    # A run in which nothing was exercised is red, and that alone is wrong with it.
    assert walked.done.returncode != 0 and walked.conclusions["red"] and "RED" in walked.done.stderr
    page = (walked.folder / "results/smoke/conclusions.html").read_text(encoding="utf-8")
    assert all(model in page for model in MODELS)


def test_records_say_that_the_cpu_computed(walked):
    for content in walked.records:
        assert content["effective"]["device"] == "cpu" and content["stand_in"], record_path(content)
        assert "/export" in record_path(content) or content["requested"]["device"] in ("gpu", "cpu")
    for content in walked.of("train"):
        assert content["effective"]["precision"] == "fp32" and content["requested"]["device"] == "gpu"
        gates = {gate["name"] for gate in content["metrics"]["gates"]} if "gates" in content["metrics"] else set()
        scaled = content["requested"]["dtype"] == "float16"
        assert ("skipped_share" in gates) == scaled, "the scaler of float16 works here"
        assert content["metrics"]["loss_scale"]["first"] == (1024 if scaled else 1)
        assert ("rank_weight_difference" in gates) == (content["requested"]["devices"] == 2)
        assert content["metrics"]["peak_gpu_mb"] == 0


def test_every_job_that_asks_for_devices_has_so_many_and_no_other_has_any(walked):
    for content in walked.records:
        asked = content["requested"].get("devices", 1) if content["requested"]["device"] == "gpu" else 0
        given = content.get("gpus", [])
        assert len({device["key"] for device in given}) == len(given) == asked, record_path(content)
        if given:
            assert content["gpus_by"] == "lease"
            assert {device["model"] for device in given} == {"Stand-in A100"}
            assert all(device["key"] == stand_in_driver.uuid(int(device["visible"])) for device in given)
    assert len({device["visible"] for content in walked.records for device in content.get("gpus", [])}) > 1


def test_no_device_computes_for_two_jobs_at_a_time(walked):
    held = {}
    for content in walked.records:
        lines = walked.processes(content)
        assert lines, record_path(content)
        for device in content.get("gpus", []):
            span = (min(line["at"] for line in lines), max(line["at"] for line in lines), record_path(content))
            held.setdefault(device["visible"], []).append(span)
    assert len(held) > 1
    for spans in held.values():
        for (_, ended, one), (began, _, other) in itertools.pairwise(sorted(spans)):
            assert ended <= began, f"{one} and {other} held one device at once"


def test_each_rank_is_told_its_own_device(walked):
    for content in walked.of("train"):
        began = [line["environment"] for line in walked.processes(content) if line["what"] == "began"]
        names = ",".join(device["visible"] for device in content["gpus"])
        for environment in began:
            assert environment["CUDA_VISIBLE_DEVICES"] == environment[gpus.POOL] == names
            assert environment[leases.ORDER] == "PCI_BUS_ID" and "within-" in environment[leases.FOLDER]
        ranks = [environment for environment in began if "PADDLE_TRAINER_ID" in environment]
        if content["requested"]["devices"] == 1:
            assert len(began) == 1 and not ranks
            continue
        assert len(began) == 3, "the launcher and two ranks"
        assert sorted(rank["PADDLE_TRAINER_ID"] for rank in ranks) == ["0", "1"]
        for rank in ranks:
            assert rank["FLAGS_selected_gpus"] == rank["PADDLE_TRAINER_ID"] == rank["PADDLE_LOCAL_RANK"]
            assert rank["PADDLE_TRAINERS_NUM"] == "2"


def test_fp32_on_a_gpu_is_without_tf32(walked):
    for content in walked.records:
        environment = walked.processes(content)[0]["environment"]
        asked = content["requested"]
        exact = asked["device"] == "gpu" and asked["precision"] == "fp32" and content["stage"] != "eval"
        if content["stage"] != "eval":
            assert (environment.get("NVIDIA_TF32_OVERRIDE") == "0") == exact, record_path(content)


def test_snakemake_counts_gpus_as_the_pool_does(walked):
    """A job's resource is what it leases: in the blocks of Snakemake's own log."""
    (log,) = (path.read_text(encoding="utf-8") for path in walked.folder.glob(".snakemake/log/*.log"))
    blocks = re.findall(r"^(?:local)?rule train:\n(?:    .*\n)+", log, re.M)
    for content in walked.of("train"):
        (block,) = (block for block in blocks if record_path(content) in block)
        assert f"gpu={content['requested']['devices']}" in re.search(r"resources: (.*)", block)[1]


def test_the_driver_is_asked_by_the_run_and_not_by_each_job(walked, tmp_path_factory):
    asked = (walked.folder.parent / "driver/asked").read_text(encoding="utf-8").splitlines()
    lists = [line for line in asked if "--query-gpu" in line]
    assert len(lists) == 1, lists


def test_ranks_end_with_their_supervisor_and_their_devices_are_free_only_then(walked, tmp_path):
    """A supervisor that is killed: its launcher ends the ranks, and holds their devices until they have ended."""
    content = next(c for c in walked.of("train") if c["cell"] == "multi_fp32" and c["model"] == MODELS[0])
    words = shlex.split(re.sub(r"--iters \d+", "--iters 5000", content["command"]))
    place = "results/smoke/pp_humanseg_lite/multi_fp32"
    words = [word.replace(place, str(tmp_path)) for word in words]
    env = {**os.environ, gpus.POOL: "0,1", leases.FOLDER: str(tmp_path / "locks")}
    for name in (gpus.VISIBLE, gpus.ANSWER, *gpus.SCHEDULERS):
        env.pop(name, None)
    process = subprocess.Popen(words, cwd=walked.folder, env=env, stderr=subprocess.DEVNULL)
    try:
        log = tmp_path / "train.log"
        wait_for(lambda: log.exists() and "[TRAIN]" in log.read_text(errors="replace"), process)
        tree = psutil.Process(process.pid).children(recursive=True)
        ranks = [child for child in tree if "PADDLE_TRAINER_ID" in child.environ()]
        assert len(ranks) == 2 and is_taken(env)
        process.kill()
        process.wait()
        while is_taken(env):
            time.sleep(0.05)
        assert not [rank for rank in ranks if rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE]
        psutil.wait_procs(tree, timeout=30)
    finally:
        process.kill()


def wait_for(condition, process):
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


def is_taken(env):
    try:
        leases.acquire(2, 0, environment=env).release()
    except leases.LeaseError:
        return True
    return False
