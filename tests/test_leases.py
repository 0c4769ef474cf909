"""Leases of GPUs: exclusive, crash-safe, no deadlock, no starvation. The devices are made up, the locks are real."""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from filelock import FileLock, Timeout
from gpu import stand_in_driver

from segcert import gpus
from segcert.stage import leases

WITH_GPUS = [sys.executable, str(ROOT / "scripts/with_gpus.py")]


@pytest.fixture
def env(tmp_path, monkeypatch):
    """An environment with a pool of four made-up devices and a lock folder of its own."""
    for name in (*gpus.SCHEDULERS, gpus.VISIBLE, leases.BUSY):
        monkeypatch.delenv(name, raising=False)
    return {**os.environ, gpus.POOL: "0,1,2,3", leases.FOLDER: str(tmp_path / "locks")}


def start(env, *arguments, **options):
    return subprocess.Popen([*WITH_GPUS, *arguments], env=env, stderr=subprocess.DEVNULL, text=True, **options)


def output(env, *arguments):
    return subprocess.run([*WITH_GPUS, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


SHOW = ["--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]


def test_a_command_sees_its_devices_and_its_exit_code_is_passed_on(env):
    assert output(env, "-n", "2", *SHOW).stdout == "0,1\n"
    assert output(env, "--", "sh", "-c", "exit 7").returncode == 7
    assert output(env, "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert output(env, "--", "no-such-command").returncode == 127


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(env, tmp_path, number):
    script = "import signal, sys, time\n"
    script += f"signal.signal({int(number)}, lambda *_: sys.exit(33)); print('up', flush=True); time.sleep(60)"
    holder = start(env, "--", sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "up\n"
    holder.send_signal(number)
    assert holder.wait(20) == 33


def test_too_small_a_pool_is_refused_at_once(env):
    refused = output(env, "-n", "5", "--", "true")
    assert refused.returncode == 75
    assert "needs 5 GPUs; 4 are shared out: TIPC_GPU_POOL=0,1,2,3" in refused.stderr


def test_a_lease_that_does_not_come_in_time(env):
    holder = start(env, "-n", "4", "--", "sh", "-c", "echo up; sleep 60", stdout=subprocess.PIPE)
    holder.stdout.readline()
    late = output(env, "--timeout", "0.3", "--", "true")
    holder.terminate()
    holder.wait()
    assert late.returncode == 75 and "0 of 1 GPUs came free within 0.3 s" in late.stderr
    holder = start(env, "-n", "3", "--", "sh", "-c", "echo up; sleep 60", stdout=subprocess.PIPE)
    holder.stdout.readline()
    late = output(env, "-n", "2", "--timeout", "0.3", "--", "true")
    assert late.returncode == 75 and "1 of 2 GPUs came free within 0.3 s" in late.stderr
    assert output(env, "--timeout", "0.3", "--", "true").returncode == 0, "the one that it had is free again"
    holder.terminate()
    holder.wait()
    assert output(env, "--timeout", "10", "-n", "4", "--", "true").returncode == 0


def test_inherited_visible_devices_are_the_pool(env):
    del env[gpus.POOL]
    assert output({**env, gpus.VISIBLE: "2,3"}, "-n", "2", *SHOW).stdout == "2,3\n"
    assert output({**env, gpus.VISIBLE: "GPU-aaaa0001"}, *SHOW).stdout == "GPU-aaaa0001\n"
    assert output({**env, gpus.VISIBLE: "1,-1,2"}, "-n", "2", *SHOW).returncode == 75
    assert output({**env, gpus.VISIBLE: ""}, *SHOW).returncode == 75


def test_who_waits_at_the_gate_gives_up_in_time(env):
    taken = leases.acquire(4, environment=env)
    first = start(env, "-n", "1", "--timeout", "20", "--", "true")
    wait_for(lambda: gate_is_held(env))
    late = output(env, "--timeout", "0.3", "--", "true")
    assert late.returncode == 75 and "no turn for 1 GPUs within 0.3 s; others are waiting before" in late.stderr
    taken.release()
    assert first.wait(30) == 0


def test_wrong_words_are_refused(env, tmp_path):
    refused = output({**env, leases.BUSY: "never"}, "--", "true")
    assert refused.returncode == 75
    assert "TIPC_GPU_BUSY: never is refused; allowed: warn, wait, refuse" in refused.stderr
    refused = output({**env, **stand_in_driver.install(tmp_path / "bin"), gpus.POOL: "0,7"}, "--", "true")
    assert refused.returncode == 75 and "TIPC_GPU_POOL=0,7: 7 is refused" in refused.stderr


def test_a_job_of_a_scheduler_shares_its_devices_out_and_waits_for_no_other_job(env):
    del env[gpus.POOL]
    job = {**env, "SLURM_JOB_ID": "12", gpus.VISIBLE: "0"}
    holder = start(job, "--", "sh", "-c", "echo up; sleep 60", stdout=subprocess.PIPE)
    holder.stdout.readline()
    # Another job of the scheduler, or another step, may call its device 0 as well, and mean another: nobody waits.
    for other in ({"SLURM_JOB_ID": "13"}, {"SLURM_STEP_ID": "1"}):
        second = output(job | other, "--timeout", "5", *SHOW)
        assert second.stdout == "0\n" and "by scheduler" in second.stderr
    # Within the same one it is the same device: two commands of a shell in an allocation of one.
    assert output(job, "--timeout", "0.3", "--", "true").returncode == 75
    holder.terminate()
    holder.wait()
    # An allocation of four devices within which jobs of one share is not an assignment to this job.
    allocation = {**env, "SLURM_JOB_ID": "12", gpus.VISIBLE: "0,1,2,3"}
    assert "by lease" in output(allocation, *SHOW).stderr
    for names in ("-1", "", "0,0"):
        assert output({**env, "SLURM_JOB_ID": "12", gpus.VISIBLE: names}, "-n", "2", *SHOW).returncode == 75


def test_indices_and_uuids_of_one_device_are_one_lock(env, tmp_path):
    """With a stand-in for the driver's command."""
    env |= stand_in_driver.install(tmp_path / "bin", busy={2: 4242})
    del env[gpus.POOL]
    holder = start(
        {**env, gpus.VISIBLE: stand_in_driver.uuid(1)}, "--", "sh", "-c", "echo up; sleep 60", stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    assert output({**env, gpus.VISIBLE: "1"}, "--timeout", "0.2", "--", "true").returncode == 75
    assert output({**env, gpus.VISIBLE: "0,1"}, "--timeout", "5", *SHOW).stdout == "0\n"
    holder.terminate()
    holder.wait()
    busy = {**env, gpus.VISIBLE: "2,3"}
    warned = output(busy, *SHOW)
    assert warned.stdout == "2\n" and "computes for process 4242" in warned.stderr
    assert output(busy, "--busy", "wait", *SHOW).stdout == "3\n"
    refused = output(busy, "--busy", "refuse", *SHOW)
    assert refused.returncode == 75 and "4242" in refused.stderr


def test_a_job_for_two_is_not_passed_by_jobs_for_one(env, tmp_path):
    env[gpus.POOL] = "0,1"
    order = tmp_path / "order"
    mark = 'echo $0 >> "$ORDER"; while [ ! -e "$GO" ]; do sleep 0.05; done'
    env |= {"ORDER": str(order), "GO": str(tmp_path / "go")}
    first = [start(env, "--", "sh", "-c", mark, "first") for _ in range(2)]
    wait_for(lambda: order.exists() and order.read_text().count("first") == 2)
    double = start(env, "-n", "2", "--", "sh", "-c", mark, "double")
    wait_for(lambda: gate_is_held(env))
    rest = [start(env, "--", "sh", "-c", mark, "later") for _ in range(6)]
    (tmp_path / "go").touch()
    for process in (*first, double, *rest):
        assert process.wait(60) == 0
    assert order.read_text().split() == ["first"] * 2 + ["double"] + ["later"] * 6


def gate_is_held(env):
    try:
        with FileLock(f"{env[leases.FOLDER]}/gate.lock", timeout=0, preserve_lock_file=True):
            return False
    except Timeout:
        return True


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_the_device_stays_taken_while_the_job_lives_though_its_parent_was_killed(env):
    env[gpus.POOL] = "0"
    holder = start(env, "--", "sh", "-c", "echo $$; exec sleep 60", stdout=subprocess.PIPE)
    job = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    assert output(env, "--timeout", "0.3", "--", "true").returncode == 75
    os.kill(job, signal.SIGKILL)
    assert output(env, "--timeout", "10", "--", "true").returncode == 0


@pytest.mark.long
def test_200_holders_with_random_kills_never_overlap_and_never_lose_a_device(env, tmp_path):
    """Holders of one to three of four devices; a third are killed with SIGKILL: the holder, its job, or both."""
    rng = random.Random(4)
    log = tmp_path / "log"
    env["LOG"] = str(log)
    # A line when a job has its devices and a line just before it gives them back: both within the lease.
    job = 'echo "$0 start $CUDA_VISIBLE_DEVICES $(date +%s.%N) $$" >> "$LOG"; sleep $1; '
    job += 'echo "$0 end - $(date +%s.%N) $$" >> "$LOG"'
    waiting, running, killed = list(range(200)), {}, {}
    while waiting or running:
        while waiting and len(running) < 12:
            name = waiting.pop()
            count = rng.choice([1, 1, 1, 2, 2, 3])
            hold = f"{rng.uniform(0, 0.1):.3f}"
            running[name] = start(env, "-n", str(count), "--", "sh", "-c", job, str(name), hold)
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
            elif name % 3 == 0 and name not in killed and rng.random() < 0.2:
                pids = {line.split()[0]: int(line.split()[4]) for line in _lines(log) if " start " in line}
                killed[name] = time.time()
                kind = rng.choice(["holder", "job", "both"])
                if kind != "job":
                    process.kill()
                if kind != "holder" and str(name) in pids:
                    _kill(pids[str(name)])
        time.sleep(0.01)
    wait_for(lambda: output(env, "--timeout", "0", "-n", "4", "--", "true").returncode == 0)
    intervals = _intervals(_lines(log), killed)
    assert len(killed) > 30 and len(intervals) > 120
    by_device = {}
    for begin, end, devices, name in intervals:
        for device in devices:
            by_device.setdefault(device, []).append((begin, end, name))
    assert set(by_device) == {"0", "1", "2", "3"}
    for spans in by_device.values():
        spans.sort()
        for (_, end, one), (begin, _, other) in itertools.pairwise(spans):
            assert end <= begin, f"{one} and {other} held one device at once"


def _lines(log):
    return log.read_text().splitlines() if log.exists() else []


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _intervals(lines, killed):
    """(begin, end, devices, name); a job that was killed is taken to have held until just before the kill."""
    begun, ended = {}, {}
    for line in lines:
        name, what, devices, when, _ = line.split()
        if what == "start":
            begun[name] = (float(when), devices.split(","))
        else:
            ended[name] = float(when)
    intervals = []
    for name, (begin, devices) in begun.items():
        end = ended.get(name, killed.get(int(name), begin))
        intervals.append((begin, max(begin, end), devices, name))
    return intervals


def test_a_leased_command_may_lease_among_its_own_devices(env):
    inner = " ".join(
        [*WITH_GPUS, "-n", "1", "--timeout", "10", "--", "sh", "-c", "'echo $CUDA_VISIBLE_DEVICES; sleep 1'"]
    )
    nested = output(env, "-n", "2", "--timeout", "20", "--", "sh", "-c", f"{inner} & {inner} & wait")
    assert nested.returncode == 0
    assert sorted(nested.stdout.split()) == ["0", "1"]


def test_a_lease_of_nothing_sets_nothing():
    assert leases.Lease([], [], "lease").environment == {}
