"""What an exported program ends in: the values of `export.output_op`, and which of them an output shows.

They are those of `--output_op` of PaddleSeg's tools/export.py: argmax over classes gives label maps, softmax over them
gives probabilities, and with none the program gives logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segcert.numbers import is_number

ARGMAX, SOFTMAX, NONE = "argmax", "softmax", "none"
ALL = (ARGMAX, SOFTMAX, NONE)
SLACK = 0.01  # of a probability and of a sum of them: bfloat16 keeps 8 bits
VALUES = ("lowest", "highest", "sum_lowest", "sum_highest")


def ended_in(output: Any) -> str:
    """What a program ends in, by an output of it; in words, where that is none of ALL.

    Args:
        output: as `segcert.compute.outputs.seen` tells it, or whatever a record has in its place.
    """
    told = output if isinstance(output, Mapping) else {}
    dims, dtype = told.get("dims"), str(told.get("dtype"))
    kind = dtype.rstrip("0123456789")
    if dims == 3 and kind in ("int", "uint"):
        return ARGMAX
    if dims != 4 or kind != "float":
        return f"{dtype} of {dims} dimensions"
    if told.get("channels") != told.get("classes"):
        return f"{told.get('channels')} channels for {told.get('classes')} classes"
    values = [value for name in VALUES if is_number(value := told.get(name))]
    if len(values) != len(VALUES):
        return NONE
    lowest, highest, least, most = values
    is_share = lowest >= -SLACK and highest <= 1 + SLACK and least >= 1 - SLACK and most <= 1 + SLACK
    return SOFTMAX if is_share else NONE


def if_asked(value: str) -> str | None:
    """What a request holds: argmax is what every program ends in that is asked for nothing else."""
    return None if value == ARGMAX else value
