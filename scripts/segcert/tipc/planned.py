"""What a model of a params file is made from: PaddleSeg's configuration, input size, data set, and weights.

Taken from the files that the params file names where they are there, otherwise from this project's configuration.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segcert import layouts, modelconfig, modelkeys, sizes, statuses, transforms
from segcert.errors import ConfigError
from segcert.paths import ROOT
from segcert.sections import per_model
from segcert.tipc.draft import Draft, Model, slug
from segcert.tipc.params import Command, Released

TYPES = sorted({layout.params_type for layout in layouts.ALL})  # of data sets that a params file may name
LISTS = {"train": "train_path", "val": "val_path", "test": "test_path"}


def find(name: str, beside: Path, root: str | None) -> tuple[Path, Path] | None:
    """A file that a params file names, and the folder that the name starts from.

    That is `root` where it is given, otherwise the nearest folder above the params file that holds it.
    """
    folders = [Path(root)] if root else list(beside.resolve().parents)
    for folder in folders:
        try:
            if (folder / name).is_file():
                return shown(folder / name), folder
        except (OSError, ValueError):  # a name that no file can have
            return None
    return None


def searched(beside: Path, root: str | None) -> str:
    """Where `find` looks, in words."""
    return f"in {root}" if root else f"in the folders above {beside}"


def shown(path: Path) -> Path:
    """Relative to the working folder where it lies below, so that a moved checkout stays the same."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (links are kept as they are named)
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


# -- configuration and input size -------------------------------------------------------------


def place(
    model: Model,
    command: Command | None,
    known: str | None,
    config: Mapping[str, Any],
    effective: Mapping[str, Any],
    root: str | None,
) -> None:
    """Configuration, data set and algorithm: those of PaddleSeg's file where it is there, and whether it can be run."""
    wanted = command.option("--config") if command else None
    found = find(wanted, model.path, root) if wanted else None
    if command is None or found is None:
        model.entry.setdefault("algorithm", model.meaning.model)
        model.entry.setdefault("config", "")
        model.entry.setdefault("data", next(iter(config["data"])))
        return
    file, folder = found
    content = modelconfig.content(file)
    model.entry["config"] = file.as_posix()
    if not known:
        section = content.get("model")
        section = section if isinstance(section, dict) else {}
        model.entry["algorithm"] = str(section.get("type") or model.meaning.model)
    where = f"({model.at(command.line)}, {file})"
    model.root = root
    if unfit := unfit_file(content, where):
        model.leave_out(*unfit)
        model.entry.setdefault("data", next(iter(config["data"])))
        return
    reason = (
        data(model, content, file, folder, effective, where, model.entry.get("data") if known else None)
        or weights(model, content, file)
        or _size(model, content, file, known, effective)
        or _keys(model, content, file, known, effective)
    )
    if reason:
        model.leave_out(statuses.SKIPPED.name, reason)
        model.entry.setdefault("data", next(iter(config["data"])))


def unfit_file(content: Mapping[str, Any], where: str, read: Collection[str] = TYPES) -> tuple[str, str] | None:
    """The status of what a configuration plans, and why, where it is not for this workflow, or broken.

    Args:
        where: the place of which it is told.
        read: the types of data sets that may be named.
    """
    if task := modelkeys.other_task(content):
        return statuses.SKIPPED.name, f"{task} {where}"
    train = content.get("train_dataset")
    kind = train.get("type") if isinstance(train, Mapping) else None
    if isinstance(kind, str) and kind not in read:
        why = f"{layouts.NOT_READ[kind]}; " if kind in layouts.NOT_READ else ""
        return statuses.SKIPPED.name, f"train_dataset.type {kind}: {why}only {', '.join(read)} are read here {where}"
    if broken := modelkeys.broken(content):
        return statuses.FAILED.name, f"{'; '.join(broken)} {where}"
    return None


def _size(
    model: Model, content: Mapping[str, Any], file: Path, known: str | None, effective: Mapping[str, Any]
) -> str | None:
    """See to it that the exported model has one input size; why it cannot be run where there is none.

    PaddleSeg's files may leave the size open, and the original then runs images of any size. Here the matrix runs
    on models of one size: that of `random_infer_input`, or of the built-in configuration.
    """
    own = model.settings.get("export", {})
    if own.get("input_size") or sizes.exported(content) or input_size(model, known, effective):
        return None
    size = model.meaning.random_input
    if size is None and known:
        built_in = Path(effective["model_zoo"][known]["config"])
        fixed = sizes.exported(modelconfig.content(built_in if built_in.exists() else ROOT / built_in))
        size = list(fixed) if fixed else None
    if size is None and (opened := _opened(content)):
        return f"{opened} ({file})"
    if size is None:
        return "the exported model's size is open: no Resize in export.transforms, no --input_shape; set `input_size`"
    model.settings["export"] = {**own, "input_size": size}
    model.note("norm_export", f"the exported model's size is open; {size[0]} x {size[1]} (width x height) is taken")
    return None


