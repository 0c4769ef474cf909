"""Whether an engine computed a quantised model in int8."""

from __future__ import annotations

from collections.abc import Mapping

from segcert.engines import INT8


def observed(counted: Mapping[str, int], held: float) -> str:
    """The precision of a run, by the convolutions that it executed.

    Args:
        counted: precision -> convolutions, as the engine told of them.
        held: the share of its convolutions that the model holds in int8.

    Returns:
        int8 where that share of them was, or more; else the one precision of all, or in words how many were in int8.
    """
    total, done = sum(counted.values()), counted.get(INT8, 0)
    if done and done / total >= held:
        return INT8
    (first, *others) = counted
    return f"{INT8} in {done} of {total} convolutions" if others else first
