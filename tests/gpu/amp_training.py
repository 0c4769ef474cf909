"""Trainings that break where a test says, run by `training.train` itself at the stand-in of a GPU place.

As a script it is one rank: its arguments are those of `ours`, as JSON; under Paddle's launcher it is one of several.
"""

import contextlib
import json
import math
import sys
from pathlib import Path
from unittest import mock

import paddle
import paddle.distributed as dist
import yaml
from paddle.utils import unique_name
from paddleseg.cvlibs import manager
from paddleseg.models import PPHumanSegLite

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from amp_standin import gpu_place

from segcert.compute import losses, training
from segcert.compute.training import Files, Kept, Precision
from segcert.requests.train import Train

ROOT = Path(__file__).resolve().parents[2]
SIZE, BATCH, SEED = [64, 48], 2, 7
O1 = Precision("amp", "O1", "float16")
O2 = Precision("amp", "O2", "float16")
FP32 = Precision("fp32")
BF16 = Precision("amp", "O2", "bfloat16")


class Killed(BaseException):
    """In the place of a signal."""


@manager.MODELS.add_component
class OwnLoss(PPHumanSegLite):
    """A model that draws from Paddle's generator and computes its loss itself, as PaddleSeg's MaskFormer does."""

    def forward(self, images):
        return super().forward(paddle.nn.functional.dropout(images, 0.2, training=self.training))

    def loss_computation(self, logits, losses, data):
        return [2 * losses["coef"][0] * losses["types"][0](logits[0], data["label"])]


@manager.LOSSES.add_component
class PlantedLoss(losses.TypedCrossEntropyLoss):
    """Cross entropy that breaks in some iterations: `calls` counts them, from 1 on.

    Args:
        gradient: iterations whose gradient is infinite and whose loss is not.
        loss: iterations whose loss, and so its gradient, is infinite.
        alone: iterations whose loss is infinite and whose gradient is not.
        rank: the rank that this happens to.
    """

    calls, killed_at = 0, None

    def __init__(self, gradient=(), loss=(), alone=(), rank=0, **settings):
        super().__init__(**settings)
        self._planted = (gradient, loss, alone) if dist.get_rank() == rank else ((), (), ())

    def forward(self, logit, label):
        type(self).calls += 1
        if self.calls == self.killed_at:
            raise Killed
        gradient, loss, alone = (self.calls in planted for planted in self._planted)
        if gradient:
            logit.register_hook(lambda given: given * math.inf)
        value = super().forward(logit, label)
        return value * math.inf if loss else value + math.inf if alone else value


def config(folder, *, coef=0.01, optimizer=None, model=None, lr=None, **planted):
    """A model's configuration without chance in its data; `planted` goes to PlantedLoss.

    coef: of the loss. With 1 float16 overflows by itself in the first step of O2.
    """
    content = yaml.safe_load((ROOT / "config/models/pp_humanseg_lite.yml").read_text())
    content["_base_"] = str(ROOT / "config/models" / content["_base_"])
    content["train_dataset"]["transforms"] = [{"type": "Resize", "target_size": SIZE}, {"type": "Normalize"}]
    content["loss"] = {"types": [{"type": "PlantedLoss", **planted}], "coef": [coef]}
    content["optimizer"] = optimizer or {}
    content["model"] |= model or {}
    content["lr_scheduler"] |= lr or {}
    path = folder / "planted.yml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@contextlib.contextmanager
def fresh_process():
    """As a process begins: no name is taken, no loss was computed."""
    PlantedLoss.calls = 0
    with (
        unique_name.guard(),
        gpu_place(),
        mock.patch.object(training, "use_device", lambda *_: paddle.set_device("cpu")),
    ):
        yield


def ours(folder, dataset, path, precision, iters, *, every=0, done=0, batch=BATCH, device="gpu"):
    """`training.train` as on one GPU. every: iterations between snapshots; done: before the snapshot to go on from."""
    with fresh_process():
        PlantedLoss.calls = done
        request = Train(
            device=device, precision=precision.name, level=precision.level, dtype=precision.dtype, iters=iters,
            batch_size=batch, seed=SEED, log_iters=3, snapshot_iters=every,
        )  # fmt: skip
        files = Files(path, str(dataset), folder / "model.pdparams", folder / "history.csv")
        return training.train(request, files, Kept(folder / "snapshots", "one") if every else None)


def main():
    folder, dataset, path, precision, iters, more = json.loads(sys.argv[1])
    folder = Path(folder)
    result = ours(folder, dataset, path, Precision(*precision), iters, **more)
    told = {"effective": result.effective, "metrics": result.metrics, "gates": result.gates}
    (folder / f"rank{dist.get_rank()}.json").write_text(json.dumps(told, allow_nan=False))


if __name__ == "__main__":
    main()
