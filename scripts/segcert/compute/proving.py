"""The proof of an export: each engine gives the label maps of the model in memory, in batches of each size.

The images are made up: an export has no data set. Inference cells hold engines to account on real ones. Where the
model gives one class on nearly all of them, as many others would, logits are compared as well; and wherever a program
is to give something else than label maps. Where height and width are to be free, images of another size are run too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
from numpy.typing import NDArray

from segcert import engines, machine, output_ops
from segcert.compute import apart, metrics, outputs, parity
from segcert.compute.engines import library
from segcert.compute.logits import Logits
from segcert.errors import StageError
from segcert.numbers import finite

Images = NDArray[np.float32]
Labels = NDArray[np.integer[Any]]
Other = tuple[Images, Labels]  # images of another size, and the label maps that are right of them

BATCHES = (1, 2)  # sizes; what is right with both does not depend on it
AGREE = 0.999  # share of pixels, at least: fp32 differs by rounding alone, as in the gate of inference cells
PROBABILITIES = 0.001  # of the range of right logits: how far probabilities may be off; rounding is far below
LOGITS = 0.02  # of how much right logits vary over an image: how far others may be off; rounding is far below
FLAT = 1e-4  # right logits that vary by less, as a share of themselves, prove nothing: rounding is not far below
STEP = 32  # by how much larger images of another size are: most networks divide sides by that, and no more
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
        elsewhere: the agreement on images of another size, where those were to be run; 0 where it did not run them.
        input_shape: N x 3 x H x W, as the loaded model has it: None where any number goes.
        output: where it was to end in something else than argmax, what it gave, as `outputs.seen` tells it.
        asked: what it was to end in then.
        softmax: where that was softmax, and it is, how far its probabilities are off at most.
    """

    agreement: Mapping[int, float]
    failed: str | None = None
    logits: float | None = None
    weak: str | None = None
    elsewhere: float | None = None
    input_shape: Sequence[int | None] | None = None
    output: Mapping[str, Any] | None = None
    asked: str | None = None
    softmax: float | None = None

    def holds(self, size: int) -> bool:
        """Whether it was right in batches of that size."""
        agrees = self.agreement.get(size, 0) >= AGREE and not self._is_off_elsewhere()
        return agrees and self.is_near() and self.ends_right()

    def shares(self) -> list[float]:
        """Each share of pixels that was compared."""
        return [*self.agreement.values(), *([] if self.elsewhere is None else [self.elsewhere])]

    def is_free(self) -> bool:
        """Whether images of any height and width go, by what is loaded."""
        return self.input_shape is not None and list(self.input_shape[2:]) == [None, None]

    def _is_off_elsewhere(self) -> bool:
        return self.elsewhere is not None and self.elsewhere < AGREE

    def is_near(self) -> bool:
        """Whether its logits and probabilities, if they were compared, are right."""
        return not self._is_off_in_logits() and not self._is_off_in_probabilities()

    def _is_off_in_logits(self) -> bool:
        return self.logits is not None and self.logits > LOGITS

    def _is_off_in_probabilities(self) -> bool:
        return self.softmax is not None and self.softmax > PROBABILITIES

    def ends_right(self) -> bool:
        """Whether it ends in what it was to end in, as far as that was looked at."""
        return self.output is None or output_ops.ended_in(self.output) == self.asked

    def wrong(self) -> str | None:
        """In words, what is not as it should be; None where all is."""
        off = [
            f"agrees with the model on {share:.5f} of pixels in batches of {size}"
            for size, share in self.agreement.items()
            if share < AGREE
        ]
        if self._is_off_elsewhere() and not self.failed:
            off.append(f"agrees with the model on {self.elsewhere:.5f} of pixels of images of another size")
        if not self.ends_right():
            off.append(f"ends in {output_ops.ended_in(self.output)}, not in {self.asked}")
        if self._is_off_in_logits() and not self.failed:
            off.append(
                f"gives logits that are off the model's by {self.logits:.3g} of how much these vary, at most {LOGITS} "
                "is asked"
            )
        if self._is_off_in_probabilities():
            off.append(
                f"gives probabilities that are off by {self.softmax:.3g} of the range of the model's logits, at most "
                f"{PROBABILITIES} is asked"
            )
        return "; ".join([*off, *filter(None, [self.failed])]) or None

    def as_json(self) -> dict[str, Any]:
        agreement = {str(size): share for size, share in self.agreement.items()}
        more = {
            "failed": self.failed,
            "logits": finite(self.logits) if self.logits is not None else None,
            "weak": self.weak,
            "another_size": self.elsewhere,
            "output_op": output_ops.ended_in(self.output) if self.output else None,
            "softmax_peak": finite(self.softmax),
        }
        return {"agreement": agreement, **{name: value for name, value in more.items() if value is not None}}


def together(trials: Sequence[Trial]) -> Trial:
    """The trials of the programs of one export, each for batches of another size, as one."""
    agreement = {size: share for trial in trials for size, share in trial.agreement.items()}
    failed, weak = (
        "; ".join(dict.fromkeys(filter(None, said))) or None
        for said in ([trial.failed for trial in trials], [trial.weak for trial in trials])
    )
    logits = max((t.logits for t in trials if t.logits is not None), default=None)
    elsewhere = min((t.elsewhere for t in trials if t.elsewhere is not None), default=None)
    softmax = max((t.softmax for t in trials if t.softmax is not None), default=None)
    # Of what they give the first that is not as asked.
    told = min((trial for trial in trials if trial.output), key=Trial.ends_right, default=Trial({}))
    shape = trials[0].input_shape if trials else None
    return Trial(agreement, failed, logits, weak, elsewhere, shape, told.output, told.asked, softmax)


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


