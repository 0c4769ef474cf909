"""What an export is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert.requests.request import Option, Request, Size


@dataclass(frozen=True, kw_only=True)
class Export(Request):
    """An export: on a CPU, in fp32, and as ONNX too, where that can be done."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "precision", "input_size", "opset")

    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "fp32"

    opset: Annotated[int, Option("ONNX operator set")] = 13
    input_size: Size = None
    batch_sizes: Annotated[
        tuple[int, ...] | None, Option("sizes of batches to export for, where the batch cannot be free (1)")
    ] = None
