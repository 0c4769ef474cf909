"""What a model's configuration asks for, key by key: done here, laid over by the run, or refused by name.

PaddleSeg's configuration is the user's. Whatever of it a run does not do as it stands there is refused with what to
write instead, or told; nothing is left out in silence. It is looked at before any job starts, so without Paddle.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from segcert import layouts, modelconfig, transforms
from segcert.errors import ConfigError
from segcert.masking import masked
from segcert.modelconfig import INHERITED
from segcert.numbers import is_number

BACKBONE, WHOLE_MODEL = "model.backbone.pretrained", "model.pretrained"
# The keys of `model_zoo` that name what is loaded there in place of what the configuration says.
ENTRIES = {BACKBONE: "backbone_weights", WHOLE_MODEL: "pretrained_weights"}
NO_KEY = "PaddleSeg reads no such key there, and says nothing of it; it reads {}"
PIXELS = {"RandomDistort": "changes colours", "RandomBlur": "takes whole numbers"}
PADS = ("Padding", "PaddingByAspectRatio", "RandomPaddingCrop", "RandomRotation", "RandomAffine")
WITHOUT_POINT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
GROUPS = ("name", "lr_mult", "weight_decay_mult")  # of optimizer.custom_cfg
NEEDED = ("batch_size", "iters", "train_dataset", "val_dataset", "optimizer", "lr_scheduler", "loss", "model")
IGNORED = 255  # by PaddleSeg, where nothing else is written
BUILT = NEEDED[2:]  # sections from which PaddleSeg makes components
READ = (*NEEDED, "test_config", "to_static_training", "export", "distill_loss", "_base_", INHERITED)
DATASETS = ("train_dataset", "val_dataset")
UNREAD = layouts.NOT_READ.keys() - layouts.BY_TYPE.keys()
FOUND = [kind for kind, found in layouts.BY_TYPE.items() if not isinstance(found[0].pairs, layouts.Lists)]
# Options of PaddleSeg's train.py that it does not read from a configuration, and what to write for each.
OPTIONS = {
    "precision": "train.precisions in the run's configuration",
    "amp_level": "train.precisions in the run's configuration",
    "seed": "`seed` in the run's configuration",
    "resume_model": f"{WHOLE_MODEL}: a file, to start from its weights",
    "use_ema": "nothing: averaged weights are not kept here",
    "repeats": "a list that names the images more often",
    "data_format": "nothing: models are run in NCHW here",
    "use_multilabel": "nothing: models of several labels a pixel are not evaluated here",
}
# Losses that judge each class of a pixel for itself, as labels of several classes a pixel need it.
OF_EACH_CLASS = ("BCELoss", "LovaszHingeLoss")
# Tasks of which nothing is trained here -> the types in a configuration that tell of them.
OTHER_TASKS = {
    "multi-label segmentation": re.compile("multi_?label", re.IGNORECASE),
    "panoptic segmentation": re.compile("panoptic|mask2former", re.IGNORECASE),
    "matting": re.compile("matting|byalpha|^loadimages$", re.IGNORECASE),
    "3-D segmentation": re.compile("[34]d$|^(vnet|nnformer|unetr|nnunet)", re.IGNORECASE),
}
# What PaddleSeg's evaluation takes from `test_config`.
EVALUATION = ("is_slide", "crop_size", "stride", "aug_eval", "scales", "flip_horizontal", "flip_vertical")


@dataclass(frozen=True)
class Run:
    """What a run decides of a model, as far as the model's configuration has a say in it.

    Attributes:
        trains: whether it is trained; else weights that somebody released are taken.
        exports: whether it is evaluated and exported.
        input_size, export_size: [width, height] of training, and of evaluation as exported and export.
        sizes: others that the exported model is run in (`infer.sizes`).
        transforms: what checkpoints are evaluated under: export | val.
        layout: of the data set, as far as it is known.
        entries: `backbone_weights` and `pretrained_weights` of the model, where they name weights.
        fetches: whether the weights that are named there are fetched and loaded (`train.pretrained_backbone`).
        made: files that the run itself makes before it trains.
        own_transforms: those of the run's configuration.
        data: the entry of `datasets` that the model works on.
        folder: on this machine, that the data set is taken from; None: from elsewhere.
        lists: split -> list in that folder, where it is not the one that the layout names.
        strict: whether all other transforms must be PaddleSeg's.
    """

    trains: bool = True
    exports: bool = True
    input_size: Sequence[int] | None = None
    export_size: Sequence[int] | None = None
    sizes: Collection[Sequence[int]] = ()
    transforms: str = "export"
    layout: str | None = None
    entries: Mapping[str, str] = field(default_factory=dict)
    fetches: bool = True
    made: Collection[str] = ()
    own_transforms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: str | None = None
    folder: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    strict: bool = True


def of_data(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a `Run` says of the data set that a model works on.

    Args:
        name, entry: its name in `datasets`, and what stands there.
    """
    return {
        "layout": entry["layout"],
        "data": name,
        "folder": entry["path"] if entry["source"] == "folder" else None,
        "lists": entry.get("lists", {}),
    }