def at_another_size(model: Any, width: int, height: int, batch: int) -> Other:
    """A batch of images of another size, of another aspect as well, and the label maps of the model in memory.

    Raises:
        StageError: the model itself computes nothing of them.
    """
    fed = images(width + STEP, height + 2 * STEP, batch)
    try:
        return fed, labels(model, fed)
    except Exception as error:
        told = f"the model itself does not compute images of {width + STEP}x{height + 2 * STEP}"
        raise StageError(f"{told}: {apart.told(error)}") from error


def is_weak(expected: Labels) -> bool:
    """Whether one class everywhere would agree with label maps as well: then they tell one model from few others."""
    return bool(np.unique(expected, return_counts=True)[1].max() >= AGREE * expected.size)


def logits(model: Any, batch: Images) -> Logits:
    """Those (N x C x H x W) of the model in memory."""
    with paddle.no_grad():
        found: Logits = model(paddle.to_tensor(batch))[0].numpy()
    return found


def paddles(
    folder: Path,
    program: str,
    fed: Images,
    expected: Labels,
    sizes: Sequence[int],
    right: Logits | None = None,
    other: Other | None = None,
    output_op: str | None = None,
) -> Trial:
    """The trial of Paddle's own predictor.

    Args:
        right: logits of the model, where they are to be compared too; so in `by_onnx`.
        other: images of another size, where they are to be run too; so in `by_onnx`.
        output_op: what the program is to end in, in place of argmax; with `right` alone.

    Raises:
        StageError: it cannot load the program, or run one image.
    """

    def build() -> Any:
        return library.create("native", folder, program, "cpu", "fp32", 1)

    trial = _trial(build, fed, expected, sizes, right, other, output_op)
    if not trial.agreement:
        raise StageError(f"Paddle's own predictor cannot run {program}: {trial.failed}")
    if trial.failed and trial.logits is not None:  # this Paddle does not show them, which is no fault of the program
        return replace(trial, failed=None, logits=None, weak=trial.failed)
    return trial


def by_onnx(
    folder: Path,
    program: str,
    fed: Images,
    expected: Labels,
    sizes: Sequence[int],
    right: Logits | None = None,
    other: Other | None = None,
    output_op: str | None = None,
) -> dict[str, Trial]:
    """Engine -> its trial: all that read the ONNX model, compute in fp32 on a CPU and are installed."""
    return {
        name: _apart(name, folder, program, fed, expected, sizes, right, other, output_op)
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
    other: Other | None,
    output_op: str | None,
) -> Trial:
    def build() -> Any:
        return library.create(engine, folder, program, "cpu", "fp32", 1)

    def trial() -> Trial:
        return _trial(build, fed, expected, sizes, right, other, output_op)

    try:
        return apart.run(trial)
    except StageError as error:
        return Trial({}, str(error))


def _trial(
    build: Callable[[], Any],
    fed: Images,
    expected: Labels,
    sizes: Sequence[int],
    right: Logits | None,
    other: Other | None = None,
    output_op: str | None = None,
) -> Trial:
    def labels(given: NDArray[Any]) -> Labels:
        return outputs.label_maps(given) if output_op else given

    agreement: dict[int, float] = {}
    elsewhere = None if other is None else 0.0
    shape: Sequence[int | None] | None = None
    doing = "cannot load it"
    try:
        runner = build()
        shape = None if other is None else runner.input_shape()
        for size in sizes:
            doing = f"cannot run batches of {size}"
            given = np.array(runner.run(fed[:size]))  # a copy: the next run may write over it
            agreement[size] = metrics.agreement(labels(given), expected[:size])
        if other is not None:
            doing = f"cannot run images of {other[0].shape[3]}x{other[0].shape[2]}"
            elsewhere = metrics.agreement(labels(runner.run(other[0])), other[1])
    except Exception as error:
        return Trial(agreement, f"{doing}: {apart.told(error)}", elsewhere=elsewhere, input_shape=shape)
    tried = Trial(agreement, elsewhere=elsewhere, input_shape=shape)
    if right is None:
        return tried
    if output_op:
        tried = _ended(tried, given, right[:size], output_op)
        runner.output_op = output_ops.ended_in(tried.output)
    try:  # last: engines give label maps no more from then on
        off, weak = _off(runner.logits(fed[:size]), right[:size], labels(given))
    except Exception as error:
        return replace(tried, failed=f"its logits cannot be compared: {apart.told(error)}", logits=float("inf"))
    return replace(tried, logits=off, weak=weak)


def _ended(tried: Trial, given: NDArray[Any], right: Logits, output_op: str) -> Trial:
    """A trial with what is seen of the end of a program that is to give something else than label maps."""
    output = outputs.seen(given, right.shape[1])
    tried = replace(tried, output=output, asked=output_op)
    if not (output_ops.ended_in(output) == output_op == output_ops.SOFTMAX):
        return tried
    off = [outputs.probabilities_off(*of_image) for of_image in zip(given, right, strict=True)]
    return replace(tried, softmax=float("inf") if np.isnan(off).any() else max(off))


def _off(own: Logits, right: Logits, labels: Labels) -> tuple[float | None, str | None]:
    """How far the logits of a batch are off, as a share of how much the right ones vary; or why that tells nothing."""
    found = [parity.compare("a made-up image", *of_image) for of_image in zip(own, right, labels, strict=True)]
    shares = [max(one.l2 / max(one.constant_l2, FLAT), one.gap) for one in found]
    if all(one.constant_l2 <= FLAT and one.l2 <= FLAT for one in found):
        return None, "the model's logits are the same wherever one looks, so they prove nothing either"
    return (float("inf") if np.isnan(shares).any() else max(shares)), None
