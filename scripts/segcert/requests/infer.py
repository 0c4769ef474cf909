"""What an inference cell is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from segcert import engines, output_ops
from segcert.requests.request import DEVICES, DYNAMIC, Option, Request


@dataclass(frozen=True, kw_only=True)
class Infer(Request):
    """An inference cell: an engine in a precision, how long to time it, and what it must keep of its checkpoint."""

    REQUESTED: ClassVar[tuple[str, ...]] = (
        "device",
        "engine",
        "precision",
        "threads",
        "batch_size",
        "output_op",
        "streams",
        "server_p99_ms",
        "soak",
        "shapes",
        "size",
    )

    device: Annotated[str, Option(choices=DEVICES)] = "cpu"
    engine: Annotated[str, Option(choices=tuple(sorted(engines.BY_NAME)))] = "native"
    precision: Annotated[str, Option(choices=("fp32", "fp16", "bf16", "int8"))] = "fp32"
    threads: int = 1
    batch_size: int = 1
    output_op: Annotated[
        str | None, Option("what the exported program ends in, in place of argmax", choices=output_ops.ALL[1:])
    ] = None
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
    roundings: Annotated[
        float | None, Option("gate: logits in fp32 may be off by so many times what rounding explains, if that is more")
    ] = None
    logger: Annotated[str, Option("who writes the benchmark log", choices=("builtin", "auto_log"))] = "builtin"
    streams: Annotated[int | None, Option("requests at once, each with so many threads; without it one")] = None
    server_p99_ms: Annotated[
        float | None, Option("of several streams: find the highest rate whose 99th percentile is within so many ms")
    ] = None

    soak: Annotated[int | None, Option("run so many batches more, to see whether memory grows")] = None
    max_growth_mb: Annotated[float | None, Option("gate: MiB that 1000 of these batches take more, at most")] = None
    shapes: Annotated[
        str | None,
        Option("run the program whose height and width are free; without it, of one size", choices=(DYNAMIC,)),
    ] = None
    size: Annotated[
        tuple[int, int] | None, Option("bring images to that; without it the size of the export", metavar=("W", "H"))
    ] = None

    def __post_init__(self) -> None:
        for name in ("threads", "batch_size", "streams", "soak"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} is refused; allowed: 1 and more")

    @property
    def requested(self) -> dict[str, Any]:
        """The same in the form of JSON, without what only some cells are asked for."""
        return {name: value for name, value in super().requested.items() if value is not None}

    @property
    def cores(self) -> int:
        """CPU threads that compute at once."""
        return self.threads * (self.streams or 1)
