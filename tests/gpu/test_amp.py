"""Mixed precision at a stand-in of a GPU place: the same steps as PaddleSeg's, in every iteration.

What is real and what stands in: amp_standin.py. Each training here is `training.train` itself.
"""

import contextlib
import csv
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import paddle
import pytest
from paddleseg.core import train as paddleseg_train

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from amp_standin import PEAK_BYTES, Watch
from amp_training import BATCH, BF16, FP32, O1, O2, SEED, Killed, PlantedLoss, config, fresh_process, ours

from segcert import proof
from segcert.compute import components, training
from segcert.compute.training import NonFiniteLoss
from segcert.files import sha256

GROUPS = [{"name": "conv_bn0", "lr_mult": 0.1}, {"name": "_batch_norm", "weight_decay_mult": 0.0}]
CLIP_NORM = 0.01
CLIPPED = {"grad_clip_cfg": {"name": "ClipGradByGlobalNorm", "clip_norm": CLIP_NORM}}
PLATEAU = {
    "_inherited_": False,
    "type": "ReduceOnPlateau",
    "learning_rate": 0.01,
    "mode": "max",
    "patience": 0,
    "factor": 0.5,
}


def watched(folder, dataset, path, precision, iters, raise_after=2, **more):
    with Watch(raise_after).on() as watch:
        result = ours(folder, dataset, path, precision, iters, **more)
    return watch, result


def built(dataset, path, iters):
    build = components.builder(components.load_config(path, str(dataset), None, iters, BATCH))
    components.seed_all(SEED)
    model, optimizer = build.model, build.optimizer
    components.seed_all(SEED)
    return build, model, optimizer


def paddleseg_2_8(folder, dataset, path, precision, iters):
    """The installed PaddleSeg's own training; it logs nothing, for on Paddle 3 it fails at its first line."""
    with Watch().on() as watch, fresh_process(), contextlib.suppress(_AtItsEnd):
        build, model, optimizer = built(dataset, path, iters)
        with mock.patch.object(paddle, "flops", side_effect=_AtItsEnd):
            paddleseg_train(
                model, build.train_dataset, optimizer=optimizer, save_dir=str(folder / "theirs"), iters=iters,
                batch_size=BATCH, log_iters=10**6, save_interval=10**6, losses=build.loss, precision="fp16",
                amp_level=precision.level,
            )  # fmt: skip
    return watch


class _AtItsEnd(Exception):
    """PaddleSeg counts operations after the last iteration, which has nothing to do with it."""


def paddleseg_develop(folder, dataset, path, precision, iters):
    """What PaddleSeg at d7975e7c asks of Paddle, in its order: it steps by `step` and `update`."""
    with Watch().on() as watch, fresh_process():
        build, model, optimizer = built(dataset, path, iters)
        model.train()
        scaler = paddle.amp.GradScaler(init_loss_scaling=1024)
        if precision.level == "O2":
            model, optimizer = paddle.amp.decorate(models=model, optimizers=optimizer, level="O2", save_dtype="float32")
        sampler = paddle.io.DistributedBatchSampler(build.train_dataset, BATCH, shuffle=True, drop_last=True)
        epochs = itertools.chain.from_iterable(sampler for _ in itertools.count())
        lists = {"custom_white_list": training.WHITE_LIST, "custom_black_list": training.BLACK_LIST}
        for batch in itertools.islice(epochs, iters):
            samples = [build.train_dataset[index] for index in batch]
            images, labels = (
                paddle.to_tensor(np.stack([sample[key] for sample in samples])) for key in ("img", "label")
            )
            with paddle.amp.auto_cast(level=precision.level, **lists):
                (logits,), (coef,) = model(images), build.loss["coef"]
                loss = coef * build.loss["types"][0](logits, labels.astype("int64"))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer._learning_rate.step()
            model.clear_gradients()
    return watch


def rows(folder):
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def assert_same(one, other):
    """Two trainings took the same steps: scale and counts, every weight and master weight, to the last bit."""
    assert len(one.steps) == len(other.steps)
    for number, (mine, their) in enumerate(zip(one.steps, other.steps, strict=True), 1):
        assert [mine[key] for key in ("scale", "taken", "left_out")] == [
            their[key] for key in ("scale", "taken", "left_out")
        ], number
        for kind in ("weights", "masters"):
            assert mine[kind].keys() == their[kind].keys()
            for name, weight in mine[kind].items():
                np.testing.assert_array_equal(weight, their[kind][name], err_msg=f"{number} {name}")


