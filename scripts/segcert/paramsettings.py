"""From params files to the settings of a run: entries of `model_zoo` with settings of their own.

What a file asks for and this project does not do is never dropped: it becomes an item of the model's
`skipped`, which the cell table shows as a cell with its reason. What is taken from elsewhere than the
file says, or means nothing here, becomes a note.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcert import modelconfig, params
from segcert.errors import ConfigError
from segcert.params import Command, Devices, Meaning, ParamsError, Problem, Trainer

ROOT = Path(__file__).resolve().parents[2]
PATTERN = "train_*infer_python*.txt"
WHOLE_INFER = "whole_infer"
# Options of each of PaddleSeg's tools: those that the settings take, and those that change nothing here.
SCRIPTS = {
    "train": ("tools/train.py", "train.py"),
    "eval": ("tools/val.py", "val.py"),
    "export": ("tools/export.py", "export.py"),
    "infer": ("deploy/python/infer.py", "infer.py"),
}
TAKEN = {
    "train": {
        "--config", "--device", "--iters", "--batch_size", "--num_workers", "--log_iters", "--seed",
        "--precision", "--amp_level", "Global.use_gpu",
    },
    "eval": {"--config"},
    "export": {"--config", "--input_shape"},
    "infer": set(),
}  # fmt: skip
WITHOUT_EFFECT = {
    "train": {"--save_dir", "--save_interval", "--do_eval", "--use_vdl", "--keep_checkpoint_max"},
    "eval": {"--num_workers", "--model_path", "--device"},
    "export": {"--save_dir", "--model_path"},
    # Those with lines of their own come later in the original's command and win.
    "infer": {
        "--save_dir", "--model_name", "--benchmark", "--print_detail", "--device", "--enable_mkldnn", "--cpu_threads",
        "--batch_size", "--use_trt", "--precision", "--config", "--image_path",
    },
}  # fmt: skip
DEFAULTS = {"--data_format": "NCHW", "--output_op": "argmax"}  # what is done here anyway
SLOTS = {
    "pact": "quantisation-aware training (pact)",
    "fpgm": "pruning (fpgm)",
    "distill": "distillation",
    "to_static": "training of a graph (to_static)",
}
LAYOUTS = {"Cityscapes": "cityscapes", "Dataset": "mini_supervisely"}
LISTS = {"train": "train_path", "val": "val_path", "test": "test_path"}
GPU_VALUES, CPU_VALUES = ("gpu", "True"), ("cpu", "False")


def files(named: str | list[str] | None) -> list[tuple[Path, bool]]:
    """The params files of `params_file`: (path, whether it was named itself); folders are searched.

    Raises:
        ParamsError: a name is neither a file nor a folder, or a folder holds no params file.
    """
    found: list[tuple[Path, bool]] = []
    for name in [named] if isinstance(named, str) else named or []:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*.txt") if fnmatch.fnmatch(file.name, PATTERN))
            if not inside:
                raise ParamsError([Problem(name, 0, f"a folder without a file {PATTERN}")])
            found += [(file, False) for file in inside]
        else:
            found.append((path, True))
    return list(dict(reversed(found)).items())[::-1]


def lint(
    named: str | list[str], config: Mapping[str, Any], root: str | None = None, mode: str | None = None
) -> tuple[list[tuple[Path, Meaning]], list[Problem]]:
    """What params files ask for, and everything that is wrong with them.

    Args:
        config: a configuration, for the models that it knows (`model_zoo`).
        root: PaddleSeg's folder, if it is not to be found from the files.
        mode: look only for the files of commands that this mode runs; None: of all.
    """
    meanings: list[tuple[Path, Meaning]] = []
    problems: list[Problem] = []
    for path, alone in files(named):
        try:
            if not alone and (other := params.kind(path.read_text("utf-8", "replace"))) in params.OTHER_KINDS:
                problems.append(Problem(str(path), 1, f"left out: its kind is {other}, not train_params", error=False))
                continue
            meaning, found = params.understand(params.read(path))
        except ParamsError as error:
            problems += error.problems
            continue
        except OSError as error:
            problems.append(Problem(str(path), 0, f"cannot be read: {error.strerror}"))
            continue
        problems += found
        if meaning:
            problems += _missing_files(path, meaning, config, root, mode)
            meanings.append((path, meaning))
    return meanings, problems


def _missing_files(
    path: Path, meaning: Meaning, config: Mapping[str, Any], root: str | None, mode: str | None
) -> Iterator[Problem]:
    """Model configurations that cannot be found; a warning where the model is a known one."""
    known = canonical(config, meaning.model)
    for command in _commands(meaning, mode):
        name = command.option("--config")
        if name is None:
            yield Problem(str(path), command.line, f"{command.script}: no --config", error=known is None)
            continue
        found = find(name, path, root)
        if found is None:
            more = f"the built-in configuration of {known} is used" if known else "and the model is not a known one"
            text = f"--config {name} is not there, looked for {_where(path, root)}; {more}"
            yield Problem(str(path), command.line, text, error=known is None)
            continue
        try:
            modelconfig.content(found[0])
        except ConfigError as error:
            yield Problem(str(path), command.line, str(error))


def _commands(meaning: Meaning, mode: str | None) -> list[Command]:
    """The commands whose configuration is read, each line once."""
    trainers = [] if mode == WHOLE_INFER else meaning.trainers
    released = meaning.released if mode in (None, WHOLE_INFER) else []
    chosen = [trainer.command for trainer in trainers if _unsupported_training(trainer) is None]
    chosen += [item.export for item in released if _unsupported_release(item) is None]
    unique = {(command.line, command.option("--config")): command for command in chosen if command}
    return list(unique.values())


def canonical(config: Mapping[str, Any], name: str) -> str | None:
    """The name in `model_zoo` of a model or an alias."""
    zoo = config["model_zoo"]
    return next((model for model, entry in zoo.items() if name in (model, *entry.get("aliases", []))), None)


def find(name: str, beside: Path, root: str | None) -> tuple[Path, Path] | None:
    """A file that a params file names, and the folder that the name starts from.

    That is `root` where it is given, otherwise the nearest folder above the params file that holds it.
    """
    folders = [Path(root)] if root else list(beside.resolve().parents)
    for folder in folders:
        try:
            if (folder / name).is_file():
                return _shown(folder / name), folder
        except (OSError, ValueError):  # a name that no file can have
            return None
    return None


def _where(beside: Path, root: str | None) -> str:
    return f"in {root}" if root else f"in the folders above {beside}"


def _shown(path: Path) -> Path:
    """Relative to the working folder where it lies below, so that a moved checkout stays the same."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (links are kept as they are named)
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


