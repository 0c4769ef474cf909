"""The folder layouts of data sets: this file alone says what each is asked for, and what follows from its name.

It is read while Snakemake parses. `data/layouts.py` reads data by it, `data/folders.py` packs them, and
`data/synthetic.py` generates some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segcert.errors import StageError


@dataclass(frozen=True)
class Lists:
    """A list file of each split names images and labels.

    Attributes:
        name: of the list, with {split} in it.
        separator: what stands between an image and its label; None: blanks, as many as there are.
    """

    name: str
    separator: str | None


@dataclass(frozen=True)
class Folders:
    """Images and labels are found by their names.

    Attributes:
        images, labels: patterns from the root, with {split} in each. What their stars stand for, which is no /, is the
            same in an image and in its label.
        called: split -> what stands in the place of {split}, where it is not the split's own name.
    """

    images: str
    labels: str
    called: Mapping[str, str] = field(default_factory=dict)

    def of(self, split: str) -> tuple[str, str]:
        """The patterns of a split's images and labels."""
        images, labels = (pattern.format(split=self.called.get(split, split)) for pattern in (self.images, self.labels))
        return images, labels


@dataclass(frozen=True)
class Names:
    """List files of each split hold names, from which those of images and labels follow.

    Attributes:
        images: pattern from the root; the name stands for the star.
        lists: split -> (list, the same pattern of its labels), in the order in which PaddleSeg reads them. What the
            list of test names has no labels, and that list may be missing.
    """

    images: str
    lists: Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything that is asked of a layout. Nothing has a default, so a new one has to say it all.

    Attributes:
        marker: the file or folder by which its root is known.
        pairs: how each image's label is known.
        types: PaddleSeg's data sets (`type` in a model's configuration) that read it -> their number of classes and
            what they ignore; None where the configuration says both.
        params_type: the one of them that a params file may name.
        train_mode: the `mode` in which they read the split train.
        first_class: the number in a label file that is class 0. What is below it is ignored.
        blank_tests: labels of the test split that hold nothing are taken for none: it hides the truth behind them.
    """

    name: str
    marker: str
    pairs: Lists | Folders | Names
    types: Mapping[str, tuple[int, int] | None]
    params_type: str
    train_mode: str
    first_class: int
    blank_tests: bool


MINI_SUPERVISELY = Layout(
    name="mini_supervisely",
    marker="train.txt",
    pairs=Lists("{split}.txt", " "),
    types=dict.fromkeys(("Dataset", "PPHumanSeg14K")),
    params_type="Dataset",
    train_mode="train",
    first_class=0,
    blank_tests=False,
)
CITYSCAPES = Layout(
    name="cityscapes",
    marker="leftImg8bit",
    pairs=Folders(
        "leftImg8bit/{split}/*/*_leftImg8bit.png",
        "gtFine/{split}/*/*_gtFine_labelTrainIds.png",
    ),
    types={"Cityscapes": (19, 255)},
    params_type="Cityscapes",
    train_mode="train",
    first_class=0,
    blank_tests=True,
)
# The scene parsing challenge of 2016. PaddleSeg takes 1 from what stands in its labels: 0, nothing, comes to 255.
ADE20K = Layout(
    name="ade20k",
    marker="images/training",
    pairs=Folders(
        "images/{split}/*.jpg",
        "annotations/{split}/*.png",
        {"train": "training", "val": "validation", "test": "testing"},
    ),
    types={"ADE20K": (150, 255)},
    params_type="ADE20K",
    train_mode="train",
    first_class=1,
    blank_tests=False,
)

_VOC_LISTS, _VOC_LABELS = "VOC2012/ImageSets/Segmentation/{}.txt", "VOC2012/{}/*.png"


def _voc(name: str, marker: str, mode: str, *train: tuple[str, str]) -> Layout:
    """Pascal VOC 2012, as PaddleSeg reads it in a mode; each list of the split train with the folder of its labels."""
    lists = {"train": train, "val": (("val", "SegmentationClass"),), "test": (("test", "SegmentationClass"),)}
    return Layout(
        name=name,
        marker=marker,
        pairs=Names(
            "VOC2012/JPEGImages/*.jpg",
            {
                split: tuple((_VOC_LISTS.format(listed), _VOC_LABELS.format(folder)) for listed, folder in of_split)
                for split, of_split in lists.items()
            },
        ),
        types={"PascalVOC": (21, 255)},
        params_type="PascalVOC",
        train_mode=mode,
        first_class=0,
        blank_tests=False,
    )


PASCAL_VOC = _voc("pascal_voc", "VOC2012", "train", ("train", "SegmentationClass"))
PASCAL_VOC_TRAINVAL = _voc(
    "pascal_voc_trainval",
    "VOC2012/ImageSets/Segmentation/trainval.txt",
    "trainval",
    ("trainval", "SegmentationClass"),
)
# With the boundaries of SBD as labels (PaddleSeg's tools/data/voc_augment.py).
PASCAL_VOC_AUG = _voc(
    "pascal_voc_aug",
    "VOC2012/SegmentationClassAug",
    "trainaug",
    ("train", "SegmentationClass"),
    ("aug", "SegmentationClassAug"),
)

# PaddleSeg's data sets of eyes.
OPTIC_DISC = Layout(
    name="optic_disc",
    marker="train_list.txt",
    pairs=Lists("{split}_list.txt", None),
    types=dict.fromkeys(("OpticDiscSeg", "DRIVE", "STARE", "HRF", "CHASEDB1"), (2, 255)),
    params_type="OpticDiscSeg",
    train_mode="train",
    first_class=0,
    blank_tests=False,
)
ROAD_EXTRACTION = Layout(
    name="road_extraction",
    marker="train.txt",
    pairs=Lists("{split}.txt", "|"),
    types={"MiniDeepGlobeRoadExtraction": (2, 255)},
    params_type="MiniDeepGlobeRoadExtraction",
    train_mode="train",
    first_class=0,
    blank_tests=False,
)

# In the order in which they are listed.
ALL = (
    MINI_SUPERVISELY,
    CITYSCAPES,
    ADE20K,
    PASCAL_VOC,
    PASCAL_VOC_TRAINVAL,
    PASCAL_VOC_AUG,
    OPTIC_DISC,
    ROAD_EXTRACTION,
)
BY_NAME = {layout.name: layout for layout in ALL}
# By the type of PaddleSeg's data set that reads them: of several the first is what it reads where nobody says more.
BY_TYPE = {kind: [layout for layout in ALL if kind in layout.types] for every in ALL for kind in every.types}

# Other data sets of PaddleSeg's, which are refused by name, and why.
_OWN_SAMPLES = "it makes its samples of three lists of transforms, and changes its labels in doing so"
NOT_READ = {
    "PascalContext": "no configuration of PaddleSeg's zoo uses it",
    "CocoStuff": "no configuration of PaddleSeg's zoo uses it",
    "PSSLDataset": "it is for a pretraining on ImageNet, and its labels are no pictures",
    "EG1800": _OWN_SAMPLES,
    "SUPERVISELY": _OWN_SAMPLES,
}


def by_name(name: str) -> Layout:
    """The layout called `name`; StageError names the known ones."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise StageError(f"layout {name}: no such layout; known: {', '.join(BY_NAME)}") from None


def of_section(section: Mapping[str, Any]) -> Layout | None:
    """What a data set of PaddleSeg's reads, by the type and the mode of its split train; None where nobody knows."""
    found = BY_TYPE.get(str(section.get("type")), [])
    mode = str(section.get("mode", "train")).lower()
    return next((layout for layout in found if layout.train_mode == mode), found[0] if found else None)


def class_of(number: int, first: int) -> int:
    """What a number in a label is, where `first` is class 0: what is below comes round in 8 bits, 0 to 255."""
    return (number - first) % 256 if first else number


def number_of(kind: int, first: int) -> int:
    """The number in a label that is a class, where `first` is class 0."""
    return (kind + first) % 256 if first else kind
