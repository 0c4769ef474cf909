"""From params files to the settings of a run: entries of `model_zoo` with settings of their own.

What a file asks for and this project does not do is never dropped: it becomes an item of the model's
`skipped`, which the cell table shows as a cell with its reason. What is taken from elsewhere than the
file says, or means nothing here, becomes a note.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segcert import engines, modelconfig, sizes, statuses
from segcert.errors import ConfigError
from segcert.sections import TRAINED, of_model, per_model
from segcert.tipc import params, planned, ptq, support
from segcert.tipc.draft import Model, not_planned, slug
from segcert.tipc.params import Command, Devices, Meaning, ParamsError, Problem, Trainer
from segcert.tipc.support import CPU_VALUES, GPU_VALUES

PATTERN = "train_*infer_python*.txt"


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
    named: str | list[str],
    config: Mapping[str, Any],
    root: str | None = None,
    effective: Mapping[str, Any] | None = None,
) -> tuple[list[tuple[Path, Meaning]], list[Problem]]:
    """What params files ask for, and everything that is wrong with them.

    Args:
        config: a configuration, for the models that it knows (`model_zoo`).
        root: PaddleSeg's folder, if it is not to be found from the files.
        effective: a run's settings: look only for the files of commands that it runs; None: of all.
    """
    meanings: list[tuple[Path, Meaning]] = []
    problems: list[Problem] = []
    for path, alone in files(named):
        try:
            if not alone and (other := params.kind(path.read_text("utf-8", "replace"))) in params.OTHER_KINDS:
                text = f"left out: its kind is {other}, not train_params"
                problems.append(Problem(str(path), 1, text, error=False, left_out=True))
                continue
            meaning, found = _understood(path)
        except ParamsError as error:
            problems += error.problems
            continue
        except OSError as error:
            problems.append(Problem(str(path), 0, f"cannot be read: {error.strerror}"))
            continue
        problems += found
        if meaning:
            problems += _missing_files(path, meaning, config, root, effective)
            meanings.append((path, meaning))
    return meanings, problems


def _understood(path: Path) -> tuple[Meaning | None, list[Problem]]:
    """What a params file of either kind asks for, and what is wrong with it."""
    text = params.text_of(path)
    if params.kind(text) == ptq.KIND:
        return ptq.understand(ptq.parse(text, str(path)))
    return params.understand(params.parse(text, str(path)))


def _missing_files(
    path: Path, meaning: Meaning, config: Mapping[str, Any], root: str | None, effective: Mapping[str, Any] | None
) -> Iterator[Problem]:
    """Model configurations that cannot be found; a warning where the model is a known one."""
    known = canonical(config, meaning.model)
    looked_at: set[Path] = set()
    for command in _commands(meaning, _trains(effective, known or meaning.model) if effective else None):
        name = command.option("--config")
        if name is None:
            yield Problem(str(path), command.line, f"{command.script}: no --config", error=known is None)
            continue
        found = planned.find(name, path, root)
        if found is None:
            more = f"the built-in configuration of {known} is used" if known else "and the model is not a known one"
            text = f"--config {name} is not there, looked for {planned.searched(path, root)}; {more}"
            yield Problem(str(path), command.line, text, error=known is None)
            continue
        try:
            content = modelconfig.content(found[0])
        except ConfigError as error:
            yield Problem(str(path), command.line, str(error))
            continue
        if effective is None and found[0] not in looked_at:  # a run says so itself, of what it runs
            looked_at.add(found[0])
            for text in planned.warnings(content, path, root):
                yield Problem(str(path), command.line, f"{found[0]}: {text}", error=False)


def _trains(effective: Mapping[str, Any], name: str) -> bool:
    """Whether a run trains a model, which may be one that its configuration does not know."""
    known = name in effective["model_zoo"]
    checkpoints: str = (of_model(effective, name, "train") if known else effective["train"])["checkpoints"]
    return checkpoints == TRAINED


def _commands(meaning: Meaning, trains: bool | None) -> list[Command]:
    """The commands whose configuration is read, each line once; None: those of trainings and of released weights."""
    trainers = [] if trains is False else meaning.trainers
    released = [] if trains else meaning.released
    chosen = [trainer.command for trainer in trainers if support.unsupported_training(trainer) is None]
    chosen += [item.export for item in released if support.unsupported_release(item) is None]
    unique = {(command.line, command.option("--config")): command for command in chosen if command}
    return list(unique.values())


def canonical(config: Mapping[str, Any], name: str) -> str | None:
    """The name in `model_zoo` of a model or an alias."""
    zoo = config["model_zoo"]
    return next((model for model, entry in zoo.items() if name in (model, *entry.get("aliases", []))), None)


# -- the layer --------------------------------------------------------------------------------


def layer(config: Mapping[str, Any], effective: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What the params files of a configuration change in it, and what a person should know of it.

    The latter: `files`; `notes`, what this run takes from elsewhere than a file says; `remarks`, what is so with
    every file like these.

    Args:
        config: the configuration with the user's values laid over it.
        effective: the settings of the run but for what the params files say: the same with the mode's changes.

    Raises:
        ParamsError: with every error of every file.
    """
    root = config["paddleseg_root"]
    meanings, problems = lint(config["params_file"], config, root, effective)
    there = files(config["params_file"])
    named = {str(path) for path, alone in there if alone}
    if fatal := [problem for problem in problems if problem.error and problem.file in named]:
        raise ParamsError(fatal)
    said: dict[str, list[str]] = {"files": sorted(str(path) for path, _ in there), "notes": [], "remarks": []}
    said["notes"] += [f"{p.file}:{p.line}: {p.text}" for p in problems if not p.error and not p.left_out]
    made: dict[str, Any] = {"models": [], "model_zoo": {}, "data": {}, "datasets": {}, "weights": {}}
    understood = dict(meanings)
    for path, _ in there:
        against = [problem for problem in problems if problem.file == str(path) and (problem.error or problem.left_out)]
        if against:
            name, entry = _unplanned(path, understood.get(path), against, made["models"], config)
            made["models"].append(name)
            made["model_zoo"][name] = entry
            continue
        meaning = understood[path]
        known = canonical(config, meaning.model)
        name = _unused(known or meaning.model, path, made["models"])
        others = {**effective["weights"], **made["weights"]}
        model = Model(path=path, meaning=meaning, trains=_trains(effective, name), others=others)
        _translate(model, name, known, config, effective, root)
        made["models"].append(name)
        made["model_zoo"][name] = {**model.entry, "settings": model.settings, "skipped": model.skipped}
        made["datasets"].update(model.datasets)
        made["data"].update({dataset: dataset for dataset in model.datasets})
        made["weights"].update(model.weights)
        said["notes"] += model.notes
        said["remarks"] += model.remarks
    return made, said


