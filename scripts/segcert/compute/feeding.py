"""What is fed is what is listed: PaddleSeg's data sets held against the manifest, before anything is computed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.data import classes, layouts
from segcert.data.images import read_label
from segcert.errors import StageError
from segcert.layouts import BY_TYPE, Folders, Layout, Lists, by_name


def hold(datasets: Mapping[str, Any], folder: str, told: Collection[str]) -> list[str]:
    """Hold PaddleSeg's data sets against the manifest, and have them read labels as all else does here.

    Args:
        datasets: split -> data set; that of val stands for the labels of test as well, which PaddleSeg never reads.
        folder: of the data set, with its manifest.
        told: the splits to make notes of.

    Returns:
        In words, what is odd and not refused.

    Raises:
        StageError: other pairs are fed than are listed, or labels hold what is no class of the model's.
    """
    manifest = layouts.manifest(folder)
    notes: list[str] = []
    faults: list[str] = []
    for split, dataset in datasets.items():
        notes += _require_listed(dataset, manifest, split, folder)
        if not isinstance(dataset.transforms, ReadingLabels):
            truth = Truth(type(dataset).__name__, manifest["layout"], dataset.file_list)
            dataset.transforms = ReadingLabels(dataset.transforms, truth)
    for split, dataset in {**datasets, "test": datasets["val"]}.items():
        meant = classes.Classes(dataset.num_classes, dataset.ignore_index)
        faults += classes.faults(Path(folder), manifest, split, meant, None)
        if not faults and split in told:
            notes += classes.notes(manifest, split, meant)
    if faults:
        raise StageError.of(folder, list(dict.fromkeys(faults)))
    return notes


class Truth:
    """The labels of a data set's images, as its layout has them.

    Some of PaddleSeg's data sets read labels themselves, and take the first class from them. What such a one makes of
    a label, in whatever PaddleSeg, is known only when it has made it.
    """

    def __init__(self, kind: str, layout: str, pairs: Iterable[tuple[str, str]]) -> None:
        self._kind, self._layout = kind, by_name(layout)
        self._labels: dict[str, list[str]] = {}
        for image, label in pairs:
            self._labels.setdefault(image, []).append(label)

    @property
    def first(self) -> int:
        return self._layout.first_class

    def hold(self, image: Any, label: NDArray[Any], own: NDArray[Any] | None = None) -> None:
        """Raise StageError where the label that PaddleSeg gives for an image is none of the image's.

        Args:
            image: as the data set lists it; of anything else nothing is known.
            label: H x W, by its classes.
            own: the same as it was read here, if it was.
        """
        # A data set of one's own may make of labels what it likes, where a layout leaves them as they are.
        if not (self._kind in BY_TYPE or self.first) or not isinstance(image, str):
            return
        files = self._labels.get(image, [])
        meant = [read_label(file, self.first) for file in files] if own is None else [own]
        if meant and not any(np.array_equal(label, one) for one in meant):
            raise StageError(
                f"{files[0]}: PaddleSeg's {self._kind} makes other classes of it than the layout {self._layout.name} "
                f"has, in which {self.first} is class 0: {_differing(label, meant[0])}; is the code of "
                f"{self._kind} PaddleSeg's own?"
            )


def _differing(label: NDArray[Any], meant: NDArray[Any]) -> str:
    """In words, where two label maps differ."""
    if label.shape != meant.shape:
        return f"it is of shape {label.shape}, not {meant.shape}"
    row, column = np.argwhere(label != meant)[0].tolist()
    return f"{label[row, column]}, not {meant[row, column]}, in row {row}, column {column}"


class ReadingLabels:
    """A data set's transforms, with labels read as everywhere here; what PaddleSeg would read itself it is handed.

    What it has read itself is held to that.
    """

    def __init__(self, compose: Any, truth: Truth) -> None:
        self._compose, self._truth = compose, truth
        self._own: NDArray[Any] | None = None  # the label of the last sample, where it was read here
        self.transforms = compose.transforms

    def __call__(self, data: dict[str, Any]) -> Any:
        image, label = data.get("img"), data.get("label")
        self._own = None
        if isinstance(label, str):  # of which nobody takes the first class
            data["label"] = read_label(label)
            if not self._truth.first:
                self._own = data["label"].copy()
        if label is not None and self._own is None:
            self._truth.hold(image, data["label"])
        return self._compose(data)

    def require(self, image: str, label: NDArray[Any]) -> None:
        """Raise StageError where the label of the last sample, which no transform has changed, is not its image's."""
        self._truth.hold(image, label, self._own)


def _require_listed(dataset: Any, manifest: Mapping[str, Any], split: str, folder: str) -> list[str]:
    """Raise StageError where a data set of PaddleSeg's holds other pairs than are listed.

    Those that look for folders pair by sorted order, which is not that of names where one name is the beginning of
    another: they are given the pairs of the names, and that is told.
    """

    def path(name: str) -> str:
        return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118  (as PaddleSeg puts them together)

    kind = type(dataset).__name__
    by_folders = kind in BY_TYPE and isinstance(BY_TYPE[kind][0].pairs, Folders)
    if by_folders:
        dataset.file_list = sorted(dataset.file_list)  # some take a folder in the order in which its files were made
    held = [(os.path.normpath(image), label and os.path.normpath(label)) for image, label in dataset.file_list]
    listed = [(path(image), label and path(label)) for image, label in manifest["splits"][split]]
    if Counter(held) == Counter(listed):
        return []
    label_of = dict(listed)
    swapped = [(image, label) for image, label in held if label != label_of.get(image)]
    same_images = Counter(image for image, _ in held) == Counter(image for image, _ in listed)
    if by_folders and same_images:
        dataset.file_list = [[image, label_of[image]] for image, _ in held]
        return [
            f"{split}: PaddleSeg's {kind} would give {len(swapped)} of {len(held)} images the label of another, "
            f"because it pairs by sorted order (such as {swapped[0][0]} with {swapped[0][1]}); each was given its own"
        ]
    only = list((Counter(held) - Counter(listed)).elements()) or list((Counter(listed) - Counter(held)).elements())
    where = "it holds" if Counter(held) - Counter(listed) else "it does not hold"
    raise StageError(
        f"{folder}: PaddleSeg's {kind} holds {len(held)} pairs of {split}, manifest.json lists {len(listed)}, and they "
        f"are not the same: {where} {only[0][0]} with {only[0][1]}; {_asked(by_name(manifest['layout']))}"
    )


def _asked(layout: Layout) -> str:
    """In words, what to look at where other pairs are held than are listed."""
    if isinstance(layout.pairs, Lists):
        names = " and ".join(layout.pairs.name.format(split=split) for split in layouts.LABELLED)
        return f"do the lists that the model's configuration names say the same as {names}?"
    if isinstance(layout.pairs, Folders):
        return f"do other files lie in its folders than the layout {layout.name} names?"
    return f"the layout {layout.name} is read by mode: {layout.train_mode} of train_dataset"
