"""Programs of Paddle's without the softmax at their end: model.json of Paddle 3, model.pdmodel of Paddle 2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert.errors import StageError

SOFTMAX, FETCH = "softmax", "fetch"
BETWEEN = ("assign", "scale")  # from it to the output: Paddle 2 multiplies that by 1


def without(program: Path) -> bytes:
    """A program that gives what the first output of another is the softmax of, from the same parameters.

    Raises:
        StageError: its first output is no softmax.
    """
    made = _of_json(program) if program.suffix == ".json" else _of_description(program)
    if made is None:
        raise StageError(f"{program}: what it gives is no softmax, so its logits cannot be had; export the model again")
    return made


def _of_json(program: Path) -> bytes | None:
    content = json.loads(program.read_text(encoding="utf-8"))
    (block, *_) = content["program"]["regions"][0]["blocks"]
    operators = block["ops"]
    makers = {output["%"]: operator for operator in operators for output in _outputs(operator)}
    (fetch, *_) = [operator for operator in operators if _kind(operator) == FETCH]
    maker = makers[fetch["I"][0]["%"]]
    if _kind(maker) != SOFTMAX:
        return None
    fetch["I"] = maker["I"]
    operators.remove(maker)
    return json.dumps(content).encode()


def _kind(operator: Mapping[str, Any]) -> str:
    return str(operator["#"]).rpartition(".")[2]


def _outputs(operator: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    made = operator["O"]  # of a parameter it is no list
    return made if isinstance(made, list) else [made]


def _of_description(program: Path) -> bytes | None:
    from paddle.base import core

    described = core.ProgramDesc(program.read_bytes())
    block = described.block(0)
    operators = [block.op(index) for index in range(block.op_size())]
    makers = {name: operator for operator in operators for name in operator.output_arg_names()}
    (fetch, *_) = [operator for operator in operators if operator.type() == FETCH]
    maker = makers[fetch.input("X")[0]]
    while maker.type() in BETWEEN:
        maker = makers[maker.input("X")[0]]
    if maker.type() != SOFTMAX:
        return None
    fetch.set_input("X", maker.input("X"))
    content: bytes = described.serialize_to_string()
    return content
