"""The supervisor: whatever a worker does, there is a record that says so and no half-made output."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import stages
from gpu import stand_in_driver

from segcert import attempts, gpus, machine, processes, record
from segcert.files import hashes, sha256, write_json, write_text
from segcert.stage import family, leases, supervisor

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {scripts!r})
from segcert import proof
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result
from segcert.errors import StageError, Unverified

def work(args, staging):
    print("working")
    what = args.what
    if what == "raise": raise ValueError("the moon is wrong")
    if what == "user": raise StageError("a.png: is missing; put it there")
    if what == "unverified": raise Unverified("needs a sun")
    if what == "lasting": raise Unverified("nobody tells", lasting=True)
    if what == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit0": os._exit(0)
    if what == "exit3": os._exit(3)
    if what == "abort":
        os.write(2, b"\\x1b[31m[ERROR] cannot pool by 0\\x1b[0m\\n")
        os.abort()
    if what == "hang":
        import subprocess
        subprocess.Popen(["sleep", "600"])
        time.sleep(600)
    if what == "memory":
        block = bytearray(300 * 2**20); time.sleep(0.5)
    if args.input:
        file = Path(args.input)
        if what == "edit": file.write_text("edited")
        if what == "vanish": file.unlink()
        if what == "touch": file.write_text(file.read_text()); os.utime(file, (1, 1))
        if what == "edit-folder": (file / "deep/b.txt").write_text("edited")
        if what == "add": (file / "c.txt").write_text("new")
        if what == "edit-and-fail": file.write_text("edited"); raise ValueError("the moon is wrong")
    if what != "no-output": staging.path("thing").write_text("made")
    gates = [proof.gate("g", 0.5, "at least", 0.9, "g is 0.5, at least 0.9")] if what == "gate" else []
    if what == "lying-gate": gates = [{{**proof.gate("g", 0.5, "at least", 0.9, ""), "holds": True}}]
    effective = {{"engine": "native" if what == "fallback" else "onednn"}}
    return Result(effective, {{"n": 1}}, gates)

options = parser("test")
options.add_argument("--what", default="fine")
options.add_argument("--stage", default="data")
options.add_argument("--thing", default="out/thing.txt")
options.add_argument("--input")
options.add_argument("--kept", type=Path)
args = parse(options)
inputs = [args.input] if args.input else []
plan = Plan(args.stage, {{"engine": "onednn"}}, inputs, {{"thing": args.thing}}, work, kept=args.kept)
sys.exit(entry.run(args, plan))
"""


@pytest.fixture
def script(root, tmp_path):
    file = tmp_path / "my script.py"
    file.write_text(SCRIPT.format(scripts=str(root / "scripts")))

    def command(*arguments):
        named = ["--mode", "m", "--model", "a b", "--algorithm", "A"]
        return [sys.executable, str(file), *named, *stages.FILES, *arguments]

    return command