@pytest.mark.parametrize("precision", [O1, O2], ids=["O1", "O2"])
@pytest.mark.parametrize("theirs", [paddleseg_2_8, paddleseg_develop])
def test_every_step_is_paddlesegs(dataset, tmp_path, precision, theirs):
    """Growth, overflows one and two in a row, an infinite loss, more than an epoch."""
    # Clipping in O2 needs a norm of float16, which Paddle cannot compute on a CPU.
    path = config(tmp_path, gradient=[3, 7, 8], loss=[5], optimizer=CLIPPED if precision is O1 else {})
    mine, result = watched(tmp_path, dataset, path, precision, 12)
    assert_same(mine, theirs(tmp_path, dataset, path, precision, 12))
    #                       1     2     3     4     5    6    7    8    9   10   11    12
    assert mine.scales == [1024, 2048, 1024, 1024, 512, 512, 256, 128, 128, 256, 256, 512]
    assert mine.still() == {3, 5, 7, 8}
    assert [int(row["iter"]) for row in rows(tmp_path) if int(row["skipped"])] == [3, 5, 7, 8]
    assert bool(mine.steps[-1]["masters"]) == (precision is O2)
    assert result.metrics["skipped_steps"] == 4 and result.metrics["nonfinite_losses"] == 1
    assert result.metrics["loss_scale"] == {"first": 1024, "last": 512, "min": 128, "decreases": 4}


@pytest.mark.parametrize("precision", [O1, O2], ids=["O1", "O2"])
def test_an_overflow_that_nobody_planted_is_skipped_as_paddleseg_does(dataset, tmp_path, precision):
    path = config(tmp_path, coef=30 if precision is O1 else 1)
    mine, _ = watched(tmp_path, dataset, path, precision, 6)
    assert_same(mine, paddleseg_2_8(tmp_path, dataset, path, precision, 6))
    assert mine.scales[0] == 512 and "0" in {row["skipped"] for row in rows(tmp_path)}


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {"type": "OwnLoss"}},
        {"lr": PLATEAU},
        {"optimizer": {"_inherited_": False, "type": "Adam", **CLIPPED}},
        {"optimizer": {"_inherited_": False, "type": "AdamW", "weight_decay": 0.01}},
    ],
    ids=["the model's own loss", "plateau", "Adam", "AdamW"],
)
def test_what_a_model_brings_along_is_used_as_paddleseg_uses_it(dataset, tmp_path, changed):
    path = config(tmp_path, gradient=[2], **changed)
    mine, _ = watched(tmp_path, dataset, path, O1, 6)
    assert_same(mine, paddleseg_2_8(tmp_path, dataset, path, O1, 6))
    assert mine.still() == {2}
    rates = {float(row["lr"]) for row in rows(tmp_path)}
    assert "lr" not in changed or rates >= {0.01, 0.005}


@pytest.mark.parametrize("precision", [O1, O2], ids=["O1", "O2"])
def test_parameter_groups_are_stepped_each_by_its_own_rule(dataset, tmp_path, precision):
    """SeaFormer, SegNeXt, MaskFormer and PP-MobileSeg have them."""
    path = config(tmp_path, gradient=[3], optimizer={"custom_cfg": GROUPS})
    mine, _ = watched(tmp_path, dataset, path, precision, 5)
    assert_same(mine, paddleseg_develop(tmp_path, dataset, path, precision, 5))
    assert mine.still() == {3}
    alike, _ = watched(tmp_path, dataset, config(tmp_path, gradient=[3]), precision, 5)
    slow = "conv_bn0._conv.weight"  # a tenth of the rate
    moved = [np.abs(run.steps[1]["weights"][slow] - run.steps[0]["weights"][slow]).max() for run in (mine, alike)]
    assert 0 < moved[0] < 0.5 * moved[1]


def test_gradients_are_clipped_after_they_are_unscaled(dataset, tmp_path):
    """The first step is left out; the second moves all weights together by the rate times the norm."""
    path = config(tmp_path, gradient=[1], optimizer={**CLIPPED, "weight_decay": 0.0}, coef=1)
    mine, _ = watched(tmp_path, dataset, path, O1, 2)
    before, after = mine.steps
    moved = [after["weights"][name] - before["weights"][name] for name in after["trained"]]
    rate = float(rows(tmp_path)[1]["lr"])
    assert math.sqrt(sum((part.astype("float64") ** 2).sum() for part in moved)) == pytest.approx(
        rate * CLIP_NORM, rel=1e-3
    )


