"""What an inference cell is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert import engines
from segcert.requests.request import DEVICES, Option, Request


@dataclass(frozen=True, kw_only=True)
class Infer(Request):
    """An inference cell: an engine in a precision, how long to time it, and what it must keep of its checkpoint."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "engine", "precision", "threads", "batch_size")

    device: Annotated[str, Option(choices=DEVICES)] = "cpu"
    engine: Annotated[str, Option(choices=tuple(sorted(engines.BY_NAME)))] = "native"
    precision: Annotated[str, Option(choices=("fp32", "fp16", "bf16", "int8"))] = "fp32"
    threads: int = 1
    batch_size: int = 1
    warmup: Annotated[int, Option("untimed batches first, at least")] = 5
    max_warmup: Annotated[int, Option("and at most, until their times are steady")] = 50
    min_samples: Annotated[int, Option("timed batches at least")] = 20
    min_seconds: Annotated[float, Option("time for so long at least")] = 0
    images: Annotated[int | None, Option("at most so many images of the inference list")] = None
    jobs_beside: Annotated[str, Option("other jobs of the run while it is timed", choices=("none", "any"))] = "any"
    min_agreement: Annotated[float, Option("gate: share of pixels equal to the reference's")]
    max_miou_drop: Annotated[float, Option("gate: mIoU of the reference less that of this, at most")]
    max_logits_l2: Annotated[float, Option("gate: relative L2 error of an image's logits, at most")]
    max_logits_peak: Annotated[float, Option("gate: their largest error as a share of their range, at most")]
    logger: Annotated[str, Option("who writes the benchmark log", choices=("builtin", "auto_log"))] = "builtin"
