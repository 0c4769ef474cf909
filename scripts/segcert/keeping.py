"""Conclusions that are kept: a compact copy of a run's, a file each in one folder, for histories and as baselines.

A copy has statuses, causes of reasons, figures with their intervals, versions and the machine. It has no samples, no
commands, no logs, and neither names nor folders of the machine. What many cells have alike stands in it once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

from segcert import SCHEMA_VERSION, noise, statuses
from segcert.asked import ask
from segcert.causes import cause
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions
from segcert.errors import ConfigError
from segcert.files import write_text
from segcert.paths import SCHEMA

KEPT_VERSION = 1  # of config/schema/kept.schema.json: changes where an old reader could misread a file
KEPT_SCHEMA = SCHEMA.with_name("kept.schema.json")
CONCLUSIONS_SCHEMA = SCHEMA.with_name("conclusions.schema.json")
DIGITS = 12  # of the hash in a file's name
GIT_S = 20  # seconds that git may take
COMMIT_DIGITS = 8
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escaped half of a character; a pair of them is one
MOVED = re.compile(r"HEAD@\{(\d+)\}")  # as git's log of HEAD has the time of its last move; there may be no such log
KNOWN = "as known_failures says"

# Of a cell, as it is; what is null stays out.
FIELDS = ("stage", "cell", "status", "started", "wall_s", "cpu_s")
# Of a cell, what its model's others have alike.
PLACE = ("model", "algorithm", "train_cell", "topology")
# Of a cell, each a mapping that many cells have alike.
SHARED = ("requested", "effective", "env")
OF_EACH_MODEL = "paddleseg_hash"  # of env, what stands in the cell itself
# Of env: whose machine it was, and that.
NOT_KEPT = ("host", "paddleseg_folder", OF_EACH_MODEL)
LOADS = (noise.STAGE_LOAD, "metrics.load")
TAKEN = ("other_cores", "steal_share", "noticed")  # of a load: what others had, where it was noticed
PATHS = (
    *dict.fromkeys(metric.path for metric in noise.METRICS),
    *(metric.interval for metric in noise.METRICS if metric.interval),
    "metrics.load.own_cores",
    "metrics.input_shape",
)
SCOPE = ("models", "generated_data", "iterations", "timed_alone")
CERTIFICATE = ("model", "topology", "kind", "cell", "twin", "verdict")


# -- making a copy ----------------------------------------------------------------------------


def copy_of(content: Mapping[str, Any], *, whole_reasons: bool = False, written: str | None = None) -> dict[str, Any]:
    """The compact copy of the content of a conclusions.json.

    Args:
        written: when it was written: the run's time, where a red cell of it has none of its own.
        whole_reasons: reasons stay as they are: for what is not written down.

    Raises:
        ConfigError: no cell of it ran.
    """
    cells = [Concluded(cell) for cell in content["cells"]]
    started = [cell["started"] for cell in cells if cell.get("started")]
    # One that ended without a record has no time, and must not be thought older than the run before it.
    lost = any(cell.status.red and not cell.get("started") for cell in cells)
    time = max([*started, *([written] if written and (lost or not started) and content["red"] else [])], default=None)
    if time is None:
        raise ConfigError("no cell of these conclusions ran: there is nothing to keep")
    shared: dict[str, int] = {}

    def place(part: Any) -> int:
        return shared.setdefault(_canonical(part), len(shared))

    made = {path for cell in cells for path in cell.get("outputs") or ()}
    inputs = {path: digest for cell in cells for path, digest in (cell.get("inputs") or {}).items() if path not in made}
    scope = content.get("scope") or {}
    found = [_cell(cell, place, whole_reasons) for cell in cells]
    return {
        "kept_version": KEPT_VERSION,
        "schema_version": SCHEMA_VERSION,
        "mode": content["mode"],
        "time": time,
        "red": content["red"],
        "counts": content["counts"],
        "scope": {key: scope[key] for key in SCOPE if key in scope},
        "certificates": [_certificate(item, whole_reasons) for item in content.get("certificates") or ()],
        "inputs": inputs,
        "shared": [json.loads(text) for text in shared],
        "cells": found,
    }


def _cell(cell: Concluded, place: Callable[[Any], int], whole_reasons: bool) -> dict[str, Any]:
    found: dict[str, Any] = {key: cell[key] for key in FIELDS if cell.get(key) is not None}
    if cell["reason"]:
        found["reason"] = cell["reason"] if whole_reasons else _cause(cell["reason"], cell["model"], cell["status"])
    env = {key: value for key, value in cell.env.items() if key not in NOT_KEPT and value is not None}
    found["of"] = place({key: cell[key] for key in PLACE if cell.get(key) is not None})
    for key, part in {"requested": cell.requested, "effective": cell.effective, "env": env}.items():
        if part:
            found[key] = place(dict(part))
    if cell.gpu_models:
        found["gpus"] = place(cell.gpu_models)
    if told := cell.env.get(OF_EACH_MODEL):
        found[OF_EACH_MODEL] = told
    taken = [f"{path}.{key}" for path in LOADS if noise.value_of(cell, f"{path}.noticed") for key in TAKEN]
    for path in (*PATHS, *taken):
        if (value := noise.value_of(cell, path)) is not None:
            *keys, last = path.split(".")
            part = found
            for key in keys:
                part = part.setdefault(key, {})
            part[last] = value
    return found


def _certificate(item: Mapping[str, Any], whole_reasons: bool) -> dict[str, Any]:
    found = {key: item[key] for key in CERTIFICATE if item.get(key) is not None}
    found.setdefault("cell", item.get("amp"))  # so it was called where all were of mixed precision
    reason = item.get("reason") or ""
    return {**found, "reason": reason if whole_reasons else _cause(reason, item["model"], item["verdict"])}


def _cause(reason: str, model: str | None, status: str) -> str:
    """What a reason comes to; of a known failure in a form that comes to the same again."""
    known = status == statuses.KNOWN_FAILURE.name
    found = cause(reason, model, known=known)
    return f"{found}: {KNOWN}" if known else found


def expanded(kept: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in the form of a conclusions.json, with as much as it has of one."""
    cells = []
    for told in kept["cells"]:
        cell: dict[str, Any] = {**dict.fromkeys((*PLACE, "reason")), **told, **kept["shared"][told["of"]]}
        for key in SHARED:
            cell[key] = dict(kept["shared"][told[key]]) if key in told else {}
        if "gpus" in told:
            cell["gpus"] = [{"model": model} for model in kept["shared"][told["gpus"]]]
        if OF_EACH_MODEL in told:
            cell["env"][OF_EACH_MODEL] = cell.pop(OF_EACH_MODEL)
        if cell["env"]:
            cell["inputs"] = kept["inputs"]
        cells.append(cell)
    return {**kept, "cells": cells}


