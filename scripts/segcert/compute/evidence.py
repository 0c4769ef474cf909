"""What computed: read from Paddle and from what computes for it, not from what was asked.

On a CPU oneDNN's own trace of what it executed, held against what the exported program asks for; on a GPU the operators
that a predictor ran. A setting that was merely passed on proves nothing: engines fall back in silence.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.errors import StageError, Unverified

PRECISIONS = {"f32": "fp32", "bf16": "bf16"}
MOST_OUTSIDE = 0.1  # of the convolutions, where the engine is still called onednn
# Operators that are products of matrices.
PRODUCTS = {
    "matmul",
    "matmul_v2",
    "matmul_with_flatten",
    "mul",
    "bmm",
    "baddbmm",
    "addmm",
    "mv",
    "fc",
    "linear",
    "linear_v2",
}


def outside_onednn(trace: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, int | None]:
    """What a program asks for and oneDNN did not execute: convolutions, products (None: not known).

    Args:
        trace: what oneDNN executed, as `onednn_trace` returns it.
        asked: what the program asks for, as `program_work` returns it.
    """
    return {
        kind: None if asked[kind] is None else max(0, asked[kind] - sum(trace[kind].values()))
        for kind in ("convolutions", "products")
    }


def cpu_effective(
    trace: Mapping[str, Any], asked: Mapping[str, Any], outside: Mapping[str, int | None], threads_set: int
) -> dict[str, Any]:
    """device, engine, precision and threads of a Paddle predictor on a CPU.

    What ran outside oneDNN ran on Paddle's own CPU kernels, which compute in float32 (or more). Where that is more
    than MOST_OUTSIDE of the convolutions, or more than half of all, two engines computed: `native+onednn`. A few
    may be, because oneDNN lacks kernels that models use: a batched product, in OCRNet.
    """
    work = Counter(trace["convolutions"]) + Counter(trace["products"])
    if not work:
        return {"device": "cpu", "engine": "native", "precision": "fp32", "threads": threads_set}
    missed = sum(filter(None, outside.values()))
    mixed = (outside["convolutions"] or 0) > MOST_OUTSIDE * (asked["convolutions"] or 0) or missed > sum(work.values())
    work["f32"] += missed
    engine = "native+onednn" if mixed else "onednn"
    return {"device": "cpu", "engine": engine, "threads": trace["threads"], "precision": precision_of(work)}


def program_work(program: Path) -> dict[str, Any]:
    """How many convolutions and products of matrices an exported program holds, from its file.

    Returns:
        convolutions, products; or both None, and `unread` with the reason, where this Paddle cannot tell.
    """
    try:
        operators = _operators(program)
    except Exception as error:  # a form of another Paddle: no reason to fail, and none to believe
        return {"convolutions": None, "products": None, "unread": f"{program.name}: {type(error).__name__}: {error}"}
    return {
        "convolutions": sum("conv" in operator for operator in operators),
        "products": sum(operator in PRODUCTS for operator in operators),
    }


def _operators(program: Path) -> list[str]:
    """The operators of a program, without their dialect: model.json of Paddle 3 or model.pdmodel of Paddle 2."""
    if program.suffix == ".json":
        return list(_json_operators(json.loads(program.read_text(encoding="utf-8"))["program"]))
    from paddle.base import core

    described = core.ProgramDesc(program.read_bytes())
    blocks = [described.block(index) for index in range(described.num_blocks())]
    return [block.op(index).type() for block in blocks for index in range(block.op_size())]


def _json_operators(node: Any) -> Iterator[str]:
    """The operators of a region, a block or an operator with regions of its own (`"#": "1.conv2d"`)."""
    for region in node.get("regions", []):
        for block in region["blocks"]:
            for operator in block["ops"]:
                yield operator["#"].rpartition(".")[2]
                yield from _json_operators(operator)


@dataclass(frozen=True)
class ExecutedOperators:
    """What a Paddle predictor executed: (operator, dtype of an output, place of it) -> how many."""

    counts: Mapping[tuple[str, str, str], int]

    def effective(self) -> dict[str, Any]:
        """device, engine and precision of the convolutions.

        Raises:
            Unverified: TensorRT took them in; what a subgraph of its computes in cannot be seen from outside.
            StageError: there is no convolution.
        """
        subgraphs = sum(count for (operator, _, _), count in self.counts.items() if "tensorrt_engine" in operator)
        if subgraphs:
            raise Unverified(
                f"{subgraphs} TensorRT subgraphs ran; this Paddle does not tell what precision they compute in",
                lasting=True,
            )
        convolutions = Counter[str]()
        places, engines = set(), set()
        for (operator, dtype, place), count in self.counts.items():
            if "conv2d" in operator:
                convolutions[dtype] += count
                places.add("gpu" if "gpu" in place else "cpu")
                engines.add("onednn" if operator.startswith("onednn") else "native")
        if not convolutions:
            raise StageError("the predictor executed no convolution that it tells of; what computed is unknown")
        names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
        (dtype, _), *_ = convolutions.most_common(1)
        return {
            "device": "+".join(sorted(places)),
            "engine": "+".join(sorted(engines)),
            "precision": names.get(dtype, dtype),
        }

    def evidence(self) -> dict[str, Any]:
        operators = [
            {"operator": operator, "dtype": dtype, "place": place, "count": count}
            for (operator, dtype, place), count in sorted(self.counts.items())
        ]
        return {"operators": operators}


def executed_operators(predictor: Any, batch: NDArray[np.float32]) -> ExecutedOperators:
    """Run a batch through a Paddle predictor and note every operator that it executes.

    The predictor calls the hook for each output of each operator (Paddle Inference,
    Predictor.register_output_hook); from then on it is slow, so give it a clone.
    """
    seen: Counter[tuple[str, str, str]] = Counter()

    def note(operator: str, _name: str, tensor: Any) -> None:
        # Paddle 3 numbers its operators ("pd_op.conv2d:12").
        kind = operator.split(":")[0]
        seen[kind, str(tensor.dtype).removeprefix("paddle."), str(tensor.place)] += 1

    predictor.register_output_hook(note)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.reshape(batch.shape)
    handle.copy_from_cpu(batch)
    predictor.run()
    return ExecutedOperators(seen)


def precision_of(convolutions: Mapping[str, int]) -> str:
    """The precision that most convolutions computed in; `unknown` where none of those known does so.

    Args:
        convolutions: how many there were by dtype, as oneDNN and OpenVINO name it.
    """
    total = sum(convolutions.values())
    names = (name for dtype, name in PRECISIONS.items() if convolutions.get(dtype, 0) > total / 2)
    return next(names, "unknown")


# -- oneDNN's trace ---------------------------------------------------------------------------


def onednn_trace(run: Any) -> dict[str, Any]:
    """What oneDNN executed while `run` ran, from its own verbose output.

    Returns:
        primitives: how many were executed; kinds: by kind; convolutions, and products (of matrices, which
        do the work of a transformer): by the dtype of their source; threads: as oneDNN reports them (None
        where it executed nothing).

    Source of the format: oneDNN developer guide, "Verbose mode": fields by commas; a memory is
    `src:bf16::blocked:...` in the v1 lines of Paddle 3's oneDNN, `src_bf16::blocked:...` in Paddle 2's.
    """
    import paddle

    library = Path(paddle.__file__).parent / "libs" / "libdnnl.so.3"
    if not library.is_file():
        raise StageError(f"{library}: not there, so what oneDNN executes cannot be seen; is this Paddle a Linux wheel?")
    onednn = ctypes.CDLL(str(library))
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryFile() as trace:
        libc.fflush(None)
        stdout = os.dup(1)
        try:
            os.dup2(trace.fileno(), 1)
            onednn.dnnl_set_verbose(1)
            try:
                run()
            finally:
                onednn.dnnl_set_verbose(0)
                libc.fflush(None)
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        trace.seek(0)
        text = trace.read().decode(errors="replace")
    return parse_onednn_trace(text)


def parse_onednn_trace(text: str) -> dict[str, Any]:
    """The summary of verbose output that `onednn_trace` returns."""
    kinds: Counter[str] = Counter()
    convolutions: Counter[str] = Counter()
    products: Counter[str] = Counter()
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 8 and fields[0] in ("onednn_verbose", "dnnl_verbose") and "exec" in fields[:4]:
            kind, layouts = fields[fields.index("exec") + 2], fields[fields.index("exec") + 5]
            kinds[kind] += 1
            if kind in ("convolution", "deconvolution", "inner_product", "matmul"):
                source = re.search(r"\bsrc[:_]([a-z0-9]+):", layouts)
                counted = convolutions if kind.endswith("convolution") else products
                counted[source[1] if source else "unknown"] += 1
    threads = re.search(r"nthr:(\d+)", text)
    return {
        "primitives": sum(kinds.values()),
        "kinds": dict(kinds),
        "convolutions": dict(convolutions),
        "products": dict(products),
        "threads": int(threads[1]) if threads else None,
    }
