"""A run that is killed at random moments ends as if it had not been: see bench/soak.py, which does it for longer."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from segcert import locks
from segcert.files import write_text

sys.path.insert(0, str(ROOT / "bench"))
import soak


@pytest.mark.long
def test_twenty_random_kills_leave_no_trace(tmp_path):
    """Snakemake, supervisors, workers, ranks, loaders, shells or all at once; the seed says which and when."""
    config = {**soak.CONFIG, "models": ["pp_humanseg_lite"]}
    config["infer"] = {**config["infer"], "cpu": [{"engine": "native", "precision": "fp32"}]}
    run = soak.soak(tmp_path / "a söak", config, seed=1, seconds=1200, kills=20, per_cycle=20)
    assert run.differences == []
    assert sum(run.kills.values()) >= 20 and run.recoveries >= 1
    assert len(run.kills) >= 4, run.kills


@pytest.fixture
def run(tmp_path):
    """A run of the chain on which a test lays hands itself."""
    run = soak.Soak(tmp_path / "work", {**soak.CONFIG, "models": ["pp_humanseg_lite"]}, random.Random(1))
    run.folder.mkdir()
    (run.folder / "soak.yaml").write_text(soak.yaml.safe_dump(run.config))
    yield run
    run.stop()


def wait_for(condition, process=None, seconds=240):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        assert process is None or process.poll() is None, "ended too early"
        time.sleep(0.05)
    return found


TRAINED = "results/smoke/pp_humanseg_lite/single_fp32/train.json"


def test_what_a_killed_snakemake_started_ends_and_its_lock_goes(run):
    process = run.start(TRAINED)
    wait_for(lambda: "worker" in run.family(), process)
    assert list((run.folder / ".snakemake").glob("locks/*"))
    process.kill()
    process.wait()
    wait_for(lambda: not run.family(), seconds=30)
    again = run.start(TRAINED)
    assert again.wait(600) == 0, run._output()
    assert not list((run.folder / ".snakemake").glob("locks/*"))


def test_a_second_run_beside_a_first_is_refused_and_the_first_goes_on(run):
    first = run.start(TRAINED)
    wait_for(lambda: "supervisor" in run.family(), first)
    (run.folder / "output.txt").rename(run.folder / "first.txt")
    first.send_signal(signal.SIGSTOP)  # else it might end before the second is up
    second = run.start(TRAINED)
    assert second.wait(300) != 0
    first.send_signal(signal.SIGCONT)
    told = run._output()
    assert "Directory cannot be locked" in told and "no other Snakemake process" in told and "Traceback" not in told
    assert first.wait(600) == 0, (run.folder / "first.txt").read_text()
    assert (run.folder / TRAINED).is_file()


def test_locks_of_the_living_and_of_other_machines_stay(tmp_path, monkeypatch):
    lock = tmp_path / "locks/0.output.lock"
    lock.parent.mkdir()
    lock.write_text("a\n")
    alive = locks.hold(tmp_path)
    assert not lock.exists(), "nobody lived who could have taken it"
    lock.write_text("a\n")
    with locks.hold(tmp_path):  # a second run of this machine
        assert lock.exists()
    alive.close()
    (tmp_path / locks.ALIVE).write_text("another-machine")
    locks.hold(tmp_path).close()
    assert lock.exists()


def test_where_nothing_can_be_locked_no_lock_is_held_and_none_is_taken_away(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    assert locks.hold(tmp_path / "file") is None
    lock = tmp_path / "locks/0.output.lock"
    lock.parent.mkdir()
    lock.write_text("a\n")

    def flock(stream, kind):
        raise OSError(errno.ENOLCK, "No locks available")  # stands for a file system that has none

    opened, fdopen = [], os.fdopen
    monkeypatch.setattr(locks.fcntl, "flock", flock)
    monkeypatch.setattr(locks.os, "fdopen", lambda *given, **more: opened.append(fdopen(*given, **more)) or opened[0])
    assert locks.hold(tmp_path) is None
    assert lock.exists() and opened[0].closed


WRITER = """
import sys
sys.path.insert(0, {scripts!r})
from segcert import files
def wait(self, target):
    print("written", flush=True)
    sys.stdin.read()
files.Path.replace = wait
files.write_text("page.html", "half")
"""


def test_a_writer_that_is_killed_leaves_nothing_for_good_and_a_living_one_is_let_be(tmp_path):
    def writer():
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(scripts=str(ROOT / "scripts"))],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"written\n"
        return process

    killed, living = writer(), writer()
    killed.kill()
    killed.wait()
    assert len(list(tmp_path.glob(".page.html.*.tmp"))) == 2
    write_text(tmp_path / "page.html", "whole")
    assert [path.name for path in tmp_path.glob(".page.html.*.tmp")] == [f".page.html.{living.pid}.tmp"]
    assert (tmp_path / "page.html").read_text() == "whole"
    living.communicate(b"")


def test_a_killed_rank_fails_its_training_and_no_other(run):
    trained = "results/smoke/pp_humanseg_lite/multi_fp32/train.json"
    process = run.start(trained, TRAINED)
    victim = wait_for(
        lambda: [p for p in run.family().get("rank", []) if p.environ()["PADDLE_TRAINER_ID"] == "1"], process
    )
    victim[0].send_signal(signal.SIGKILL)
    assert process.wait(600) != 0
    failed = (run.folder / trained).with_name("train.failed.json")
    assert failed.is_file() and not (run.folder / trained).exists()
    assert (run.folder / TRAINED).is_file(), "the other training went on"
    assert not run._left_alive()
    assert os.path.exists(run.folder / "results/smoke/conclusions.json")