@pytest.mark.parametrize("precision", [O1, O2, BF16], ids=["O1", "O2", "O2 bfloat16"])
def test_a_training_resumed_ends_as_one_that_was_not_disturbed(dataset, tmp_path, precision, monkeypatch):
    """The scale is raised after four steps that were taken, two of which are before the snapshot."""
    # Paddle 2 does not save the generator of a CPU, from which that model draws.
    model = {} if paddle.__version__.startswith("2.") else {"type": "OwnLoss"}
    path = config(tmp_path, model=model, gradient=[4, 10] if precision is not BF16 else [])
    calm, _ = watched(tmp_path, dataset, path, precision, 10, raise_after=4)
    undisturbed, weights = rows(tmp_path), paddle.load(str(tmp_path / "model.pdparams"))
    monkeypatch.setattr(PlantedLoss, "killed_at", 8)
    with pytest.raises(Killed):
        watched(tmp_path, dataset, path, precision, 10, raise_after=4, every=3)
    monkeypatch.setattr(PlantedLoss, "killed_at", None)
    resumed, result = watched(tmp_path, dataset, path, precision, 10, raise_after=4, every=3, done=6)
    assert result.metrics["resumed_at"] == [6] and not list(tmp_path.glob("snapshots/*.unusable"))
    del calm.steps[:6]
    assert_same(resumed, calm)
    if precision is not BF16:
        assert resumed.scales == [512, 1024, 1024, 512]
    told = ("iter", "epoch", "loss", "lr", "loss_scale", "skipped")
    assert [[row[key] for key in told] for row in rows(tmp_path)] == [[row[key] for key in told] for row in undisturbed]
    for name, weight in paddle.load(str(tmp_path / "model.pdparams")).items():
        np.testing.assert_array_equal(weight.numpy(), weights[name].numpy(), err_msg=name)


def _another_shape(state):
    state["state"]["model"]["conv_bn0._conv.weight"] = paddle.zeros([1])


def _a_weight_less(state):
    del state["state"]["model"]["conv_bn0._conv.weight"]


def _a_weight_more(state):
    state["state"]["model"]["another.weight"] = paddle.zeros([1])


def _other_names(state):
    """As a change of how the model is built would make of them."""
    optimizer = state["state"]["optimizer"]
    optimizer["conv2d_999.w_0_velocity_0"] = optimizer.pop(next(key for key in optimizer if "velocity" in key))


def _without_rows(state):
    del state["rows"]


@pytest.mark.parametrize("spoil", [_another_shape, _a_weight_less, _a_weight_more, _other_names, _without_rows])
def test_a_snapshot_that_does_not_fit_is_set_aside_and_told(dataset, tmp_path, spoil, monkeypatch, capfd):
    """Its hash is right: it was written by another version of this training, say. And no attempt meets it again."""
    path = config(tmp_path)
    calm, _ = watched(tmp_path, dataset, path, O2, 6)
    monkeypatch.setattr(PlantedLoss, "killed_at", 5)
    with pytest.raises(Killed):
        watched(tmp_path, dataset, path, O2, 6, every=4)
    told = tmp_path / "snapshots/4/snapshot.json"
    file = told.with_name("rank0.pdstate")
    state = paddle.load(str(file))
    spoil(state)
    paddle.save(state, str(file))
    content = json.loads(told.read_text())
    told.write_text(json.dumps({**content, "files": {file.name: sha256(file)}}))
    capfd.readouterr()
    with pytest.raises(Killed):
        watched(tmp_path, dataset, path, O2, 6, every=4)
    assert "the snapshot after iteration 4 cannot be used and is set aside as" in capfd.readouterr().err
    assert sorted(found.name for found in (tmp_path / "snapshots").iterdir()) == ["4", "4.unusable"]
    monkeypatch.setattr(PlantedLoss, "killed_at", None)
    # What it saved instead, in the process that met the other, is one to go on from.
    resumed, result = watched(tmp_path, dataset, path, O2, 6, every=4, done=4)
    assert result.metrics["resumed_at"] == [4]
    del calm.steps[:4]
    assert_same(resumed, calm)


