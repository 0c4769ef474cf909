"""The proof of an export: each engine gives the label maps of the model in memory, in batches of each size.

The images are made up: an export has no data set. Inference cells hold engines to account on real ones. Where the
model gives one class on nearly all of them, as many others would, logits are compared as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
from numpy.typing import NDArray

from segcert import engines, machine
from segcert.compute import apart, metrics, parity
from segcert.compute.engines import library
from segcert.compute.logits import Logits
from segcert.errors import StageError
from segcert.numbers import finite

Images = NDArray[np.float32]
Labels = NDArray[np.integer[Any]]

BATCHES = (1, 2)  # sizes; what is right with both does not depend on it
AGREE = 0.999  # share of pixels, at least: fp32 differs by rounding alone, as in the gate of inference cells
LOGITS = 0.02  # of how much right logits vary over an image: how far others may be off; rounding is far below
FLAT = 1e-4  # right logits that vary by less, as a share of themselves, prove nothing: rounding is not far below
GRID = 8  # points a side that the images are smooth between


@dataclass(frozen=True)
class Trial:
    """What came of running an exported model.

    Attributes:
        agreement: batch size -> share of pixels equal to those of the label maps that are right, as far as it ran.
        failed: why it went no further, in one line.
        logits: where they were to be compared, how far they are off at most, as a share of how much the right ones
            vary; infinite where it gives none.
        weak: where they were to be compared, why they could not be.
    """

    agreement: Mapping[int, float]
    failed: str | None = None
    logits: float | None = None
    weak: str | None = None

    def holds(self, size: int) -> bool:
        """Whether it was right in batches of that size."""
        return self.agreement.get(size, 0) >= AGREE and self.is_near()

    def is_near(self) -> bool:
        """Whether its logits, if they were compared, are right."""
        return self.logits is None or self.logits <= LOGITS

    def wrong(self) -> str | None:
        """In words, what is not as it should be; None where all is."""
        off = [
            f"agrees with the model on {share:.5f} of pixels in batches of {size}"
            for size, share in self.agreement.items()
            if share < AGREE
        ]
        if not self.is_near() and not self.failed:
            off.append(
                f"gives logits that are off the model's by {self.logits:.3g} of how much these vary, at most {LOGITS} "
                "is asked"
            )
        return "; ".join([*off, *filter(None, [self.failed])]) or None

    def as_json(self) -> dict[str, Any]:
        agreement = {str(size): share for size, share in self.agreement.items()}
        more = {
            "failed": self.failed,
            "logits": finite(self.logits) if self.logits is not None else None,
            "weak": self.weak,
        }
        return {"agreement": agreement, **{name: value for name, value in more.items() if value is not None}}


def together(trials: Sequence[Trial]) -> Trial:
    """The trials of the programs of one export, each for batches of another size, as one."""
    agreement = {size: share for trial in trials for size, share in trial.agreement.items()}
    failed, weak = (
        "; ".join(dict.fromkeys(filter(None, said))) or None
        for said in ([trial.failed for trial in trials], [trial.weak for trial in trials])
    )
    return Trial(agreement, failed, max((t.logits for t in trials if t.logits is not None), default=None), weak)


def images(width: int, height: int, count: int = max(BATCHES)) -> Images:
    """N x 3 x H x W, of about the values that normalised images have: smooth, and the same every time."""
    coarse = np.random.default_rng(0).normal(size=(count, GRID, GRID, 3)).astype(np.float32)
    fine = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse]
    return np.ascontiguousarray(np.stack(fine).transpose(0, 3, 1, 2))


def labels(model: Any, batch: Images) -> Labels:
    """Label maps (N x H x W) of the model in memory."""
    with paddle.no_grad():
        found: Labels = model(paddle.to_tensor(batch))[0].argmax(axis=1).numpy()
    return found


def is_weak(expected: Labels) -> bool:
    """Whether one class everywhere would agree with label maps as well: then they tell one model from few others."""
    return bool(np.unique(expected, return_counts=True)[1].max() >= AGREE * expected.size)


def logits(model: Any, batch: Images) -> Logits:
    """Those (N x C x H x W) of the model in memory."""
    with paddle.no_grad():
        found: Logits = model(paddle.to_tensor(batch))[0].numpy()
    return found


def paddles(
    folder: Path, program: str, fed: Images, expected: Labels, sizes: Sequence[int], right: Logits | None = None
) -> Trial:
    """The trial of Paddle's own predictor.

    Args:
        right: logits of the model, where they are to be compared too; so in `by_onnx`.

    Raises:
        StageError: it cannot load the program, or run one image.
    """
    trial = _trial(lambda: library.create("native", folder, program, "cpu", "fp32", 1), fed, expected, sizes, right)
    if not trial.agreement:
        raise StageError(f"Paddle's own predictor cannot run {program}: {trial.failed}")
    if trial.failed and trial.logits is not None:  # this Paddle does not show them, which is no fault of the program
        return Trial(trial.agreement, weak=trial.failed)
    return trial


def by_onnx(
    folder: Path, program: str, fed: Images, expected: Labels, sizes: Sequence[int], right: Logits | None = None
) -> dict[str, Trial]:
    """Engine -> its trial: all that read the ONNX model, compute in fp32 on a CPU and are installed."""
    return {
        name: _apart(name, folder, program, fed, expected, sizes, right)
        for name in onnx_engines()
        if _is_installed(engines.by_name(name))
    }


def onnx_engines() -> list[str]:
    """Those that read an ONNX model and compute in fp32 on a CPU."""
    return [kind.name for kind in engines.ALL if kind.needs_onnx and "fp32" in kind.offers.get(engines.CPU, ())]


def _is_installed(kind: engines.Kind) -> bool:
    packages = [machine.PACKAGES[name] for name in kind.software if name in machine.PACKAGES]
    return all(machine.package_version(*names) for names in packages)


def _apart(
    engine: str,
    folder: Path,
    program: str,
    fed: Images,
    expected: Labels,
    sizes: Sequence[int],
    right: Logits | None,
) -> Trial:
    def trial() -> Trial:
        return _trial(lambda: library.create(engine, folder, program, "cpu", "fp32", 1), fed, expected, sizes, right)

    try:
        return apart.run(trial)
    except StageError as error:
        return Trial({}, str(error))


def _trial(
    build: Callable[[], Any], fed: Images, expected: Labels, sizes: Sequence[int], right: Logits | None
) -> Trial:
    agreement: dict[int, float] = {}
    doing = "cannot load it"
    try:
        runner = build()
        for size in sizes:
            doing = f"cannot run batches of {size}"
            given = runner.run(fed[:size])
            agreement[size] = metrics.agreement(given, expected[:size])
    except Exception as error:
        return Trial(agreement, f"{doing}: {apart.told(error)}")
    if right is None:
        return Trial(agreement)
    try:  # last: engines give label maps no more from then on
        off, weak = _off(runner.logits(fed[:size]), right[:size], given)
    except Exception as error:
        return Trial(agreement, f"its logits cannot be compared: {apart.told(error)}", logits=float("inf"))
    return Trial(agreement, logits=off, weak=weak)


def _off(own: Logits, right: Logits, labels: Labels) -> tuple[float | None, str | None]:
    """How far the logits of a batch are off, as a share of how much the right ones vary; or why that tells nothing."""
    found = [parity.compare("a made-up image", *of_image) for of_image in zip(own, right, labels, strict=True)]
    shares = [max(one.l2 / max(one.constant_l2, FLAT), one.gap) for one in found]
    if all(one.constant_l2 <= FLAT and one.l2 <= FLAT for one in found):
        return None, "the model's logits are the same wherever one looks, so they prove nothing either"
    return (float("inf") if np.isnan(shares).any() else max(shares)), None
