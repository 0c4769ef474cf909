"""What is fed is what is listed: PaddleSeg's data sets held against the manifest, before anything is computed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from segcert.data import classes, layouts
from segcert.data.images import read_label
from segcert.errors import StageError
from segcert.layouts import BY_TYPE, Folders


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
            dataset.transforms = ReadingLabels(dataset.transforms)
    for split, dataset in {**datasets, "test": datasets["val"]}.items():
        meant = classes.Classes(dataset.num_classes, dataset.ignore_index)
        faults += classes.faults(Path(folder), manifest, split, meant, None)
        if not faults and split in told:
            notes += classes.notes(manifest, split, meant)
    if faults:
        raise StageError.of(folder, list(dict.fromkeys(faults)))
    return notes


class ReadingLabels:
    """A data set's transforms, with labels read as everywhere here; what PaddleSeg would read itself it is handed."""

    def __init__(self, compose: Any) -> None:
        self._compose = compose
        self.transforms = compose.transforms

    def __call__(self, data: dict[str, Any]) -> Any:
        if isinstance(data.get("label"), str):
            data["label"] = read_label(data["label"])
        return self._compose(data)


def _require_listed(dataset: Any, manifest: Mapping[str, Any], split: str, folder: str) -> list[str]:
    """Raise StageError where a data set of PaddleSeg's holds other pairs than are listed.

    Those that look for folders pair by sorted order, which is not that of names where one name is the beginning of
    another: they are given the pairs of the names, and that is told.
    """

    def path(name: str) -> str:
        return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118  (as PaddleSeg puts them together)

    held = [(os.path.normpath(image), label and os.path.normpath(label)) for image, label in dataset.file_list]
    listed = [(path(image), label and path(label)) for image, label in manifest["splits"][split]]
    if Counter(held) == Counter(listed):
        return []
    kind = type(dataset).__name__
    label_of = dict(listed)
    swapped = [(image, label) for image, label in held if label != label_of.get(image)]
    same_images = Counter(image for image, _ in held) == Counter(image for image, _ in listed)
    if kind in BY_TYPE and isinstance(BY_TYPE[kind].pairs, Folders) and same_images:
        dataset.file_list = [[image, label_of[image]] for image, _ in held]
        return [
            f"{split}: PaddleSeg's {kind} would give {len(swapped)} of {len(held)} images the label of another, "
            f"because it pairs by sorted order (such as {swapped[0][0]} with {swapped[0][1]}); each was given its own"
        ]
    only = list((Counter(held) - Counter(listed)).elements()) or list((Counter(listed) - Counter(held)).elements())
    where = "it holds" if Counter(held) - Counter(listed) else "it does not hold"
    raise StageError(
        f"{folder}: PaddleSeg's {kind} holds {len(held)} pairs of {split}, manifest.json lists {len(listed)}, and they "
        f"are not the same: {where} {only[0][0]} with {only[0][1]}; do the lists that the model's configuration names "
        "say the same as train.txt and val.txt?"
    )
