"""Mixed precision at a stand-in of a GPU place: the same steps as PaddleSeg's, in every iteration.

What is real and what stands in: amp_standin.py. Each training here is `training.train` itself.
"""

import contextlib
import csv
import itertools
import json
import math
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import paddle
import pytest
import yaml
from paddle.utils import unique_name
from paddleseg.core import train as paddleseg_train
from paddleseg.cvlibs import manager
from paddleseg.models import PPHumanSegLite

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from amp_standin import PEAK_BYTES, Watch, gpu_place
from conftest import ROOT

from segcert import components, record, training
from segcert.training import NonFiniteLoss, Precision, SnapshotPlan

SIZE, BATCH, SEED = [64, 48], 2, 7
O1 = Precision("amp", "O1", "float16")
O2 = Precision("amp", "O2", "float16")
FP32 = Precision("fp32")
GROUPS = [{"name": "conv_bn0", "lr_mult": 0.1}, {"name": "bottleneck", "weight_decay_mult": 0.0}]
CLIPPED = {"name": "ClipGradByGlobalNorm", "clip_norm": 0.01}


@manager.LOSSES.add_component
class PlantedLoss(components.TypedCrossEntropyLoss):
    """Cross entropy that breaks in some iterations: `calls` counts them, from 1 on.

    Args:
        gradient: iterations whose gradient is infinite and whose loss is not.
        loss: iterations whose loss, and so its gradient, is infinite.
        alone: iterations whose loss is infinite and whose gradient is not.
    """

    calls = 0

    def __init__(self, gradient=(), loss=(), alone=(), **settings):
        super().__init__(**settings)
        self._planted = gradient, loss, alone

    def forward(self, logit, label):
        type(self).calls += 1
        gradient, loss, alone = (self.calls in planted for planted in self._planted)
        if gradient:
            logit.register_hook(lambda given: given * math.inf)
        value = super().forward(logit, label)
        return value * math.inf if loss else value + math.inf if alone else value


def config(folder, *, coef=1, optimizer=None, model=None, lr=None, **planted):
    """A model's configuration without chance in its data; `planted` goes to PlantedLoss."""
    content = yaml.safe_load((ROOT / "config/models/pp_humanseg_lite.yml").read_text())
    content["_base_"] = str(ROOT / "config/models" / content["_base_"])
    content["train_dataset"]["transforms"] = [{"type": "Resize", "target_size": SIZE}, {"type": "Normalize"}]
    content["loss"] = {"types": [{"type": "PlantedLoss", **planted}], "coef": [coef]}
    content["optimizer"] = {"type": "SGD", "momentum": 0.9, "weight_decay": 5.0e-4, **(optimizer or {})}
    content["model"] |= model or {}
    content["lr_scheduler"] |= lr or {}
    path = folder / "planted.yml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@contextlib.contextmanager
def fresh_process():
    """As a process begins: no name is taken, no loss was computed."""
    PlantedLoss.calls = 0
    with unique_name.guard(), gpu_place(), mock.patch.object(training, "use_device"):
        yield


def ours(folder, dataset, path, precision, iters, *, every=0, identity="one", batch=BATCH, done=0):
    """`training.train` as on one GPU; `done` iterations were seen by an attempt before."""
    with fresh_process():
        PlantedLoss.calls = done
        return training.train(
            path, str(dataset), folder / "model.pdparams", folder / "history.csv", device="gpu",
            precision=precision, iters=iters, batch_size=batch, seed=SEED, workers=0, log_iters=3,
            snapshots=SnapshotPlan(folder / "snapshots", identity, every) if every else None,
        )  # fmt: skip


def watched(folder, dataset, path, precision, iters, **more):
    with Watch().on() as watch:
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
            model, optimizer = paddle.amp.decorate(
                models=model, optimizers=optimizer, level="O2", save_dtype="float32"
            )
        sampler = paddle.io.DistributedBatchSampler(build.train_dataset, BATCH, shuffle=True, drop_last=True)
        epochs = itertools.chain.from_iterable(sampler for _ in itertools.count())
        lists = {"custom_white_list": training.WHITE_LIST, "custom_black_list": training.BLACK_LIST}
        for batch in itertools.islice(epochs, iters):
            samples = [build.train_dataset[index] for index in batch]
            images, labels = (paddle.to_tensor(np.stack([sample[key] for sample in samples])) for key in ("img", "label"))
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
    clipped = {"grad_clip_cfg": CLIPPED} if precision is O1 else {}
    path = config(tmp_path, gradient=[3, 7, 8], loss=[5], optimizer=clipped, coef=0.01)
    mine, result = watched(tmp_path, dataset, path, precision, 12)
    assert_same(mine, theirs(tmp_path, dataset, path, precision, 12))
    #                       1     2     3     4     5    6    7    8    9   10   11    12
    assert mine.scales == [1024, 2048, 1024, 1024, 512, 512, 256, 128, 128, 256, 256, 512]
    assert mine.still() == {3, 5, 7, 8}
    assert [int(row["iter"]) for row in rows(tmp_path) if int(row["skipped"])] == [3, 5, 7, 8]
    assert bool(mine.steps[-1]["masters"]) == (precision is O2)
    assert result.metrics["skipped_steps"] == 4 and result.metrics["nonfinite_losses"] == 1
    assert result.metrics["loss_scale"] == {"first": 1024, "last": 512, "min": 128, "decreases": 4}
