"""The two folder layouts of data sets, read into one form: pairs of image and label by split.

mini_supervisely: `train.txt`, `val.txt`, `test.txt` with `Images/a.jpg Annotations/a.png` a line
(test.txt may leave the label out). Cityscapes: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
`gtFine/<split>/<city>/*_gtFine_labelTrainIds.png`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert.errors import StageError

SPLITS = ("train", "val", "test")
Pairs = list[tuple[str, str | None]]


def find_root(folder: Path, layout: str) -> Path:
    """The folder that has the layout: `folder` itself, or the single folder that the archive wraps it in."""
    marker = {"mini_supervisely": "train.txt", "cityscapes": "leftImg8bit"}[layout]
    inside = [path for path in folder.iterdir() if not path.name.startswith(("__MACOSX", "."))]
    for root in [folder, *inside] if len(inside) == 1 else [folder]:
        if (root / marker).exists():
            return root
    raise StageError(
        f"{folder.name}: has no {marker}, which the layout {layout} needs; "
        f"found {', '.join(sorted(path.name for path in inside))[:200]}"
    )


def splits(root: Path, layout: str) -> dict[str, Pairs]:
    """Pairs (image, label or None) by split, as paths relative to the root.

    Raises:
        StageError: a listed file is missing, there is nothing to train on or to evaluate with, or two images of
            the inference list have one name.
    """
    found = {split: (_listed if layout == "mini_supervisely" else _paired)(root, split) for split in SPLITS}
    for split in ("train", "val"):
        if not found[split]:
            raise StageError(
                f"{root.name}: the split {split} is empty; an evaluation needs train and val images with labels"
            )
        for image, label in found[split]:
            if label is None:
                raise StageError(f"{root.name}: {split}: {image} has no label")
    for pairs in found.values():
        for path in (path for pair in pairs for path in pair if path):
            if not (root / path).is_file():
                raise StageError(f"{root.name}: {path} is listed but not there")
    inference_list({"splits": found})
    return found


def check_sizes(root: Path, found: Mapping[str, Pairs]) -> None:
    """Look at the heads of all images and labels, which takes a fraction of a millisecond each.

    Raises:
        StageError: one is no image, or a label has another size than its image.
    """
    from PIL import Image, UnidentifiedImageError

    def size(path: str) -> tuple[int, int]:
        try:
            with Image.open(root / path) as image:
                return image.size
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
            raise StageError(f"{root.name}: {path}: is not an image: {type(error).__name__}: {error}") from None

    for pairs in found.values():
        for image, label in pairs:
            width, height = size(str(image))
            if label and (own := size(label)) != (width, height):
                raise StageError(
                    f"{root.name}: {label}: is {own[0]}x{own[1]}, its image is {width}x{height}; they must be equal"
                )


def inference_list(manifest: Mapping[str, Any]) -> Pairs:
    """What inference runs on: the test split, or the validation split where there is none.

    Raises:
        StageError: two images have one name, by which label maps are kept.
    """
    pairs: Pairs = [(image, label) for image, label in manifest["splits"]["test"] or manifest["splits"]["val"]]
    images: dict[str, str] = {}
    for image, _ in pairs:
        other = images.setdefault(label_map(image), image)
        if other != image:
            raise StageError(
                f"{other} and {image} would share the label map {label_map(image)}; rename one of them and its line "
                "in the list, so that every image that inference runs on has a name of its own"
            )
    return pairs


def label_map(image: str) -> str:
    """The file name of the label map that is made of an image."""
    return f"{Path(image).stem}.png"


def _listed(root: Path, split: str) -> Pairs:
    listing = root / f"{split}.txt"
    if not listing.is_file():
        if split == "test":
            return []
        raise StageError(f"{root.name}: {listing.name} is missing")
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise StageError(f"{root.name}: {listing.name} is not a list of files in UTF-8") from None
    pairs: Pairs = []
    for line in lines:
        if line.strip():
            image, _, label = line.strip().partition(" ")
            pairs.append((image, label.strip() or None))
    return pairs


def _paired(root: Path, split: str) -> Pairs:
    suffix = "_leftImg8bit.png"
    pairs: Pairs = []
    for image in sorted((root / "leftImg8bit" / split).glob(f"*/*{suffix}")):
        name = image.name.removesuffix(suffix) + "_gtFine_labelTrainIds.png"
        label = root / "gtFine" / split / image.parent.name / name
        if split != "test" and not label.is_file():
            raise StageError(f"{root.name}: {split}: {image.name} has no label {label.relative_to(root)}")
        pairs.append(
            (image.relative_to(root).as_posix(), label.relative_to(root).as_posix() if label.is_file() else None)
        )
    return pairs
