"""What oneDNN executes for Paddle on a CPU, from its own trace, held against what the exported program asks for."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import paddle

from segcert.compute.engines.base import precision_of
from segcert.errors import StageError

TYPES = {"f32": "fp32", "bf16": "bf16"}
MOST_OUTSIDE = 0.1  # of the convolutions, where the engine is still called onednn


def of(run: Callable[[], object]) -> dict[str, Any]:
    """What oneDNN executed while `run` ran, from its own verbose output.

    Returns:
        primitives: how many were executed; kinds: by kind; convolutions, and products (of matrices, which
        do the work of a transformer): by the dtype of their source; threads: as oneDNN reports them (None
        where it executed nothing).

    Source of the format: oneDNN developer guide, "Verbose mode": fields by commas; a memory is
    `src:bf16::blocked:...` in the v1 lines of Paddle 3's oneDNN, `src_bf16::blocked:...` in Paddle 2's.
    """
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
    return parse(text)


def parse(text: str) -> dict[str, Any]:
    """The summary of verbose output that `of` returns."""
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


def outside(trace: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, int | None]:
    """What a program asks for and oneDNN did not execute: convolutions, products (None: not known).

    Args:
        trace: what oneDNN executed, as `of` returns it.
        asked: what the program asks for, as `paddle_inference.program_work` returns it.
    """
    return {
        kind: None if asked[kind] is None else max(0, asked[kind] - sum(trace[kind].values()))
        for kind in ("convolutions", "products")
    }


def effective(
    trace: Mapping[str, Any], asked: Mapping[str, Any], missed: Mapping[str, int | None], threads_set: int
) -> dict[str, Any]:
    """device, engine, precision and threads of a Paddle predictor on a CPU.

    What ran outside oneDNN ran on Paddle's own CPU kernels, which compute in float32 (or more). Where that is more
    than MOST_OUTSIDE of the convolutions, or more than half of all, two engines computed: `native+onednn`. A few
    may be, because oneDNN lacks kernels that models use: a batched product, in OCRNet.

    Args:
        trace, asked: as `outside` takes them.
        missed: as it returns them.
        threads_set: what Paddle was told.
    """
    work = Counter(trace["convolutions"]) + Counter(trace["products"])
    if not work:
        return {"device": "cpu", "engine": "native", "precision": "fp32", "threads": threads_set}
    total = sum(filter(None, missed.values()))
    mixed = (missed["convolutions"] or 0) > MOST_OUTSIDE * (asked["convolutions"] or 0) or total > sum(work.values())
    work["f32"] += total
    engine = "native+onednn" if mixed else "onednn"
    return {"device": "cpu", "engine": engine, "threads": trace["threads"], "precision": precision_of(work, TYPES)}
