"""The configuration of a run: merged, checked, and looked up.

The shipped `config/config.yaml` holds every key with its default. Over it go the chosen mode's
changes and then what the user gave (a file of their own, `--config`), so that the user always wins.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from segcert import engines, layouts, modelconfig, modelkeys, proof, sizes, stages, zoo
from segcert.errors import ConfigError
from segcert.masking import masked, masked_tree
from segcert.paths import ROOT, SCHEMA
from segcert.requests.infer import Infer
from segcert.requests.scripts import RunScript
from segcert.requests.train import Train
from segcert.sections import MODEL_SECTIONS, TRAINED, merge, of_model, only, per_model, precisions, without
from segcert.tipc import layer

# What cells may be called in `match` of a known failure, by field; a model of the zoo may be in none of today's cells.
MATCHED: dict[str, list[str]] = {"stage": list(stages.OF_CELLS), "topology": ["single", "multi", "released"]}
for _request in (Train, Infer, RunScript):
    for _field in ("device", "engine", "precision", "level", "dtype", "graph", "script", "shapes"):
        MATCHED.setdefault(_field, [])
        MATCHED[_field] += [name for name in _request.choices().get(_field, ()) if name not in MATCHED[_field]]

# Keys that a whole configuration has and one that holds only what differs has no reason to have all of.
WHOLE = ("model_zoo", "datasets", "weights", "modes")
# Keys that settings have and no configuration: what a person should know of where they come from.
NOT_GIVEN = ("params", "zoo_notes", "zoo_names")
# Sections that a mode may change: the rest describes what there is, not what is done with it.
MODE_SECTIONS = ("models", "data", *MODEL_SECTIONS, "paddleseg_scripts", "evidence", "benchmark", "compare")


def completed(
    config: Mapping[str, Any], overrides: Mapping[str, Any], shipped: Path
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """A configuration with every key, and what of it counts as the user's own: the first two of `resolve`.

    A whole configuration stays as it is. One that holds only what differs (as a workflow that uses this
    one as a module hands it over) is laid over the shipped file and is the user's own in all that it holds.
    """
    if all(key in config for key in WHOLE):
        return config, overrides
    return merge(yaml.safe_load(shipped.read_text(encoding="utf-8")), config), config


def resolve(config: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The settings of a run.

    Args:
        config: the configuration file with the user's overrides already laid over it.
        overrides: what the user gave alone (own files and the command line).
        source: name of the configuration file, for messages.

    Returns:
        The same keys as the file, with the chosen mode applied and `models` a list of names; with params
        files also `params`: `files`, `notes` and `remarks`; with models of the zoo also `zoo_notes`, and `zoo_names` of
        all that there are. An `input_size` that is a shorter side is worked out for each model.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    config = _typed(config, overrides)
    _check(config, overrides, source)
    mode = _mode(config, overrides, source)
    # What the user gave stands in `config` already. It is laid on once more over each layer that it wins over.
    given = {key: only(config[key], overrides[key]) for key in overrides if key in config}
    over_mode = {key: value for key, value in given.items() if key in MODE_SECTIONS}
    layers: list[Mapping[str, Any]] = [config, mode, over_mode]
    said: dict[str, Any] = {}
    if config["params_file"]:
        made, said["params"] = layer.layer(config, _laid(layers, given))
        # What the files say of a model are its own settings, which go over the mode; of the mode's keys `models` are
        # the files', and that PaddleSeg's own scripts, which they name, are run as they are.
        of_files = {"models": made["models"], "paddleseg_scripts": True}
        layers = [config, made, given, mode, of_files, over_mode]
    settings = {**_laid(layers, given), **said}
    if zoo.is_asked_for(settings):
        settings = zoo.laid(settings, made["models"] if said else [])
    _check({key: value for key, value in settings.items() if key not in NOT_GIVEN}, overrides, source)
    settings["models"] = _selected_models(settings, overrides, source)
    _check_references(settings, overrides, source)
    _work_out_sizes(settings)
    settings["known_failures"] = masked_tree(settings["known_failures"])  # they stand in records
    return settings


def _work_out_sizes(settings: dict[str, Any]) -> None:
    """Put sizes in the place of shorter sides, by each model's own configuration.

    Raises:
        ConfigError: a configuration cannot be read, or leaves its size open.
    """
    wrong = []
    for name in settings["models"]:
        entry, asked = settings["model_zoo"][name], per_model(of_model(settings, name, "input_size"), name)
        if not isinstance(asked, int) or "not_planned" in entry:
            continue
        file, size = Path(entry["config"]), None
        file = file if file.exists() else ROOT / file
        content = modelconfig.content(file) if file.is_file() else {}
        if not modelkeys.broken(content):  # else whoever needs it says what is wrong with it
            try:
                size = sizes.of(asked, content)
            except ConfigError as error:
                wrong.append(f"{file}: {error}, as in input_size: {{default: {asked}, {name}: [512, 256]}}")
        entry["settings"] = {**entry.get("settings", {}), "input_size": size}
    if wrong:
        raise ConfigError("\n".join(wrong))


def _mode(config: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """What the chosen mode changes."""
    modes, name = config["modes"], config["mode"]
    if name not in modes:
        allowed = f"one of {', '.join(modes)}{_meant(name, modes)}"
        raise ConfigError(_message(source, overrides, ["mode"], name, allowed))
    changes: Mapping[str, Any] = modes[name]
    return changes


def _laid(layers: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The layers, later ones over earlier ones; and a model's `settings` less what the user gave for all models.

    The user's own settings of a model go over that in turn.
    """
    settings = merge(*layers)
    for_all = {key: given[key] for key in MODEL_SECTIONS if key in given}
    for name, entry in settings["model_zoo"].items():
        if "settings" in entry:
            users = given.get("model_zoo", {}).get(name, {}).get("settings", {})
            kept = without(entry["settings"], for_all)
            if entry["settings"].get("train", {}).get("topologies") == []:  # a params file without a training to run
                kept = merge(kept, {"train": {"topologies": []}, "infer": {"from_topologies": []}})
            elif (trained := for_all.get("train", {}).get("topologies")) and (
                exported := kept.get("infer", {}).get("from_topologies")
            ):  # a file says of which of its own trainings, and the user which there are
                kept["infer"]["from_topologies"] = [one for one in exported if one in trained] or trained
            entry["settings"] = merge(kept, only(entry["settings"], users))
    return settings


