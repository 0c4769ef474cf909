"""An interrupted training goes on from its snapshot and ends where an undisturbed one ends."""

import json
import os
import signal
import subprocess
import sys
import time

import checkouts
import numpy as np
import pytest
from conftest import ROOT
from stages import CONFIG, MODEL, SIZE, losses, train

from segcert import record
from segcert.compute.snapshots import Snapshots
from segcert.files import sha256
from segcert.requests.train import Train

# Weights after the same steps in the same order differ in nothing but what threads round; here there is one.
TOLERANCE = 1e-6


def settings(workers, devices):
    fixed = ["--iters", "9", "--batch-size", "2", "--log-iters", "1", "--snapshot-iters", "3"]
    return [*fixed, "--workers", str(workers), "--devices", str(devices)]


def start(folder, dataset, options):
    command = [sys.executable, str(ROOT / "scripts/train.py"), *MODEL, "--config", CONFIG, "--dataset", str(dataset)]
    command += ["--checkpoint", "model.pdparams", "--history", "history.csv", "--record", "train.json"]
    command += ["--log", "train.log", *SIZE, *options]
    return subprocess.Popen(command, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)


def wait_for_snapshot(folder, process):
    for _ in range(1200):
        if any(path.name.isdigit() for path in folder.glob(".train.snapshots/*")):
            return
        assert process.poll() is None, (folder / "train.log").read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError("no snapshot was made")


@pytest.mark.parametrize(
    ("workers", "devices"),
    [pytest.param(1, 1, marks=pytest.mark.long), pytest.param(0, 1, marks=pytest.mark.long), (1, 2)],
)
def test_a_training_killed_at_any_moment_ends_like_an_undisturbed_one(dataset, tmp_path, workers, devices):
    import paddle

    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    done = train(calm, dataset, *settings(workers, devices))
    assert done.returncode == 0, done.stderr
    process = start(killed, dataset, settings(workers, devices))
    wait_for_snapshot(killed, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "model.pdparams").exists() and not (killed / "train.json").exists()
    done = train(killed, dataset, *settings(workers, devices))
    assert done.returncode == 0, done.stderr
    content = record.read(killed / "train.json")
    assert content["metrics"]["resumed_at"] and set(content["metrics"]["resumed_at"]) <= {3, 6}
    assert record.read(calm / "train.json")["metrics"]["resumed_at"] == []
    assert "going on after iteration" in (killed / "train.log").read_text()
    assert len(losses(killed)) == 9
    np.testing.assert_allclose(losses(killed), losses(calm), rtol=TOLERANCE)
    ours, theirs = (paddle.load(str(folder / "model.pdparams")) for folder in (killed, calm))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name].numpy(), theirs[name].numpy(), rtol=1e-4, atol=1e-6, err_msg=name)
    assert not list(killed.glob(".train.*"))  # neither snapshots nor staging folders stay behind


def test_a_snapshot_of_other_settings_is_not_used(tmp_path):
    import paddle

    one = Snapshots(tmp_path / "s", "one", every=2)
    assert one.latest() is None
    assert [iteration for iteration in range(1, 7) if one.due(iteration, 6)] == [2, 4]
    one.save(2, {"rows": [1], "weight": paddle.ones([2])})
    one.save(4, {"rows": [1, 2], "weight": paddle.ones([2])})
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["4"]
    iteration, state = one.latest()
    assert iteration == 4 and state["rows"] == [1, 2]
    other = Snapshots(tmp_path / "s", "two", every=2)
    assert other.latest() is None
    assert Snapshots(tmp_path / "s", "one", every=2, ranks=2).latest() is None
    (tmp_path / "s/4/snapshot.json").rename(tmp_path / "told")
    (tmp_path / "s/4/snapshot.json").write_text(json.dumps({"identity": "one"}))
    assert one.latest() is None
    (tmp_path / "told").rename(tmp_path / "s/4/snapshot.json")
    assert one.latest()[0] == 4
    other.save(4, {"rows": [3], "weight": paddle.ones([2])})
    assert one.latest() is None and other.latest()[1]["rows"] == [3], "in the place of one of other settings"


def test_a_training_does_not_go_on_across_an_edit_of_paddleseg(tmp_path, dataset):
    """Its first iterations would be of another model than its last."""
    checkout = checkouts.plain(tmp_path / "seg")
    options = [*settings(0, 1), "--paddleseg", str(checkout)]
    process = start(tmp_path, dataset, options)
    wait_for_snapshot(tmp_path, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    checkouts.edit(checkout, "max_pool", "avg_pool")
    done = train(tmp_path, dataset, *options)
    assert done.returncode == 0, done.stderr
    assert record.read(tmp_path / "train.json")["metrics"]["resumed_at"] == []


def other_bytes(file):
    file.write_bytes(file.read_bytes()[:-1] + b"!")


def no_pickle(file):
    """With the hash that was told: as it was written, then."""
    file.write_bytes(b"no pickle")
    told = file.with_name("snapshot.json")
    content = json.loads(told.read_text())
    told.write_text(json.dumps({**content, "files": {file.name: sha256(file)}}))


@pytest.mark.parametrize("spoil", [other_bytes, no_pickle, lambda file: file.unlink()], ids=["bytes", "pickle", "gone"])
def test_a_snapshot_that_is_not_whole_is_set_aside_and_told(tmp_path, spoil, capsys):
    one = Snapshots(tmp_path, "one", every=2)
    one.save(2, {"rows": [1]})
    spoil(tmp_path / "2/rank0.pdstate")
    assert one.latest() is None
    assert "the snapshot after iteration 2 cannot be used and is set aside as" in capsys.readouterr().err
    assert one.latest() is None and capsys.readouterr().err == ""
    one.save(2, {"rows": [2]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "2.unusable"]
    assert one.latest() == (2, {"rows": [2]})
    spoil(tmp_path / "2/rank0.pdstate")  # the second replaces the first
    assert one.latest() is None and [path.name for path in tmp_path.iterdir()] == ["2.unusable"]


def test_a_snapshot_belongs_to_the_code_and_the_software_that_made_it(dataset, tmp_path, monkeypatch):
    import argparse

    import train as script

    options = argparse.ArgumentParser()
    Train.add_to(options)
    given = vars(options.parse_args(["--iters", "1", "--batch-size", "1"]))
    given |= {"config": CONFIG, "dataset": str(dataset), "backbone_weights": None}
    given |= {"pretrained_weights": None, "leave_out": [], "paddleseg": None, "model": None}
    args = argparse.Namespace(**given)
    before = script.identity(args)
    assert script.identity(args) == before
    assert script.identity(argparse.Namespace(**{**given, "iters": 2})) != before
    assert script.identity(argparse.Namespace(**{**given, "log_iters": 2})) == before, "it changes nothing that is made"
    sources = script.code.modules(script.__file__)
    edited = tmp_path / "training.py"
    edited.write_text("# edited\n")
    monkeypatch.setattr(script.code, "modules", lambda _: [*sources[1:], str(edited)])
    assert script.identity(args) != before
    monkeypatch.undo()
    installed = script.machine.software(here=False)
    for name in ("paddle", "paddleseg", "numpy"):
        monkeypatch.setattr(script.machine, "software", lambda here, name=name: {**installed, name: "99.0"})
        assert script.identity(args) != before, name
    monkeypatch.setattr(script.machine, "software", lambda here: {**installed, "openvino": "99.0"})
    assert script.identity(args) == before, "what no training runs on"
