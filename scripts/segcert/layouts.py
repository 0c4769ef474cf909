"""The folder layouts of data sets: this file alone says what each is asked for, and what follows from its name.

It is read while Snakemake parses. `data/layouts.py` reads data by it, `data/folders.py` packs them, and
`data/synthetic.py` generates some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segcert.errors import StageError


@dataclass(frozen=True)
class Lists:
    """A list file of each split names images and labels.

    Attributes:
        name: of the list, with {split} in it.
    """

    name: str


@dataclass(frozen=True)
class Folders:
    """Images and labels are found by their names.

    Attributes:
        images, labels: patterns from the root, with {split} in each. What their stars stand for, which is no /, is the
            same in an image and in its label.
    """

    images: str
    labels: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything that is asked of a layout. Nothing has a default, so a new one has to say it all.

    Attributes:
        marker: the file or folder by which its root is known.
        pairs: how each image's label is known.
        types: PaddleSeg's data sets (`type` in a model's configuration) that read it -> their number of classes and
            what they ignore; None where the configuration says both.
        params_type: the one of them that a params file may name.
        blank_tests: labels of the test split that hold nothing are taken for none: it hides the truth behind them.
    """

    name: str
    marker: str
    pairs: Lists | Folders
    types: Mapping[str, tuple[int, int] | None]
    params_type: str
    blank_tests: bool


MINI_SUPERVISELY = Layout(
    name="mini_supervisely",
    marker="train.txt",
    pairs=Lists("{split}.txt"),
    types=dict.fromkeys((
        "Dataset", "OpticDiscSeg", "MiniDeepGlobeRoadExtraction", "STARE", "DRIVE", "HRF", "CHASEDB1", "PPHumanSeg14K",
    )),
    params_type="Dataset",
    blank_tests=False,
)  # fmt: skip
CITYSCAPES = Layout(
    name="cityscapes",
    marker="leftImg8bit",
    pairs=Folders(
        "leftImg8bit/{split}/*/*_leftImg8bit.png",
        "gtFine/{split}/*/*_gtFine_labelTrainIds.png",
    ),
    types={"Cityscapes": (19, 255)},
    params_type="Cityscapes",
    blank_tests=True,
)

# In the order in which they are listed.
ALL = (MINI_SUPERVISELY, CITYSCAPES)
BY_NAME = {layout.name: layout for layout in ALL}
# By the type of PaddleSeg's data set that reads it.
BY_TYPE = {kind: layout for layout in ALL for kind in layout.types}


def by_name(name: str) -> Layout:
    """The layout called `name`; StageError names the known ones."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise StageError(f"layout {name}: no such layout; known: {', '.join(BY_NAME)}") from None