def run(script, folder, *arguments):
    return subprocess.run(script(*arguments), cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def outcome(folder):
    """The one record there is, and the other files of the output folder."""
    found = [path for path in (folder / "out").iterdir() if path.suffix == ".json"]
    assert len(found) == 1
    others = sorted(path.name for path in (folder / "out").iterdir() if path.suffix != ".json")
    return record.read(found[0]), others, found[0].name


def test_a_passing_stage(script, tmp_path):
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    content, others, name = outcome(tmp_path)
    assert (content["status"], content["reason"], name) == ("passed", None, "c.json")
    assert others == ["c.log", "thing.txt"]
    assert content["outputs"] == {"out/thing.txt": sha256(tmp_path / "out/thing.txt")}
    assert "working" in (tmp_path / "out/c.log").read_text()


def test_the_recorded_command_is_the_one_that_ran(script, tmp_path):
    run(script, tmp_path)
    command = outcome(tmp_path)[0]["command"]
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    again = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0
    assert outcome(tmp_path)[0]["command"] == command


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("raise", "failed", "ValueError: the moon is wrong"),
        ("user", "failed", "a.png: is missing; put it there"),
        ("kill", "failed", "killed by SIGKILL"),
        ("exit0", "failed", "ended without a result although its exit code was 0"),
        ("exit3", "failed", "working (the last that it printed; ended with exit code 3)"),
        ("abort", "failed", "[ERROR] cannot pool by 0 (the last that it printed; killed by SIGABRT)"),
        ("no-output", "failed", "ended without its outputs thing"),
        ("fallback", "failed", "engine: onednn requested, native observed"),
        ("gate", "accuracy-failed", "g is 0.5, at least 0.9"),
        ("lying-gate", "accuracy-failed", "the gate g is said to hold and does not: 0.5, at least 0.9 is asked"),
    ],
)
def test_failures_leave_a_record_and_no_output(script, tmp_path, what, status, words):
    done = run(script, tmp_path, "--what", what)
    assert done.returncode == 1
    content, others, name = outcome(tmp_path)
    assert content["status"] == status and words in content["reason"]
    assert name == "c.failed.json" and others == ["c.log"]
    assert words in done.stderr and "out/c.log" in done.stderr
    assert (tmp_path / "out/c.log").read_text().endswith(f"{content['reason']}\n")