def test_a_loss_that_is_not_finite_is_skipped_where_it_is_scaled(dataset, tmp_path):
    _, result = watched(tmp_path, dataset, config(tmp_path, loss=[1, 2]), O1, 6)
    assert [row["loss"] for row in rows(tmp_path)][:2] == ["inf", "inf"]
    assert [row["skipped"] for row in rows(tmp_path)] == ["1", "1", "0", "0", "0", "0"]
    metrics = {**result.metrics, "gates": result.gates}
    json.dumps(metrics, allow_nan=False)
    assert metrics["first_loss"] is None and metrics["nonfinite_losses"] == 2 and metrics["skipped_steps"] == 2
    assert 0 < metrics["min_loss"] <= metrics["last_loss"] < 1
    (gate,) = result.gates
    assert gate["name"] == "skipped_share" and gate["value"] == pytest.approx(1 / 3) and gate["holds"]


@pytest.mark.parametrize(
    ("planted", "precision", "message"),
    [
        ({"loss": [2]}, FP32, "loss is inf in iteration 2 of 4 "),
        ({"loss": [2]}, BF16, "loss is inf in iteration 2 of 4 "),
        ({"alone": [2]}, O1, "loss is inf in iteration 2 of 4 "),
        ({"loss": [4]}, O1, "loss is inf in iteration 4 of 4, the last "),
        ({"gradient": [4]}, FP32, "holds values that are not finite after the last iteration"),
    ],
    ids=["fp32", "bfloat16", "a step that was taken", "the last", "weights"],
)
def test_a_training_that_is_lost_fails(dataset, tmp_path, planted, precision, message):
    with pytest.raises(NonFiniteLoss, match=message):
        ours(tmp_path, dataset, config(tmp_path, **planted), precision, 4)


def test_a_training_that_skips_every_step_ends_long_before_its_last(dataset, tmp_path, monkeypatch):
    path = config(tmp_path, gradient=list(range(3, 100)))
    with pytest.raises(NonFiniteLoss, match=r"20 steps in a row .* in iteration 22 of 99 .* bfloat16"):
        ours(tmp_path, dataset, path, O1, 99)
    assert len(rows(tmp_path)) == 22
    # Those before the snapshot count.
    monkeypatch.setattr(PlantedLoss, "killed_at", 16)
    with pytest.raises(Killed):
        ours(tmp_path, dataset, path, O1, 99, every=15)
    monkeypatch.setattr(PlantedLoss, "killed_at", None)
    with pytest.raises(NonFiniteLoss, match=r"20 steps in a row .* in iteration 22 of 99 "):
        ours(tmp_path, dataset, path, O1, 99, every=15, done=15)


def test_a_training_that_skipped_most_steps_does_not_pass(dataset, tmp_path):
    result = ours(tmp_path, dataset, config(tmp_path, gradient=[1, 2, 3]), O1, 5)
    assert proof.broken(result.gates) == [
        "3 of 5 steps were left out because gradients overflowed in float16, a share of at most 0.5 is allowed; "
        "train for longer, or in bfloat16"
    ]


@pytest.mark.parametrize("precision", [FP32, O1, O2, BF16], ids=["fp32", "O1", "O2", "O2 bfloat16"])
def test_a_record_tells_what_was_trained_and_its_checkpoint_is_float32(dataset, tmp_path, precision):
    path = config(tmp_path)
    mine, result = watched(tmp_path, dataset, path, precision, 4)
    effective = result.effective
    assert [effective[key] for key in ("precision", "level", "dtype")] == [
        precision.name, precision.level, precision.dtype
    ]  # fmt: skip
    assert effective["batch_norms"] == {"over_ranks": 0, "of_each_rank": effective["batch_norms"]["of_each_rank"]}
    assert effective["batch_norms"]["of_each_rank"] > 10
    assert result.metrics["peak_gpu_mb"] == PEAK_BYTES / 2**20
    requested = {"precision": precision.name, "level": precision.level, "dtype": precision.dtype, "iters": 4}
    metrics = {**result.metrics, "gates": result.gates}
    content = {"stage": "train", "requested": requested, "effective": effective, "metrics": metrics}
    assert proof.unproven(content) == []
    checkpoint = paddle.load(str(tmp_path / "model.pdparams"))
    assert {weight.dtype for weight in checkpoint.values()} == {paddle.float32}
    model = components.load_model(components.load_config(path, str(dataset)), str(tmp_path / "model.pdparams"))
    for name, weight in model.named_parameters():
        np.testing.assert_array_equal(weight.numpy(), mine.steps[-1]["weights"][name], err_msg=name)
    masters = mine.steps[-1]["masters"]
    assert bool(masters) == (precision.level == "O2")
    low = [name for name, weight in mine.steps[-1]["weights"].items() if not _is_low(weight, precision.dtype)]
    kept = [name for name in low if "_batch_norm" not in name]
    assert bool(kept) == (precision.level != "O2"), "in O2 all weights but those of batch norms are of low precision"