# -- the layer --------------------------------------------------------------------------------


@dataclass
class _Model:
    """An entry of `model_zoo` in the making."""

    path: Path
    meaning: Meaning
    entry: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    datasets: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def note(self, name: str, text: str) -> None:
        """Something that this run takes from elsewhere than the line called `name` says."""
        self.notes.append(f"{self.path}:{self.meaning.lines[name]}: {text}")

    def remark(self, name: str, text: str) -> None:
        """Something that is so with every file like this one."""
        self.remarks.append(f"{self.path}:{self.meaning.lines[name]}: {text}")

    def at(self, line: int) -> str:
        return f"{self.path.name}:{line}"

    def skip(self, stage: str, topology: str, name: str, what: str, reason: str, **more: Any) -> None:
        """A cell that is asked for and not done. Names are unique: the cell table needs that."""
        taken = {item["name"] for item in self.skipped if item["stage"] == stage}
        unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1000))) if n not in taken)
        self.skipped.append(
            {"stage": stage, "topology": topology, "name": unique, "what": what, "reason": reason, **more}
        )


def layer(config: Mapping[str, Any], effective: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What the params files of a configuration change in it, and what a person should know of it.

    The latter: `files`; `notes`, what this run takes from elsewhere than a file says; `remarks`, what is so with
    every file like these.

    Args:
        config: the configuration with the user's values laid over it.
        effective: the same with the mode's changes.

    Raises:
        ParamsError: with every error of every file.
    """
    root = config["paddleseg_root"]
    meanings, problems = lint(config["params_file"], config, root, config["mode"])
    if any(problem.error for problem in problems):
        raise ParamsError(problem for problem in problems if problem.error)
    known_files = {str(path) for path, _ in meanings}
    said: dict[str, list[str]] = {"files": sorted(known_files), "notes": [], "remarks": []}
    said["notes"] += [f"{p.file}:{p.line}: {p.text}" for p in problems]
    made: dict[str, Any] = {"models": [], "model_zoo": {}, "data": {}, "datasets": {}, "weights": {}}
    for path, meaning in meanings:
        model = _Model(path, meaning)
        known = canonical(config, meaning.model)
        name = _unused(known or meaning.model, path, made["models"])
        _translate(model, name, known, config, effective, root)
        made["models"].append(name)
        made["model_zoo"][name] = {**model.entry, "settings": model.settings, "skipped": model.skipped}
        made["datasets"].update(model.datasets)
        made["data"].update({dataset: dataset for dataset in model.datasets})
        made["weights"].update(model.weights)
        said["notes"] += model.notes
        said["remarks"] += model.remarks
    if not made["models"]:
        raise ParamsError([Problem(str(config["params_file"]), 0, "no params file of the train-and-infer kind")])
    return made, said


def _of(value: Any, model: str) -> Any:
    """A setting that is one value, or values by model."""
    return value.get(model, value["default"]) if isinstance(value, Mapping) else value


def _unused(name: str, path: Path, taken: list[str]) -> str:
    """The model's name, or, for a second file of the same model, the name with the file's scenario."""
    if name not in taken:
        return name
    scenario = re.sub(r"[^A-Za-z0-9]+", "_", path.stem.removeprefix("train_").partition("_infer_python")[0])
    first = f"{name}-{scenario}"
    return next(n for n in (first, *(f"{first}-{i}" for i in range(2, 1000))) if n not in taken)


def _translate(
    model: _Model,
    name: str,
    known: str | None,
    config: Mapping[str, Any],
    effective: Mapping[str, Any],
    root: str | None,
) -> None:
    """Fill in the entry, its settings and what is skipped."""
    mode = config["mode"]
    existing = config["model_zoo"].get(known, {})
    model.entry.update(existing)
    model.entry.pop("settings", None)
    if name != known:
        model.entry["aliases"] = []
    if known and name != known:
        model.note("model_name", f"a second file of {known}: it is planned as {name}")
        model.settings["input_size"] = _of(effective["input_size"], known)
    command = _released(model, effective) if mode == WHOLE_INFER else _training(model, name, mode, effective)
    _place(model, command, known, config, effective, root)
    _evaluation(model, command)
    _inference(model)
    _remarks(model)


def _place(
    model: _Model,
    command: Command | None,
    known: str | None,
    config: Mapping[str, Any],
    effective: Mapping[str, Any],
    root: str | None,
) -> None:
    """Configuration, data set and algorithm: those of PaddleSeg's file where it is there."""
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
        _backbone(model, section)
    reason = _data(model, command, content, file, folder, known, effective) or _size(model, content, known, effective)
    if reason:
        model.entry.setdefault("data", next(iter(config["data"])))
        _skip_everything(model, effective, reason)


def _size(model: _Model, content: Mapping[str, Any], known: str | None, effective: Mapping[str, Any]) -> str | None:
    """See to it that the exported model has one input size; why it cannot be run where there is none.

    PaddleSeg's files may leave the size open, and the original then runs images of any size. Here the matrix runs
    on models of one size: that of `random_infer_input`, or of the built-in configuration.
    """
    if model.settings.get("export") or _resize(content) or _of(effective["input_size"], known or model.meaning.model):
        return None
    size = model.meaning.random_input
    if size is None and known:
        built_in = Path(effective["model_zoo"][known]["config"])
        size = _resize(modelconfig.content(built_in if built_in.exists() else ROOT / built_in))
    if size is None:
        return "the exported model's size is open: no Resize in export.transforms, no --input_shape; set `input_size`"
    model.settings["export"] = {"input_size": size}
    model.note("norm_export", f"the exported model's size is open; {size[0]} x {size[1]} (width x height) is taken")
    return None


def _resize(content: Mapping[str, Any]) -> list[int] | None:
    """[width, height] of the Resize in the transforms of the exported model."""
    for section in ("export", "val_dataset"):
        transforms = content.get(section)
        transforms = transforms.get("transforms") if isinstance(transforms, Mapping) else None
        if isinstance(transforms, list) and transforms:
            found = [item for item in transforms if isinstance(item, Mapping) and item.get("type") == "Resize"]
            return list(found[0].get("target_size", (512, 512))) if found else None
    return None


def _skip_everything(model: _Model, effective: Mapping[str, Any], reason: str) -> None:
    """Every row that was to run, skipped for one reason."""
    if effective["mode"] == WHOLE_INFER:
        if not any(item["name"] == "released" for item in model.skipped):
            model.skip("train", "released", "released", "released weights", reason)
        return
    train = model.settings["train"]
    for topology in train["topologies"]:
        for precision in train["precisions"]:
            what = "_".join(filter(None, precision.values()))
            model.skip("train", topology, f"{topology}_{what}", what, reason)
    model.settings["train"] = {**train, "topologies": []}
    model.settings["infer"] = {**model.settings.get("infer", {}), "from_topologies": []}


# -- training ---------------------------------------------------------------------------------


def _training(model: _Model, model_name: str, mode: str, effective: Mapping[str, Any]) -> Command | None:
    """The settings `train` and `seed`; the command that they come from, None where every trainer is skipped."""
    meaning = model.meaning
    first: Command | None = None
    entries: list[Devices] = []
    precisions: list[dict[str, str]] = []
    exported: set[str] = set()
    for entry in meaning.devices:
        not_here = _unsupported_devices(entry, entries)
        topology = "multi" if entry.kind in ("multi", "machines") else "single"
        prefix = f"machines_{topology}" if entry.kind == "machines" else topology
        rows: list[dict[str, str]] = []
        for autocast in meaning.autocasts:
            for trainer in meaning.trainers:
                command = _with_autocast(trainer.command, autocast)
                reason = not_here or _unsupported_training(trainer)
                precision = _precision(command) if command else {}
                if not reason and precision in rows:
                    reason = "the same training as that of another trainer or autocast value of this file"
                if not reason and command and first and (other := _differs(command, first)):
                    reason = f"its {other} differs from that of line {first.line}: a model has one here"
                if reason:
                    label = "_".join(filter(None, (trainer.name, autocast)))
                    line = trainer.line if not not_here else meaning.lines["gpu_list"]
                    model.skip(
                        "train", topology, f"{prefix}_{label}", f"trainer {label}", f"{reason} ({model.at(line)})",
                        devices=entry.count, quant=trainer.quant,
                    )  # fmt: skip
                    continue
                first = first or command
                rows.append(precision)
                exported |= _exported(model, trainer, topology, precision)
        if rows:
            entries.append(entry)
            precisions = rows
    _settings_of_training(model, first, entries, precisions, exported)
    for name, key in (("iters", "iters"), ("batch_size", "train_batch_size")):
        values: Mapping[str, int] = getattr(meaning, name)
        if mode in values:
            model.settings["train"][name] = values[mode]
        elif first and not (own := params.whole(first.option(f"--{name}") or "")):
            told = _of(effective["train"][name], model_name)
            model.note(key, f"--{name}: no value for mode {mode}: the mode's own is used ({told})")
        elif first:
            model.settings["train"][name] = own
    return first


def _exported(model: _Model, trainer: Trainer, topology: str, precision: Mapping[str, str]) -> set[str]:
    """The precision as `infer.from_precision` says it, where its checkpoint is exported; else a skipped cell."""
    reason = _unsupported("export", trainer.export) if trainer.export else "its export is null"
    if reason is None and trainer.command and trainer.export:
        own, other = (command.option("--config") for command in (trainer.command, trainer.export))
        reason = f"its --config {other} is not the trainer's, {own}" if other not in (None, own) else None
    if reason is None:
        _shape(model, trainer.export)
        return {precision["precision"]}
    name = f"{topology}_{trainer.name}"
    model.skip("export", topology, name, trainer.name, f"{reason} ({model.at(trainer.export_line)})")
    return set()


def _settings_of_training(
    model: _Model,
    command: Command | None,
    entries: list[Devices],
    precisions: list[dict[str, str]],
    exported: set[str],
) -> None:
    train: dict[str, Any] = {"topologies": [entry.kind.replace("cpu", "single") for entry in entries]}
    infer = model.settings.setdefault("infer", {})
    infer["from_topologies"] = train["topologies"] if exported else []
    infer["from_precision"] = "all" if len(exported) != 1 else next(iter(exported))
    model.settings["train"] = train
    if command is None:
        return
    train["precisions"] = precisions
    train["device"] = "cpu" if _on_cpu(entries[0]) or command.option("--device") in CPU_VALUES else "auto"
    for entry in entries:
        if entry.kind == "multi":
            train["devices"] = entry.count
    for option, key in (("--num_workers", "workers"), ("--log_iters", "log_iters")):
        if (text := command.option(option)) is not None:
            train[key] = int(text)
    if (text := command.option("--seed")) is not None:
        model.settings["seed"] = int(text)


def _with_autocast(command: Command | None, autocast: str | None) -> Command | None:
    """The command with an alternative of the autocast line, which comes last and wins."""
    if command is None or autocast is None:
        return command
    return command.with_options(("--precision", {"amp": "fp16"}.get(autocast, autocast)))


def _precision(command: Command) -> dict[str, str]:
    """An item of `train.precisions`."""
    asked = command.option("--precision") or "fp32"
    if asked == "fp32":
        return {"precision": "fp32"}
    dtype = {"fp16": "float16", "bf16": "bfloat16"}[asked]
    return {"precision": "amp", "level": command.option("--amp_level") or "O1", "dtype": dtype}


def _differs(command: Command, first: Command) -> str | None:
    """An option in which two trainings differ that a model has once."""
    options = ("--config", "--seed", "--num_workers", "--log_iters", "--iters", "--batch_size", "--device")
    return next((option for option in options if command.option(option) != first.option(option)), None)


def _on_cpu(entry: Devices) -> bool:
    return entry.kind == "cpu" or bool(entry.option and entry.option[1] in CPU_VALUES)


def _unsupported_devices(entry: Devices, before: list[Devices]) -> str | None:
    """Why an entry of gpu_list is not run here, beside those that are."""
    if entry.kind == "machines":
        return f"training on several machines ({entry.text}) is not done here yet"
    if entry.option and entry.option[1] not in (*GPU_VALUES, *CPU_VALUES):
        return f"{'='.join(entry.option)}: only GPUs and CPUs are used here"
    if before and _on_cpu(entry) != _on_cpu(before[0]):
        return f"{entry.text} mixes CPU and GPU training in one file; use a file for each"
    if entry.kind == "multi" and any(other.kind == "multi" for other in before):
        return f"{entry.text} is a second group of GPUs; a model has one here"
    if entry.kind != "multi" and any(other.kind != "multi" for other in before):
        return f"{entry.text} is one device again: which one a training gets is decided when it starts"
    return None


def _unsupported_training(trainer: Trainer) -> str | None:
    """Why a trainer is not run here; None where it is."""
    if trainer.command is None:
        return f"the command of trainer {trainer.name} is null"
    if trainer.slot in SLOTS:
        return f"{SLOTS[trainer.slot]} is not done here yet"
    return _unsupported("train", trainer.command)


def _unsupported(stage: str, command: Command) -> str | None:
    """Why a command cannot be done here: its script, or an option that would change what is computed."""
    script = command.script.removeprefix("./")
    if script not in SCRIPTS[stage]:
        return f"{script} is not done here: only {SCRIPTS[stage][0]} is"
    for option, words in command.options.items():
        value = " ".join(words)
        if option in TAKEN[stage] | WITHOUT_EFFECT[stage] or DEFAULTS.get(option) == value:
            continue
        return f"{option or 'an argument'} {value}".strip() + f" of {script} is not done here yet"
    return None


# -- released weights -------------------------------------------------------------------------


def _unsupported_release(released: params.Released) -> str | None:
    if released.quant:
        return "quantised models are not done here yet"
    if released.export is None:
        return "infer_export is null: an inference model that exists already is not taken here yet"
    return _unsupported("export", released.export)


def _released(model: _Model, effective: Mapping[str, Any]) -> Command | None:
    """Mode whole_infer: the released weights that are exported; the command of their export."""
    model.settings["train"] = {}
    command = None
    for number, released in enumerate(model.meaning.released):
        reason = _unsupported_release(released)
        if not reason and command:
            reason = "a second infer_model: a model has one set of released weights here"
        if reason:
            name = f"released_{number + 1}" if command or number else "released"
            reason = f"{reason} ({model.at(released.line)})"
            model.skip("train", "released", name, "released weights", reason, quant=released.quant)
            continue
        command = released.export
        _shape(model, command)
        _weights(model, released, effective)
    if command is None and not any(item["name"] == "released" for item in model.skipped):
        reason = f"no infer_model that could be run ({model.at(model.meaning.lines['infer_model'])})"
        model.skip("train", "released", "released", "released weights", reason)
    return command


def _weights(model: _Model, released: params.Released, effective: Mapping[str, Any]) -> None:
    found = find(released.path, model.path, effective["paddleseg_root"])
    if found:
        name = _slug(found[0])
        model.weights[name] = {"source": "path", "path": found[0].as_posix()}
        model.entry["released_weights"] = name
        return
    shipped = model.entry.get("released_weights")
    told = f"the configuration's are used, {shipped}" if shipped else "and the configuration has none for this model"
    model.note("infer_model", f"released weights {released.path} are not there: {told}")
    model.entry.setdefault("released_weights", None)


# -- data -------------------------------------------------------------------------------------


def _data(
    model: _Model,
    command: Command,
    content: Mapping[str, Any],
    file: Path,
    folder: Path,
    known: str | None,
    effective: Mapping[str, Any],
) -> str | None:
    """Set the model's `data`; a reason, with file and line, where its data set cannot be used here."""
    sections = [content.get(name) for name in ("train_dataset", "val_dataset")]
    train, val = (section if isinstance(section, Mapping) else {} for section in sections)
    where = f"({model.at(command.line)}, {file})"
    kind, root = str(train.get("type")), str(train.get("dataset_root"))
    if kind not in LAYOUTS or val.get("type") != train.get("type"):
        return f"train_dataset.type {kind}: only {', '.join(LAYOUTS)} are read here {where}"
    if val.get("dataset_root") != train.get("dataset_root"):
        return f"train_dataset and val_dataset have different dataset_root {where}"
    if train.get("separator", " ") != " " or val.get("separator", " ") != " ":
        return f"train_dataset.separator: only a blank is read here {where}"
    layout = LAYOUTS[kind]
    part = _part(model.entry.get("data") if known else None, layout, root, effective)
    chosen = effective["datasets"].get(effective["data"].get(part, ""), {})
    if chosen.get("source") == "synthetic":
        model.entry["data"] = part
        model.note("norm_trainer", f"{root} of {file}: mode {effective['mode']} works on generated data")
        return None
    if (folder / root).is_dir():
        entry: dict[str, Any] = {"layout": layout, "source": "folder", "path": _shown(folder / root).as_posix()}
        if layout == "mini_supervisely":
            lists, reason = _lists(train, val, folder, root)
            if reason:
                return f"{reason} {where}"
            entry["lists"] = lists
        name = f"{_slug(Path(entry['path']))}_{hashlib.sha256(repr(entry).encode()).hexdigest()[:8]}"
        model.datasets[name] = entry
        model.entry["data"] = name
        return None
    if part:
        model.entry["data"] = part
        model.note("norm_trainer", f"{root} of {file} is not there: {effective['data'][part]} is used")
        return None
    return f"dataset_root {root} is not there, and no data set of the configuration stands for it {where}"


def _part(own: str | None, layout: str, root: str, effective: Mapping[str, Any]) -> str | None:
    """The key of `data` that stands for a data set: the known model's, or the one called as the folder."""
    for part in (own, Path(root).name, layout if layout == "cityscapes" else None):
        dataset = effective["datasets"].get(effective["data"].get(part, "")) if part else None
        if dataset and dataset["layout"] == layout:
            return part
    return None


def _lists(
    train: Mapping[str, Any], val: Mapping[str, Any], folder: Path, root: str
) -> tuple[dict[str, str], str | None]:
    """The list files by split, relative to the data set's folder; or why they cannot be used."""
    lists: dict[str, str] = {}
    inside = (folder / root).resolve()
    for split, section in (("train", train), ("val", val), ("test", val)):
        name = section.get(LISTS[split])
        path = (folder / name) if isinstance(name, str) else inside / f"{split}.txt"
        if not path.is_file():
            if split == "test":
                continue
            return {}, f"{LISTS[split]} {name} is not there"
        if not path.resolve().is_relative_to(inside):
            return {}, f"{LISTS[split]} {name} does not lie in dataset_root {root}"
        lists[split] = path.resolve().relative_to(inside).as_posix()
    return lists, None


def _backbone(model: _Model, section: Mapping[str, Any]) -> None:
    """An entry of `weights` for the backbone's pretrained weights, where the file names a URL."""
    backbone = section.get("backbone")
    url = backbone.get("pretrained") if isinstance(backbone, Mapping) else None
    model.entry["backbone_weights"] = None
    if isinstance(url, str) and re.match(r"https?://", url):
        name = _slug(Path(url.partition("://")[2]))
        model.weights[name] = {"source": "url", "url": url}
        model.entry["backbone_weights"] = name


def _slug(path: Path) -> str:
    """A name for an entry, from the last two parts of a path."""
    parts = [re.sub(r"(\.tar)?\.[A-Za-z]+$", "", part) for part in path.parts[-2:]]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(parts)).strip("_.-")
    return name or "data"


