"""What the stages read of a data set, next to what was meant by it: pictures and label maps, pixel for pixel."""

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import makers
import numpy as np

from segcert.data import images, layouts
from segcert.stage.worker import Staging

Sample = tuple[np.ndarray, np.ndarray | None]  # H x W x 3, RGB; H x W
Meant = dict[str, list[Sample]]  # by split


def unpack(folder: Path, tarball: Path, layout: str):
    """The result of the unpacking, to `folder/staging/dataset`; raises what it refuses."""
    import unpack_dataset

    (folder / "staging").mkdir()
    args = argparse.Namespace(cell="d", layout=layout, tarball=str(tarball), threads=2)
    return unpack_dataset.work(args, Staging(folder / "staging"))


def photo(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)


def pairs(files: makers.Files, layout: str) -> dict[str, list[tuple[str, str | None]]]:
    """Of a data set without oddities, by split; a list of no other."""
    if layout == "mini_supervisely":
        lines = {split: files.get(f"{split}.txt", b"").decode().splitlines() for split in layouts.SPLITS}
        return {split: [(*line.split(), None)[:2] for line in listed] for split, listed in lines.items()}
    found = {split: [] for split in layouts.SPLITS}
    for name in sorted(name for name in files if name.endswith("_leftImg8bit.png")):
        label = name.replace("leftImg8bit/", "gtFine/").replace("_leftImg8bit", "_gtFine_labelTrainIds")
        found[name.split("/")[1]].append((name, label if label in files else None))
    return found


def meant(files: makers.Files, layout: str) -> Meant:
    """By a data set without oddities, whose labels are 8-bit grey PNG."""

    def label(name):
        return None if name is None else cv2.imdecode(np.frombuffer(files[name], np.uint8), cv2.IMREAD_UNCHANGED)

    return {
        split: [(photo(files[image]), label(truth)) for image, truth in listed]
        for split, listed in pairs(files, layout).items()
    }


def assert_same(dataset: Path, meant: Meant, layout: str) -> None:
    """All that PaddleSeg's data sets and the readers of the stages give of it is what was meant.

    Raises:
        StageError: a training on it would be refused.
    """
    manifest = json.loads((dataset / "manifest.json").read_text())
    for split, fed in fed_by_paddleseg(dataset, layout).items():
        samples = [sample_of(fed, index) for index in range(len(fed))]
        assert_equal(split, samples, meant[split])
        assert_equal(split, [read(dataset, *pair) for pair in manifest["splits"][split]], meant[split])
    inferred = [read(dataset, *pair) for pair in layouts.inference_list(manifest)]
    assert_equal("inference", inferred, meant["test"] or meant["val"])
    for split, samples in meant.items():
        values: Counter[str] = Counter()
        for label in (label for _, label in samples if label is not None):
            numbers, counts = np.unique(label, return_counts=True)
            values.update(dict(zip(map(str, numbers.tolist()), counts.tolist(), strict=True)))
        assert manifest["counts"][split]["values"] == values, split


def sample_of(fed, index: int) -> Sample:
    """As PaddleSeg's data set gives it."""
    given = fed[index]
    planes, label = given["img"], np.asarray(given["label"])
    return planes.transpose(1, 2, 0), label.reshape(label.shape[-2:])


def read(dataset: Path, image: str, label: str | None) -> Sample:
    """As the stages read it that work on an exported model."""
    from segcert.compute.preprocess import Preprocess

    planes = Preprocess([])(dataset / image)
    return planes.transpose(1, 2, 0), None if label is None else images.read_label(dataset / label)


def assert_equal(what: str, samples: list[Sample], meant: list[Sample]) -> None:
    """The same samples as often, in whatever order."""
    for image, label in samples:
        assert label is None or label.shape == image.shape[:2], f"{what}: sizes differ"
        assert label is None or label.dtype in (np.uint8, np.int32), f"{what}: a label of {label.dtype}"
    numbers = {key(sample): number for number, sample in enumerate(meant)}
    found = [numbers.get(key(sample), "another") for sample in samples]
    expected = [numbers[key(sample)] for sample in meant]
    assert Counter(found) == Counter(expected), f"{what}: of the samples that are meant, these are read: {found}"


def key(sample: Sample) -> str:
    """Of pixels and sizes, whatever the types of the numbers."""
    image, label = sample
    wide = [np.ascontiguousarray(array, np.int64) for array in (image, label) if array is not None]
    return hashlib.sha256(b"".join(str(array.shape).encode() + array.tobytes() for array in wide)).hexdigest()


def fed_by_paddleseg(dataset: Path, layout: str):
    """PaddleSeg's data sets by split, after the stages' look at them."""
    from paddleseg.datasets import Cityscapes, Dataset

    from segcert.compute import feeding

    def made(split):
        if layout == "cityscapes":
            return Cityscapes([], str(dataset), split)
        lists = {f"{split}_path": str(dataset / f"{split}.txt")}
        return Dataset(split, str(dataset), [], 2, **lists)

    both = {name: made(name) for name in layouts.LABELLED}
    feeding.hold(both, str(dataset), ())
    return both
