"""What engines that read the export's ONNX model have in common: the model, and the same without its argmax."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.compute.engines.base import Engine
from segcert.errors import StageError

BETWEEN = ("Cast", "Identity", "Squeeze")  # nodes from an argmax to the label maps


class OnnxEngine(Engine):
    """An engine that loads an ONNX model: `build` loads what `model` returns."""

    of_logits = False  # whether what is built gives logits

    def model(self) -> str | bytes:
        """What the library is to load: the name of the file, or in place of it the model without its argmax."""
        path = self.folder / self.program
        return without_argmax(path) if self.of_logits else str(path)

    @abstractmethod
    def release(self) -> None:
        """Give back what `build` made."""

    @abstractmethod
    def given(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """The first output of the model, for a batch."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        return self.given(batch)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.of_logits:
            self.release()  # so that two models never take memory at a time
            self.of_logits = True
            self.build()
        return self.given(batch).astype(np.float32, copy=False)


def without_argmax(path: Path) -> bytes:
    """An ONNX model that gives what the first output of another is the argmax of, with the weights of that.

    What only the argmax needs stays in it; every runtime leaves out what no output needs.

    Raises:
        StageError: its first output is no argmax.
    """
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in BETWEEN:
        node = makers.get(node.input[0])
    if node is None or node.op_type != "ArgMax":
        raise StageError(f"{path}: what it gives is no argmax, so its logits cannot be had; export the model again")
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())