def _unplanned(
    path: Path, meaning: Meaning | None, against: list[Problem], taken: list[str], config: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Name and entry of a file of a folder that plans nothing: one of many does not keep the others from running.

    Where nobody can tell the model that it is of, it is called as its folder and itself: that takes no other's name.
    """
    model = meaning.model if meaning else slug(Path(path.resolve().parent.name))
    known = canonical(config, model)
    name = _unused(known or model, path, taken if meaning else [*taken, known or model])
    entry = {"algorithm": model, "config": "", "data": next(iter(config["data"])), **config["model_zoo"].get(known, {})}
    if name != known:
        entry["aliases"] = []
    status = statuses.FAILED if any(problem.error for problem in against) else statuses.SKIPPED
    reason = "; ".join(f"{problem.file}:{problem.line}: {problem.text}" for problem in against)
    return name, {**entry, "not_planned": not_planned(status.name, reason)}


def _unused(name: str, path: Path, taken: list[str]) -> str:
    """The model's name, or, for a second file of the same model, the name with the file's scenario."""
    if name not in taken:
        return name
    scenario = re.sub(r"[^A-Za-z0-9]+", "_", path.stem.removeprefix("train_").partition("_infer_python")[0])
    first = f"{name}-{scenario}"
    return next(n for n in (first, *(f"{first}-{i}" for i in range(2, 1000))) if n not in taken)


def _translate(
    model: Model,
    name: str,
    known: str | None,
    config: Mapping[str, Any],
    effective: Mapping[str, Any],
    root: str | None,
) -> None:
    """Fill in the entry, its settings and what is skipped."""
    existing = config["model_zoo"].get(known, {})
    model.entry.update(existing)
    model.entry.pop("settings", None)
    if name != known:
        model.entry["aliases"] = []
    if known and name != known:
        model.note("model_name", f"a second file of {known}: it is planned as {name}")
        model.settings["input_size"] = per_model(effective["input_size"], known)
    size = planned.input_size(model, known, effective)
    if model.trains:
        command = _training(model, name, config["mode"], effective, size)
    else:
        command = _released(model, effective, size)
    planned.place(model, command, known, config, effective, root)
    _evaluation(model, command)
    if model.meaning.calibration:
        _quantised(model)
    else:
        _inference(model)
    _remarks(model)


# -- training ---------------------------------------------------------------------------------


def _training(
    model: Model, model_name: str, mode: str, effective: Mapping[str, Any], size: list[int] | int | None
) -> Command | None:
    """The settings `train` and `seed`; the command that they come from, None where every trainer is skipped.

    Args:
        size: `input_size` of the run.
    """
    meaning = model.meaning
    first: Command | None = None
    entries: list[Devices] = []
    precisions: list[dict[str, str]] = []
    exported: set[tuple[str, str]] = set()
    for entry in meaning.devices:
        not_here = support.unsupported_devices(entry, entries)
        topology = "multi" if entry.kind in ("multi", "machines") else "single"
        prefix = f"machines_{topology}" if entry.kind == "machines" else topology
        rows: list[dict[str, str]] = []
        for autocast in meaning.autocasts:
            for trainer in meaning.trainers:
                command = _with_autocast(trainer.command, autocast)
                reason = not_here or support.unsupported_training(trainer)
                precision = _precision(command) if command else {}
                if not reason and precision in rows:
                    reason = "the same training as that of another trainer or autocast value of this file"
                if not reason and command and first and (other := support.differing_option(command, first)):
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
                exported |= _exported(model, trainer, topology, precision, size)
        if rows:
            entries.append(entry)
            precisions = rows
    _settings_of_training(model, first, entries, precisions, exported)
    for name, key in (("iters", "iters"), ("batch_size", "train_batch_size")):
        values: Mapping[str, int] = getattr(meaning, name)
        if mode in values:
            model.settings["train"][name] = values[mode]
        elif first and not (own := params.whole(first.option(f"--{name}") or "")):
            told = per_model(effective["train"][name], model_name)
            model.note(key, f"--{name}: no value for mode {mode}: the mode's own is used ({told})")
        elif first:
            model.settings["train"][name] = own
    return first


def _exported(
    model: Model, trainer: Trainer, topology: str, precision: Mapping[str, str], size: list[int] | int | None
) -> set[tuple[str, str]]:
    """Precision and graph, as `infer.from_precision` and `from_graphs` say them, of an export; else a skipped cell.

    Args:
        size: `input_size` of the run.
    """
    reason = support.unsupported_command("export", trainer.export) if trainer.export else "its export is null"
    if reason is None and trainer.command and trainer.export:
        own, other = (command.option("--config") for command in (trainer.command, trainer.export))
        reason = f"its --config {other} is not the trainer's, {own}" if other not in (None, own) else None
    if reason is None and trainer.export:
        reason = support.differing_output(trainer.export, model.meaning.trainers)
    if reason is None:
        _shape(model, trainer.export, size)
        return {(precision["precision"], precision.get("graph", "dynamic"))}
    name = f"{topology}_{trainer.name}"
    model.skip("export", topology, name, trainer.name, f"{reason} ({model.at(trainer.export_line)})")
    return set()


def _settings_of_training(
    model: Model,
    command: Command | None,
    entries: list[Devices],
    precisions: list[dict[str, str]],
    exported: set[tuple[str, str]],
) -> None:
    train: dict[str, Any] = {"topologies": [entry.kind.replace("cpu", "single") for entry in entries]}
    infer = model.settings.setdefault("infer", {})
    infer["from_topologies"] = train["topologies"] if exported else []
    kinds = {precision for precision, _ in exported}
    infer["from_precision"] = "all" if len(kinds) != 1 else next(iter(kinds))
    if exported:
        infer["from_graphs"] = sorted({graph for _, graph in exported})
    model.settings["train"] = train
    if command is None:
        return
    train["precisions"] = precisions
    train["device"] = "cpu" if support.on_cpu(entries[0]) or command.option("--device") in CPU_VALUES else "auto"
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
    graph = {"graph": "to_static"} if support.static(command) else {}
    if asked == "fp32":
        return {"precision": "fp32", **graph}
    dtype = {"fp16": "float16", "bf16": "bfloat16"}[asked]
    return {"precision": "amp", "level": command.option("--amp_level") or "O1", "dtype": dtype, **graph}


# -- released weights -------------------------------------------------------------------------


def _released(model: Model, effective: Mapping[str, Any], size: list[int] | int | None) -> Command | None:
    """In place of a training: the released weights that are exported; the command of their export.

    Args:
        size: `input_size` of the run.
    """
    model.settings["train"] = {}
    command = None
    for number, released in enumerate(model.meaning.released):
        reason = support.unsupported_release(released)
        if not reason and command:
            reason = "a second infer_model: a model has one set of released weights here"
        if reason:
            name = f"released_{number + 1}" if command or number else "released"
            reason = f"{reason} ({model.at(released.line)})"
            model.skip("train", "released", name, "released weights", reason, quant=released.quant)
            continue
        command = released.export
        _shape(model, command, size)
        planned.released_weights(model, released, effective)
    if command is None and not any(item["name"] == "released" for item in model.skipped):
        reason = f"no infer_model that could be run ({model.at(model.meaning.lines['infer_model'])})"
        model.skip("train", "released", "released", "released weights", reason)
    return command


# -- evaluation, export, inference ------------------------------------------------------------


def _evaluation(model: Model, training: Command | None) -> None:
    """Every checkpoint is evaluated, whether the file says so or not; options that change it are skipped."""
    command = model.meaning.evaluation
    if command is None or training is None or not model.trains:
        return
    reason = support.unsupported_command("eval", command)
    other = command.option("--config")
    if not reason and other not in (None, training.option("--config")):
        reason = f"its --config {other} is not the trainer's"
    if reason:
        for topology in model.settings["train"]["topologies"]:
            name = f"{topology}_eval_line"
            model.skip("eval", topology, name, "eval line", f"{reason} ({model.at(command.line)})")


def _shape(model: Model, command: Command | None, asked: list[int] | int | None) -> None:
    """The settings `export`, from the shape of an export's command, and from what it says that the program ends in.

    Args:
        asked: `input_size` of the run, which goes over the size in the file.
    """
    size, batch = params.shape(command), params.batch(command)
    if size and asked and asked != size:
        told = f"{sizes.told(asked)} (`input_size`) is taken"
        model.note("norm_export", f"--input_shape: {size[0]} x {size[1]} is not exported: {told}")
    own: dict[str, Any] = {"input_size": size} if size and not asked else {}
    own |= {"batch_sizes": [batch]} if batch else {}
    own |= {"output_op": ends_in} if command and (ends_in := command.option(support.OUTPUT_OP)) else {}
    if own:
        model.settings["export"] = own


def _inference(model: Model) -> None:
    """The settings `infer`, from the lists of the inference lines."""
    meaning = model.meaning
    infer = model.settings.setdefault("infer", {})
    devices = meaning.infer_devices
    line = meaning.lines["device"]
    on_cpu, on_gpu = (any(value in devices for value in values) for values in (CPU_VALUES, GPU_VALUES))
    reason = support.unsupported_command("infer", meaning.inference)
    if reason:
        model.skip("infer", "single", "inference", "inference", f"{reason} ({model.at(meaning.inference.line)})")
        on_cpu = on_gpu = False
    for value in dict.fromkeys(devices):
        if value not in (*CPU_VALUES, *GPU_VALUES):
            told = f"--device {value}: only cpu and gpu are done ({model.at(line)})"
            model.skip("infer", "single", f"inference_{slug(Path(value))}", "inference", told)
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


def _quantised(model: Model) -> None:
    """The settings `infer` and `quantise` of a file that quantises."""
    meaning = model.meaning
    at = model.at(meaning.lines["device"])
    if model.trains:
        told = (
            f"released weights are quantised, as in the original: mode whole_infer ({model.at(meaning.lines['ptq'])})"
        )
        model.skip("infer", "single", "quantised", "PTQ", told)
    elif any(value in meaning.infer_devices for value in GPU_VALUES):
        model.skip("infer", "released", "quantised_gpu", "PTQ on a GPU", f"int8 on a GPU is not done here yet ({at})")
    on_cpu = not model.trains and any(value in meaning.infer_devices for value in CPU_VALUES)
    model.settings["infer"] = {
        "cpu": [
            {"engine": kind.name, "precision": engines.INT8}
            for kind in engines.ALL
            if on_cpu and engines.INT8 in kind.offers.get(engines.CPU, ())
        ],
        "gpu": [],
        "batch_sizes": meaning.infer_batch_sizes,
        **({} if on_cpu else {"from_topologies": []}),
    }
    model.settings["quantise"] = {"images": meaning.calibration}
    said = (
        "quantised for ONNX Runtime and OpenVINO, by training images; the original's is Paddle's, by validation images"
    )
    model.remark("ptq", said)


def _remarks(model: Model) -> None:
    """What a file says and every run does in another way."""
    meaning = model.meaning
    if meaning.python not in ("python", "python3"):
        model.remark("python", f"python:{meaning.python}: the stages run with `python` of the settings")
    for name in ("train_images", "image_path"):
        model.remark(name, "inference goes over the test list of the data set, at most `infer.images` of it")
    if meaning.tails:
        tails = ", ".join(meaning.tails)
        model.remark("infer_key_1", f"{tails}: for the original's benchmark_train.sh, which is no mode here")