def input_size(model: Model, known: str | None, effective: Mapping[str, Any]) -> list[int] | int | None:
    """`input_size` of a run for a model, which goes over every size in files: that of its own settings, else of all."""
    name = _name(model, known)
    own = effective["model_zoo"].get(name, {}).get("settings", {})
    size: list[int] | int | None = per_model(
        own.get("input_size", model.settings.get("input_size", effective["input_size"])), name
    )
    return size


def _name(model: Model, known: str | None) -> str:
    return known or model.meaning.model


def _opened(content: Mapping[str, Any]) -> str | None:
    """What leaves the exported model's size open, by its key; None where there is nothing that gives it one."""
    key, items = modelkeys.export_transforms(content)
    found = transforms.problems(items, key, transforms.EXPORT, strict=False)
    return found[0] if found and "a Resize with target_size" not in found[0] else None


def _keys(
    model: Model, content: Mapping[str, Any], file: Path, known: str | None, effective: Mapping[str, Any]
) -> str | None:
    """What of the configuration is not done here, with the file; None where all is."""
    own = model.settings.get("export", {}).get("input_size") or effective["export"]["input_size"]
    found = problem(model, content, effective, input_size(model, known, effective), own)
    return f"{found} ({file})" if found else None


def problem(
    model: Draft,
    content: Mapping[str, Any],
    settings: Mapping[str, Any],
    asked: Sequence[int] | int | None,
    export_size: Sequence[int] | None,
) -> str | None:
    """The first thing in a configuration that is not done here; None where all is. `data` has chosen its data set.

    Args:
        asked: `input_size` of the run for the model.
        export_size: that of its export, where it has one.
    """
    try:
        size = sizes.of(asked, content)
    except ConfigError as error:
        return str(error)
    name = {**settings["data"], **{dataset: dataset for dataset in model.datasets}}[model.entry["data"]]
    run = modelkeys.Run(
        trains=model.trains,
        input_size=size,
        export_size=export_size or size,
        transforms=settings["evaluate"]["transforms"],
        entries={kind: model.entry[kind] for kind in modelkeys.ENTRIES.values() if model.entry.get(kind)},
        fetches=settings["train"]["pretrained_backbone"],
        own_transforms=settings["own_transforms"],
        **modelkeys.of_data(name, {**settings["datasets"], **model.datasets}[name]),
    )
    return next(iter(modelkeys.problems(content, run)), None)


# -- data -------------------------------------------------------------------------------------


def data(
    model: Draft,
    content: Mapping[str, Any],
    file: Path,
    folder: Path,
    effective: Mapping[str, Any],
    where: str,
    own: str | None = None,
    read: Collection[str] = TYPES,
) -> str | None:
    """Set the model's `data`; a reason where its data set cannot be used here.

    Args:
        folder: where its `dataset_root` starts.
        where: the place of which the reason is told.
        own: the key of `data` that a known model has.
        read: the types that may be named.
    """
    sections = [content.get(name) for name in ("train_dataset", "val_dataset")]
    train, val = (section if isinstance(section, Mapping) else {} for section in sections)
    kind, root = str(train.get("type")), str(train.get("dataset_root"))
    layout = layouts.of_section(train)
    if kind not in read or layout is None or val.get("type") != train.get("type"):
        return (
            f"train_dataset.type {kind}, val_dataset.type {val.get('type')}: one of {', '.join(read)} is read {where}"
        )
    if val.get("dataset_root") != train.get("dataset_root"):
        return f"train_dataset and val_dataset have different dataset_root {where}"
    if train.get("separator", " ") != " " or val.get("separator", " ") != " ":
        return f"train_dataset.separator: only a blank is read here {where}"
    part = _part(own, layout, root, effective)
    chosen = effective["datasets"].get(effective["data"].get(part, ""), {})
    if chosen.get("source") == "synthetic":
        if isinstance(layout.pairs, layouts.Lists) and (other := _of_another_split(train, val, root, layout.pairs)):
            return f"{other} {where}"
        model.entry["data"] = part
        model.note("norm_trainer", f"{root} of {file}: mode {effective['mode']} works on generated data")
        return None
    if (folder / root).is_dir():
        entry: dict[str, Any] = {"layout": layout.name, "source": "folder", "path": shown(folder / root).as_posix()}
        if isinstance(layout.pairs, layouts.Lists):
            lists, reason = _lists(train, val, folder, root, layout.pairs)
            if reason:
                return f"{reason} {where}"
            entry["lists"] = lists
        name = f"{slug(Path(entry['path']))}_{hashlib.sha256(repr(entry).encode()).hexdigest()[:8]}"
        model.datasets[name] = entry
        model.entry["data"] = name
        return None
    if part:
        model.entry["data"] = part
        model.note("norm_trainer", f"{root} of {file} is not there: {effective['data'][part]} is used")
        return None
    return f"dataset_root {root} is not there, and no data set of the configuration stands for it {where}"


