"""Faults of the machine: each fails the cell that meets it, says what to do, and the rest runs."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import stages
import ways
import yaml
from conftest import ROOT, interpreter, planned_jobs, snakemake
from http_server import serving

from segcert import attempts, machine, processes, record
from segcert.files import write_json
from segcert.stage import advice

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: it mounts file systems, makes groups, changes users"
)


def reason_of(path):
    content = record.read(path)
    assert content["status"] == "failed"
    return content["reason"]


# -- memory -----------------------------------------------------------------------------------


def test_memory_that_does_not_suffice_is_told_of(dataset, tmp_path):
    """The address space of a training is limited (RLIMIT_AS) to less than it takes; it cannot allocate."""
    limited = tmp_path / "limited.py"
    limited.write_text(
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({1800 * 2**20},) * 2)\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        f"import train\nsys.exit(train.main())\n"
    )
    fixed = ["--config", stages.CONFIG, "--dataset", dataset, "--checkpoint", "m.pdparams", "--history", "h.csv"]
    fixed += [
        "--record",
        "t.json",
        "--log",
        "t.log",
        "--iters",
        "2",
        "--batch-size",
        "8",
        "--input-size",
        "1024",
        "1024",
    ]
    done = stages.script(limited, tmp_path, *fixed)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    reason = reason_of(tmp_path / "t.failed.json")
    assert "the memory does not suffice" in reason and "train.batch_size" in reason, reason
    assert not (tmp_path / "m.pdparams").exists()


@contextlib.contextmanager
def memory_group(limit):
    """A control group of so many bytes."""
    version_1 = Path("/sys/fs/cgroup/memory")
    root = version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")
    group = root / f"segcert-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if version_1.is_dir() else "memory.max")).write_text(str(limit))
        yield group
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                group.rmdir()
            if not group.exists():
                break
            time.sleep(0.1)


GREEDY = """
import os, sys, time
sys.path.insert(0, {scripts!r})
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result

def work(args, staging):
    if args.what == "memory":
        hoard = [bytearray(b"x" * (1 << 20)) for _ in range(4096)]
    if args.what == "hang":
        time.sleep(600)
    if args.what == "gpu":
        # What Paddle says of a GPU; there is none here.
        raise RuntimeError("ResourceExhaustedError: Out of memory error on GPU 0. Cannot allocate 2.0GB memory")
    if args.what == "write":
        with staging.path("thing").open("wb") as out:
            for _ in range(64):
                out.write(b"x" * (1 << 20))
    staging.path("thing").write_bytes(b"x")
    return Result({{}})

options = parser("test")
options.add_argument("--what", default="fine")
args = parse(options)
sys.exit(entry.run(args, Plan("data", {{}}, [], {{"thing": "out/thing.bin"}}, work)))
"""


@pytest.fixture
def greedy(tmp_path):
    file = tmp_path / "greedy.py"
    file.write_text(GREEDY.format(scripts=str(ROOT / "scripts")))

    def run(what, folder=tmp_path, **options):
        command = [sys.executable, str(file), *stages.FILES, "--what", what]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, **options)

    return run


@needs_root
def test_a_process_that_the_kernel_ended_for_its_memory_is_told_of(greedy, tmp_path):
    with memory_group(200 * 2**20) as group:
        done = greedy("memory", preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
    assert done.returncode == 1, done.stderr
    reason = reason_of(tmp_path / "out/c.failed.json")
    assert "killed by SIGKILL" in reason and "killed for its memory" in reason and "--cores" in reason


def test_gpu_memory_that_does_not_suffice_is_told_of(greedy, tmp_path):
    """A stand-in raises what Paddle raises."""
    assert greedy("gpu").returncode == 1
    reason = reason_of(tmp_path / "out/c.failed.json")
    assert "Out of memory error on GPU 0" in reason and "nvidia-smi" in reason and "infer.batch_sizes" in reason


def test_advice_is_given_once_and_only_where_it_fits(tmp_path):
    assert advice.with_advice("the moon is wrong", tmp_path) == "the moon is wrong"
    told = advice.with_advice("OSError: [Errno 28] No space left on device", tmp_path)
    assert told.count("make room") == 1


def test_what_ends_on_a_full_disk_without_saying_so_is_told_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(advice, "_free", lambda folder: 7)  # stands for a full disk
    told = advice.with_advice("ended with exit code 1", tmp_path)
    assert told.startswith(f"ended with exit code 1; {tmp_path}: No space left on device, 7 bytes are free; ")
    assert "make room" in told


def test_a_killed_data_loader_fails_its_training(dataset, tmp_path):
    import psutil

    fixed = ["--config", stages.CONFIG, "--dataset", dataset, "--checkpoint", "m.pdparams", "--history", "h.csv"]
    fixed += ["--record", "t.json", "--log", "t.log", "--iters", "100000", "--batch-size", "2", "--workers", "1"]
    command = [sys.executable, str(ROOT / "scripts/train.py"), *stages.MODEL, *map(str, fixed), *stages.SIZE]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        for _ in range(1200):
            family = psutil.Process(process.pid).children(recursive=True)
            log = tmp_path / "t.log"
            if log.exists() and "[TRAIN]" in log.read_text():
                break
            time.sleep(0.1)
        worker, *loaders = family
        assert loaders, "it trains without a loader"
        loaders[-1].kill()
        assert process.wait(200) == 1
    assert "exit" in reason_of(tmp_path / "t.failed.json").lower()
    assert not worker.is_running() and not (tmp_path / "m.pdparams").exists()


# -- disks ------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder, size):
    """A file system of its own (tmpfs) on a folder."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_root
