"""Outputs of exported programs: what they show of the program's end, and the label maps that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.compute.logits import Logits
from segcert.numbers import finite


def seen(given: NDArray[Any], classes: int) -> dict[str, Any]:
    """The output for a batch, in the numbers that tell what the program ends in.

    Args:
        classes: how many the model tells apart.
    """
    told: dict[str, Any] = {"dims": given.ndim, "dtype": str(given.dtype)}
    if given.ndim != 4 or not given.size:
        return told
    sums = given.sum(axis=1, dtype=np.float64)
    values = {
        "lowest": given.min(),
        "highest": given.max(),
        "sum_lowest": sums.min(),
        "sum_highest": sums.max(),
    }
    numbers = {name: finite(float(value)) for name, value in values.items()}
    return {**told, "channels": given.shape[1], "classes": classes, **numbers}


def label_maps(given: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """N x H x W label maps, from these or from N x C x H x W: of each pixel the class with the largest number.

    Of equal ones the first, as PaddleSeg's deploy/python/infer.py does with `--with_argmax`.
    """
    labels: NDArray[np.integer[Any]] = given.argmax(axis=1) if given.ndim == 4 else given
    return labels


def probabilities_off(given: NDArray[np.floating[Any]], logits: Logits) -> float:
    """The largest error of a probability of an image (C x H x W), as a share of the range of the logits, at least 1.

    An error of logits by some share of their range makes one of probabilities by half of that at most.

    Args:
        logits: that the probabilities are to be the softmax of; infinite where these are of another size.
    """
    if given.shape != logits.shape:
        return float("inf")
    powers = np.exp(logits - logits.max(axis=0, keepdims=True), dtype=np.float32)
    off = np.abs(given - powers / powers.sum(axis=0, keepdims=True)).max()
    return float(off) / max(1.0, float(logits.max()) - float(logits.min()))