# -- evaluation, export, inference ------------------------------------------------------------


def _evaluation(model: _Model, training: Command | None) -> None:
    """Every checkpoint is evaluated, whether the file says so or not; options that change it are skipped."""
    command = model.meaning.evaluation
    if command is None or training is None or model.settings["train"] == {}:
        return
    reason = _unsupported("eval", command)
    other = command.option("--config")
    if not reason and other not in (None, training.option("--config")):
        reason = f"its --config {other} is not the trainer's"
    if reason:
        for topology in model.settings["train"]["topologies"]:
            name = f"{topology}_eval_line"
            model.skip("eval", topology, name, "eval line", f"{reason} ({model.at(command.line)})")


def _shape(model: _Model, command: Command | None) -> None:
    if size := params.shape(command):
        model.settings["export"] = {"input_size": size}


def _inference(model: _Model) -> None:
    """The settings `infer`, from the lists of the inference lines."""
    meaning = model.meaning
    infer = model.settings.setdefault("infer", {})
    devices = meaning.infer_devices
    line = meaning.lines["device"]
    on_cpu, on_gpu = (any(value in devices for value in values) for values in (CPU_VALUES, GPU_VALUES))
    reason = _unsupported("infer", meaning.inference)
    if reason:
        model.skip("infer", "single", "inference", "inference", f"{reason} ({model.at(meaning.inference.line)})")
        on_cpu = on_gpu = False
    for value in dict.fromkeys(devices):
        if value not in (*CPU_VALUES, *GPU_VALUES):
            told = f"--device {value}: only cpu and gpu are done ({model.at(line)})"
            model.skip("infer", "single", f"inference_{_slug(Path(value))}", "inference", told)
    infer["cpu"] = [
        {"engine": "onednn" if mkldnn else "native", "precision": precision}
        for mkldnn in meaning.mkldnn
        for precision in meaning.precisions
        if on_cpu
    ]
    infer["gpu"] = [
        {"engine": "tensorrt" if trt else "native", "precision": precision}
        for trt in meaning.trt
        for precision in meaning.precisions
        if on_gpu
    ]
    infer["cpu_threads"] = meaning.threads
    infer["batch_sizes"] = meaning.infer_batch_sizes
    if not on_cpu and not on_gpu:
        infer["from_topologies"] = []


def _remarks(model: _Model) -> None:
    """What a file says and every run does in another way."""
    meaning = model.meaning
    if meaning.python not in ("python", "python3"):
        model.remark("python", f"python:{meaning.python}: the stages run with `python` of the settings")
    for name in ("train_images", "image_path"):
        model.remark(name, "inference goes over the test list of the data set, at most `infer.images` of it")
    if meaning.tails:
        tails = ", ".join(meaning.tails)
        model.remark("infer_key_1", f"{tails}: for the original's benchmark_train.sh, which is no mode here")
