"""The proof of an export: each engine gives the label maps of the model in memory, in batches of each size.

The images are made up: an export has no data set. Inference cells hold engines to account on real ones.
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
from segcert.compute import apart, metrics
from segcert.compute.engines import library
from segcert.errors import StageError

Images = NDArray[np.float32]
Labels = NDArray[np.integer[Any]]

BATCHES = (1, 2)  # sizes; what is right with both does not depend on it
AGREE = 0.999  # share of pixels, at least: fp32 differs by rounding alone, as in the gate of inference cells
GRID = 8  # points a side that the images are smooth between


@dataclass(frozen=True)
class Trial:
    """What came of running an exported model.

    Attributes:
        agreement: batch size -> share of pixels equal to those of the label maps that are right, as far as it ran.
        failed: why it went no further, in one line.
    """

    agreement: Mapping[int, float]
    failed: str | None = None

    def holds(self, size: int) -> bool:
        """Whether it was right in batches of that size."""
        return self.agreement.get(size, 0) >= AGREE

    def wrong(self) -> str | None:
        """In words, what is not as it should be; None where all is."""
        off = [
            f"agrees with the model on {share:.5f} of pixels in batches of {size}"
            for size, share in self.agreement.items()
            if share < AGREE
        ]
        return "; ".join([*off, *filter(None, [self.failed])]) or None

    def as_json(self) -> dict[str, Any]:
        agreement = {str(size): share for size, share in self.agreement.items()}
        return {"agreement": agreement, **({"failed": self.failed} if self.failed else {})}


def together(trials: Sequence[Trial]) -> Trial:
    """The trials of the programs of one export, each for batches of another size, as one."""
    agreement = {size: share for trial in trials for size, share in trial.agreement.items()}
    return Trial(agreement, "; ".join(dict.fromkeys(trial.failed for trial in trials if trial.failed)) or None)


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


def paddles(folder: Path, program: str, fed: Images, expected: Labels, sizes: Sequence[int]) -> Trial:
    """The trial of Paddle's own predictor.

    Raises:
        StageError: it cannot load the program, or run one image.
    """
    trial = _trial(lambda: library.create("native", folder, program, "cpu", "fp32", 1), fed, expected, sizes)
    if not trial.agreement:
        raise StageError(f"Paddle's own predictor cannot run {program}: {trial.failed}")
    return trial


def by_onnx(folder: Path, program: str, fed: Images, expected: Labels, sizes: Sequence[int]) -> dict[str, Trial]:
    """Engine -> its trial: all that read the ONNX model, compute in fp32 on a CPU and are installed."""
    return {
        name: _apart(name, folder, program, fed, expected, sizes)
        for name in onnx_engines()
        if _is_installed(engines.by_name(name))
    }


def onnx_engines() -> list[str]:
    """Those that read an ONNX model and compute in fp32 on a CPU."""
    return [kind.name for kind in engines.ALL if kind.needs_onnx and "fp32" in kind.offers.get(engines.CPU, ())]


def _is_installed(kind: engines.Kind) -> bool:
    packages = [machine.PACKAGES[name] for name in kind.software if name in machine.PACKAGES]
    return all(machine.package_version(*names) for names in packages)


def _apart(engine: str, folder: Path, program: str, fed: Images, expected: Labels, sizes: Sequence[int]) -> Trial:
    def trial() -> Trial:
        return _trial(lambda: library.create(engine, folder, program, "cpu", "fp32", 1), fed, expected, sizes)

    try:
        return apart.run(trial)
    except StageError as error:
        return Trial({}, str(error))


def _trial(build: Callable[[], Any], fed: Images, expected: Labels, sizes: Sequence[int]) -> Trial:
    agreement: dict[int, float] = {}
    doing = "cannot load it"
    try:
        runner = build()
        for size in sizes:
            doing = f"cannot run batches of {size}"
            agreement[size] = metrics.agreement(runner.run(fed[:size]), expected[:size])
    except Exception as error:
        return Trial(agreement, f"{doing}: {apart.told(error)}")
    return Trial(agreement)
