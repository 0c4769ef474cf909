"""The generated data can be learned: a short training tells a working chain from a broken one."""

import contextlib
import json
import subprocess
import sys

from conftest import ROOT
from stages import CONFIG, MODEL, SIZE, losses, script, train

from segcert import record
from segcert.data import layouts


def test_training_lowers_the_loss_and_beats_the_all_background_model(trained, dataset):
    history = losses(trained)
    assert sum(history[-5:]) < 0.7 * sum(history[:5])
    scores = record.read(trained / "eval.json")["metrics"]
    # A model that calls everything background gets its share of the pixels as IoU of one class and 0 of the other.
    background = _background_share(dataset)
    assert scores["miou"] > background / 2 + 0.1
    assert scores["class_iou"][1] > 0.3


def _background_share(dataset):
    from segcert.data.images import read_label

    pairs = layouts.splits(dataset, "mini_supervisely")["val"]
    maps = [read_label(dataset / label) for _, label in pairs]
    return sum(int((label == 0).sum()) for label in maps) / sum(label.size for label in maps)


def test_a_seed_gives_the_same_losses_again_whatever_running_statistics_keep(dataset, tmp_path):
    import paddle

    runs, variances = [], []
    for name, *options in (
        ("one", "--seed", "7"),
        ("two", "--seed", "7", "--batch-norm-momentum", "0.25"),
        ("three", "--seed", "8"),
    ):
        (tmp_path / name).mkdir()
        done = train(tmp_path / name, dataset, "--iters", "3", "--batch-size", "2", "--workers", "1", *options)
        assert done.returncode == 0, done.stderr
        runs.append(losses(tmp_path / name))
        variances.append(paddle.load(str(tmp_path / name / "model.pdparams"))["conv_bn0._batch_norm._variance"].numpy())
    assert runs[0] == runs[1] != runs[2]
    told = [record.read(tmp_path / name / "train.json") for name in ("one", "two")]
    assert [item["requested"]["batch_norm_momentum"] for item in told] == [None, 0.25]
    assert [item["effective"]["batch_norm_momentum"] for item in told] == [0.9, 0.25]
    # What is left of the variance of 1 that they start at, besides that of the images.
    assert variances[0].min() > 0.9**3 > variances[1].min() > 0.25**3


def test_two_ranks_train_and_end_with_equal_weights(dataset, tmp_path):
    done = train(tmp_path, dataset, "--iters", "2", "--batch-size", "2", "--devices", "2", "--workers", "0")
    assert done.returncode == 0, done.stderr
    content = record.read(tmp_path / "train.json")
    assert content["effective"]["devices"] == 2
    assert (
        content["metrics"]["gates"][0]["name"] == "rank_weight_difference" and content["metrics"]["gates"][0]["holds"]
    )
    log = (tmp_path / "train.log").read_text()
    assert "iter: 2/2" in log and "---- rank 1 ----" in log


def test_a_person_at_a_terminal_sees_a_bar_and_the_log_has_plain_lines(dataset, tmp_path):
    import os
    import pty
    import termios

    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    fixed = ["--config", CONFIG, "--dataset", str(dataset), *SIZE]
    fixed += ["--checkpoint", "m", "--history", "h", "--record", "t.json", "--log", "t.log", "--log-iters", "1"]
    command = [sys.executable, str(ROOT / "scripts/train.py"), *MODEL, *fixed, "--iters", "3", "--batch-size", "2"]
    environment = {name: value for name, value in os.environ.items() if name != "SEGCERT_PROGRESS"}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=theirs, stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux says EIO where the other end is closed
        while block := os.read(terminal, 4096):
            shown += block
    assert process.wait(60) == 0
    assert b"3/3" in shown and "pp_humanseg_lite" in shown.decode()
    log = (tmp_path / "t.log").read_text()
    assert "[TRAIN] epoch: 1, iter: 3/3" in log and "\r" not in log


def test_an_evaluation_ignores_what_the_models_configuration_says(dataset, trained, tmp_path):
    """Class 1 of the labels is what the data set ignores: it counts neither in the validation nor in the reference."""
    (tmp_path / "model.pdparams").write_bytes((trained / "model.pdparams").read_bytes())
    base = (ROOT / "config/models/pp_humanseg_lite.yml").read_text().replace("_base_/", f"{ROOT}/config/models/_base_/")
    (tmp_path / "own.yml").write_text(base.replace("_dataset:\n", "_dataset:\n  ignore_index: 1\n"))
    fixed = ["--config", "own.yml", "--dataset", dataset, "--checkpoint", "model.pdparams", "--reference", "reference"]
    done = script("evaluate.py", tmp_path, *fixed, "--record", "eval.json", "--log", "eval.log", *SIZE)
    assert done.returncode == 0, done.stderr
    assert record.read(tmp_path / "eval.json")["metrics"]["classes_present"] == 1
    summary = json.loads((tmp_path / "reference/summary.json").read_text())
    assert (summary["classes"], summary["ignored"]) == (2, 1)


def test_mixed_precision_on_a_cpu_is_unverified_not_passed(dataset, tmp_path):
    amp = ["--precision", "amp", "--amp-level", "O1", "--amp-dtype", "float16"]
    done = train(tmp_path, dataset, "--iters", "1", "--batch-size", "2", "--workers", "0", *amp)
    assert done.returncode == 0, done.stderr
    content = record.read(tmp_path / "train.json")
    assert content["status"] == "unverified"
    assert content["requested"]["precision"] == "amp" and content["effective"]["precision"] == "fp32"
    assert content["effective"]["conv_output_dtypes"] == ["float32"]


def test_a_loss_that_is_not_a_number_fails_by_name(dataset, tmp_path):
    config = tmp_path / "wild.yml"
    base = (ROOT / "config/models/pp_humanseg_lite.yml").read_text()
    config.write_text(base.replace("_base_/", f"{ROOT}/config/models/_base_/") + "\nloss:\n  coef: [.inf]\n")
    arguments = [
        "--config",
        str(config),
        "--dataset",
        str(dataset),
        "--checkpoint",
        "m",
        "--history",
        "h",
        "--record",
        "t.json",
    ]
    done = script("train.py", tmp_path, *arguments, "--log", "t.log", *SIZE, "--iters", "4", "--batch-size", "2")
    assert done.returncode == 1
    reason = record.read(tmp_path / "t.failed.json")["reason"]
    assert "loss is" in reason and "iteration" in reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.failed.json", "t.log", "wild.yml"]