def test_a_full_disk_fails_the_cell_and_leaves_nothing_half_written(greedy, tmp_path):
    with mounted(tmp_path / "out", "8m") as out:
        done = greedy("write")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        reason = reason_of(out / "c.failed.json")
        assert "No space left on device" in reason and "make room" in reason
        assert {path.name for path in out.iterdir()} == {"c.failed.json", "c.log"}
        assert greedy("fine").returncode == 0 and (out / "thing.bin").exists(), "with room it goes on"


@needs_root
def test_a_disk_that_takes_not_even_a_record(greedy, tmp_path):
    with mounted(tmp_path / "out", "1m") as out:
        with contextlib.suppress(OSError):
            (out / "filler").write_bytes(b"x" * (2 << 20))
        done = greedy("fine")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr and "make room" in done.stderr
        assert {path.name for path in out.iterdir()} <= {"filler", "c.log"}


@needs_root
def test_results_that_cannot_be_written(greedy, tmp_path):
    with mounted(tmp_path / "out", "4m") as out:
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        done = greedy("fine")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "Read-only file system" in done.stderr and "make the folder writable" in done.stderr


@needs_root
@pytest.mark.long
def test_a_workflow_whose_results_cannot_be_written(project):
    (project / "mine.yaml").write_text("mode: smoke\nhardware: cpu\nmodels: [pp_humanseg_lite]\n")
    with mounted(project / "results", "4m") as results:
        subprocess.run(["mount", "-o", "remount,ro", str(results)], check=True)
        done = snakemake(project, "--configfile", "mine.yaml")
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout + done.stderr


