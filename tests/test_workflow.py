"""The workflow as Snakemake sees it: plans of every mode and hardware, bad input, style."""

import os
import subprocess
import sys

import pytest
import ways
import yaml
from conftest import ROOT, planned_jobs, snakemake
from gpu import stand_in_driver

from segcert import record

MODES = list(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["modes"])


def dry_run(folder, *config, arguments=()):
    return snakemake(folder, "-n", *arguments, "--config", *config)


# Each mode and each hardware once; all pairs of them at night.
PAIRS = [(mode, hardware) for mode in MODES for hardware in ("auto", "cpu", "gpu")]
ONCE = {(mode, ("auto", "cpu", "gpu")[number % 3]) for number, mode in enumerate(MODES)}


@pytest.mark.parametrize(
    ("mode", "hardware"), [pytest.param(*pair, marks=[pytest.mark.long] * (pair not in ONCE)) for pair in PAIRS]
)
def test_every_mode_plans_on_every_hardware(project, mode, hardware):
    models = ["models=all"] if mode == "zoo" else []  # which has those of a checkout
    planned = dry_run(project, f"mode={mode}", f"hardware={hardware}", *models)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert jobs["infer"] >= (1 if mode == "gpu_evidence" else 32) and jobs["conclude"] == 1
    assert ("train" in jobs) == (mode != "whole_infer") == ("take_released_weights" not in jobs)


def test_a_plan_of_all_models_is_one_that_a_person_reads(project):
    """A line a job with the reason, and no list of a thousand names."""
    planned = dry_run(project, "mode=smoke", "hardware=cpu")
    text = planned.stdout + planned.stderr
    lines = [line for line in text.splitlines() if line.startswith("would run ")]
    assert len(lines) == sum(planned_jobs(text).values()) + 1 > 90  # and `all`
    assert all(line.endswith(")") and len(line) < 250 for line in lines)
    assert len(text) < 20_000 and "modules" not in text
    blocks = dry_run(project, "mode=smoke", "hardware=cpu", arguments=["--verbose"])
    assert "    output: results/smoke/pp_humanseg_lite/single_fp32/model.pdparams" in blocks.stdout + blocks.stderr


def test_the_seeds_whole_matrix_is_planned_for_gpus_that_are_elsewhere(project):
    planned = dry_run(project, "hardware=gpu", arguments=("--verbose", "--cores", "8", "--resources", "gpu=4"))
    assert planned.returncode == 0, planned.stdout + planned.stderr
    text = planned.stdout + planned.stderr
    jobs = planned_jobs(text)
    # mixed precision and its fp32 twin on both topologies; inference from the mixed-precision checkpoints
    assert jobs["train"] == 8 * 2 * 2 and jobs["export"] == 16 and jobs["evaluate"] == 32
    assert jobs["infer"] == 16 * (len(ways.CPU) * 2 + len(ways.GPU))
    for model in yaml.safe_load((project / "config/config.yaml").read_text())["model_zoo"]:
        for topology in ("single", "multi"):
            folder = f"results/lite_train_lite_infer/{model}/{topology}_amp_O1_float16"
            assert f"{folder}/model.pdparams" in text
            assert f"{folder}/infer/python_infer_gpu_usetrt_False_precision_fp32_batchsize_1.log" in text
            assert f"{folder}/infer/python_infer_cpu_usemkldnn_True_threads_1_precision_fp32_batchsize_1.log" in text


@pytest.mark.parametrize(("arguments", "limit"), [((), 3), pytest.param(("--jobs", "4"), None, marks=pytest.mark.long)])
def test_gpu_jobs_at_a_time_are_as_many_as_there_are_devices(project, tmp_path, monkeypatch, arguments, limit):
    """Not where a scheduler's number of jobs is given; Snakemake says what it goes by."""
    monkeypatch.setenv("PATH", stand_in_driver.install(tmp_path / "driver", count=3)["PATH"])
    mine = ("--config", "mode=smoke", "hardware=auto", "models=[pp_humanseg_lite]")
    done = snakemake(project, *arguments, *mine, "--", "results/smoke/run_config.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = (project / ".snakemake/log").glob("*.snakemake.log")
    told = [line for line in log.read_text().splitlines() if line.startswith("Provided resources")]
    assert told == ([f'Provided resources: gpu=Resource("gpu", {limit})'] if limit else [])


def test_a_single_target_plans_only_what_it_needs(project):
    target = "results/smoke/pp_humanseg_lite/single_fp32/export"
    planned = snakemake(project, "-n", target, "--config", "mode=smoke")
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert jobs == {"make_tarball": 1, "unpack_dataset": 1, "train": 1, "export": 1}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (["hardware=tpu"], ["--config", "hardware", "tpu", "auto, cpu, gpu"]),
        pytest.param(["mode=quick"], ["mode", "quick", "smoke"], marks=pytest.mark.long),
        (["train={iterations: 5}"], ["train.iterations", "no such key", "iters"]),
        pytest.param(["models=[pp_humanseg_light]"], ["pp_humanseg_light", "pp_humanseg_lite"], marks=pytest.mark.long),
    ],
)
def test_wrong_configuration_stops_before_any_job(project, config, words):
    refused = dry_run(project, *config)
    text = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "Traceback" not in text
    for word in words:
        assert word in text
    assert not (project / "results").exists()


