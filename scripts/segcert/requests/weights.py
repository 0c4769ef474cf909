"""What is asked for where weights are taken as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert.requests.request import Option, Request


@dataclass(frozen=True, kw_only=True)
class Weights(Request):
    """An entry of `weights` in the configuration; None: there is none to take."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "weights")

    device: ClassVar[str] = "cpu"

    weights: Annotated[str | None, Option("entry of `weights` in the configuration", flag="--weights-name")]

    def options(self) -> list[str]:
        """None: the rule names the entry where it says where to get it from."""
        return []
