"""What a run of one of PaddleSeg's own scripts is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert import output_ops, own_scripts
from segcert.requests.request import DEVICES, Option, Request, Size


@dataclass(frozen=True, kw_only=True)
class RunScript(Request):
    """A script of a checkout, on this run's data and checkpoint, and what must come of it.

    That it came to its end, and did all that it was to do, is asked for by `outcome`: it tells what did not.
    """

    REQUESTED: ClassVar[tuple[str, ...]] = (
        "script",
        "digest",
        "device",
        "engine",
        "precision",
        "threads",
        "iters",
        "batch_size",
        "input_size",
        "seed",
        "images",
        "output_op",
        "outcome",
    )
    IF_ASKED: ClassVar[tuple[str, ...]] = ("output_op",)

    precision: ClassVar[str] = "fp32"
    outcome: ClassVar[str] = "complete"

    script: Annotated[str, Option("its file in the checkout", choices=own_scripts.FILES, flag="--own-script")]
    digest: Annotated[str, Option("first digits of the file's sha256")]
    device: Annotated[str, Option(choices=DEVICES)] = "cpu"
    engine: Annotated[str | None, Option("of Paddle Inference", choices=own_scripts.ENGINES)] = None
    threads: int = 1
    iters: Annotated[int | None, Option("of a training")] = None
    batch_size: Annotated[int | None, Option("of a training")] = None
    input_size: Size = None
    seed: Annotated[int | None, Option("of a training")] = None
    transforms: Annotated[str, Option("whose transforms to evaluate under", choices=("export", "val"))] = "export"
    images: Annotated[int | None, Option("at most so many: validation images, or images of the inference list")] = None
    output_op: Annotated[
        str | None,
        Option("what the program ends in that is exported or run, in place of argmax", choices=output_ops.ALL[1:]),
    ] = None
    max_first_loss: Annotated[float, Option("gate: relative difference of the first loss, at most")] = 0
    max_later_loss: Annotated[float, Option("gate: the same of the losses after it")] = 0
    max_history_loss: Annotated[float, Option("gate: of the mean of the first losses to that of history.csv")] = 0
    max_miou_difference: Annotated[float, Option("gate: difference of the mIoU, at most")] = 0
    min_agreement: Annotated[float, Option("gate: share of pixels equal to the reference's")] = 1
