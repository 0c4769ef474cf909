"""What an evaluation is asked to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from segcert.requests.request import DEVICES, Option, Request, Size


@dataclass(frozen=True, kw_only=True)
class Evaluate(Request):
    """An evaluation, always in fp32; no limit of images: all."""

    REQUESTED: ClassVar[tuple[str, ...]] = (
        "device",
        "precision",
        "transforms",
        "images",
        "reference_images",
        "input_size",
        "threads",
        "published",
    )

    precision: ClassVar[str] = "fp32"

    device: Annotated[str, Option(choices=DEVICES)] = "cpu"
    transforms: Annotated[str, Option("whose transforms to evaluate under", choices=("export", "val"))] = "export"
    threads: int = 1
    images: Annotated[int | None, Option("at most so many validation images")] = None
    reference_images: Annotated[int | None, Option("at most so many images of the inference list")] = None
    input_size: Size = None
    published: Annotated[str | None, Option("accuracy that is published of the checkpoint, as JSON")] = None
    logits_images: Annotated[int, Option("keep the logits of so many images of the inference list at most")] = 8
    logits_mb: Annotated[float, Option("and in so many MiB at most, but those of one image")] = 640
    sizes: Annotated[
        tuple[str, ...] | None,
        Option("sizes that label maps and logits are kept in besides, as 512x256", metavar="WxH"),
    ] = None

    @property
    def requested(self) -> dict[str, Any]:
        """The same in the form of JSON; `published` as an object."""
        told = json.loads(self.published) if self.published else None
        return {**super().requested, "published": told}
