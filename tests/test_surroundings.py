"""What the shell around a stage sets: what would misguide it is taken away, what bears on its results is told."""

import os
import subprocess
import sys
import uuid

import pytest
import stages
from conftest import ROOT, snakemake
from gpu import stand_in_driver

from segcert import engines, gpus, machine, record
from segcert.compute import inference
from segcert.errors import Unverified
from segcert.requests.infer import Infer
from segcert.stage import leases

SCRIPT = """
import os, sys
sys.path.insert(0, {scripts!r})
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result

def work(args, staging):
    import numpy
    staging.path("thing").write_text("made")
    try:
        import lent_package
    except ImportError:
        lent_package = None
    seen = {{name: os.environ.get(name) for name in args.show}}
    return Result({{"numpy": numpy.__file__, "lent": bool(lent_package), **seen}})

options = parser("test")
options.add_argument("--show", nargs="*", default=[])
args = parse(options)
sys.exit(entry.run(args, Plan("data", {{}}, [], {{"thing": "out/thing.txt"}}, work)))
"""


@pytest.fixture
def run(tmp_path):
    """Runs a stage under variables; its record."""
    script = tmp_path / "stage.py"
    script.write_text(SCRIPT.format(scripts=str(ROOT / "scripts")))

    def run(show=(), **variables):
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, str(script), *stages.FILES, "--show", *show]
        done = subprocess.run(command, cwd=tmp_path, env=env | variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return record.read(tmp_path / "out/c.json"), (tmp_path / "out/c.log").read_text()

    return run


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PADDLE_TRAINER_ID", "1"),
        ("PADDLE_TRAINER_ID", ""),
        ("PADDLE_TRAINER_ID", "x"),
        ("PADDLE_TRAINERS_NUM", "2"),
        ("PADDLE_NNODES", "2"),
        ("PADDLE_NPROC_PER_NODE", "1"),
        ("PADDLE_LOG_DIR", "dumps"),
        ("PADDLE_ELASTIC_SERVER", "10.0.0.1:2379"),
        ("FLAGS_selected_gpus", "3"),
        ("OMP_THREAD_LIMIT", "1"),
        ("ONEDNN_VERBOSE", "1"),
        ("PYTHONOPTIMIZE", "1"),
        ("PYTHONTRACEMALLOC", "5"),
        ("MKL_DOMAIN_NUM_THREADS", "MKL_DOMAIN_ALL=2"),
    ],
)
def test_what_would_misguide_a_stage_does_not_reach_it(run, tmp_path, name, value):
    content, log = run([name], **{name: value})
    assert content["status"] == "passed" and content["effective"][name] is None
    assert content["env"]["cleared"] == [name]
    assert f"set aside of what the surroundings set: {name}\n" in log
    assert not (tmp_path / "dumps").exists()


def test_what_bears_on_results_is_told_and_kept(run):
    variables = {"FLAGS_cudnn_deterministic": "1", "KMP_AFFINITY": "compact", "LD_PRELOAD": ""}
    content, _ = run(variables, OMP_NUM_THREADS="7", **variables)
    assert {name: content["effective"][name] for name in variables} == variables
    told = content["env"]["surroundings"]
    assert {f"{name}={value}" for name, value in variables.items()} <= set(told)
    assert not [line for line in told if line.startswith("OMP_NUM_THREADS")], "the stage sets it by itself"


def test_a_home_that_cannot_be_written_is_not_written(run, tmp_path):
    home = tmp_path / "none"
    content, _ = run(["HOME", "NETRC"], HOME=str(home))
    assert content["effective"]["HOME"].startswith(str(tmp_path / "out"))
    assert content["effective"]["NETRC"] == str(home / ".netrc") and not home.exists()


def test_a_pythonpath_lends_what_is_not_installed_and_replaces_nothing(run, tmp_path):
    lent = tmp_path / "lent"
    lent.mkdir()
    (lent / "numpy.py").write_text("raise SystemExit('the wrong one')\n")
    (lent / "lent_package.py").write_text("")
    content, _ = run(PYTHONPATH=f"{lent}:")
    assert "site-packages" in content["effective"]["numpy"] and content["effective"]["lent"] is True
    assert f"PYTHONPATH={lent}:" in content["env"]["surroundings"]
    content, _ = run()
    assert content["effective"]["lent"] is False


def test_a_stage_that_wants_no_gpu_asks_no_driver(run, tmp_path):
    environment = stand_in_driver.install(tmp_path / "driver", misbehaviour="sleep 60")
    content, _ = run(**environment)
    assert content["env"]["gpu"] is None and not stand_in_driver.asked(tmp_path / "driver").exists()


def test_leases_are_in_one_place_whatever_tmpdir_says(tmp_path):
    device = f"test-{uuid.uuid4()}"
    env = {name: value for name, value in os.environ.items() if name not in (leases.FOLDER, *gpus.SCHEDULERS)}
    env |= {gpus.POOL: device, "TMPDIR": str(tmp_path)}
    held = leases.acquire(1, 5, environment=env)
    try:
        command = [sys.executable, str(ROOT / "scripts/with_gpus.py"), "--timeout", "0.2", "--", "true"]
        other = subprocess.run(command, env=env | {"TMPDIR": "/var/tmp"}, capture_output=True, timeout=60)
        assert other.returncode == 75
    finally:
        held.release()
        (leases.LOCKS / f"device-{device}.lock").unlink()


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({}, None),
        ({"a": "max 100000"}, None),
        ({"a": "150000 100000"}, 2),
        ({"": "100000 100000", "a": "800000 100000"}, 1),
    ],
)
def test_cores_are_those_that_the_control_group_allows(tmp_path, monkeypatch, limits, cores):
    (tmp_path / "a").mkdir()
    for folder, limit in limits.items():
        (tmp_path / folder / "cpu.max").write_text(f"{limit}\n")
    told = tmp_path / "cgroup"
    told.write_text("1:cpu:/old\n0::/a\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUPS", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert machine.cores() == (cores or 64)
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "none")
    assert machine.cores() == 64


def test_more_threads_than_cores_are_unverified_with_every_engine(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "cores", lambda: 1)
    files = inference.Files("export", "dataset", "reference", tmp_path / "log", tmp_path / "predictions")
    for engine in engines.on("cpu"):
        with pytest.raises(Unverified, match="needs 2 CPU cores; this process may use 1"):
            inference.infer(
                Infer(engine=engine, threads=2, min_agreement=1, max_miou_drop=0, max_logits_l2=0, max_logits_peak=0),
                files,
                "m",
            )


def test_an_option_of_pythons_that_keeps_scripts_from_finding_their_package_reaches_no_job(project, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    target = "results/data/mini_supervisely_synthetic.tar.json"
    done = snakemake(project, target, "--config", "mode=smoke", "hardware=cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "set aside for all stages: PYTHONSAFEPATH" in done.stderr
    assert record.read(project / target)["status"] == "passed"