def test_a_limit_on_the_size_of_files(greedy, tmp_path):
    limit = 4 << 20
    done = greedy("write", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 1
    reason = reason_of(tmp_path / "out/c.failed.json")
    assert "File too large" in reason and "ulimit -f" in reason
    assert not (tmp_path / "out/thing.bin").exists()


# -- a whole run ------------------------------------------------------------------------------

# Faults planted by Python's own hook at the start of every process; the stages do not know of them.
PLANTED = """
import os, signal, sys
if "SEGCERT_WORKER" in os.environ and not os.environ.get("NO_FAULTS"):
    said = " ".join(sys.argv) + open("/proc/self/cmdline").read().replace(chr(0), " ")
    if "infer.py" in said and "--engine onnxruntime" in said:
        import threading
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if "train.py" in said and "pp_humanseg_mobile" in said:
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20,) * 2)
"""
MODELS = ("pp_humanseg_lite", "pp_humanseg_mobile")


def statuses_of(project, model, **fields):
    found = json.loads((project / "results/smoke/conclusions.json").read_text())
    return {
        cell["status"]
        for cell in found["cells"]
        if cell["model"] == model
        and cell["status"] not in ("unverified", "skipped")
        and all(cell.get(key, cell["requested"].get(key)) == value for key, value in fields.items())
    }


def test_a_killed_predictor_and_a_training_without_memory_stop_nothing_else(project, monkeypatch):
    config = {
        "mode": "smoke",
        "hardware": "cpu",
        "models": list(MODELS),
        "input_size": {"default": [64, 64]},
        "train": {"iters": 2, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
        "evaluate": {"images": 2},
        "infer": {
            "images": 2,
            "min_samples": 2,
            "warmup": 1,
            "max_warmup": 1,
            "cpu": [{"engine": engine, "precision": "fp32"} for engine in ("native", "onnxruntime")],
        },
    }
    python = interpreter(project / "planted", PLANTED)
    (project / "mine.yaml").write_text(yaml.safe_dump({**config, "python": str(python)}))
    broken = snakemake(project, "--configfile", "mine.yaml")
    assert broken.returncode != 0
    lite, mobile = MODELS
    assert statuses_of(project, lite, stage="infer", engine="onnxruntime") == {"failed"}
    assert statuses_of(project, lite, stage="infer", engine="native") == {"passed"}
    assert statuses_of(project, lite, stage="train") == statuses_of(project, lite, stage="eval") == {"passed"}
    assert statuses_of(project, mobile, stage="train") == {"failed"}
    for stage in ("eval", "export", "infer"):
        assert statuses_of(project, mobile, stage=stage) == {"blocked"}
    cells = json.loads((project / "results/smoke/conclusions.json").read_text())["cells"]
    killed = next(cell for cell in cells if cell["stage"] == "infer" and cell["status"] == "failed")
    assert "killed by SIGKILL" in killed["reason"]
    blocked = next(cell for cell in cells if cell["status"] == "blocked")
    assert "train single_fp32: failed" in blocked["reason"]
    monkeypatch.setenv("NO_FAULTS", "1")
    jobs = planned_jobs(snakemake(project, "-n", "--configfile", "mine.yaml").stdout)
    assert jobs["train"] == jobs["export"] == jobs["evaluate"] == 1
    # Of the one that trained those of ONNX Runtime (alone, with two streams, in another size), two of the other.
    assert jobs["infer"] == ways.BESIDE_BY_IT + 1 + 2
    assert snakemake(project, "--configfile", "mine.yaml").returncode == 0


def test_an_interpreter_that_breaks_fails_what_it_runs(project):
    python = project / "python"
    python.write_text("#!/bin/sh\necho this interpreter is broken >&2\nexit 127\n")
    python.chmod(0o755)
    (project / "mine.yaml").write_text(f"mode: smoke\nhardware: cpu\nmodels: [pp_humanseg_lite]\npython: '{python}'\n")
    done = snakemake(project, "--configfile", "mine.yaml")
    assert done.returncode != 0 and "this interpreter is broken" in done.stdout + done.stderr
    found = json.loads((project / "results/smoke/conclusions.json").read_text())
    assert found["red"] and found["counts"]["failed"] == 1 and found["counts"]["blocked"] > 1


def test_nothing_is_tried_again_but_downloads():
    """Downloads try again what may pass (segcert.download); no other failure goes away by itself."""
    for file in (*(ROOT / "rules").glob("*.smk"), *(ROOT / "profiles").rglob("*.yaml")):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not line.strip().startswith(("retries:", "restart-times:")), f"{file}: {line}"


# -- who is who -------------------------------------------------------------------------------


def test_processes_are_known_by_more_than_their_number():
    process = subprocess.Popen(["sleep", "60"])
    named = processes.identity(process.pid)
    assert processes.runs(named) and processes.here(named)
    assert not processes.runs({**named, "begun": "1"}), "another process has the number by now"
    assert not processes.runs({**named, "boot": "before"}), "the machine was started anew"
    assert not processes.here({**named, "host": "elsewhere"})
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.runs(named), "a process that is dead and not yet collected does not run"
    process.wait()
    assert not processes.runs(named) and not processes.runs({})


def test_a_process_is_told_apart_where_little_is_told_of_it(monkeypatch):
    """Stand-ins for a machine that shows no namespaces, and for an ancestor that ends while one looks."""

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    def gone(*arguments):
        raise psutil.NoSuchProcess(1)

    above = processes.identity(os.getppid())
    assert processes.is_below(above) and not processes.is_below(processes.identity())
    monkeypatch.setattr(psutil.Process, "parents", gone)
    assert processes.is_below(above), "it runs, and nothing says that it is not above"
    process = subprocess.Popen(["sleep", "60"])

    def ends(*arguments):
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "parents", ends)
    assert not processes.is_below(processes.identity(process.pid)), "it ran before, and no longer"
    process.wait()
    monkeypatch.setattr(processes.Path, "readlink", refuse)
    assert processes.runs(processes.identity()) and not processes.here(above)


def attempt(folder, name, said):
    (folder / name).mkdir()
    write_json(folder / name / attempts.ATTEMPT, said)
    return folder / name / attempts.ATTEMPT


def unwritable(*arguments, **options):
    raise OSError(30, "Read-only file system")


def test_attempts_of_another_machine_live_while_they_give_signs_of_life(tmp_path, monkeypatch):
    said = {**processes.identity(), "host": "elsewhere"}
    sign = attempt(tmp_path, ".t.17.partial", said)
    assert [s["host"] for _, s in attempts.running(tmp_path / "t.json")] == ["elsewhere"]
    assert attempts.left_behind(tmp_path / "t.json") == []
    silent = sign.stat().st_mtime - attempts.SILENT_S - 1
    os.utime(sign, (silent, silent))
    assert attempts.running(tmp_path / "t.json") == []
    assert len(attempts.left_behind(tmp_path / "t.json")) == 1
    monkeypatch.setattr(attempts.tempfile, "TemporaryFile", unwritable)
    os.utime(sign)
    assert attempts.running(tmp_path / "t.json") == [], "nobody works in a folder that takes no file"
    monkeypatch.undo()
    os.utime(sign, (silent, silent))
    attempt(tmp_path, ".t.tar.18.partial", processes.identity())
    assert len(attempts.running(tmp_path / "t.tar.json")) == 1 and attempts.running(tmp_path / "t.json") == []


def test_an_attempt_that_is_at_work_is_not_trodden_on(greedy, tmp_path, monkeypatch):
    """Another process on this machine is said to be at the same record: it is waited for, then told of."""
    (tmp_path / "out").mkdir()
    attempt(tmp_path / "out", ".c.17.partial", {**processes.identity(), "started": "2026-01-01T00:00:00Z"})
    short = tmp_path / "site/sitecustomize.py"
    short.parent.mkdir()
    short.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from segcert.stage import supervisor\nsupervisor.OTHERS_S = 1\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(short.parent))
    done = greedy("fine")
    assert done.returncode == 1
    assert f"another attempt at out/c.json is at work: process {os.getpid()}" in done.stderr
    assert "wait until it has ended, or end it" in done.stderr
    assert (tmp_path / "out/.c.17.partial").exists()
    shutil.rmtree(tmp_path / "out/.c.17.partial")
    assert greedy("fine").returncode == 0


