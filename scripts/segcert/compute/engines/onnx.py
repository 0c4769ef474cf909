"""What engines that read the export's ONNX model have in common: the model, and the same that ends in logits."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert import output_ops
from segcert.compute.engines.base import Engine
from segcert.errors import StageError

BETWEEN = ("Cast", "Identity", "Squeeze")  # nodes from an argmax to the label maps


class OnnxEngine(Engine):
    """An engine that loads an ONNX model: `build` loads what `model` returns."""

    of_logits = False  # whether what is built gives logits

    def model(self) -> str | bytes:
        """What the library is to load: the name of the file, or in place of it the model that ends in logits."""
        path = self.folder / self.program
        return of_logits(path, self.output_op) if self.of_logits else str(path)

    @abstractmethod
    def release(self) -> None:
        """Give back what `build` made."""

    @abstractmethod
    def given(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """The first output of the model, for a batch."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        return self.given(batch)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.of_logits and self.output_op != output_ops.NONE:
            self.release()  # so that two models never take memory at a time
            self.of_logits = True
            self.build()
        return self.given(batch).astype(np.float32, copy=False)


def of_logits(path: Path, ends_in: str) -> bytes:
    """An ONNX model that gives the logits of another that ends in argmax, in softmax, or in logits itself."""
    if ends_in == output_ops.NONE:
        return path.read_bytes()
    return without_softmax(path) if ends_in == output_ops.SOFTMAX else without_argmax(path)


def without_argmax(path: Path) -> bytes:
    """An ONNX model that gives what the first output of another is the argmax of, with the weights of that.

    What only the argmax needs stays in it; every runtime leaves out what no output needs.

    Raises:
        StageError: its first output is no argmax.
    """
    return _without(path, "ArgMax", BETWEEN)


def without_softmax(path: Path) -> bytes:
    """The same of one whose first output is a softmax.

    Below operator set 13 paddle2onnx turns the classes to the end for it, and back.
    """
    return _without(path, "Softmax", ("Transpose",))


def _without(path: Path, kind: str, between: tuple[str, ...]) -> bytes:
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    turned = False
    while node is not None and node.op_type in between:
        turned = turned or node.op_type == "Transpose"
        node = makers.get(node.input[0])
    before = makers.get(node.input[0]) if node is not None and turned else node
    if node is None or node.op_type != kind or before is None or (turned and before.op_type != "Transpose"):
        raise StageError(
            f"{path}: what it gives is no {kind.lower()}, so its logits cannot be had; export the model again"
        )
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(before.input[0], onnx.TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())
