"""One training step on four fixed images, shared among the ranks; rank 0 saves the weights' changes.

Run by test_gradients.py, alone and under Paddle's launcher. No batch norm, no dropout: with them ranks
that see different images compute different things by design.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import numpy as np
import paddle
import paddle.distributed as dist

from segcert.compute import components, losses, training


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.second = paddle.nn.Conv2D(8, 4, 3, padding=1)

    def forward(self, images):
        return [self.second(paddle.nn.functional.relu(self.first(images)))]


def main():
    paddle.set_device("cpu")
    ranks = dist.ParallelEnv().nranks
    if ranks > 1:
        dist.init_parallel_env()
    components.seed_all(11)
    net = Net()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 3, 16, 16)).astype("float32")
    labels = rng.integers(0, 4, (4, 16, 16))
    share = slice(dist.get_rank() * 4 // ranks, (dist.get_rank() + 1) * 4 // ranks)
    before = [parameter.numpy().copy() for parameter in net.parameters()]
    optimizer = paddle.optimizer.SGD(1.0, parameters=net.parameters())  # a step of 1: the change is the gradient
    made = {"types": [losses.TypedCrossEntropyLoss()], "coef": [1]}
    scaler = paddle.amp.GradScaler(enable=False)
    training.step(
        paddle.DataParallel(net) if ranks > 1 else net, net, made, optimizer, scaler, training.Precision("fp32"),
        {"img": paddle.to_tensor(images[share]), "label": paddle.to_tensor(labels[share])},
    )  # fmt: skip
    if dist.get_rank() == 0:
        changes = [old - new.numpy() for old, new in zip(before, net.parameters(), strict=True)]
        np.savez(os.environ["GRADIENTS"], *changes)


main()
