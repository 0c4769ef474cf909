"""What an export is asked to do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert import output_ops
from segcert.requests.request import DYNAMIC, Option, Request, Size

# Set by the workflow: JSON of model -> the sizes of batches that it is run in. In the environment, because it bears on
# few models: where the batch is free, as of nearly all, another size makes no export anew.
BATCHES = "SEGCERT_BATCH_SIZES"


def environment(sizes: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """What exports are told of the sizes of batches that models are run in."""
    return {BATCHES: json.dumps({model: list(asked) for model, asked in sizes.items()})}


@dataclass(frozen=True, kw_only=True)
class Export(Request):
    """An export: on a CPU, in fp32, and as ONNX too, where that can be done."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "precision", "input_size", "opset", "shapes", "output_op")
    IF_ASKED: ClassVar[tuple[str, ...]] = ("shapes", "output_op")

    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "fp32"

    opset: Annotated[int, Option("ONNX operator set")] = 13
    output_op: Annotated[
        str | None, Option("what the program is to end in, in place of argmax", choices=output_ops.ALL[1:])
    ] = None
    input_size: Size = None
    batch_sizes: Annotated[
        tuple[int, ...] | None, Option("sizes of batches to export for, where the batch cannot be free (1)")
    ] = None
    shapes: Annotated[
        str | None, Option("leave height and width free; without it they are fixed", choices=(DYNAMIC,))
    ] = None
    beside: Annotated[
        str | None, Option("export a program of these shapes too, into a folder below", choices=(DYNAMIC,))
    ] = None

    def sizes(self, model: str) -> tuple[int, ...]:
        """Those of batches to export for where the batch cannot be free, each once: first what the run asks for."""
        run: list[int] = json.loads(os.environ.get(BATCHES, "{}")).get(model, [])
        return tuple(dict.fromkeys([*(self.batch_sizes or ()), *run]))