def _part(own: str | None, layout: layouts.Layout, root: str, effective: Mapping[str, Any]) -> str | None:
    """The key of `data` that stands for a data set: the known model's, or the one called as the folder.

    Or, where the type fixes the classes and so says which data set it is, the one called as the layout.
    """
    says_it = len(layout.types) == 1 and layout.types[layout.params_type]
    for part in (own, Path(root).name, layout.name if says_it else None):
        dataset = effective["datasets"].get(effective["data"].get(part, "")) if part else None
        if dataset and dataset["layout"] == layout.name:
            return part
    return None


def _of_another_split(train: Mapping[str, Any], val: Mapping[str, Any], root: str, form: layouts.Lists) -> str | None:
    """Why generated data cannot stand for a configuration's own: what it calls one split's list is another's there."""
    usual = {form.name.format(split=split): split for split in LISTS}
    for split, section in (("train", train), ("val", val)):
        name = section.get(LISTS[split])
        is_of = usual.get(modelkeys.list_in(name, root).as_posix()) if isinstance(name, str) else None
        if is_of not in (None, split):
            return f"{LISTS[split]} {name}: is the list of {is_of} in generated data; name data of your own"
    return None


def _lists(
    train: Mapping[str, Any], val: Mapping[str, Any], folder: Path, root: str, form: layouts.Lists
) -> tuple[dict[str, str], str | None]:
    """The list files by split, relative to the data set's folder; or why they cannot be used."""
    lists: dict[str, str] = {}
    inside = (folder / root).resolve()
    for split, section in (("train", train), ("val", val), ("test", val)):
        name = section.get(LISTS[split])
        path = (folder / name) if isinstance(name, str) else inside / form.name.format(split=split)
        if not path.is_file():
            if split == "test":
                continue
            return {}, f"{LISTS[split]} {name} is not there"
        if not path.resolve().is_relative_to(inside):
            return {}, f"{LISTS[split]} {name} does not lie in dataset_root {root}"
        lists[split] = path.resolve().relative_to(inside).as_posix()
    return lists, None


# -- weights ----------------------------------------------------------------------------------


def weights(model: Draft, content: Mapping[str, Any], file: Path) -> str | None:
    """Entries of `weights` for what a training starts from by its file; why it cannot be trained where one is lost."""
    found = modelkeys.pretrained(content)
    for key, kind in modelkeys.ENTRIES.items():
        value = found.get(key)
        model.entry[kind] = None
        if not isinstance(value, str) or not value:
            continue  # nothing, or nothing that can be loaded
        if modelkeys.is_url(value):
            entry = {"source": "url", "url": value}
            model.entry[kind] = model.of_weights(entry, Path(value.partition("://")[2]))
        elif local := find(value, model.path, model.root):
            entry = {"source": "path", "path": local[0].as_posix()}
            model.entry[kind] = model.of_weights(entry, local[0])
        elif model.trains:
            return f"{key}: {value} is not there, looked for {searched(model.path, model.root)} ({file})"
    return None


def warnings(content: Mapping[str, Any], path: Path, root: str | None) -> Iterator[str]:
    """What of a configuration is not done here, or otherwise, whatever a run decides: for the linter."""
    found = modelkeys.pretrained(content)
    for key, value in found.items():
        if isinstance(value, str) and not modelkeys.is_url(value) and not find(value, path, root):
            yield f"{key}: {value} is not there, looked for {searched(path, root)}"
    run = modelkeys.Run(exports=False, entries={kind: "" for key, kind in modelkeys.ENTRIES.items() if key in found})
    yield from modelkeys.problems(content, run)
    yield from modelkeys.notes({**content, "model": {}}, run)


def released_weights(model: Model, released: Released, effective: Mapping[str, Any]) -> None:
    """The file that infer_model names, as an entry of `weights`; where it is not there, what is used instead."""
    found = find(released.path, model.path, effective["paddleseg_root"])
    if found:
        model.entry["released_weights"] = model.of_weights({"source": "path", "path": found[0].as_posix()}, found[0])
        return
    shipped = model.entry.get("released_weights")
    told = f"the configuration's are used, {shipped}" if shipped else "and the configuration has none for this model"
    model.note("infer_model", f"released weights {released.path} are not there: {told}")
    model.entry.setdefault("released_weights", None)
