"""The rules of the matrix: which combinations are left out, and why.

The ids are those under which the original's rules are listed in docs/matrix.md. `tipc` follows the
original to the letter; `strict` corrects a rule where the original's own documentation, or what an engine
really offers, says otherwise.
"""

from __future__ import annotations

from segcert import engines
from segcert.engines import CPU

# Of trainings, whichever set is chosen. The original's chain for it (test_train_dy2static_python.sh) trains on one GPU.
OF_GRAPHS = {
    "T1": "training as a static graph on several devices is left out",
    "T2": "training as a static graph in mixed precision is left out",
}
# Of inference where height and width are free, whichever set is chosen.
OF_SHAPES = {
    "D1": "TensorRT is left out where height and width are free: it is built for sizes that it is told of before",
    "D2": "int8 is left out where height and width are free: what is quantised has one size",
}
RULES = {
    "tipc": {
        "C1": "CPU: a quantised model without oneDNN is left out",
        "C2": "CPU: fp16 without oneDNN is left out",
        "C3": "CPU: a quantised model in another precision than int8 is left out",
        "C4": "CPU: a model that is not quantised in another precision than fp32 is left out",
        "G1": "GPU: int8 of a model that is not quantised is left out",
        "G2": "GPU: fp16 and int8 without TensorRT are left out",
        "G3": "GPU: a quantised model without TensorRT, or in int8, is left out",
        "E1": "an engine that does not offer a precision is left out (no rule of the original's)",
    },
    "strict": {
        "C1": "CPU: a quantised model on another engine than oneDNN is left out",
        "C2": "CPU: fp16 and bf16 are left out on engines that do not offer them",
        "C3": "CPU: a quantised model in another precision than int8 is left out",
        "C4": "CPU: int8 is left out on engines that do not offer it",
        "G1": "GPU: int8 of a model that is not quantised is left out",
        "G2": "GPU: a precision that the engine does not offer is left out",
        "G3": "GPU: a quantised model without TensorRT, or in another precision than int8, is left out",
    },
}


def training_left_out(topology: str, precision: str, graph: str) -> str | None:
    """The rule that leaves a training out, with its id and in words; None where it is run."""
    tried = {"T1": topology != "single", "T2": precision != "fp32"}
    return next((f"{rule}: {OF_GRAPHS[rule]}" for rule, holds in tried.items() if holds and graph == "to_static"), None)


def free_shapes_left_out(engine: str, precision: str) -> str | None:
    """The same of an inference where height and width are free."""
    tried = {"D1": engine == "tensorrt", "D2": precision == "int8"}
    return next((f"{rule}: {OF_SHAPES[rule]}" for rule, holds in tried.items() if holds), None)


def left_out(rules: str, device: str, engine: str, precision: str, quant: bool = False) -> str | None:
    """The rule that leaves a combination out, with its id and in words; None where it is run.

    Args:
        rules: tipc | strict.
        quant: whether the model is quantised as it is, so that there is no other to run; int8 of any other is computed
            from what this workflow quantises.
    """
    rule = (_tipc if rules == "tipc" else _strict)(device, engine, precision, quant)
    if rule is None:
        return None
    offered = ", ".join(engines.by_name(engine).offers[device])
    told = rule == "E1" or (rules == "strict" and rule in ("G2", "C2", "C4"))
    why = f" ({engine} on {device} is offered in {offered} here, not in {precision})" if told else ""
    return f"{rule}: {RULES[rules][rule]}{why}"


def _tipc(device: str, engine: str, precision: str, quant: bool) -> str | None:
    onednn, tensorrt = engine == "onednn", engine == "tensorrt"
    if device == CPU:
        tried = {
            "C1": quant and not onednn,
            "C2": precision == "fp16" and not onednn,
            "C3": quant and precision != "int8",
            "C4": not quant and precision != "fp32",
        }
    else:
        tried = {
            "G1": not quant and precision == "int8",
            "G2": precision in ("fp16", "int8") and not tensorrt,
            "G3": quant and (not tensorrt or precision == "int8"),
            "E1": not quant and precision not in engines.by_name(engine).offers[device],
        }
    return next((rule for rule, holds in tried.items() if holds), None)


def _strict(device: str, engine: str, precision: str, quant: bool) -> str | None:
    offered = precision in engines.by_name(engine).offers[device]
    if device == CPU:
        tried = {
            "C1": quant and engine != "onednn",
            "C2": precision in ("fp16", "bf16") and not offered,
            "C3": quant and precision != "int8",
            "C4": precision == "int8" and not (quant or offered),
        }
    else:
        tried = {
            "G1": not quant and precision == "int8",
            "G2": precision != "int8" and not offered,
            "G3": quant and (engine != "tensorrt" or precision != "int8"),
        }
    return next((rule for rule, holds in tried.items() if holds), None)
