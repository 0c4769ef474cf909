"""Where data sets and weights come from: the tables `datasets` and `weights` of the configuration.

What a file is (its URL, its checksum) goes to a stage as options, so that a change makes it again.
How it is reached (mirrors, offline) goes through the environment: it changes nothing of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert.data.download import MIRRORS, OFFLINE
from segcert.masking import bare, masked
from segcert.sections import RELEASED, merge, of_model

Settings = Mapping[str, Any]


def options(entry: Mapping[str, Any]) -> list[str]:
    """Options for a file from elsewhere: an entry of `datasets` or `weights`."""
    found = ["--source", entry["source"]]
    if entry["source"] != "synthetic":
        # Credentials go the way of the mirrors, in the environment: options stand in records and logs.
        found += ["--location", bare(entry["url"]) if entry["source"] == "url" else entry["path"]]
        for key in ("sha256", "bytes"):
            if entry.get(key) is not None:
                found += [f"--{key}", str(entry[key])]
    return found


def dataset_options(settings: Settings, name: str) -> list[str]:
    entry = settings["datasets"][name]
    found = ["--cell", f"{name}.tar", "--layout", entry["layout"], *options(entry)]
    if entry["source"] == "synthetic":
        found += ["--images", *(entry["images"][split] for split in ("train", "val", "test"))]
        found += ["--seed", entry["seed"], *(["--size", *entry["size"]] if "size" in entry else [])]
    found += [item for split, name in entry.get("lists", {}).items() for item in ("--list", split, name)]
    return [str(option) for option in found]


def weights_options(settings: Settings, name: str) -> list[str]:
    return ["--weights-name", name, *options(settings["weights"][name])]


def local(entry: Mapping[str, Any]) -> list[str]:
    """The file or the folder that an entry takes from this machine: an input, so that a newer one is noticed."""
    return [entry["path"]] if entry["source"] in ("path", "folder") else []


def stamp(entry: Mapping[str, Any]) -> str:
    """What changes when that is another, also where it is an older one, or where a file in the folder was edited."""
    found = hashlib.sha256()
    for path in map(Path, local(entry)):
        inside = (Path(above, name) for above, _, names in os.walk(path, followlinks=True) for name in names)
        for file in sorted(inside) if path.is_dir() else [path]:
            with contextlib.suppress(OSError):  # what is missing is told by the stage that reads it
                told = file.stat()
                found.update(f"{file}\0{told.st_size} {told.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return found.hexdigest()[:16]


def addresses(settings: Settings, entry: Mapping[str, Any]) -> list[str]:
    """Where to try to fetch an entry from, in order: rewritten, its own URL, its mirrors."""
    listed = [entry["url"], *entry.get("mirrors", [])]
    rewritten = [
        new + url.removeprefix(old)
        for url in listed
        for old, new in settings["url_rewrites"].items()
        if url.startswith(old)
    ]
    return list(dict.fromkeys([*rewritten, *listed]))


def environment(settings: Settings) -> dict[str, str]:
    """What the stages that fetch are told of the ways to the files."""
    entries = [entry for section in ("datasets", "weights") for entry in settings[section].values()]
    ways = {bare(entry["url"]): addresses(settings, entry) for entry in entries if entry["source"] == "url"}
    return {OFFLINE: str(int(settings["offline"])), MIRRORS: json.dumps(ways)}


# -- the table --------------------------------------------------------------------------------


ZOO_MODELS = "models of PaddleSeg's zoo"


def users(settings: Settings) -> dict[tuple[str, str], list[str]]:
    """(section, entry) -> in words, which models use it and for what, from `model_zoo`, `data` and `modes`."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for mode, changes in settings["modes"].items():
        data = merge(settings["data"], changes.get("data", {}))
        chosen = changes.get("models", "all")
        for model, entry in settings["model_zoo"].items():
            named = {"all", model, *entry.get("aliases", [])} & set([chosen] if isinstance(chosen, str) else chosen)
            if named and entry["data"] in data:
                modes = found.setdefault(("datasets", data[entry["data"]]), {}).setdefault(model, [])
                modes.append(mode)
    for mode, changes in settings["modes"].items():
        for name in changes.get("data", {}).values():
            if not found.get(("datasets", name), {}).keys() - {ZOO_MODELS}:
                found.setdefault(("datasets", name), {}).setdefault(ZOO_MODELS, []).append(mode)
    words: dict[tuple[str, str], list[str]] = {}
    for key, by_model in found.items():
        by_modes: dict[str, list[str]] = {}
        for model, modes in by_model.items():
            by_modes.setdefault(", ".join(modes), []).append(model)
        words[key] = [f"{', '.join(models)} (modes {modes})" for modes, models in by_modes.items()]
    for model, entry in settings["model_zoo"].items():
        modes = _taking_released(settings, model)
        released = f"mode{'s' if len(modes) > 1 else ''} {', '.join(modes)}" if modes else None
        starts = (("backbone_weights", "backbone"), ("pretrained_weights", "start of a training"))
        for field, purpose in (*starts, ("released_weights", released)):
            if entry.get(field) and purpose:
                words.setdefault(("weights", entry[field]), []).append(f"{model} ({purpose})")
    return words


def _taking_released(settings: Settings, model: str) -> list[str]:
    """The modes that take the model's released weights and do not train it."""
    return [
        mode
        for mode, changes in settings["modes"].items()
        if of_model(merge(settings, changes), model, "train")["checkpoints"] == RELEASED
    ]


def table(settings: Settings) -> str:
    """The sources as Markdown; `not known` where the configuration has null."""
    used = users(settings)
    rows = ["| name | version | sha256 | bytes | licence | used by | from |", "| --- " * 7 + "|"]
    for section in ("datasets", "weights"):
        for name, entry in settings[section].items():
            known = [entry.get(key) for key in ("version", "sha256", "bytes", "licence")]
            if entry["source"] == "synthetic":
                known = ["-", "-", "-", "generated here"]
            cells = [f"`{name}`", *("not known" if item is None else str(item) for item in known)]
            cells += ["; ".join(used.get((section, name), [])) or "no model"]
            cells += [
                masked(" ".join([entry.get("url") or entry.get("path") or "generated", *entry.get("mirrors", [])]))
            ]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
