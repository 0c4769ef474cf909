"""PaddleSeg's zoo: model configurations of a checkout as models of the run, all (`models: zoo`) or some by name.

A file that plans nothing, because it is broken or because it is not for this workflow, is one row of the conclusions
with its reason. It stops none of the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segcert import layouts, modelconfig, statuses
from segcert.checkout import tree
from segcert.errors import ConfigError
from segcert.sections import TRAINED, merge, per_model
from segcert.tipc import planned
from segcert.tipc.draft import Draft

ZOO = "zoo"  # the value of `models`
CONFIGS = "configs"  # of a checkout
PARTS = "_base_"  # a folder of what others inherit from
# Keys of which a configuration that is made to be exported, and not to be trained, has none.
OF_TRAINING = ("train_dataset", "optimizer", "lr_scheduler", "loss")


def is_asked_for(settings: Mapping[str, Any]) -> bool:
    """Whether models of the zoo are among those of a run: all are asked for, or one by a name that no other has."""
    if settings["models"] == ZOO:
        return True
    found = _checkout(settings) if _unknown(settings) else None
    return found is not None and (found.folder / CONFIGS).is_dir()


def layer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the zoo adds to the settings of a run: `models`, entries of tables, `zoo_notes`, and `zoo_names` of all.

    Args:
        settings: those of the run but for this.

    Raises:
        ConfigError: there is no checkout, or a pattern matches none of its files.
    """
    folder = _configs(settings)
    everything = sorted(file for file in folder.rglob("*.y*ml") if _is_configuration(file.relative_to(folder)))
    names = {file: name_of(file.relative_to(folder)) for file in everything}
    if settings["models"] == ZOO:
        chosen = _chosen(folder, everything, settings["zoo"])
    else:
        asked = _unknown(settings)
        chosen = [file for file in everything if names[file] in asked]
    contents = {file: _content(file) for file in everything}
    inherited = {
        base.resolve(): file for file in everything for base in _bases(file) if not isinstance(contents[file], str)
    }
    made: dict[str, Any] = {"models": [], "model_zoo": {}, "data": {}, "datasets": {}, "weights": {}, "zoo_notes": []}
    made["zoo_names"] = list(names.values())
    for file in chosen:
        name = names[file]
        made["models"].append(name)
        if name in settings["model_zoo"]:  # somebody's own entry says what is to be done with the file
            continue
        model = Draft(
            path=planned.shown(file),
            trains=settings["train"]["checkpoints"] == TRAINED,
            others={**settings["weights"], **made["weights"]},
            root=str(folder.parent),
        )
        _fill(model, name, contents[file], inherited.get(file.resolve()), settings)
        made["model_zoo"][name] = model.entry
        if "not_planned" in model.entry:  # its data and weights are none of this run's
            plain = {**model.entry, "data": next(iter(settings["data"]))}
            made["model_zoo"][name] = {key: plain[key] for key in ("algorithm", "config", "data", "not_planned")}
            continue
        made["datasets"].update(model.datasets)
        made["data"].update({dataset: dataset for dataset in model.datasets})
        made["weights"].update(model.weights)
        made["zoo_notes"] += [note.replace(f" of {model.path}", "") for note in model.notes]
    if settings["models"] == ZOO and len(chosen) < len(everything):
        told = f"models: zoo: {len(chosen)} of the {len(everything)} configurations below {folder} are taken"
        made["zoo_notes"].insert(0, f"{told} (zoo.include, zoo.exclude)")
    return made


def laid(settings: Mapping[str, Any], of_files: list[str]) -> dict[str, Any]:
    """The settings with the zoo's models: all after those of params files, or some where they are named."""
    made = layer(settings)
    models = [*of_files, *made["models"]] if settings["models"] == ZOO else settings["models"]
    return {**merge(settings, made), "models": models}


def name_of(file: Path) -> str:
    """The model's name, from the file's place below `configs` alone: so it stays, whatever files come beside it.

    `a/b.yml` is `a.b`. Where that would not be a name, or might be that of another file, a hash of the place is added.
    """
    parts = [*file.parent.parts, file.stem]
    name = ".".join(re.sub(r"[^A-Za-z0-9_-]+", "_", part) for part in parts)
    if "/".join(parts) == name.replace(".", "/") and name[0].isalnum() and file.suffix == ".yml":
        return name
    return f"{name.lstrip('_-.') or 'file'}_{hashlib.sha256(file.as_posix().encode()).hexdigest()[:8]}"


# -- which files ------------------------------------------------------------------------------


def _unknown(settings: Mapping[str, Any]) -> list[str]:
    """The names among `models` that no entry of `model_zoo` has."""
    asked = [settings["models"]] if isinstance(settings["models"], str) else settings["models"]
    entries = settings["model_zoo"].items()
    known = {"all", *(other for name, entry in entries for other in (name, *entry.get("aliases", ())))}
    return [name for name in asked if name not in known]


def _checkout(settings: Mapping[str, Any]) -> tree.Tree | None:
    files = [Path(file) for file in settings.get("params", {}).get("files", [])]
    return tree.chosen(settings["paddleseg"], settings["paddleseg_root"], files, None)