def test_a_stage_whose_workflow_is_gone_ends(greedy, tmp_path, monkeypatch):
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setenv("SEGCERT_WORKFLOW", json.dumps({**processes.identity(), "pid": gone.pid, "begun": "1"}))
    assert greedy("hang").returncode == 1
    assert not list((tmp_path / "out").glob("*.partial")) and not (tmp_path / "out/c.json").exists()


# -- two users --------------------------------------------------------------------------------

USERS = (54321, 54322)
# The interpreter may lie where only root may read: all is imported, and used once, before the user is changed.
AS_USER = """
import os, sys, tempfile
user, shared, what = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, {scripts!r})
import argparse
import with_gpus
from segcert.data import download
from segcert.stage import leases

def fetch(url, folder):
    os.chdir(folder)
    args = argparse.Namespace(source="url", location=url, sha256=None, bytes=None, downloads="downloads",
                              checksums="checksums.yaml")
    with download.obtained(args) as file:
        return file.path.read_text()

with tempfile.TemporaryDirectory() as own:
    if what == "fetch":
        fetch(sys.argv[4], own)
    leases.acquire(1, environment={{**os.environ, leases.FOLDER: own}}).release()
os.setgroups([]); os.setgid(user); os.setuid(user); os.umask(0o077 if what == "lease" else 0o022)
if what == "fetch":
    print(fetch(sys.argv[5], shared))
else:
    sys.argv[1:] = sys.argv[4:]
    sys.exit(with_gpus.main())
"""


@pytest.fixture
def shared():
    """A folder in which everybody may write."""
    folder = Path(tempfile.mkdtemp(prefix="segcert-shared-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def as_user(user, shared, *arguments, **environment):
    code = AS_USER.format(scripts=str(ROOT / "scripts"))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(user), str(shared), *arguments],
        env={**os.environ, "TIPC_GPU_POOL": "0", "TIPC_GPU_LOCKS": str(shared / "locks"), "HOME": "/", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_root
def test_two_users_share_the_gpus_of_a_machine(shared):
    """The devices are made up, the locks are real."""
    for one, other in (USERS, USERS[::-1]):
        first = as_user(one, shared, "lease", "--", "sh", "-c", "echo up; id -u; exec sleep 60")
        assert first.stdout.readline() == "up\n" and first.stdout.readline() == f"{one}\n"
        second = as_user(other, shared, "lease", "--timeout", "0.5", "--", "true")
        told = second.communicate(timeout=60)[1]
        assert second.returncode == 75 and "0 of 1 GPUs came free" in told, told
        first.terminate()
        first.communicate()
        third = as_user(other, shared, "lease", "--timeout", "30", "--", "true")
        told = third.communicate(timeout=60)[1]
        assert third.returncode == 0, told
    assert (shared / "locks").stat().st_mode & 0o7777 == 0o1777
    assert {file.stat().st_uid for file in (shared / "locks").iterdir()} == {USERS[0]}


@needs_root
def test_two_users_share_what_was_fetched(shared):
    (shared / "downloads").mkdir()
    (shared / "downloads").chmod(0o777)
    with serving() as site:
        warm, url = site.put("/warm.txt", b"warm"), site.put("/d.txt", b"content")
        for user in USERS:
            process = as_user(user, shared, "fetch", warm, url, no_proxy="localhost")
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0 and out == "content\n", err
        assert len(site.asked("/d.txt")) == 1, "the second user took what the first one had fetched"


def test_memory_that_the_kernel_took_is_counted_or_said_to_be_unknown():
    found = machine.oom_kills()
    assert found is None or found >= 0