def _canonical(content: Any) -> str:
    """The same text for the same content."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _digest(kept: Mapping[str, Any]) -> str:
    """A hash of a copy but for the commit, which is that of the moment in which it is kept."""
    text = _canonical({key: value for key, value in kept.items() if key != "commit"})
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


# -- the commit -------------------------------------------------------------------------------


def commit_at(folder: Path, time: str) -> dict[str, Any]:
    """The commit that a folder is of, whether files of it are edited, and, where that is not known, `why`.

    Args:
        time: when the run was. A commit that is younger is not the one that ran, and where HEAD was moved since, nobody
            knows which one did.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {"commit": None, "edited": None, "why": "the folder of the run is in no git repository with a commit"}
    made = _git(folder, "log", "-1", "--format=%ct")
    if made and int(made) > _seconds(time):
        return {"commit": None, "edited": None, "why": f"{commit[:COMMIT_DIGITS]} was committed after the run"}
    moved = MOVED.fullmatch(_git(folder, "log", "-g", "-1", "--format=%gd", "--date=unix", "HEAD") or "")
    if moved and int(moved[1]) > _seconds(time):
        why = f"{commit[:COMMIT_DIGITS]} was checked out after the run"
        return {"commit": None, "edited": None, "why": why}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "edited": None if changed is None else bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says of a folder; None where it says nothing."""
    options = ["--no-optional-locks", "-c", "core.fsmonitor=false"]
    answer = ask(["git", "-C", str(folder), *options, *arguments], GIT_S, without="GIT_")
    return None if answer.why_not else answer.text.strip("\n")


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()


# -- files ------------------------------------------------------------------------------------


def name_of(kept: Mapping[str, Any]) -> str:
    """Time, mode, commit and hash: names sort by time."""
    time = re.sub(r"[-:]|\.\d+", "", kept["time"])
    mode = re.sub(r"[^A-Za-z0-9_.-]", "-", kept["mode"])
    return f"{time}_{mode}_{_commit_in_name(kept)}_{_digest(kept)}.json"


def _commit_in_name(kept: Mapping[str, Any]) -> str:
    told = kept["commit"]
    return told["commit"][:COMMIT_DIGITS] + ("-edited" if told["edited"] else "") if told["commit"] else "unknown"


def keep(
    content: Mapping[str, Any], folder: Path, at: Path, written: str | None = None
) -> tuple[Path, Mapping[str, Any], bool]:
    """Keep a copy of the content of a conclusions.json, whole or not at all.

    Args:
        at: a folder whose commit is told.
        written: as `copy_of` takes it.

    Returns:
        The file, what it holds, and whether it is new: of one run there is one, also where another commit is there by
        now.

    Raises:
        ConfigError: there is nothing to keep, or the file of this run is there and broken.
    """
    told = Conclusions.of_json(content)
    if (told.counts, told.red) != (content["counts"], content["red"]):
        raise ConfigError("these conclusions were edited: their cells do not come to their `counts` and `red`")
    kept = copy_of(content, written=written)
    for there in folder.glob(f"*_{_digest(kept)}.json"):
        return there, read(there), False
    kept["commit"] = commit_at(at, kept["time"])
    path = folder / name_of(kept)
    write_text(path, _canonical(kept) + "\n")
    return path, kept, True


def read(path: Path) -> dict[str, Any]:
    """What a kept file holds.

    Raises:
        ConfigError: it cannot be read, is of a newer version, broken, or not what its name says.
    """
    mend = "it was cut off or edited: take it from where it was kept, or delete it"
    try:
        found = _strict(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not strict JSON ({error}); {mend}") from None
    version = found.get("kept_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > KEPT_VERSION:
        raise ConfigError(
            f"{path}: of kept_version {version}; this version of the workflow reads {KEPT_VERSION}: take a newer one"
        )
    if wrong := _against(KEPT_SCHEMA, found):
        raise ConfigError(f"{path}: {wrong}; {mend}")
    told = [cell["status"] for cell in found["cells"]] + [item["verdict"] for item in found["certificates"]]
    _known(path, told)
    if not path.stem.endswith(_digest(found)):
        raise ConfigError(f"{path}: does not hold what the hash in its name says, {_digest(found)}; {mend}")
    if not path.stem.endswith(wanted := _commit_in_name(found) + "_" + _digest(found)):
        raise ConfigError(f"{path}: holds another commit than its name, which would end in {wanted}; {mend}")
    try:
        wrong = _against(CONCLUSIONS_SCHEMA, expanded(found))
    except (LookupError, TypeError, ValueError) as error:
        wrong = f"`shared` does not hold what its cells name: {type(error).__name__}: {error}"
    if wrong:
        raise ConfigError(f"{path}: {wrong}; {mend}")
    return dict(found)


def _against(schema: Path, found: Any) -> str | None:
    """The first thing by which a content does not fit a schema, with its place."""
    checks = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    wrong = next(iter(checks.iter_errors(found)), None)
    return wrong and f"{wrong.json_path}: {wrong.message[:200]}"


@dataclass(frozen=True)
class Kept:
    """A run that was kept.

    Attributes:
        name: of its file.
        told: what that holds.
    """

    name: str
    told: Mapping[str, Any]

    @property
    def mode(self) -> str:
        return str(self.told["mode"])

    @property
    def time(self) -> str:
        return str(self.told["time"])

    @property
    def commit(self) -> str:
        """The project's commit as people read it."""
        found = self.told["commit"]
        return (
            f"{found['commit'][:COMMIT_DIGITS]}{' and edits' * bool(found['edited'])}"
            if found["commit"]
            else "not known"
        )

    @cached_property
    def cells(self) -> list[Concluded]:
        return [Concluded(cell) for cell in expanded(self.told)["cells"]]