@pytest.fixture
def inputs(tmp_path):
    """A file, a folder, and a folder whose manifest lists its files, as a data set's does."""
    (tmp_path / "a.yml").write_text("as it was")
    for name in ("folder", "dataset"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/b.txt").write_text("as it was")
    listed = {"path": "deep/b.txt", "sha256": sha256(tmp_path / "a.yml")}
    write_json(tmp_path / "dataset/manifest.json", {"files": [listed]})
    return tmp_path


@pytest.mark.parametrize(
    ("what", "given", "words"),
    [
        ("edit", "a.yml", ["a.yml was changed while it was worked with; run it again"]),
        ("vanish", "a.yml", ["a.yml vanished while it was worked with"]),
        ("edit-folder", "folder", ["folder/deep/b.txt was changed"]),
        ("edit-folder", "dataset", ["dataset/deep/b.txt was changed"]),
        ("add", "folder", ["folder/c.txt was changed"]),
        ("edit-and-fail", "a.yml", ["the moon is wrong", "a.yml was changed"]),
    ],
)
def test_an_input_that_changes_during_the_work_proves_nothing(script, inputs, what, given, words):
    before = hashes([inputs / given])
    done = run(script, inputs, "--what", what, "--input", given)
    assert done.returncode == 1
    content, others, _ = outcome(inputs)
    assert content["status"] == "failed" and others == ["c.log"]
    assert all(word in content["reason"] for word in words), content["reason"]
    assert list(content["inputs"].values()) == list(before.values()), "as they were when the work began"


def test_what_an_attempt_kept_goes_where_nobody_knows_from_what_it_was_made(script, inputs):
    (inputs / "kept").mkdir()
    assert run(script, inputs, "--what", "raise", "--kept", "kept").returncode == 1
    assert (inputs / "kept").is_dir(), "the next attempt goes on from it"
    assert run(script, inputs, "--what", "edit", "--input", "a.yml", "--kept", "kept").returncode == 1
    assert not (inputs / "kept").exists()


@pytest.mark.parametrize(("what", "given"), [("touch", "a.yml"), ("fine", "folder"), ("fine", "dataset")])
def test_an_input_with_the_content_that_it_had_has_not_changed(script, inputs, what, given):
    done = run(script, inputs, "--what", what, "--input", given)
    assert done.returncode == 0, done.stderr
    assert list(outcome(inputs)[0]["inputs"].values()) == list(hashes([inputs / given]).values())


def test_a_failure_is_forgotten_when_the_stage_passes(script, tmp_path):
    run(script, tmp_path, "--what", "raise")
    run(script, tmp_path)
    assert outcome(tmp_path)[0]["status"] == "passed"


def test_what_cannot_be_exercised_is_unverified_and_not_red(script, tmp_path):
    done = run(script, tmp_path, "--what", "unverified")
    assert done.returncode == 0
    content, _, _ = outcome(tmp_path)
    assert (content["status"], content["reason"]) == ("unverified", "needs a sun")
    assert "unverified" in (tmp_path / "out/thing.txt").read_text()
    assert run(script, tmp_path, "--what", "unverified", "--thing", "out/folder").returncode == 0
    assert list((tmp_path / "out/folder").iterdir()) == []
    assert "try_again" not in record.read(tmp_path / "out/c.json")
    assert run(script, tmp_path, "--what", "lasting").returncode == 0
    assert record.read(tmp_path / "out/c.json")["try_again"] is False
    assert not record.is_to_be_tried_again(tmp_path / "out/c.json")


def test_known_failures(script, tmp_path):
    known = ("--known-failure", "moon", "moon is \\w+", "astronomy", "https://example.org/1", "")
    assert run(script, tmp_path, "--what", "raise", *known).returncode == 0
    content, _, name = outcome(tmp_path)
    assert (content["status"], name) == ("known-failure", "c.json")
    assert all(
        word in content["reason"] for word in ("moon", "astronomy", "https://example.org/1", "the moon is wrong")
    )
    assert run(script, tmp_path, "--what", "exit3", *known).returncode == 1, "another failure is not the known one"
    (tmp_path / "out/c.json").unlink(missing_ok=True)
    assert run(script, tmp_path, *known).returncode == 0
    assert "passes although listed" in record.read(tmp_path / "out/c.json")["reason"]


def test_a_known_failure_of_another_paddle_is_no_excuse(script, tmp_path):
    def known(paddle):
        return ("--known-failure", "moon", "moon", "astronomy", "https://example.org/1", paddle)

    version = machine.paddle_build()["full_version"]
    assert run(script, tmp_path, "--what", "raise", *known(f"=={version}")).returncode == 0
    assert run(script, tmp_path, "--what", "raise", *known(f"!={version}")).returncode == 1
    (tmp_path / "out/c.json").unlink()
    assert run(script, tmp_path, *known(f"!={version}")).returncode == 0
    assert record.read(tmp_path / "out/c.json")["reason"] is None, "nor is it missed where it passes"


def test_gates_that_are_known_not_to_hold(script, tmp_path):
    def known(gates, error="."):
        return ("--known-gates", "moon", gates, error, "astronomy", "https://example.org/1", "any")

    assert run(script, tmp_path, "--what", "gate", *known("other=1,g=0.4")).returncode == 0
    content, _, name = outcome(tmp_path)
    assert (content["status"], name) == ("known-failure", "c.json")
    assert content["reason"] == "moon: astronomy (https://example.org/1) Seen: g is 0.5, at least 0.9"
    (tmp_path / "out/c.json").unlink()
    assert run(script, tmp_path, "--what", "gate", *known("g=0.6")).returncode == 1
    assert outcome(tmp_path)[0]["reason"].endswith("moon excuses g of at least 0.6, and 0.5 is worse by 0.1")
    assert run(script, tmp_path, "--what", "gate", *known("g=0.4", "no such words")).returncode == 1
    assert run(script, tmp_path, "--what", "lying-gate", *known("g=0")).returncode == 1
    assert run(script, tmp_path, "--what", "raise", *known("g=0.4")).returncode == 1


def test_upstream_decides(script, tmp_path):
    run(script, tmp_path, "--what", "unverified")
    (tmp_path / "out/c.json").rename(tmp_path / "above.json")
    assert run(script, tmp_path, "--upstream", "above.json").returncode == 0
    content = record.read(tmp_path / "out/c.json")
    assert content["status"] == "unverified" and "needs a sun" in content["reason"]
    above = json.loads((tmp_path / "above.json").read_text())
    (tmp_path / "above.json").write_text(json.dumps({**above, "status": "known-failure"}))
    run(script, tmp_path, "--upstream", "above.json")
    assert record.read(tmp_path / "out/c.json")["status"] == "blocked"


def test_what_was_changed_since_it_was_made_is_worked_with_by_nobody(script, tmp_path):
    """Whoever exchanges a file between two stages, by hand, would have its numbers under the first one's name."""
    made = tmp_path / "export"
    made.mkdir()
    (made / "deploy.yaml").write_text("a: 1")
    run(script, tmp_path)
    above = json.loads((tmp_path / "out/c.json").read_text())
    (tmp_path / "above.json").write_text(json.dumps({**above, "outputs": {"export": sha256(made)}}))
    asked = ["--upstream", "above.json", "--input", "export"]
    assert run(script, tmp_path, *asked).returncode == 0
    (made / "deploy.yaml").write_text("a: 2")
    excuse = ["--known-failure", "x", "export", "because", "https://example.org", "any"]
    assert run(script, tmp_path, *asked, *excuse).returncode == 1
    content = record.read(tmp_path / "out/c.failed.json")
    assert content["status"] == "failed" and "working" not in (tmp_path / "out/c.log").read_text()
    assert content["reason"].startswith(
        "export is not what above.json says was made: somebody changed it since; delete"
    )


def test_a_data_set_that_was_changed_since_it_was_unpacked_is_worked_with_by_nobody(script, tmp_path):
    folder = tmp_path / "d"
    (folder / "Images").mkdir(parents=True)
    image, manifest = folder / "Images/a.png", folder / "manifest.json"
    image.write_text("abc")
    listed = [{"path": "Images/a.png", "bytes": 3, "sha256": sha256(image)}]
    manifest.write_text(json.dumps({"files": listed}))
    assert run(script, tmp_path, "--input", "d").returncode == 0
    later = manifest.stat().st_mtime + 9
    os.utime(image, (later, later))
    assert run(script, tmp_path, "--input", "d").returncode == 0, "only touched"
    other = "d/Images/a.png is not what d/manifest.json says was made: somebody changed it since; delete d, and run"

    def told_of():
        assert run(script, tmp_path, "--input", "d").returncode == 1
        return record.read(tmp_path / "out/c.failed.json")["reason"]

    image.write_text("abd")
    os.utime(image, (later, later))
    assert told_of().startswith(other)
    image.write_text("abcd")
    os.utime(image, (1, 1))
    assert told_of().startswith(other)
    image.write_text("abd")
    os.utime(image, (1, 1))
    assert told_of().startswith(other), "of the same size, and older: its time was set"
    image.write_text("abc")
    assert run(script, tmp_path, "--input", "d").returncode == 0, "as it was made"
    image.write_text("abd")
    os.utime(image, (1, 1))
    os.utime(manifest)
    assert told_of().startswith(other), "whatever the time of the manifest"
    image.write_text("abc")
    for nonsense in ("[]", "{"):
        (tmp_path / ".d.seen.json").write_text(nonsense)
        assert run(script, tmp_path, "--input", "d").returncode == 0
    assert list(json.loads((tmp_path / ".d.seen.json").read_text())) == ["Images/a.png"]
    twin = folder / "Images/b.png"
    twin.write_text("abd")
    os.utime(twin, (1, 1))
    listed.append({"path": "Images/b.png", "bytes": 3, "sha256": sha256(twin)})
    manifest.write_text(json.dumps({"files": listed}))
    assert run(script, tmp_path, "--input", "d").returncode == 0
    for one, two in ((image, folder / "c"), (twin, image), (folder / "c", twin)):
        one.rename(two)
    assert told_of().startswith(other), "one was put in the place of the other"
    for one, two in ((image, folder / "c"), (twin, image), (folder / "c", twin)):
        one.rename(two)
    image.unlink()
    assert told_of().startswith("d/Images/a.png is gone, which d/manifest.json lists; delete d, and run again")


def test_a_hanging_worker_is_ended_with_all_its_children(script, tmp_path):
    done = run(script, tmp_path, "--what", "hang", "--timeout-min", "0.03")
    assert done.returncode == 1
    assert "timed out after 0.03 minutes" in outcome(tmp_path)[0]["reason"]
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "600"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_stage_says_so(script, tmp_path, number):
    process = subprocess.Popen(script("--what", "hang"), cwd=tmp_path, stderr=subprocess.DEVNULL)
    log = tmp_path / "out/c.log"
    for _ in range(200):
        if log.exists() and "working" in log.read_text():
            break
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert process.wait(30) == 1
    assert f"ended by {number.name}" in outcome(tmp_path)[0]["reason"]


def test_a_worker_does_not_outlive_its_supervisor(script, tmp_path):
    process = subprocess.Popen(script("--what", "hang"), cwd=tmp_path, stderr=subprocess.DEVNULL)
    worker = None
    for _ in range(200):
        children = psutil.Process(process.pid).children()
        if children:
            worker = children[0]
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    worker.wait(10)
    for sleeper in psutil.process_iter(["cmdline"]):
        if sleeper.info["cmdline"] == ["sleep", "600"]:
            sleeper.kill()


def test_memory_of_the_whole_tree_is_measured(script, tmp_path):
    run(script, tmp_path, "--what", "memory")
    assert 300 < outcome(tmp_path)[0]["peak_rss_mb"] < 1000


def test_a_stage_that_takes_more_memory_than_it_may_take_is_ended(script, tmp_path):
    """With all its processes, at once, and the reason names the key of its section."""
    done = run(script, tmp_path, "--stage", "eval", "--what", "memory", "--memory-gb", "0.2")
    assert done.returncode == 1
    found = outcome(tmp_path)[0]
    assert found["status"] == "failed" and found["peak_rss_mb"] > 0.2 * 1024 and not found["outputs"]
    told = r"took 0\.[23] GiB of memory, more than evaluate\.memory_gb allows, 0\.2; raise that where the machine has"
    assert re.match(told, found["reason"])
    assert run(script, tmp_path, "--what", "memory", "--memory-gb", "2").returncode == 0


def test_records_are_strict(tmp_path):
    good = dict.fromkeys(record.REQUIRED) | {"status": "passed", "stage": "data", "metrics": {"x": float("nan")}}
    with pytest.raises(ValueError, match="JSON"):
        record.write(tmp_path / "r.json", good)
    assert not list(tmp_path.iterdir())
    record.write(tmp_path / "r.json", good | {"metrics": {}})
    for broken in ('{"schema_version": 1, "x": NaN}', "{", '{"schema_version": 99}', "[]"):
        (tmp_path / "b.json").write_text(broken)
        with pytest.raises(record.RecordError, match=r"b.json.*delete the file"):
            record.read(tmp_path / "b.json")


def test_a_record_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "r.json", "{}")
    assert list(tmp_path.iterdir()) == []


