"""The types that a model really computes in, seen on the outputs of its convolutions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import paddle

LOW = ("float16", "bfloat16")


class DtypeProbe:
    """Counts the dtypes that convolutions give and that their weights are of, by hooks on their outputs."""

    def __init__(self, model: Any) -> None:
        self.outputs: Counter[str] = Counter()
        self.weights: Counter[str] = Counter()
        self._hooks = [
            layer.register_forward_post_hook(self._see)
            for layer in model.sublayers(include_self=True)
            if isinstance(layer, paddle.nn.Conv2D)
        ]

    def _see(self, layer: Any, _inputs: Any, output: Any) -> None:
        self.outputs[name(output)] += 1
        self.weights[name(layer.weight)] += 1

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def counts(self) -> dict[str, Any]:
        """For a record: how many convolutions gave which type, and the types alone."""
        return {"conv_outputs": dict(sorted(self.outputs.items())), "conv_output_dtypes": sorted(self.outputs)}

    def effective(self) -> dict[str, Any]:
        """precision, level and dtype as observed.

        It was mixed precision where more than half of the convolutions gave float16 or bfloat16, O2 where more
        than half of their weights were of such a type; otherwise fp32, whatever was asked.
        """
        if not _mostly_low(self.outputs):
            return {"precision": "fp32", "level": None, "dtype": None}
        level = "O2" if _mostly_low(self.weights) else "O1"
        return {"precision": "amp", "level": level, "dtype": max(LOW, key=self.outputs.__getitem__)}


def _mostly_low(counted: Counter[str]) -> bool:
    return sum(counted[dtype] for dtype in LOW) * 2 > counted.total()


def name(tensor: Any) -> str:
    """float32, bfloat16, ... of a tensor."""
    return str(tensor.dtype).removeprefix("paddle.")