def read_all(folder: Path) -> tuple[list[Kept], list[str]]:
    """The runs that a folder holds, the oldest first, and what is wrong with each file that is none.

    Raises:
        ConfigError: it holds none.
    """
    runs, broken = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            runs.append(Kept(path.name, read(path)))
        except ConfigError as error:
            broken.append(str(error))
    if not runs:
        told = "".join(f"\n  {line}" for line in broken)
        raise ConfigError(f"history.folder: {folder}: no run is kept there: `snakemake keep` keeps one{told}")
    return sorted(runs, key=lambda run: (run.time, run.name)), broken


# -- conclusions, kept or not -----------------------------------------------------------------


def conclusions(path: Path) -> dict[str, Any]:
    """The content of a conclusions.json; of a kept one in the same form.

    Raises:
        ConfigError: there is none, or it is another kind of file, or of a version with other statuses.
    """
    mode = path.resolve().parent.name
    make = (
        f"`snakemake --cores all --config mode={mode}` makes it" if path.name == "conclusions.json" else "name another"
    )
    try:
        found = _strict(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {make}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not strict JSON: {error}; {make}") from None
    if isinstance(found, dict) and "kept_version" in found:
        return expanded(read(path))
    if not isinstance(found, dict) or found.get("schema_version") != SCHEMA_VERSION or "cells" not in found:
        raise ConfigError(f"{path}: not the conclusions of a run, of schema_version {SCHEMA_VERSION}; {make}")
    if wrong := _against(CONCLUSIONS_SCHEMA, found) or _twice(found):
        raise ConfigError(f"{path}: {wrong}: it was cut off or edited; {make}")
    told = [cell["status"] for cell in found["cells"]] + [item["verdict"] for item in found.get("certificates", ())]
    _known(path, told)
    return found


def _twice(found: Mapping[str, Any]) -> str | None:
    """In words, that a cell is there twice: of two statuses of one cell nobody could say which it has."""
    places = Counter((cell["model"], cell["stage"], cell.get("train_cell"), cell["cell"]) for cell in found["cells"])
    place, times = max(places.items(), key=lambda item: item[1], default=((), 0))
    return f"a cell is there {times} times: {' '.join(filter(None, place))}" if times > 1 else None


def alike(contents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Contents of which one is kept: the others as if they were, so that what was left out is no difference."""
    if not any("kept_version" in content for content in contents):
        return list(contents)
    return [
        content if "kept_version" in content else expanded(copy_of(content, whole_reasons=True)) for content in contents
    ]


def _strict(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text, parse_constant=_refuse)
        if HALF.search(text):  # what no file can hold again
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except RecursionError:
        raise ValueError("lists in lists without end") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number of JSON")


def _known(path: Path, told: Iterable[str]) -> None:
    if unknown := sorted(set(told) - statuses.BY_NAME.keys()):
        raise ConfigError(f"{path}: unknown status {', '.join(unknown)}; one of {', '.join(statuses.BY_NAME)}")
