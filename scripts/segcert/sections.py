"""Sections of the settings: laid over one another, and looked up for one model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from segcert import stages

# Sections that a model may have of its own, in `model_zoo.<model>.settings`.
MODEL_SECTIONS = (*stages.SECTIONS, "input_size", "seed", "gates")

# Where checkpoints come from: the values of `train.checkpoints`.
TRAINED, RELEASED = "trained", "released"


def merge(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with each layer laid over it: mappings key by key, anything else replaced whole."""
    merged = copy.deepcopy(dict(base))
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
                merged[key] = merge(merged[key], value)
            else:
                merged[key] = copy.deepcopy(value)
    return merged


def of_model(settings: Mapping[str, Any], model: str, section: str) -> Any:
    """A section of the settings as it is for one model: with the model's own `settings` laid over."""
    own = settings["model_zoo"][model].get("settings", {})
    if section not in own:
        return settings[section]
    # `input_size` is one value, also where it is written as a mapping by model.
    if section == "input_size" or not isinstance(own[section], Mapping):
        return own[section]
    return merge(settings[section], own[section])


def released(settings: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """The entry of `weights` that is the model's checkpoint; empty where that is trained, or nothing was released."""
    name = settings["model_zoo"][model].get("released_weights")
    if not name or of_model(settings, model, "train")["checkpoints"] != RELEASED:
        return {}
    entry: Mapping[str, Any] = settings["weights"][name]
    return entry


def per_model(value: Any, model: str) -> Any:
    """A setting that is one value, or a mapping of values by model with `default`."""
    return value.get(model, value["default"]) if isinstance(value, Mapping) else value


def precisions(train: Mapping[str, Any], model: str, topology: str | None = None) -> list[dict[str, Any]]:
    """The entries of `train.precisions` that are for a model, and a topology if given, without what says so."""
    asked = [entry for entry in train["precisions"] if model in entry.get("models", [model])]
    if topology:
        asked = [entry for entry in asked if topology in entry.get("topologies", [topology])]
    return [{key: value for key, value in entry.items() if key not in ("models", "topologies")} for entry in asked]


def only(tree: Any, keys: Any) -> Any:
    """The part of a tree that another tree has the keys of."""
    if isinstance(tree, Mapping) and isinstance(keys, Mapping):
        return {key: only(tree[key], keys[key]) for key in keys if key in tree}
    return tree


def without(tree: Any, keys: Any) -> Any:
    """A tree less what another tree has: a value there, or the same mapping, goes; mappings key by key."""
    if not (isinstance(tree, Mapping) and isinstance(keys, Mapping)):
        return tree
    return {
        key: without(value, keys.get(key))
        for key, value in tree.items()
        if key not in keys or (isinstance(value, Mapping) and isinstance(keys[key], Mapping))
    }