def test_only_folders_are_attempts(tmp_path):
    (tmp_path / ".train.12.partial").write_text("a file")
    assert attempts.left_behind(tmp_path / "train.json") == []
    (tmp_path / ".train.13.partial").mkdir()
    assert [folder.name for folder, _ in attempts.left_behind(tmp_path / "train.json")] == [".train.13.partial"]


GPU_SCRIPT = """
import ctypes, os, sys, time
from pathlib import Path
sys.path.insert(0, {scripts!r})
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result

def work(args, staging):
    # As one that waits for its device, which no signal ends: its end at its parent's is called off.
    ctypes.CDLL(None).prctl(1, 0)
    Path(args.told).write_text(f"{{os.getpid()}} {{os.environ['CUDA_VISIBLE_DEVICES']}}")
    while not Path(args.go).exists():
        time.sleep(0.05)
    staging.path("thing").write_text("made")
    return Result({{"device": "gpu"}})

options = parser("test")
for name in ("--told", "--go"):
    options.add_argument(name, required=True)
args = parse(options)
sys.exit(entry.run(args, Plan("data", {{"device": "gpu"}}, [], {{"thing": "out/thing.txt"}}, work, gpus=2)))
"""


@pytest.fixture
def leasing(root, tmp_path):
    """Starts a stage that leases two of two made-up devices; (process, its worker, what that sees)."""
    script = tmp_path / "gpu.py"
    script.write_text(GPU_SCRIPT.format(scripts=str(root / "scripts")))
    told, go, started = tmp_path / "told", tmp_path / "go", []
    env = {**os.environ, gpus.POOL: "0,1", leases.FOLDER: str(tmp_path / "locks")}
    for name in gpus.SCHEDULERS:
        env.pop(name, None)

    def start():
        command = [sys.executable, str(script), *stages.FILES, "--told", str(told), "--go", str(go)]
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        for _ in range(400):
            if told.exists() and len(told.read_text().split()) == 2:
                break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        pid, seen = told.read_text().split()
        return process, int(pid), seen

    yield start, go, env
    go.touch()
    for process in started:
        process.kill()
        process.wait()


