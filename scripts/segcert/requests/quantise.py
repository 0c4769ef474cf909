"""What a quantisation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert.requests.request import Option, Request

STATIC, ACCURACY_CONTROL = "static", "accuracy_control"


@dataclass(frozen=True, kw_only=True)
class Quantise(Request):
    """A quantisation to int8 after training, on a CPU."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "precision", "method", "weight_bits", "images", "min_agreement")

    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "int8"

    method: Annotated[str, Option("how", choices=(STATIC, ACCURACY_CONTROL))] = STATIC
    weight_bits: Annotated[int, Option("of weights")] = 7
    images: Annotated[int, Option("calibrate on at most so many training images")] = 16
    min_agreement: Annotated[
        float | None, Option("of accuracy_control: share of pixels that must stay as they are in fp32")
    ] = None