def _is_low(weight, dtype):
    """Whether a type of low precision holds these float32 numbers exactly."""
    return dtype is not None and bool(
        (paddle.to_tensor(weight).astype(dtype).astype("float32").numpy() == weight).all()
    )


def test_too_few_images_are_told_before_anything_is_trained(dataset, tmp_path):
    with pytest.raises(training.StageError, match="16 training images are fewer than one batch of 17 on 1 devices"):
        ours(tmp_path, dataset, config(tmp_path), O1, 2, batch=17)


def ranks(folder, dataset, path, precision, iters, ranks, **more):
    """A training by so many processes: what each would put into its record, and the checkpoint."""
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(ranks), "--log_dir", "logs"]
    arguments = json.dumps([str(folder), str(dataset), path, list(vars(precision).values()), iters, more])
    script = Path(__file__).with_name("amp_training.py")
    done = subprocess.run(
        [sys.executable, *launcher, str(script), arguments], cwd=folder, capture_output=True, text=True, timeout=300,
        check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    logs = "".join(log.read_text()[-3000:] for log in folder.glob("logs/workerlog.*"))
    assert done.returncode == 0, done.stderr[-3000:] + logs
    told = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]
    return told, paddle.load(str(folder / "model.pdparams"))


def furthest(one, other):
    """The largest distance of a weight, or of a statistic of a batch norm, as a share of its largest value."""
    return max(
        float((one[name] - weight).abs().max()) / max(float(weight.abs().max()), 0.1) for name, weight in other.items()
    )


def test_two_ranks_with_synchronised_batch_norms_are_one_with_all_images(dataset, tmp_path):
    """Two GPUs with two images each train as one with four, batch norms and all. Two CPUs do not, and say so."""
    path = config(tmp_path, coef=1)
    folders = [tmp_path / name for name in ("one", "two", "cpu")]
    for folder in folders:
        folder.mkdir()
    one = ours(folders[0], dataset, path, FP32, 1, batch=4)
    of_one = paddle.load(str(folders[0] / "model.pdparams"))
    norms = one.effective["batch_norms"]["of_each_rank"]
    two, of_two = ranks(folders[1], dataset, path, FP32, 1, 2, batch=2)
    assert [told["effective"]["batch_norms"] for told in two] == [{"over_ranks": norms, "of_each_rank": 0}] * 2
    assert furthest(of_two, of_one) < 1e-4
    cpu, of_cpu = ranks(folders[2], dataset, path, FP32, 1, 2, batch=2, device="cpu")
    assert [told["effective"]["batch_norms"] for told in cpu] == [{"over_ranks": 0, "of_each_rank": norms}] * 2
    assert furthest(of_cpu, of_one) > 0.1


def test_an_overflow_of_one_rank_is_skipped_by_all(dataset, tmp_path):
    path = config(tmp_path, gradient=[2], loss=[3], rank=1)
    told, _ = ranks(tmp_path, dataset, path, O1, 5, 2)
    for of_rank in told:
        assert of_rank["metrics"]["skipped_steps"] == 2
        assert of_rank["metrics"]["loss_scale"] == {"first": 1024, "last": 256, "min": 256, "decreases": 2}
        gates = {gate["name"]: gate for gate in of_rank["gates"]}
        assert gates["rank_weight_difference"]["value"] == 0 and gates["skipped_share"]["value"] == 0.4
    assert [of_rank["metrics"]["nonfinite_losses"] for of_rank in told] == [0, 1]
    assert [row["skipped"] for row in rows(tmp_path)] == ["0", "1", "1", "0", "0"]