def _configs(settings: Mapping[str, Any]) -> Path:
    """The folder `configs` of the checkout of the run."""
    found = _checkout(settings)
    told = f"paddleseg: {settings['paddleseg']}"
    if found is None:
        raise ConfigError(
            f"models: zoo needs a checkout of PaddleSeg, and {told} is the installed package, which has no {CONFIGS}/; "
            "allowed: --config paddleseg=FOLDER, the checkout"
        )
    folder = found.folder / CONFIGS
    if not folder.is_dir():
        raise ConfigError(
            f"models: zoo: there is no folder {folder} ({told}); allowed: with paddleseg=FOLDER, a checkout of "
            f"PaddleSeg that has its {CONFIGS}/"
        )
    return folder


def _is_configuration(file: Path) -> bool:
    return PARTS not in file.parts and file.suffix in (".yml", ".yaml")


def _chosen(folder: Path, everything: list[Path], patterns: Mapping[str, list[str]]) -> list[Path]:
    """Those of the files that `zoo.include` matches and `zoo.exclude` does not."""
    matched = {
        key: {
            file
            for number, pattern in enumerate(patterns[key])
            for file in _matching(folder, everything, key, number, pattern)
        }
        for key in ("include", "exclude")
    }
    chosen = [file for file in everything if file in matched["include"] - matched["exclude"]]
    if not chosen:
        raise ConfigError(f"zoo.exclude: {patterns['exclude']!r} leaves none of the files that zoo.include matches")
    return chosen


def _matching(folder: Path, everything: list[Path], key: str, number: int, pattern: str) -> set[Path]:
    try:
        found = set(folder.glob(pattern)) & set(everything)
    except (ValueError, NotImplementedError) as error:  # an absolute path, `a**`
        raise ConfigError(
            f"zoo.{key}.{number}: {pattern!r} is refused: {error}; allowed: a pattern of names from {folder}, where "
            "* stands for a part of a name and ** for any folders"
        ) from None
    if not found:
        raise ConfigError(
            f"zoo.{key}.{number}: {pattern!r} matches none of the {len(everything)} configurations below {folder}; "
            "allowed: a pattern that matches some, as pp_liteseg/* or **/*cityscapes*; or take it out"
        )
    return found


# -- what a file comes to ---------------------------------------------------------------------


def _content(file: Path) -> dict[str, Any] | str:
    """What a configuration holds; in words, why it cannot be read."""
    if set(file.as_posix()) & set("{}\n"):
        return f"{file}: a path without {{ }} and line ends is needed, which Snakemake does not take in names of files"
    try:
        return modelconfig.content(planned.shown(file))
    except ConfigError as error:
        return str(error)


def _bases(file: Path) -> Iterator[Path]:
    """The files that it inherits from."""
    try:
        yield from modelconfig.config_chain(file)[1:]
    except ConfigError:
        return


def _fill(
    model: Draft, name: str, content: dict[str, Any] | str, inheritor: Path | None, settings: Mapping[str, Any]
) -> None:
    """The entry of a file, and, where it plans nothing, its row.

    Args:
        content: what it holds, or why it cannot be read.
        inheritor: a configuration that inherits from it.
    """
    file = model.path
    model.entry |= {"algorithm": name, "config": "", "data": next(iter(settings["data"]))}
    if isinstance(content, str):
        model.leave_out(statuses.FAILED.name, content)
        return
    section = content.get("model")
    kind = section.get("type") if isinstance(section, Mapping) else None
    model.entry |= {"algorithm": str(kind or name), "config": file.as_posix()}
    lacking = [key for key in OF_TRAINING if key not in content]
    unfit = planned.unfit_file(content, f"({file})", layouts.BY_TYPE)
    if inheritor and "model" not in content:
        what = f"it has no key `model`: it is a part, from which {planned.shown(inheritor)} inherits ({file})"
        unfit = statuses.SKIPPED.name, what
    elif kind and lacking == list(OF_TRAINING):
        what = f"{', '.join(lacking)}: there are none of these keys: it is a configuration for an export alone ({file})"
        unfit = statuses.SKIPPED.name, what
    if unfit:
        model.leave_out(*unfit)
    elif reason := (
        planned.data(
            model,
            content,
            file,
            Path(str(model.root)),
            settings,
            f"({file})",
            _generated(content, settings),
            layouts.BY_TYPE,
        )
        or planned.weights(model, content, file)
        or _refused(model, name, content, settings)
    ):
        model.leave_out(statuses.SKIPPED.name, reason)


def _generated(content: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """The key of `data` under which the mode has generated data in the layout of a configuration's data set."""
    layout = layouts.of_section(content["train_dataset"])
    for part, dataset in settings["data"].items():
        entry = settings["datasets"].get(dataset, {})
        if layout and entry.get("source") == "synthetic" and entry["layout"] == layout.name:
            return str(part)
    return None


def _refused(model: Draft, name: str, content: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """What of the configuration is not done here, with the file, the first; None where all is."""
    size = per_model(settings["input_size"], name)
    found = planned.problem(model, content, settings, size, settings["export"]["input_size"])
    return f"{found.replace('<model>', name)} ({model.path})" if found else None
