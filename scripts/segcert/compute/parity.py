"""Parity of logits: how far those of an engine are from the checkpoint's, and whether that is evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert import proof
from segcert.compute.logits import Logits
from segcert.errors import StageError
from segcert.numbers import finite

WORST_IMAGES = 3
VAGUE = 0.01  # what is asked, from which on a fault of one channel in a hundred would not be seen


@dataclass(frozen=True)
class Parity:
    """How far the logits of one image are from those that are right.

    Attributes:
        image: its label map.
        l2: ||own - right|| / ||right||, over all classes and pixels.
        peak: the largest |own - right|, as a share of the range of the right ones.
        gap: by how much the class that the timed engine gave falls short of the largest logit, in the worst pixel; as
            a share of the same range. 0 where its label map is an argmax of these logits.
        constant_l2, constant_peak: what `l2` and `peak` of an answer would be that is constant over the image: of each
            class the mean of the right logits.
    """

    image: str
    l2: float
    peak: float
    gap: float
    constant_l2: float
    constant_peak: float


def compare(image: str, own: Logits, right: Logits, label: NDArray[np.integer[Any]]) -> Parity:
    """Hold the logits of an image (C x H x W) against those that are right, and against the label map (H x W) of
    the engine that was timed.

    Raises:
        StageError: they differ in shape, or the label map holds a class that there are no logits of.
    """
    if own.shape != right.shape or label.shape != right.shape[1:]:
        raise StageError(
            f"{image}: the engine gives logits of {own.shape} and a label map of {label.shape}; the checkpoint's "
            f"logits are {right.shape}"
        )
    if label.size and not 0 <= label.min() <= label.max() < len(right):
        raise StageError(
            f"{image}: the engine gives a class that is none of {len(right)}: {label.min()} to {label.max()}"
        )
    off = size = flat_off = 0.0
    peak = flat_peak = 0.0
    for mine, theirs in zip(own, right, strict=True):  # class by class, because whole they may be large
        wide = theirs.astype(np.float64)
        apart, spread = np.abs(mine - wide), np.abs(wide - wide.mean())
        off, flat_off = off + np.vdot(apart, apart), flat_off + np.vdot(spread, spread)
        size += np.vdot(wide, wide)
        peak, flat_peak = np.maximum(peak, apart.max()), np.maximum(flat_peak, spread.max())  # NaN stays
    span = float(right.max()) - float(right.min())
    given = np.take_along_axis(own, label[np.newaxis].astype(np.intp), axis=0)[0]
    return Parity(
        image,
        l2=_share(np.sqrt(off), np.sqrt(size)),
        peak=_share(peak, span),
        gap=_share(float((own.max(axis=0) - given).max()), span),
        constant_l2=_share(np.sqrt(flat_off), np.sqrt(size)),
        constant_peak=_share(flat_peak, span),
    )


def measured(found: Sequence[Parity]) -> dict[str, Any]:
    """Numbers of a record: each is of the image that it is worst of.

    Gates are held against `logits_l2`, `logits_peak` and `logits_gap`.
    """
    worst = sorted(found, key=lambda one: -_badness(one.l2))[:WORST_IMAGES]
    return {
        **{f"logits_{name}": finite(_worst(found, name)) for name in ("l2", "peak", "gap")},
        "logits": {
            "images": len(found),
            "worst_images": [{"image": one.image, "l2": finite(one.l2), "peak": finite(one.peak)} for one in worst],
            **{name: finite(_worst(found, name)) for name in ("constant_l2", "constant_peak")},
        },
    }


def judge(
    max_l2: float,
    max_peak: float,
    numbers: dict[str, Any],
    rounding: Mapping[str, float | None] | None = None,
    times: float | None = None,
) -> list[dict[str, Any]]:
    """The gates on logits, from what `measured` returns: the limits of `logits_l2`, and of the other two.

    Args:
        rounding: what rounding moves logits by (`l2`, `peak`), as `logits.rounding` returns it.
        times: how many times that they may be off, where that is more than the limits; None: it does not count.
    """
    told = numbers["logits"]
    asked, moved = max_l2, {name: (times or 0) * (value or 0) for name, value in (rounding or {}).items()}
    max_l2, max_peak = max(max_l2, moved.get("l2", 0)), max(max_peak, moved.get("peak", 0))
    flat = _passes(told["constant_l2"], max_l2) and _passes(told["constant_peak"], max_peak)
    vague = max_l2 > max(asked, VAGUE)
    weak = "; an answer that is constant over each image would pass as well, so this says little" if flat else ""
    if max_l2 > asked:
        weak += f" ({times:g} times what rounding moves them by{', so this says little' if vague else ''})"
    of, worst = f"logits of {told['images']} images", told["worst_images"][0]["image"]
    return [
        proof.gate(
            "logits_l2",
            numbers["logits_l2"],
            "at most",
            max_l2,
            f"{of} are off the checkpoint's by {_shown(numbers['logits_l2'])} (relative L2), at most "
            f"{max_l2:g} is asked; worst image: {worst}{weak}",
        )
        | {"weak": flat or vague},
        proof.gate(
            "logits_peak",
            numbers["logits_peak"],
            "at most",
            max_peak,
            f"the largest error of {of} is {_shown(numbers['logits_peak'])} of their range, at most "
            f"{max_peak:g} is asked",
        ),
        proof.gate(
            "logits_gap",
            numbers["logits_gap"],
            "at most",
            max_peak,
            f"classes of the timed label maps fall short of the largest logit by up to {_shown(numbers['logits_gap'])} "
            f"of the range of {of}, at most {max_peak:g} is allowed: label maps and logits are to be "
            "of one model",
        ),
    ]


def judge_softmax(off: Mapping[str, float], most: float) -> dict[str, Any]:
    """The gate on probabilities: how far those of images are off, by their label maps."""
    worst = max(off, key=lambda name: _badness(off[name]))
    value = finite(off[worst])
    return proof.gate(
        proof.SOFTMAX,
        value,
        "at most",
        most,
        f"probabilities of {len(off)} images are off the softmax of the checkpoint's logits by {_shown(value)} of the "
        f"range of these, at most {most:g} is asked; worst image: {worst}",
    )


def _passes(value: float | None, threshold: float) -> bool:
    return value is not None and value <= threshold


def _shown(value: float | None) -> str:
    return "no number" if value is None else f"{value:.3g}"


def _worst(found: Sequence[Parity], name: str) -> float:
    values: list[float] = [getattr(one, name) for one in found]
    return max(values, key=_badness)


def _badness(value: float) -> float:
    return float("inf") if np.isnan(value) else value


def _share(part: float, whole: float) -> float:
    if whole > 0:
        return float(part / whole)
    return 0.0 if part == 0 else float("nan")