def test_a_model_configuration_that_is_missing_is_named(project):
    refused = dry_run(project, "mode=smoke", "model_zoo={pp_humanseg_lite: {config: config/models/gone.yml}}")
    assert refused.returncode != 0
    assert "gone.yml" in refused.stdout + refused.stderr


def test_rules_declare_what_schedulers_need():
    """threads, resources (gpu, mem_mb, runtime), log and benchmark on every rule that does work and makes a file."""
    import re

    for file in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", file.read_text(encoding="utf-8"), flags=re.M)[1:]:
            for part in ("threads:", "gpu=", "mem_mb=", "runtime=", "log:", "benchmark:"):
                if part == "benchmark:" and "    output:" not in rule:
                    continue  # it would be the rule's one output, and keep it from running again
                assert part in rule, f"{file.name}: rule {rule.split(':')[0]} has no {part}"


def tool(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_lint():
    linted = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_rules_are_formatted():
    checked = tool("snakefmt", "--check", "Snakefile", "rules")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_python_is_clean():
    for command in (("ruff", "check", "scripts", "tests"), ("ruff", "format", "--check", "scripts", "tests")):
        checked = tool(*command)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "profile", ["slurm", *(pytest.param(name, marks=pytest.mark.long) for name in ("cluster-generic", "lsf"))]
)
def test_cluster_profiles_plan(project, profile):
    planned = snakemake(project, "-n", "--profile", f"profiles/{profile}", "--config", "mode=smoke", "hardware=gpu")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    # 8 models x 2 topologies x fp32 and AMP, and 2 static graphs
    assert planned_jobs(planned.stdout + planned.stderr)["train"] == 34


# Stands for LSF and Grid Engine, which are not to be had here: notes what it is asked for and runs the job at once.
SUBMIT = """#!{python}
import os, shlex, subprocess, sys
asked, script = sys.argv[1:], sys.stdin.read() if {stdin} else open(sys.argv[-1]).read()
open({log!r}, "a").write(shlex.join([sys.argv[0].rsplit("/", 1)[-1], *asked]) + "\\n")
environment = {{k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}}
subprocess.run(["sh"], input=script, text=True, env=environment, stdout=sys.stderr)
print({answer!r})
"""


@pytest.mark.parametrize(
    ("profile", "command", "stdin", "answer", "asked"),
    [
        pytest.param(
            "lsf",
            "bsub",
            True,
            "Job <17> is submitted to queue <normal>.",
            "-M 8000MB -W 25 -gpu num=1:mode=exclusive_process",
            marks=pytest.mark.long,
        ),
        ("cluster-generic", "qsub", False, "17", "gpu=1,h_vmem=8000M,h_rt=25:0"),
    ],
)
def test_submit_commands_ask_for_what_the_rules_declare(
    project, tmp_path, monkeypatch, profile, command, stdin, answer, asked
):
    log = tmp_path / "asked"
    submit = tmp_path / "bin" / command
    submit.parent.mkdir()
    submit.write_text(SUBMIT.format(python=sys.executable, stdin=stdin, log=str(log), answer=answer))
    submit.chmod(0o755)
    monkeypatch.setenv("PATH", f"{submit.parent}{os.pathsep}{os.environ['PATH']}")
    target = "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    done = snakemake(
        project,
        target,
        "--profile",
        f"profiles/{profile}",
        "--seconds-between-status-checks",
        "1",
        "--latency-wait",
        "2",
        "--config",
        "mode=smoke",
        "hardware=gpu",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made, unpacked, trained = log.read_text().splitlines()
    assert asked in trained and "gpu" not in made.replace("gpu=0", "") and "gpu" not in unpacked.replace("gpu=0", "")
    # a machine without a GPU took the job: it says so, and claims nothing
    assert record.read(project / target)["status"] == "unverified"


def test_another_working_directory_takes_the_shipped_configuration(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text("mode: smoke\nmodels: [pp_humanseg_lite]\n")
    planned = snakemake(elsewhere, "-n", "--snakefile", str(project / "Snakefile"), "--configfile", "mine.yaml")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert planned_jobs(planned.stdout + planned.stderr)["train"] == 3  # one device, two, and a static graph
