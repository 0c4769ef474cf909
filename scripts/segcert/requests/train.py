"""What a training is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert.requests.request import DEVICES, Option, Request, Size


@dataclass(frozen=True, kw_only=True)
class Train(Request):
    """A training: fp32, or amp with a level and a dtype; `batch_size`, `workers` and `threads` are of each rank.

    Its model runs as Python, layer by layer (dynamic), or as one program that is made of it (to_static).
    """

    REQUESTED: ClassVar[tuple[str, ...]] = (
        "device",
        "devices",
        "precision",
        "level",
        "dtype",
        "graph",
        "iters",
        "batch_size",
        "input_size",
        "seed",
        "workers",
        "threads",
        "batch_norm_momentum",
        "soak",
    )
    IF_ASKED: ClassVar[tuple[str, ...]] = ("soak",)

    device: Annotated[str, Option(choices=DEVICES)] = "cpu"
    devices: Annotated[int, Option("ranks, one per device")] = 1
    precision: Annotated[str, Option(choices=("fp32", "amp"))] = "fp32"
    level: Annotated[str | None, Option(flag="--amp-level", choices=("O1", "O2"))] = None
    dtype: Annotated[str | None, Option(flag="--amp-dtype", choices=("float16", "bfloat16"))] = None
    graph: Annotated[str, Option("how the model is run", choices=("dynamic", "to_static"))] = "dynamic"
    iters: int
    batch_size: Annotated[int, Option("per device")]
    seed: int = 100
    workers: Annotated[int, Option("data loader processes per device")] = 0
    threads: Annotated[int, Option("CPU threads per rank")] = 1
    log_iters: int = 10
    snapshot_iters: Annotated[int, Option("save a snapshot every so many; 0: none")] = 0
    input_size: Size = None
    batch_norm_momentum: Annotated[
        float | None, Option("share of the running statistics that a step keeps; the model's own where not given")
    ] = None
    soak: Annotated[int | None, Option("look at the memory over so many of the last iterations")] = None
    max_growth_mb: Annotated[float | None, Option("gate: MiB that 1000 of these take more, at most")] = None

    def __post_init__(self) -> None:
        if {bool(self.level), bool(self.dtype)} != {self.precision == "amp"}:
            raise ValueError("--precision amp goes with --amp-level and --amp-dtype, and they go with nothing else")