def _typed(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with numbers that the command line brought as text made numbers.

    `--config 'train={iters: 5}'` reaches a workflow as {"train": {"iters": "5"}}: Snakemake reads what is
    nested as text. Only a value of the user's that the schema refuses as text is read again.
    """
    typed = copy.deepcopy(dict(config))
    for error in _errors(typed):
        path = list(error.absolute_path)
        if path and _has_path(overrides, path):
            parent = typed
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = _reread(parent[path[-1]])
    return typed


def _reread(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _reread(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_reread(item) for item in value]
    if isinstance(value, str):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return value


def whole_schema() -> dict[str, Any]:
    """The schema of a configuration, with the engines and layouts that there are: in its file they are for editors."""
    read: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for device in (engines.CPU, engines.GPU):
        entry = read["$defs"]["infer"]["properties"][device]["items"]["properties"]
        entry["engine"]["enum"] = engines.on(device)
    for key in ("streams", "sizes"):
        some = read["$defs"]["infer"]["properties"][key]["items"]["anyOf"][1]["properties"]
        some["engines"]["items"]["enum"] = list(engines.BY_NAME)
    read["$defs"]["dataset"]["properties"]["layout"]["enum"] = list(layouts.BY_NAME)
    return read


def _errors(settings: Mapping[str, Any]) -> list[Any]:
    from jsonschema import Draft202012Validator, validators

    # JSON knows no infinity, takes 50.0 for an integer, and text with a zero byte for text, which no command takes.
    kinds = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
            "string": lambda _, value: isinstance(value, str) and "\0" not in value,
        }
    )
    validator = validators.extend(Draft202012Validator, type_checker=kinds)
    return sorted(validator(whole_schema()).iter_errors(settings), key=lambda error: list(map(str, error.path)))


def _check(settings: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> None:
    problems = [_explain(error, overrides, source) for error in _errors(settings)]
    if problems:
        # A missing key comes once for every key that is missing beside it.
        raise ConfigError("\n".join(dict.fromkeys("\n".join(problems).splitlines())))


def _explain(error: Any, overrides: Mapping[str, Any], source: str) -> str:
    """One line for a schema error: file, key, value, and what is allowed there."""
    path = list(error.absolute_path)
    value, rule = error.instance, error.validator
    if rule == "additionalProperties" and isinstance(error.schema.get("properties"), dict):
        allowed = error.schema["properties"]
        unknown = [key for key in value if key not in allowed]
        return "\n".join(
            _about(source, overrides, [*path, key], f"{_shown(value[key])}: {_no_such_key(key, allowed)}")
            for key in unknown
        )
    if rule == "required":
        missing = [key for key in error.validator_value if key not in value]
        return "\n".join(_about(source, overrides, [*path, key], "this key is needed") for key in missing)
    if rule == "not":
        return _about(
            source, overrides, path, f"{_shown(value)}: this key does not go with the others here; leave it out"
        )
    return _message(source, overrides, path, value, _allowed(error.schema))


def _no_such_key(key: Any, known: Iterable[str]) -> str:
    return f"no such key{_meant(key, known)}; known here: {', '.join(known)}"


def _meant(name: Any, known: Iterable[str]) -> str:
    spelt = {other.lower(): other for other in known}
    near = difflib.get_close_matches(str(name).lower(), spelt, n=1)
    return f" (did you mean {spelt[near[0]]}?)" if near else ""


def _allowed(schema: Any) -> str:
    """In words, what a part of the schema admits."""
    if "$ref" in schema:
        return _allowed(whole_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    if "description" in schema:
        return str(schema["description"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_allowed(part) for part in schema[key]))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind: str | list[str] = schema.get("type", "a value of another kind")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if words == "array" and "items" in schema:
        words = f"a list, each {_allowed(schema['items'])}"
        if schema.get("uniqueItems"):
            words += ", none twice"
    if words == "object" and isinstance(schema.get("additionalProperties"), dict):
        words = f"a mapping to {_allowed(schema['additionalProperties'])}"
        if schema.get("required"):
            words += f", with the key {', '.join(schema['required'])}"
    for key, text in (("minimum", "at least"), ("maximum", "at most"), ("pattern", "matching")):
        if key in schema:
            words += f" {text} {schema[key]}"
    if schema.get("minItems") or schema.get("minLength") or schema.get("minProperties"):
        words += " that is not empty"
    return words


def _message(source: str, overrides: Mapping[str, Any], path: list[Any], value: Any, allowed: str) -> str:
    return _about(source, overrides, path, f"{_shown(value)} is refused; allowed: {allowed}")


def _shown(value: Any) -> str:
    shown = masked(json.dumps(value, ensure_ascii=False, default=str))
    return shown if len(shown) <= 120 else shown[:117] + "..."


def _about(source: str, overrides: Mapping[str, Any], path: list[Any], what: str) -> str:
    """A message that says first whose key it is about."""
    where = "--config or --configfile" if _has_path(overrides, path) else source
    return f"{where}: {'.'.join(map(str, path)) or '(the whole file)'}: {what}"


def _has_path(tree: Any, path: list[Any]) -> bool:
    for key in path:
        in_mapping = isinstance(tree, Mapping) and key in tree
        in_list = isinstance(tree, list) and isinstance(key, int) and key < len(tree)
        if not (in_mapping or in_list):
            return False
        tree = tree[key]
    return bool(path)


def _selected_models(settings: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> list[str]:
    known_models = settings["model_zoo"]
    names: dict[str, str] = {}
    for name, entry in known_models.items():
        for alias in (name, *entry.get("aliases", [])):
            if names.setdefault(alias, name) != name:
                key, what = ["model_zoo", name, "aliases"], f"{_shown(alias)} is a name of {names[alias]}; take another"
                raise ConfigError(_about(source, overrides, key, what))
    asked = settings["models"]
    if asked == "all":
        return list(known_models)
    asked = [asked] if isinstance(asked, str) else asked
    of_zoo = settings.get("zoo_names", [])
    chosen = []
    for name in asked:
        if name not in names:
            known = f"all, zoo, or a list of: {', '.join(known_models)}; or of their other names"
            known += "; or, with paddleseg=FOLDER, of the names that its configurations have in the zoo"
            meant = _meant(name, [*names, *of_zoo])
            raise ConfigError(_message(source, overrides, ["models"], name, f"{known}{meant}"))
        if names[name] in chosen:
            what = f"{_shown(name)} is {names[name]}, which is in the list already; name each model once"
            raise ConfigError(_about(source, overrides, ["models"], what))
        chosen.append(names[name])
    return chosen


def _references(settings: Mapping[str, Any]) -> Iterator[tuple[list[Any], Any, Mapping[str, Any], str]]:
    """(key, value, table that must hold it, name of that table) for every name that refers to an entry."""
    for part, dataset in settings["data"].items():
        yield ["data", part], dataset, settings["datasets"], "datasets"
    for name in settings["models"]:
        entry = settings["model_zoo"][name]
        yield ["model_zoo", name, "data"], entry["data"], settings["data"], "data"
        for key in ("backbone_weights", "pretrained_weights", "released_weights"):
            if entry.get(key) is not None:
                yield ["model_zoo", name, key], entry[key], settings["weights"], "weights"
            published = settings["weights"].get(entry.get(key), {}).get("published")
            if published:
                place = ["weights", entry[key], "published", "dataset"]
                yield place, published["dataset"], settings["datasets"], "datasets"
    # A model of the zoo may be named that this run has not: other runs of the same configuration have others.
    known = {**settings["model_zoo"], **dict.fromkeys(settings.get("zoo_names", ()))}
    asked = settings["paddleseg_scripts"]
    for number, name in enumerate(asked if isinstance(asked, list) else ()):
        yield ["paddleseg_scripts", str(number)], name, known, "model_zoo"
    for number, entry in enumerate(settings["train"]["precisions"]):
        for position, name in enumerate(entry.get("models", ())):
            yield ["train", "precisions", number, "models", position], name, known, "model_zoo"
    for key in ("streams", "sizes"):
        for number, entry in enumerate(settings["infer"][key]):
            for position, name in enumerate(entry.get("models", ()) if isinstance(entry, Mapping) else ()):
                yield ["infer", key, number, "models", position], name, known, "model_zoo"
    by_model: dict[tuple[str, ...], Any] = {("input_size",): settings["input_size"]}
    by_model["export", "shapes"] = settings["export"]["shapes"]
    for key in ("iters", "batch_size", "batch_norm_momentum"):
        by_model["train", key] = settings["train"][key]
    for gate in ("l2", "peak"):
        for precision, value in settings["gates"]["logits"][gate].items():
            by_model["gates", "logits", gate, precision] = value
    for keys, value in by_model.items():
        for name in value if isinstance(value, Mapping) else ():
            if name != "default":
                yield [*keys, name], name, known, "model_zoo"


def _check_references(settings: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> None:
    problems = [
        _message(source, overrides, key, value, f"a key of `{table_name}`: {', '.join(table)}")
        for key, value, table, table_name in _references(settings)
        if value not in table
    ]
    problems += [_message(source, overrides, key, value, allowed) for key, value, allowed in _unusable(settings)]
    problems += [
        problem for model in (None, *settings["models"]) for problem in _empty(settings, model, overrides, source)
    ]
    problems += [
        problem for model in settings["models"] for problem in _of_one_size(settings, model, overrides, source)
    ]
    problems += [
        problem for model in settings["models"] for problem in _longer_than_trained(settings, model, overrides, source)
    ]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def _unusable(settings: Mapping[str, Any]) -> Iterator[tuple[list[Any], Any, str]]:
    """(key, value, what is allowed) of texts that the schema admits and that cannot be used."""
    for number, known in enumerate(settings["known_failures"]):
        try:
            re.compile(known.get("error", ""))
        except re.error as error:
            yield ["known_failures", number, "error"], known["error"], f"a regular expression; this is none: {error}"
        for name, worst in known.get("gates", {}).items():
            if name not in proof.GATES:
                allowed = f"names of gates: {', '.join(proof.GATES)}{_meant(name, proof.GATES)}"
                yield ["known_failures", number, "gates", name], worst, allowed
        for key, asked in known["match"].items():
            for value in [asked] if isinstance(asked, str) else asked:
                if key in MATCHED and value not in MATCHED[key]:
                    allowed = f"one of {', '.join(MATCHED[key])}{_meant(value, MATCHED[key])}"
                    yield ["known_failures", number, "match", key], value, allowed
    paths = [(["model_zoo", name, "config"], entry["config"]) for name, entry in settings["model_zoo"].items()]
    paths += [(["weights", name, "config"], entry.get("config") or "") for name, entry in settings["weights"].items()]
    for section in ("datasets", "weights"):
        paths += [([section, name, "path"], entry.get("path") or "") for name, entry in settings[section].items()]
    for key, path in paths:
        if set(path) & set("{}\n"):
            yield key, path, "a path without { } and line ends, which Snakemake does not take in names of files"
    for section in ("datasets", "weights"):
        for name, entry in settings[section].items():
            for url in filter(None, [entry.get("url"), *entry.get("mirrors", [])]):
                try:
                    parts = urlsplit(url)
                    good = bool(parts.hostname) and (parts.port or True) and not re.search(r"\s", url)
                except ValueError:
                    good = False
                if not good:
                    # Not shown: what makes it no URL may be a password with a slash in it.
                    allowed = (
                        "a URL (the value is not shown; in a user or a password, write / as %2F, # as %23, @ as %40)"
                    )
                    yield [section, name, "url"], "...", allowed


def _of_one_size(settings: Mapping[str, Any], model: str, overrides: Mapping[str, Any], source: str) -> Iterator[str]:
    """Sizes that a model is to be run in, where its program is to have one."""
    export, infer = (of_model(settings, model, key) for key in ("export", "infer"))
    asked = [
        one for one in infer["sizes"] if model in (one.get("models", [model]) if isinstance(one, Mapping) else [model])
    ]
    if asked and per_model(export["shapes"], model) == "fixed":
        own = settings["model_zoo"][model].get("settings", {})
        place = ["model_zoo", model, "settings"] if "shapes" in own.get("export", {}) else []
        allowed = f"both or dynamic, because infer.sizes asks {model} for other sizes than that of its export"
        yield _message(source, overrides, [*place, "export", "shapes"], "fixed", allowed)


def _longer_than_trained(
    settings: Mapping[str, Any], model: str, overrides: Mapping[str, Any], source: str
) -> Iterator[str]:
    """A long run of more iterations than a model is trained for."""
    train = of_model(settings, model, "train")
    iters = per_model(train["iters"], model)
    if train["checkpoints"] == TRAINED and train["soak"] > iters:
        own = settings["model_zoo"][model].get("settings", {})
        place = ["model_zoo", model, "settings"] if "soak" in own.get("train", {}) else []
        allowed = f"at most train.iters, which is {iters} of {model}; or 0"
        yield _message(source, overrides, [*place, "train", "soak"], train["soak"], allowed)


def _empty(settings: Mapping[str, Any], model: str | None, overrides: Mapping[str, Any], source: str) -> Iterator[str]:
    """What a matrix, that of all models or of one, cannot be made of."""
    if model and "not_planned" in settings["model_zoo"][model]:
        return
    own = settings["model_zoo"][model].get("settings", {}) if model else {}
    has_own = bool({"train", "infer"} & set(own))
    for_some = any("models" in entry for entry in settings["train"]["precisions"])
    if model and not has_own and not for_some:
        return
    train, infer = (of_model(settings, model, key) if model else settings[key] for key in ("train", "infer"))
    place = ["model_zoo", model, "settings"] if has_own else []
    missing = [topology for topology in infer["from_topologies"] if topology not in train["topologies"]]
    trains = train["checkpoints"] == TRAINED
    if missing and trains:
        allowed = f"those of train.topologies: {', '.join(train['topologies'])}"
        yield _message(source, overrides, [*place, "infer", "from_topologies"], missing, allowed)
    asked = precisions(train, model) if model else train["precisions"]
    rows = [precisions(train, model or "", topology) for topology in train["topologies"]]
    doubled = any(
        {"graph": "dynamic", **one} == {"graph": "dynamic", **other}
        for row in rows
        for one, other in itertools.combinations(row, 2)
    )
    if trains and (not asked or doubled):
        what = "two entries ask for the same training" if asked else "no entry is for a model that is to be trained"
        yield _about(source, overrides, ["train", "precisions"], f"{what}: {model or 'of all models'}")
        return
    graphs = dict.fromkeys(entry.get("graph", "dynamic") for entry in asked)
    if infer["from_topologies"] and trains and not any(graph in graphs for graph in infer["from_graphs"]):
        allowed = f"one of those of train.precisions: {', '.join(graphs)}"
        yield _message(source, overrides, [*place, "infer", "from_graphs"], infer["from_graphs"], allowed)
    wanted, trained = infer["from_precision"], [entry["precision"] for entry in asked]
    if infer["from_topologies"] and trains and wanted not in ("auto", "all", *trained):
        allowed = f"auto, all, or one of train.precisions: {', '.join(dict.fromkeys(trained))}"
        yield _message(source, overrides, [*place, "infer", "from_precision"], wanted, allowed)
    if infer["max_warmup"] < infer["warmup"]:
        allowed = f"at least infer.warmup, which is {infer['warmup']}"
        yield _message(source, overrides, [*place, "infer", "max_warmup"], infer["max_warmup"], allowed)
    if not infer["cpu"] and not infer["gpu"] and not (model and infer["from_topologies"] == []):
        what = "the matrix is empty; put an entry under infer.cpu or infer.gpu"
        yield _about(source, overrides, [*place, "infer"], what)
