"""What a model takes for classes, held against what the labels of a data set hold.

A label's numbers are known when a data set is unpacked, the classes from a model's configuration. The stages compare
the two before they compute anything; so does the unpacking, with the models that the run works on it with, and refuses
what none of them can use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from segcert.data import layouts
from segcert.errors import ConfigError, StageError
from segcert.layouts import BY_TYPE, by_name, number_of

# Set by the workflow: JSON of data set -> model -> its configuration. In the environment, because a data set is what
# it is whatever models work on it: another model is no reason to unpack it again.
MODELS = "SEGCERT_DATASET_MODELS"
MOST = 256  # label maps are kept in 8 bits


@dataclass(frozen=True)
class Classes:
    """Classes 0 to `count` - 1, and the number in a label that does not count."""

    count: int
    ignored: int

    def wrong(self, numbers: Collection[int]) -> list[int]:
        """Those that are neither a class nor ignored."""
        return sorted(number for number in numbers if number != self.ignored and not 0 <= number < self.count)

    def allowed(self, first: int = 0) -> str:
        """In words, what a label's file may hold, of which the number `first` is class 0."""
        last = self.count - 1 + first
        return f"allowed are {first} to {last} and {number_of(self.ignored, first)} (ignored)"


class Held(NamedTuple):
    """What a split's labels come to for a model.

    Attributes:
        counted: pixels that are not ignored.
        absent: classes of which there is no pixel.
    """

    labels: int
    pixels: int
    counted: int
    absent: list[int]

    @classmethod
    def of(cls, counts: Mapping[str, Any], classes: Classes) -> Held:
        values = {int(number): pixels for number, pixels in counts["values"].items()}
        ignored = values.pop(classes.ignored, 0)
        absent = [number for number in range(classes.count) if number != classes.ignored and number not in values]
        return cls(counts["labels"], counts["pixels"], counts["pixels"] - ignored, absent)


def faults(
    root: Path, manifest: Mapping[str, Any], split: str, classes: Classes, values: Mapping[str, Collection[int]] | None
) -> Iterator[str]:
    """In words, why a model cannot work with the labels of a split.

    Args:
        root: folder of the data set.
        values: of each label the numbers in it, where they are known; otherwise the labels are read.
    """
    counts = manifest["counts"][split]
    if classes.count > MOST:
        yield f"the model has {classes.count} classes, and label maps are kept in 8 bits: {MOST} are the most"
        return
    if classes.wrong([int(number) for number in counts["values"]]):
        yield from _wrong_labels(root, manifest, split, classes, values)
        return
    held = Held.of(counts, classes)
    # Cityscapes hides the truth of its test images behind labels that hold nothing: they are taken for none.
    needed = split in layouts.LABELLED or (held.labels and not by_name(manifest["layout"]).blank_tests)
    if needed and not held.counted:
        yield (
            f"{split}: none of the {held.pixels} pixels of its {held.labels} labels is counted: all are "
            f"{classes.ignored}, which is ignored, so nothing can be {'learnt' if split == 'train' else 'judged'}"
        )


def _wrong_labels(
    root: Path, manifest: Mapping[str, Any], split: str, classes: Classes, values: Mapping[str, Collection[int]] | None
) -> Iterator[str]:
    from segcert.data.images import read_label
    from segcert.data.inspection import histogram

    told, first = set(), layouts.first_class(manifest)
    for index, (_, label) in enumerate(manifest["splits"][split]):
        if label is None or label in told:
            continue
        numbers = values[label] if values else histogram(read_label(root / label, first))
        if wrong := classes.wrong(numbers):
            told.add(label)
            place = layouts.place(manifest["layout"], split, index)
            held = [str(number_of(number, first)) for number in wrong[:5]] + ["..."] * (len(wrong) > 5)
            yield f"{place}: {label}: holds the value {', '.join(held)}; {classes.allowed(first)}"


def notes(manifest: Mapping[str, Any], split: str, classes: Classes) -> Iterator[str]:
    """In words, what a model will not learn from a split, or will not be judged by."""
    held = Held.of(manifest["counts"][split], classes)
    if not held.labels:
        return
    if not held.counted:
        yield f"{split}: no pixel of its labels is counted, so it is taken for a split without labels"
        return
    if held.absent:
        which = ", ".join(map(str, held.absent))
        share = 100 * (held.pixels - held.counted) / held.pixels
        yield (
            f"{split}: {'class' if len(held.absent) == 1 else 'classes'} {which} of 0 to {classes.count - 1} "
            f"{'has' if len(held.absent) == 1 else 'have'} no pixel; {share:.1f} % of the pixels are "
            f"{classes.ignored}, which is ignored"
        )


# -- at the unpacking -------------------------------------------------------------------------


def environment(planned: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """What the unpacking of data sets is told of the models that are planned: (data set, model, its configuration)."""
    models: dict[str, dict[str, str]] = {}
    for dataset, model, config in planned:
        models.setdefault(dataset, {})[model] = config
    return {MODELS: json.dumps(models)}


def of_config(path: Path) -> dict[str, Classes]:
    """The classes by split, as a model's configuration has them; empty where only PaddleSeg could tell."""
    from segcert.modelconfig import content

    try:
        sections = content(path)
        named = {split: sections["train_dataset" if split == "train" else "val_dataset"] for split in layouts.SPLITS}
        return {split: _of_section(section) for split, section in named.items()}
    except (ConfigError, KeyError, TypeError, ValueError):  # the stage says what is wrong with it
        return {}


def _of_section(section: Mapping[str, Any]) -> Classes:
    kind = section["type"]
    if fixed := BY_TYPE[kind][0].types[kind]:
        return Classes(*fixed)
    if kind != "Dataset":  # the others have classes of their own, which only PaddleSeg knows
        raise KeyError(kind)
    return Classes(int(section["num_classes"]), int(section.get("ignore_index", 255)))


def require_a_model(
    dataset: str, root: Path, manifest: Mapping[str, Any], values: Mapping[str, Collection[int]]
) -> None:
    """Refuse a data set that none of the run's models on it can use; one that some can use is left to the stages.

    Raises:
        StageError: with what is wrong for the first of them.
    """
    refused: dict[str, list[str]] = {}
    models = json.loads(os.environ.get(MODELS, "{}")).get(dataset, {})
    for model, config in models.items():
        by_split = of_config(Path(config))
        refused[model] = [
            fault for split, classes in by_split.items() for fault in faults(root, manifest, split, classes, values)
        ]
    if refused and all(refused.values()):
        raise StageError.of(f"{dataset}, for {', '.join(refused)}", next(iter(refused.values())))
