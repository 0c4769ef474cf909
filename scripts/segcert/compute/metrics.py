"""Metrics of segmentation from a confusion matrix, by PaddleSeg's definitions.

IoU, accuracy, Cohen's kappa and Dice as in `paddleseg.utils.metrics` (a test holds the two side by
side): a class that neither the truth nor the prediction holds counts as 0 in the means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.compute.preprocess import Done, undone
from segcert.errors import StageError
from segcert.numbers import finite

ClassMap = NDArray[np.integer[Any]]  # class numbers; engines give them as int32 or int64, files as uint8
IGNORED = 255
REFERENCE_SUMMARY = "summary.json"  # beside a checkpoint's label maps: Confusion.labels(), and their mIoU


class Confusion:
    """Counts of (truth, prediction) over all pixels that are not ignored; C x C, rows are truth.

    `ignored` is the label of what does not count: `ignore_index` of the data set in the model's configuration.
    """

    def __init__(self, classes: int, ignored: int = IGNORED) -> None:
        self.counts = np.zeros((classes, classes), np.int64)
        self.ignored = ignored
        self.images = 0

    def add(self, prediction: ClassMap, label: ClassMap, name: str = "label") -> None:
        """Add an image: two H x W maps of class numbers.

        Raises:
            StageError: the maps differ in size, or one holds a class that there is not.
        """
        classes = len(self.counts)
        if prediction.shape != label.shape:
            raise StageError(
                f"{name}: is {label.shape[1]}x{label.shape[0]}, its image is "
                f"{prediction.shape[1]}x{prediction.shape[0]}; they must be equal"
            )
        counted = label != self.ignored
        wrong = _outside(label[counted], classes)
        if wrong is not None:
            raise StageError(
                f"{name}: holds the value {wrong}; allowed are 0 to {classes - 1} and {self.ignored} (ignored)"
            )
        self._require_known(prediction, name)
        pairs = label[counted].astype(np.int64) * classes + prediction[counted]
        self.counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        self.images += 1

    def add_undone(self, prediction: ClassMap, done: Done, label: ClassMap, name: str = "label") -> None:
        """Add an image whose prediction is of the size that the image was brought to: what was `done` is undone.

        Nothing is stretched to the label: a label of another size than its image is refused as by `add`.
        """
        self._require_known(prediction, name)  # before it is cut to 8 bits
        self.add(undone(prediction.astype(np.uint8), done), label, name)

    def _require_known(self, prediction: ClassMap, name: str) -> None:
        wrong = _outside(prediction, len(self.counts))
        if wrong is not None:
            raise StageError(
                f"{name}: the model's label map for it holds the class {wrong}; allowed are 0 to "
                f"{len(self.counts) - 1}: is num_classes of model and data set the same in the model's configuration?"
            )

    @property
    def counted(self) -> int:
        """Pixels that counted."""
        return int(self.counts.sum())

    def miou(self) -> float | None:
        """None where no pixel counted: nothing was judged."""
        return self.metrics()["miou"] if self.counted else None

    def empty(self) -> Confusion:
        """Another one, for the same classes."""
        return Confusion(len(self.counts), self.ignored)

    def labels(self) -> dict[str, int]:
        """What it was made with, for whoever counts the same label maps again."""
        return {"classes": len(self.counts), "ignored": self.ignored}

    def metrics(self) -> dict[str, Any]:
        """mIoU, acc, kappa, dice and the IoU of every class."""
        hit, predicted, true = np.diag(self.counts).astype(float), self.counts.sum(0), self.counts.sum(1)
        total = self.counts.sum()
        union = predicted + true - hit
        iou = np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)
        both = predicted + true
        dice = np.divide(2 * hit, both, out=np.zeros_like(hit), where=both > 0)
        accuracy = hit.sum() / total if total else 0.0
        chance = float((predicted.astype(float) * true).sum()) / float(total) ** 2 if total else 0.0
        kappa = (accuracy - chance) / (1 - chance) if chance < 1 else 0.0
        return {
            "images": self.images,
            "miou": finite(iou.mean()),
            "acc": finite(accuracy),
            "kappa": finite(kappa),
            "dice": finite(dice.mean()),
            "class_iou": [finite(value) for value in iou],
            "classes_present": int((true > 0).sum()),
        }


def _outside(numbers: ClassMap, classes: int) -> int | None:
    """The first number that is no class; None where all are."""
    wrong = numbers[(numbers < 0) | (numbers >= classes)]
    return int(wrong[0]) if wrong.size else None


def agreement(one: ClassMap, other: ClassMap) -> float:
    """Share of pixels on which two label maps of equal size agree; 0 where the sizes differ."""
    return float((one == other).mean()) if one.shape == other.shape else 0.0