def is_leased(env):
    try:
        leases.acquire(1, 0.2, environment=env).release()
    except leases.LeaseError:
        return True
    return False


def test_a_stage_computes_on_devices_of_its_own(leasing, tmp_path):
    start, go, env = leasing
    process, _, seen = start()
    assert seen == "0,1" and is_leased(env)
    go.touch()
    assert process.wait(60) == 0, process.stderr.read()
    content = record.read(tmp_path / "out/c.json")
    assert content["status"] == "passed" and content["gpus_by"] == "lease"
    assert [device["visible"] for device in content["gpus"]] == ["0", "1"]
    assert not is_leased(env)


def test_devices_stay_taken_until_the_worker_ends_though_its_supervisor_was_killed(leasing):
    start, _, env = leasing
    process, worker, _ = start()
    process.kill()
    process.wait()
    assert psutil.pid_exists(worker) and is_leased(env)
    os.kill(worker, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(worker)] if psutil.pid_exists(worker) else [], timeout=20)
    assert not is_leased(env)


def test_a_pool_that_names_what_is_not_there_fails_by_name(leasing, tmp_path):
    _, _, env = leasing
    env = {**env, **stand_in_driver.install(tmp_path / "driver"), gpus.POOL: "0,7"}
    command = [sys.executable, str(tmp_path / "gpu.py"), *stages.FILES, "--told", "told", "--go", "go"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (
        done.returncode == 1
        and "TIPC_GPU_POOL=0,7: 7 is refused" in record.read(tmp_path / "out/c.failed.json")["reason"]
    )
    done = subprocess.run(
        command, cwd=tmp_path, env={**env, gpus.POOL: "0"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    content = record.read(tmp_path / "out/c.json")
    assert content["status"] == "unverified" and content["reason"].startswith("needs 2 GPUs; 1 is shared out")


def test_a_stage_that_waits_for_devices_ends_with_its_workflow(leasing, tmp_path):
    _, _, env = leasing
    gone = subprocess.Popen(["true"])
    gone.wait()
    workflow = json.dumps({**processes.identity(), "pid": gone.pid, "begun": "1"})
    held = leases.acquire(1, environment=env)
    command = [sys.executable, str(tmp_path / "gpu.py"), *stages.FILES, "--told", "told", "--go", "go"]
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env={**env, supervisor.WORKFLOW: workflow}, timeout=60, check=False
        )
    finally:
        held.release()
    assert done.returncode == 1 and not (tmp_path / "told").exists()
    assert not list((tmp_path / "out").glob("*.partial")) and not list((tmp_path / "out").glob("*.json"))


def test_a_worker_whose_parent_was_quicker_to_end_ends(root):
    """It asks for a signal at its parent's end, and that has come already."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from segcert.stage import worker; "
    code += "worker.die_with_parent(int(sys.argv[2]))"
    for parent, code_expected in ((os.getpid(), 0), (1, 1)):
        command = [sys.executable, "-c", code, str(root / "scripts"), str(parent)]
        assert subprocess.run(command, timeout=60, check=False).returncode == code_expected


def test_memory_of_a_process_that_ended_meanwhile_is_none():
    ended = subprocess.Popen(["true"])
    process = psutil.Process(ended.pid)
    ended.wait()
    assert family.resident_bytes(process) == 0