def require(models: Iterable[tuple[str, Path, Run]]) -> list[str]:
    """What a person should know of the configurations of models that are to run; each (name, file, what is decided).

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    wrong: list[str] = []
    told: list[str] = []
    for name, path, run in models:
        content = modelconfig.content(path)
        found = problems(content, run)
        wrong += [f"{path}: {text.replace('<model>', name)}" for text in found]
        if not found:
            told += [
                f"{item.file}:{item.line}: {item.key} stands there twice; the last one counts"
                for item in modelconfig.doubled(path)
            ]
            told += [f"{path}: {text}" for text in notes(content, run)]
    if wrong:
        raise ConfigError("\n".join(dict.fromkeys(wrong)))
    return list(dict.fromkeys(told))


def _of_ignored_class(content: Mapping[str, Any]) -> Iterator[str]:
    """In words, that a class is left out, of training and of the mIoU, because its number is the one to ignore."""
    section = content["train_dataset"]
    count, ignored = section.get("num_classes"), section.get("ignore_index")
    if type(count) is int and type(ignored) is int and 0 <= ignored < count:
        yield (
            f"train_dataset.ignore_index: {ignored} is one of the {count} classes: its pixels are neither learnt nor "
            "judged, and what is predicted on them counts for nothing"
        )


def _after_normalize(content: Mapping[str, Any]) -> Iterator[str]:
    """In words, what of transforms takes images for what they are not: Normalize divides by 255 first."""
    lists = {f"{section}.transforms": content[section].get("transforms") for section in DATASETS}
    lists |= {"export.transforms": content.get("export", {}).get("transforms")}
    for key, items in lists.items():
        names = [item.get("type") for item in items or () if isinstance(item, Mapping)]
        if not isinstance(items, list | tuple) or len(names) < len(items) or "Normalize" not in names:
            continue
        place = names.index("Normalize")
        for option in ("mean", "std"):
            values = items[place].get(option)
            if isinstance(values, list | tuple) and any(is_number(value) and value > 1 for value in values):
                yield (
                    f"{key}.{place}.{option}: {values!r}: Normalize divides images by 255 first, so these are shares "
                    "of 1; numbers of 0 to 255 make all images nearly alike"
                )
        for number in range(place + 1, len(names)):
            name = str(names[number])
            padded = name in PADS and "im_padding_value" not in items[number]
            if meant := "pads with 127.5" if padded else PIXELS.get(name):
                yield f"{key}.{number}: {name} {meant}, as of images of 0 to 255, and stands after Normalize"


def problems(content: Mapping[str, Any], run: Run) -> list[str]:
    """In words, beginning with the key, all of a model's configuration that cannot be done here.

    Args:
        content: what `modelconfig.content` reads.
    """
    if task := other_task(content):
        return [task]
    if malformed := broken(content):
        return malformed
    return [
        *_of_top(content),
        *_of_marks(content),
        *_of_data(content, run),
        *_of_lists(content, run),
        *_of_classes(content),
        *_of_ignored(content),
        *_of_loss(content),
        *_of_rate(content),
        *_of_numbers(content),
        *_of_model(content),
        *_of_evaluation(content, run),
        *_of_transforms(content, run),
        *(_of_weights(content, run) if run.trains else []),
    ]


def broken(content: Mapping[str, Any]) -> list[str]:
    """In words, beginning with the key, what keeps a configuration from being one: PaddleSeg cannot run it either."""
    missing = [f"{key}: this key is needed" for key in NEEDED if key not in content]
    unlike = [
        f"{key}: {content[key]!r} is refused; allowed: a mapping"
        for key in (*BUILT, "export", "test_config")
        if key in content and not isinstance(content[key], Mapping)
    ]
    return [*missing, *unlike]


def other_task(content: Mapping[str, Any]) -> str | None:
    """In words, beginning with the key, the task of which nothing is trained here, where a configuration is for one.

    PaddleSeg's files do not name their task, and some would train as something else. So it is told by the types of
    what they build, and, of labels with several classes a pixel, by losses that are of no use for other labels.
    """
    for section in (*DATASETS, "model", "loss"):
        for key, part in _mappings(content.get(section), section):
            for task, types in OTHER_TASKS.items():
                if types.search(str(part.get("type"))):
                    return f"{key}.type: {part['type']} is refused: {task} is not done here; allowed: one class a pixel"
    asked = content.get("test_config")
    says = asked.get("use_multilabel") if isinstance(asked, Mapping) else None
    classes = [part.get("num_classes") for part in map(content.get, ("model", *DATASETS)) if isinstance(part, Mapping)]
    number = next((number for number in classes if isinstance(number, int)), 0)
    for key, part in _mappings(content.get("loss"), "loss"):
        if part.get("type") in OF_EACH_CLASS and not part.get("edge_label") and number > 2 and says is None:
            return (
                f"{key}.type: {part['type']} of {number} classes is refused: it is for multi-label segmentation, which "
                "is not done here; allowed: another loss, or this one with test_config: {use_multilabel: false}, which "
                "says that each pixel has one class"
            )
    return None


def notes(content: Mapping[str, Any], run: Run) -> list[str]:
    """In words, beginning with the key, what of a model's configuration a run does otherwise than it stands there."""
    told = []
    for key in content:
        if key not in (*READ, *OPTIONS):
            near = difflib.get_close_matches(str(key), READ, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            told.append(f"{key}: PaddleSeg reads no such key{meant}; by itself it changes nothing")
    if "distill_loss" in content:
        told.append("distill_loss: is for distillation, which is not done here")
    told += [*_of_ignored_class(content), *_after_normalize(content)]
    read = ("types", "coef")
    told += [f"loss.{key}: {NO_KEY.format(', '.join(read))}" for key in content["loss"] if key not in read]
    for number, item in enumerate(content["optimizer"].get("custom_cfg") or ()):
        told += [
            f"optimizer.custom_cfg.{number}.{key}: {NO_KEY.format(', '.join(GROUPS))}"
            for key in item
            if key not in GROUPS
        ]
    told += [
        f"export.{key}: only transforms is read of export" for key in content.get("export", {}) if key != "transforms"
    ]
    of_test = [key for key, value in content.get("test_config", {}).items() if value]
    if of_test and run.transforms == "export":
        keys = ", ".join(map(str, of_test))
        told.append(
            f"test_config: {keys}: not used, because checkpoints are evaluated as the exported model is run; "
            "evaluate.transforms: val uses it"
        )
    elif "auc_roc" in of_test:
        told.append("test_config.auc_roc: is not worked out here")
    told += [f"{key}: {named}: {text}" for key, named, text, refused in _other_lists(content, run) if not refused]
    told += _of_ending(content, run) if run.exports else []
    if run.trains and run.exports:
        told += _of_normalising(content)
    return told + [f"{key}: {text}" for key, text in _replaced(content, run) if run.trains]


# -- keys -------------------------------------------------------------------------------------


def _of_top(content: Mapping[str, Any]) -> Iterator[str]:
    for key, instead in OPTIONS.items():
        if content.get(key) not in (None, False):
            yield (
                f"{key}: {content[key]!r} is refused: it is an option of PaddleSeg's train.py, and as a key it has no "
                f"effect; allowed: {instead}"
            )
    if content.get("to_static_training"):
        yield (
            "to_static_training: true is refused: the run says what is trained as a static graph; allowed: false, and "
            "graph: to_static in train.precisions of the run's configuration"
        )


def _mappings(tree: Any, key: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """(key, mapping) of every mapping in a part of a configuration."""
    if isinstance(tree, Mapping):
        yield key, tree
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for name, value in pairs:
        yield from _mappings(value, f"{key}.{name}")


def _texts(tree: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, text) of every text in a part of a configuration."""
    if isinstance(tree, str):
        yield key, tree
    pairs = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for name, value in pairs:
        yield from _texts(value, f"{key}.{name}")


def _of_marks(content: Mapping[str, Any]) -> Iterator[str]:
    for section in BUILT:
        for key, mapping in _mappings(content[section], section):
            if INHERITED in mapping:
                yield (
                    f"{key}.{INHERITED}: {mapping[INHERITED]!r} is refused: no base has {key} to inherit, so PaddleSeg "
                    "hands the mark to the component; take it out"
                )


def _of_data(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    kinds = [content[section].get("type") for section in DATASETS]
    for section, kind in zip(DATASETS, kinds, strict=True):
        if not isinstance(kind, str):
            yield f"{section}.type: {kind!r} is refused; allowed: the name of a data set of PaddleSeg's"
        elif kind in UNREAD:
            yield (
                f"{section}.type: {kind} is refused: {layouts.NOT_READ[kind]}; data sets are laid out here as "
                f"{', '.join(FOUND)}, or by lists of files; allowed: Dataset, with num_classes, train_path and "
                "val_path; docs/own-model.md says how"
            )
        elif run.layout and kind in layouts.BY_TYPE and not _read_by(kind, run):
            read = " or ".join(layout.name for layout in layouts.BY_TYPE[kind])
            yield (
                f"{section}.type: {kind} is refused: it reads the layout {read}, and the data set of this model has "
                f"the layout {run.layout}"
            )
    if kinds[0] != kinds[1] and all(isinstance(kind, str) and kind not in UNREAD for kind in kinds):
        yield f"val_dataset.type: {kinds[1]!r} is refused; allowed: {kinds[0]!r}, as train_dataset has it"
    for section, split in zip(DATASETS, ("train", "val"), strict=True):
        own = content[section]
        mode = own.get("mode", "train" if split == "train" else None)
        modes = [split]
        if split == "train":
            modes = [layout.train_mode for layout in _read_by(own.get("type"), run)] or modes
        if own.get("type") in layouts.BY_TYPE and str(mode).lower() not in modes:
            allowed = " or ".join(dict.fromkeys(modes))
            yield f"{section}.mode: {mode!r} is refused: this is the split {split}; allowed: {allowed}"
        if own.get("separator", " ") != " ":
            yield f"{section}.separator: {own['separator']!r} is refused; allowed: a blank, as in the lists here"


def _read_by(kind: Any, run: Run) -> list[layouts.Layout]:
    """The layouts that a type of data set reads, where the run's is known that one alone."""
    found = layouts.BY_TYPE.get(kind, []) if isinstance(kind, str) else []
    return [layout for layout in found if run.layout in (None, layout.name)]


def _of_lists(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    """Where a configuration names a list that is not the data set's: what stands in it would be dropped."""
    for section, split in zip(DATASETS, ("train", "val"), strict=True):
        own = content[section]
        named = own.get(f"{split}_path")
        if own.get("type") == "Dataset" and not (isinstance(named, str) and named):
            yield f"{section}.{split}_path: {named!r} is refused; allowed: the path of a list of files"
    yield from (f"{key}: {named} {text}" for key, named, text, refused in _other_lists(content, run) if refused)


def _other_lists(content: Mapping[str, Any], run: Run) -> Iterator[tuple[str, str, str, bool]]:
    """(key, list, in words what becomes of it, whether it is refused) of lists that may not be the data set's own."""
    form = layouts.BY_NAME[run.layout].pairs if run.layout else None
    if not isinstance(form, layouts.Lists):
        return
    for section, split in zip(DATASETS, ("train", "val"), strict=True):
        own, key = content[section], f"{section}.{split}_path"
        named, root = own.get(f"{split}_path"), own.get("dataset_root")
        if not isinstance(named, str):
            continue
        relative, usual = list_in(named, root), form.name.format(split=split)
        if run.folder is None:
            if relative.as_posix() != usual:
                yield (
                    key,
                    named,
                    f"where the data set {run.data} has no such list, its own list of {split} is read",
                    False,
                )
            continue
        folder = Path(run.folder)
        instead = folder / run.lists.get(split, usual)
        # A list in a data set's folder is one of this data set, wherever the configuration has that; others are meant.
        of_folder = _real(named).is_relative_to(_real(folder))
        beside = isinstance(root, str) and not Path(named).is_relative_to(root)
        meant = Path(named) if of_folder or (beside and Path(named).is_file()) else folder / relative
        if meant.is_file() and instead.is_file() and not same_lines(meant, instead):
            what = "which says otherwise"
        elif not meant.is_file() and of_folder:
            what = "and that list is not there"
        else:
            if not meant.is_file() and relative.as_posix() != usual:
                yield key, named, f"the data set {run.data} has no such list, so {instead} is read", False
            continue
        inside = _real(meant).is_relative_to(_real(folder))
        name = _real(meant).relative_to(_real(folder)) if inside else "<a list in it>"
        yield (
            key,
            named,
            f"is refused: the data set {run.data} is read by {instead}, {what}; name that one here, or write "
            f"`lists: {{{split}: {name}}}` in datasets.{run.data}",
            True,
        )


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))  # `resolve` raises where links go round


def list_in(named: str, root: Any) -> Path:
    """The path of a list from the folder of the data set, by a configuration that has it in a folder of its own."""
    inside = isinstance(root, str) and Path(named).is_relative_to(root)
    return Path(named).relative_to(root) if inside else Path(Path(named).name)


def same_lines(one: Path, other: Path) -> bool:
    """Whether two lists say the same, in whatever order."""
    contents = [sorted(line.strip() for line in path.read_bytes().splitlines()) for path in (one, other)]
    return contents[0] == contents[1]


def _known(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """The number of classes and what is ignored, by the type of the data sets; None where it does not say."""
    kinds = {content[section].get("type") for section in DATASETS if isinstance(content[section].get("type"), str)}
    kind = kinds.pop() if len(kinds) == 1 else None
    return layouts.BY_TYPE[kind][0].types[kind] if kind in layouts.BY_TYPE else None


def _of_classes(content: Mapping[str, Any]) -> Iterator[str]:
    """Where the number of classes is none, or not the same everywhere; of most other data sets only PaddleSeg knows."""
    own = content["model"].get("num_classes")
    if known := _known(content):
        if own not in (None, known[0]):
            kind = content["train_dataset"]["type"]
            yield f"model.num_classes: {own!r} is refused; allowed: {known[0]}, the number of classes of {kind}"
        return
    if any(content[section].get("type") != "Dataset" for section in DATASETS):
        return
    train, val = (content[section].get("num_classes") for section in DATASETS)
    if type(train) is not int or train < 1:
        yield f"train_dataset.num_classes: {train!r} is refused; allowed: a whole number above 0"
        return
    for key, number in (("val_dataset.num_classes", val), ("model.num_classes", train if own is None else own)):
        if type(number) is not int or number != train:
            yield f"{key}: {number!r} is refused; allowed: {train}, as train_dataset has it"


def _of_ignored(content: Mapping[str, Any]) -> Iterator[str]:
    """Where the number that does not count is not the same everywhere.

    PaddleSeg compares only what is written down, and what is not is 255: a class may so be ignored by the loss and
    judged all the same. Of most other data sets only PaddleSeg knows the number, and compares it.
    """
    if known := _known(content):
        train, of = known[1], content["train_dataset"]["type"]
    elif any(content[section].get("type") != "Dataset" for section in DATASETS):
        return
    else:
        train, val = (content[section].get("ignore_index", IGNORED) for section in DATASETS)
        of = "the data sets"
        if type(train) is not int:
            yield f"train_dataset.ignore_index: {train!r} is refused; allowed: a whole number"
            return
        if type(val) is not int or val != train:
            yield f"val_dataset.ignore_index: {val!r} is refused; allowed: {train}, as train_dataset has it"
            return
    for key, loss in _mappings(content["loss"], "loss"):
        if loss.get("ignore_index", train) != train:
            has = "have" if of == "the data sets" else "has"
            yield f"{key}.ignore_index: {loss['ignore_index']!r} is refused; allowed: {train}, as {of} {has} it"


def _of_loss(content: Mapping[str, Any]) -> Iterator[str]:
    types, weights = (content["loss"].get(key) for key in ("types", "coef"))
    for key, value in (("types", types), ("coef", weights)):
        if not isinstance(value, list | tuple) or not value:
            yield f"loss.{key}: {value!r} is refused; allowed: a list, with an item for each output of the model"
            return
    if len(types) not in (1, len(weights)):
        yield f"loss.types: {len(types)} items are refused; allowed: 1 or {len(weights)}, as loss.coef has them"
    for key, loss in _mappings(types, "loss.types"):
        of_classes = loss.get("weight")
        if isinstance(of_classes, list | tuple) and of_classes and not any(of_classes):
            yield f"{key}.weight: {of_classes!r} is refused: with it nothing is learnt; allowed: one above 0"
    if all(is_number(weight) for weight in weights) and sum(weights) <= 0:
        yield f"loss.coef: {weights!r} is refused: with it nothing is learnt; allowed: numbers whose sum is above 0"


def _of_rate(content: Mapping[str, Any]) -> Iterator[str]:
    rate = content["lr_scheduler"].get("learning_rate")
    if is_number(rate) and rate <= 0:
        yield f"lr_scheduler.learning_rate: {rate!r} is refused: with it nothing is learnt; allowed: a number above 0"


def _of_numbers(content: Mapping[str, Any]) -> Iterator[str]:
    """Where a number is text to YAML 1.1, which wants a point before the exponent, and so to PaddleSeg."""
    for section in BUILT:
        for key, value in _texts(content[section], section):
            if WITHOUT_POINT.fullmatch(value):
                meant = re.sub("[eE]", ".0e", value)
                yield f"{key}: {value!r} is refused: to YAML that is text; allowed: a number, which is written {meant}"


def _of_model(content: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(content["model"].get("type"), str):
        yield f"model.type: {content['model'].get('type')!r} is refused; allowed: the name of a model of PaddleSeg's"
    channels = {f"{section}.img_channels": content[section].get("img_channels") for section in DATASETS}
    backbone = content["model"].get("backbone")
    within = backbone if isinstance(backbone, Mapping) else content["model"]
    place = "model.backbone" if within is backbone else "model"
    for key, number in {**channels, f"{place}.in_channels": within.get("in_channels")}.items():
        if number not in (None, 3):
            yield f"{key}: {number!r} is refused: images are read as RGB here; allowed: 3"
    for section in ("model", "loss"):
        for key, mapping in _mappings(content[section], section):
            if mapping.get("data_format", "NCHW") != "NCHW":
                yield f"{key}.data_format: {mapping['data_format']!r} is refused: models are run in NCHW; allowed: NCHW"


def _of_evaluation(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    asked = content.get("test_config", {})
    if asked.get("use_multilabel"):
        yield "test_config.use_multilabel: true is refused: models of several labels a pixel are not evaluated here"
    if run.transforms != "val" or not run.exports:
        return
    for key in asked:
        if key not in (*EVALUATION, "auc_roc", "use_multilabel"):
            yield f"test_config.{key}: PaddleSeg's evaluation takes no such key; allowed: {', '.join(EVALUATION)}"
    if asked.get("is_slide"):
        sizes = {key: asked.get(key) for key in ("crop_size", "stride")}
        wrong = [key for key, size in sizes.items() if not _is_size(size)]
        for key in wrong:
            yield f"test_config.{key}: {sizes[key]!r} is refused; allowed: [width, height], because is_slide is true"
        if not wrong and any(step > side for step, side in zip(sizes["stride"], sizes["crop_size"], strict=True)):
            yield f"test_config.stride: {sizes['stride']!r} is refused: pixels are left out; allowed: at most crop_size"
    scales = asked.get("scales", 1.0)
    if asked.get("aug_eval") and not (isinstance(scales, float) or (isinstance(scales, list | tuple) and scales)):
        yield f"test_config.scales: {scales!r} is refused; allowed: a number with a decimal point, or a list of numbers"


def _is_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(type(n) is int and n > 0 for n in value)


def export_transforms(content: Mapping[str, Any], size: Sequence[int] | None = None) -> tuple[str, Any]:
    """The transforms of the exported model before the run's `input_size` is laid over them, and their key.

    Where a configuration has none for the export, they are those of its validation, which may leave each image at a
    size of its own. With `size`, the run's for the export, they end in that.
    """
    if own := content.get("export", {}).get("transforms"):
        return "export.transforms", own
    key, items = "val_dataset.transforms", content["val_dataset"].get("transforms")
    if size is None or transforms.problems(items, key, transforms.VALIDATION, strict=False):
        return key, items
    return key, transforms.ended(items, size)


def _of_transforms(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    for name in run.own_transforms:
        if name in transforms.TABLE:
            yield f"own_transforms.{name}: is PaddleSeg's own; take it out of the run's configuration"
    train, val = (content[section].get("transforms") for section in DATASETS)
    lists = []
    if run.trains:
        lists.append((train, "train_dataset.transforms", transforms.TRAINING, run.input_size))
    if run.exports and run.transforms == "val":
        lists.append((val, "val_dataset.transforms", transforms.VALIDATION, run.input_size))
    if run.exports:
        key, items = export_transforms(content, run.export_size)
        lists.append((items, key, transforms.EXPORT, run.export_size))
    for items, key, purpose, size in lists:
        yield from transforms.problems(items, key, purpose, size, run.own_transforms, run.strict)
    if run.exports and run.sizes:
        yield from _of_sizes(*export_transforms(content, run.export_size), run)


def _of_sizes(key: str, items: Any, run: Run) -> Iterator[str]:
    """Other sizes that the export's transforms cannot be given."""
    if transforms.problems(items, key, transforms.EXPORT, run.export_size, run.own_transforms, run.strict):
        return  # they are told of as they are
    for size in run.sizes:
        word = f"infer.sizes: {size[0]}x{size[1]}"
        if run.export_size is None and not any(item["type"] == "Resize" for item in items):
            kinds = ", ".join(item["type"] for item in items)
            yield (
                f"{word}: {key} has no Resize that could have another size ({kinds}): one before them would stretch "
                "the images; give it one, or leave this model out of that size with `models`"
            )
            continue
        yield from (
            f"{word}: {problem}"
            for problem in transforms.problems(items, key, transforms.EXPORT, size, run.own_transforms, run.strict)
        )


def _of_ending(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    """Where the export's transforms get a Resize that the configuration has not."""
    key, items = export_transforms(content)
    size = run.export_size
    if size and export_transforms(content, size)[1] != items:
        yield (
            f"{key}: ends in no size or in another than {size[0]}x{size[1]} (`input_size`), so the exported model and "
            "the evaluation of its checkpoint get a Resize to that behind it; export.transforms can say otherwise"
        )


def _of_normalising(content: Mapping[str, Any]) -> Iterator[str]:
    key, exported = export_transforms(content)
    trained = content["train_dataset"].get("transforms")
    if _normalised(trained) != _normalised(exported):
        yield (
            f"{key}: normalises otherwise than train_dataset.transforms, so the exported model is fed other numbers "
            "than it is trained on"
        )


def _normalised(items: Any) -> list[tuple[list[Any], ...]]:
    """Mean and std of each Normalize among transforms, by three channels."""
    values = [[item.get(key, [0.5]) for key in ("mean", "std")] for item in items or () if item["type"] == "Normalize"]
    return [tuple([*value] * (3 if len(value) == 1 else 1) for value in pair) for pair in values]


# -- weights ----------------------------------------------------------------------------------


def pretrained(content: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value of everything that a model's configuration wants loaded into the model or a part of it."""
    found = {f"{key}.pretrained": part.get("pretrained") for key, part in _mappings(content.get("model"), "model")}
    return {key: value for key, value in found.items() if value is not None}


def is_url(value: str) -> bool:
    """As PaddleSeg tells a URL from a path."""
    return bool(urlparse(value).netloc)


def left_out(content: Mapping[str, Any], run: Run) -> list[str]:
    """The keys of weights in whose place nothing is loaded, because `train.pretrained_backbone` is false."""
    if run.fetches:
        return []
    return [
        key
        for key, value in pretrained(content).items()
        if ENTRIES.get(key) in run.entries or (key == BACKBONE and isinstance(value, str) and is_url(value))
    ]


def files(content: Mapping[str, Any], run: Run) -> list[str]:
    """The files of weights that a model's configuration names itself, and that its training loads."""
    skipped = left_out(content, run)
    return [
        value
        for key, value in pretrained(content).items()
        if key not in skipped and ENTRIES.get(key) not in run.entries
    ]


def _replaced(content: Mapping[str, Any], run: Run) -> Iterator[tuple[str, str]]:
    """(key, what is loaded in its place) of the weights that are not loaded as they stand there."""
    found = pretrained(content)
    scratch = "train.pretrained_backbone is false"
    for key, entry in ENTRIES.items():
        if key in found and run.fetches and entry in run.entries:
            yield key, f"{masked(str(found[key]))} is not loaded: {entry} of the model is, {run.entries[entry]}"
    for key in left_out(content, run):
        yield key, f"{masked(str(found[key]))} is not loaded: {scratch}"
    entry = ENTRIES[WHOLE_MODEL]
    if entry in run.entries and not run.fetches:
        yield entry, f"{run.entries[entry]} is not loaded: {scratch}"


def _of_weights(content: Mapping[str, Any], run: Run) -> Iterator[str]:
    skipped = left_out(content, run)
    for key, value in pretrained(content).items():
        entry = ENTRIES.get(key)
        if key in skipped or entry in run.entries:
            continue
        if not isinstance(value, str) or not value:
            yield f"{key}: {value!r} is refused; allowed: null, or a file"
        elif is_url(value):
            instead = f"name that in model_zoo.<model>.{entry}" if entry else "fetch it, and name the file here"
            yield (
                f"{key}: {masked(value)} is refused: a training follows no URL, so that it is known what it started "
                "from; make it an entry of `weights` in the run's configuration ({source: url, url: ...}) and "
                f"{instead}; or write null to start from scratch"
            )
        elif set(value) & set("{}\n"):
            yield f"{key}: {value!r} is refused; allowed: a path without {{ }} and line ends"
        elif not Path(value).is_file() and Path(value).as_posix() not in run.made:
            what = "is a folder" if Path(value).is_dir() else "is not there"
            yield (
                f"{key}: {value} {what}; allowed: null, or a file of weights, its path from the folder in which "
                "snakemake is started"
            )
    if ENTRIES[BACKBONE] in run.entries and run.fetches and not isinstance(content["model"].get("backbone"), Mapping):
        yield f"model.backbone: there is none to load {run.entries[ENTRIES[BACKBONE]]} into; take backbone_weights out"
