"""The conclusions of a run: every cell's status worked out from its records, and the tables of them.

Nothing here is typed in: an entry is passed only where a record of a run says so, made under the
settings that the matrix asks for and from the files that its parents say they made.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segcert import (
    SCHEMA_VERSION,
    accuracy,
    attempts,
    certificates,
    fastest,
    proof,
    record,
    schedulers,
    stages,
    statuses,
)
from segcert.cells import Cell, CellTable
from segcert.concluded import Concluded
from segcert.files import changed_since, sha256
from segcert.masking import masked
from segcert.sections import per_model

RUN_FIELDS = (*record.OF_EACH_RUN, *record.OF_SOME_RUNS, "record_file")
UNREAD = (".tar", ".csv")  # a tar and a history are read by no stage that is made from theirs
# The scope of conclusions that do not tell of it, as those of an earlier version.
NOTHING_SAID = {
    "models": [],
    "not_asked_for": [],
    "generated_data": False,
    "iterations": None,
    "timed_alone": True,
    "paddleseg": None,
    "replaced_losses": [],
}
BAR = "-" * 24


@dataclass(init=False)
class Conclusions:
    """Every cell of the matrix with its status, as `conclusions.json` holds it.

    Attributes:
        scope: what a reader must know of how much was asked for: see `scope_of`.
        notes: what is odd about the data and was not refused: see `notes_of`.
    """

    mode: str
    cells: list[Concluded]
    certificates: list[dict[str, Any]]
    scope: dict[str, Any]
    notes: list[dict[str, Any]]

    def __init__(
        self,
        mode: str,
        cells: Iterable[Mapping[str, Any]],
        certificates: Iterable[dict[str, Any]] = (),
        scope: Mapping[str, Any] | None = None,
        notes: Iterable[dict[str, Any]] = (),
    ) -> None:
        self.mode = mode
        self.cells = [Concluded(cell) for cell in cells]
        self.certificates = list(certificates)
        self.scope = {**NOTHING_SAID, **(scope or {})}
        self.notes = list(notes)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Conclusions:
        """What `as_json` gave, or an earlier version, which told less."""
        certificates, scope, notes = (content.get(name) for name in ("certificates", "scope", "notes"))
        return cls(content["mode"], content["cells"], certificates or (), scope, notes or ())

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(cell["status"] for cell in self.cells)
        return {status.name: found[status.name] for status in statuses.ALL if found[status.name]}

    @property
    def iterations(self) -> str | None:
        """Iterations of the trainings that were asked for, `least-most` where they differ; None for no training."""
        span = self.scope["iterations"]
        return "-".join(map(str, dict.fromkeys(span))) if span else None

    @property
    def broken_certificates(self) -> list[dict[str, Any]]:
        """Those that were worked out and do not hold; where the training is red itself, it tells."""
        return [item for item in self.certificates if item["verdict"] == statuses.ACCURACY_FAILED.name]

    @property
    def published(self) -> list[dict[str, Any]]:
        """What released weights come to against the accuracy that is published of them: see `accuracy.verdicts`."""
        return accuracy.verdicts(self.cells)

    @cached_property
    def fastest(self) -> list[dict[str, Any]]:
        """Which inference cell is the fastest, and at which loss: see `fastest.choices`."""
        return fastest.choices(self.cells)

    @property
    def red(self) -> bool:
        return bool(self.broken_certificates) or statuses.is_red([cell["status"] for cell in self.cells])

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "mode": self.mode,
            "red": self.red,
            "scope": self.scope,
            "notes": self.notes,
            "counts": self.counts,
            "certificates": self.certificates,
            "published": self.published,
            "fastest": self.fastest,
            "cells": [dict(cell) for cell in self.cells],
        }

    def select(self, **fields: Any) -> list[Concluded]:
        """The cells with these fields, of themselves or of what they request."""
        if "stage" in fields:
            stages.by_name(fields["stage"])
        cells = self._of_model.get(fields["model"], []) if "model" in fields else self.cells
        return [cell for cell in cells if all(_field(cell, key) == value for key, value in fields.items())]

    @cached_property
    def _of_model(self) -> dict[str | None, list[Concluded]]:
        """The cells by model: hundreds of models are each asked for many times."""
        found: dict[str | None, list[Concluded]] = {}
        for cell in self.cells:
            found.setdefault(cell["model"], []).append(cell)
        return found


def _field(cell: Concluded, key: str) -> Any:
    return cell[key] if key in cell else cell.requested.get(key)


def conclude(table: CellTable, lost: Collection[str] = (), paddleseg: Mapping[str, Any] | None = None) -> Conclusions:
    """Work out the status of every cell of the table from the records on disk.

    Args:
        table: the matrix.
        lost: records of jobs that failed in this run and left none, as the workflow knows.
        paddleseg: the PaddleSeg of the run, as run_config.yaml has it.
    """
    known: dict[str, dict[str, Any]] = {}
    sources: dict[str, dict[str, Any]] = {}
    for cell in table.cells:
        parents = [known[parent.record] for parent in table.parents(cell)]
        for path in table.source_records(cell):
            sources.setdefault(path, _source(path, path in lost))
            parents.append(sources[path])
        configuration = table.configurations.get(cell.model, {})
        known[cell.record] = _entry(cell, parents, cell.record in lost, configuration)
    # Data and weights are not in the matrix: they are told of where they keep cells of it from running.
    broken = [source for source in sources.values() if statuses.by_name(source["status"]).red]
    entries = list(known.values())
    certified = [
        certificate
        for model in table.settings["models"]
        for certificate in certificates.certify(
            [entry for entry in entries if entry["model"] == model], table.section(model, "gates")
        )
    ]
    notes = notes_of(table, list(sources.values()), entries)
    replaced = {loss for entry in entries for loss in (entry.get("metrics") or {}).get("replaced_losses") or ()}
    seg = {**paddleseg} if paddleseg else _observed_paddleseg(entries)
    scope = {**scope_of(table), "paddleseg": seg, "replaced_losses": sorted(replaced)}
    return Conclusions(table.mode, [*broken, *entries], certified, scope, notes)


def _observed_paddleseg(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The PaddleSeg that all records name, where the plan knew none; None where they name none, or several."""
    found: list[dict[str, Any]] = []
    for env in (entry.get("env") or {} for entry in entries):
        told = {key: value for key, value in env.items() if key.startswith("paddleseg") and key != "paddleseg_hash"}
        if env.get("paddleseg_folder") and told not in found:
            found.append(told)
    return found[0] if len(found) == 1 else None


def notes_of(
    table: CellTable, sources: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What the records tell of the data: each note once, as `data` (set), `note` and the `models` that it is told of.

    A note of the data set itself is told of no model.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for source in sources:
        for note in (source.get("metrics") or {}).get("notes") or []:
            found.setdefault((source["cell"], note), [])
    for entry in entries:
        for note in (entry.get("metrics") or {}).get("notes") or []:
            models = found.setdefault((table.dataset(entry["model"]), note), [])
            if entry["model"] not in models:
                models.append(entry["model"])
    return [{"data": data, "note": note, "models": models} for (data, note), models in found.items()]


def scope_of(table: CellTable) -> dict[str, Any]:
    """How much was asked for: models, those of the configuration left out, whether all data are generated, iterations,
    and whether inference is timed with no other job of the run beside it.

    `iterations` are the least and the most of a model's training; None where nothing is trained.
    """
    settings = table.settings
    asked = settings["models"]
    known = (*settings["model_zoo"], *settings.get("zoo_names", ()))
    planned = [model for model in asked if table.is_planned(model)]
    sources = {settings["datasets"][table.dataset(model)]["source"] for model in planned}
    iters = [per_model(table.section(model, "train")["iters"], model) for model in planned if table.trains(model)]
    return {
        "models": list(asked),
        "not_asked_for": list(dict.fromkeys(model for model in known if model not in asked)),
        "generated_data": sources == {"synthetic"},
        "iterations": [min(iters), max(iters)] if iters else None,
        "timed_alone": all(table.section(model, "infer")["exclusive"] for model in asked),
    }


def _source(path: str, lost: bool) -> dict[str, Any]:
    """What a data set's or a weight file's record comes to, in the form of a cell."""
    name = Path(path).name.removesuffix(".json")
    base: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "model": None, "algorithm": None, "mode": None,
        "stage": stages.DATA.name, "cell": name,
        "train_cell": None, "topology": None, "reason": None, "requested": {}, "record": path,
    }  # fmt: skip
    try:
        found = _latest(path)
    except record.RecordError as error:
        return {**base, "status": statuses.FAILED.name, "reason": str(error), "log": path, "record_file": _file(path)}
    if lost:
        return {**base, "status": statuses.FAILED.name, "reason": "ended without a record", "log": path}
    if found is None:
        # Not there at all: what is made from it cannot be either, and says so itself.
        return {**base, "status": statuses.PASSED.name}
    kept = {key: found[key] for key in (*RUN_FIELDS, "requested", "reason", "status") if key in found}
    return {**base, **kept}


def _entry(cell: Cell, parents: list[dict[str, Any]], lost: bool, configuration: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": cell.model,
        "algorithm": cell.algorithm,
        "mode": cell.mode,
        "stage": cell.stage,
        "cell": cell.name,
        "train_cell": cell.train_name,
        "topology": cell.topology,
        "status": "",
        "reason": None,
        "requested": dict(cell.requested),
        "record": cell.record,
    }
    status, reason, found = _status_of(cell, parents, lost, configuration)
    entry |= {"status": status.name, "reason": reason}
    if found:
        entry |= {key: found[key] for key in RUN_FIELDS if key in found}
    return entry


def _status_of(
    cell: Cell, parents: list[dict[str, Any]], lost: bool, configuration: Mapping[str, str]
) -> tuple[statuses.Status, str | None, dict[str, Any] | None]:
    if not cell.planned:
        return statuses.by_name(str(cell.status)), cell.reason, None
    for parent in reversed(parents):
        status = statuses.by_name(parent["status"])
        if status.stops and status.holds_up:
            return statuses.by_name(status.holds_up), made_from(parent), None
    left = attempts.left_behind(cell.record)
    if lost:  # the workflow knows that it is over; we do not, of one on another machine
        left += attempts.running(cell.record)
    if lost or left:
        attempt = left[-1][1] if left else {}
        said = (
            schedulers.verdict(attempt.get("scheduler_job", {})) or "killed, its machine went down, or it never started"
        )
        return statuses.FAILED, f"ended without a record: {said}", {"log": cell.log, **attempt}
    try:
        found = _latest(cell.record)
    except record.RecordError as error:
        return statuses.FAILED, str(error), {"log": cell.log, "record_file": _file(cell.record)}
    if found is None:
        return statuses.NOT_RUN, "not asked for in this run", None
    stale = _stale(cell, found, parents, configuration)
    if stale and (changed := _changed(found, parents)):
        return statuses.FAILED, changed, {"log": cell.log, "record_file": found["record_file"]}
    if stale:
        reason = f"the record on disk is of another run: {stale}"
        return statuses.NOT_RUN, reason, {"record_file": found["record_file"]}
    status, reason = statuses.by_name(found["status"]), found["reason"]
    if status is statuses.PASSED:
        problems = proof.unproven(found)
        if problems:
            return statuses.FAILED, f"its record says passed and does not prove it: {'; '.join(problems)}", found
    if status is statuses.FAILED and (ended := schedulers.verdict(found.get("scheduler_job", {}))):
        reason = f"{reason}; {ended}"
    return status, reason, found


def made_from(parent: Mapping[str, Any]) -> str:
    """What a cell says that its parent holds up; one that was started all the same adds the parent's reason."""
    return f"made from {parent['stage']} {parent['cell']}: {parent['status']}"


def _latest(path: str) -> dict[str, Any] | None:
    """A record, or that of a failed attempt after it, with the file that it is from."""
    latest = _file(path)
    return {**record.read(latest), "record_file": latest} if latest else None


def _file(path: str) -> str | None:
    """The file to read for a record: that of a failed attempt first, because a stage that passes takes it away."""
    return next((file for file in (record.failure(path), path) if Path(file).exists()), None)


def _stale(
    cell: Cell,
    found: Mapping[str, Any],
    parents: list[dict[str, Any]],
    configuration: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """In words, why a record does not belong to this cell as it is asked for now."""
    identity = {"model": cell.model, "mode": cell.mode, "stage": cell.stage, "cell": cell.name}
    for key, value in identity.items():
        if found[key] != value:
            return f"{key} {found[key]}, not {value}"
    for key in {**cell.requested, **found["requested"]}:
        if found["requested"].get(key) != cell.requested.get(key):
            return f"{key} was {found['requested'].get(key)}, now {cell.requested.get(key)}"
    for key, value in cell.software.items():
        if found["env"].get(key) != value:
            return f"{key} was {found['env'].get(key)}, now {value}"
    try:
        command = shlex.split(found["command"])
    except ValueError:
        return "its command is none"
    if not _has_piece(command, [masked(option) for option in cell.options]):
        return "its command had other options"
    for path, digest in configuration.items():
        if found["inputs"].get(path, digest) != digest:
            return f"made from another {path}"
    proves = not statuses.by_name(found["status"]).red  # one that failed may have failed for want of its inputs
    for parent in parents:
        for path, digest in parent.get("outputs", {}).items():
            if path not in found["inputs"]:
                if proves and _reads(cell, parent, path):
                    return f"it does not say from which {path} it was made"
            elif found["inputs"][path] != digest:
                return f"made from another {path}"
    return None


def _changed(found: Mapping[str, Any], parents: Iterable[Mapping[str, Any]]) -> str | None:
    """In words, what a record was made from that is not what was made before it; None where that is as it was.

    It is then what lies there now, which a person put there: no other run's.
    """
    for parent in parents:
        for path, digest in parent.get("outputs", {}).items():
            told = found["inputs"].get(path, digest)
            if told != digest and Path(path).exists() and told == sha256(path):
                return changed_since(path, parent["record"])
    return None


def _reads(cell: Cell, parent: Mapping[str, Any], path: str) -> bool:
    return parent["stage"] in cell.definition.reads and Path(path).suffix not in UNREAD


def _has_piece(whole: list[str], part: list[str]) -> bool:
    """Whether a list holds another as one piece."""
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


# -- tables -----------------------------------------------------------------------------------


def train_entries(conclusions: Conclusions, model: str, topology: str) -> list[dict[str, Any]]:
    """What a model's training on a topology comes to: one item per precision and graph, mixed precision first.

    It is as good as the worst of the training, its evaluation and, where it has a twin, its certificate. `cause`
    is the record of the cell that says so, None where the certificate does.
    """
    entries = []
    for train in conclusions.select(model=model, stage="train", topology=topology):
        cells = [train, *conclusions.select(model=model, stage="eval", train_cell=train["train_cell"])]
        parts = [(cell["status"], cell["reason"], cell["record"]) for cell in cells]
        parts += [
            (item["verdict"], item["reason"], None)
            for item in conclusions.certificates
            if (item["model"], item["topology"], item["cell"]) == (model, topology, train["cell"])
        ]
        status = statuses.worst(name for name, _, _ in parts)
        reason, cause = next((why, where) for name, why, where in parts if name == status.name)
        entries.append(
            {
                "label": train.precision,
                "amp": train.requested.get("precision") == "amp",
                "status": status,
                "reason": reason,
                "device": train.effective.get("device"),
                "ranks": train.effective.get("devices"),
                "record": train["record"],
                "cause": cause,
            }
        )
    return sorted(entries, key=lambda entry: not entry["amp"])


def infer_entries(conclusions: Conclusions, model: str, device: str, batch_size: int) -> list[Concluded]:
    return conclusions.select(model=model, stage="infer", device=device, batch_size=batch_size)


def models(conclusions: Conclusions) -> list[tuple[str, str]]:
    """(algorithm, model) in the order of the matrix."""
    return list(dict.fromkeys((cell["algorithm"], cell["model"]) for cell in conclusions.cells if cell["model"]))


def batch_sizes(conclusions: Conclusions) -> list[int]:
    return sorted({cell.requested["batch_size"] for cell in conclusions.select(stage="infer")})


def environments(conclusions: Conclusions, fields: Collection[str] | None = None) -> list[tuple[dict[str, Any], int]]:
    """What the cells ran on, and how many of them did, the commonest first.

    Args:
        fields: those of `env` that are told of and that tell environments apart; None: all that a record has.
    """
    found: dict[str, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    for cell in conclusions.cells:
        if env := cell.env:
            told = dict(env) if fields is None else {field: env.get(field) for field in fields}
            key = json.dumps(told, sort_keys=True)
            found[key] = told
            counts[key] += 1
    return [(found[key], count) for key, count in counts.most_common()]


def findings(conclusions: Conclusions) -> dict[statuses.Section, list[dict[str, Any]]]:
    """Of each section the cells that it lists, grouped by status and reason, what says most against a cell first.

    Reasons that differ only in the model, which their paths name, are one: that of the first cell stands for it.
    """
    groups: dict[tuple[str, str], list[Concluded]] = {}
    for cell in conclusions.cells:
        if cell["reason"] or cell["status"] != statuses.PASSED.name:
            same = (cell["reason"] or "").replace(cell["model"] or "", "")
            groups.setdefault((cell["status"], same), []).append(cell)
    order = sorted(statuses.ALL, key=lambda status: -status.badness)
    found: dict[statuses.Section, list[dict[str, Any]]] = {section: [] for section in statuses.SECTIONS}
    for (name, _), cells in sorted(groups.items(), key=lambda group: order.index(statuses.by_name(group[0][0]))):
        status = statuses.by_name(name)
        group = {"status": status, "reason": cells[0]["reason"], "cells": cells, "count": len(cells)}
        found[status.section].append(group)
    return found


def weak_models(conclusions: Conclusions) -> dict[str, int]:
    """How many such cells each model has, where it has some."""
    return dict(Counter(cell["model"] for cell in conclusions.cells if cell.weak))


# -- the status lines of TIPC -----------------------------------------------------------------


def status_lines(conclusions: Conclusions) -> str:
    """results_python.log: a line per command that ran, in the order in which they started."""
    ran = [cell for cell in conclusions.cells if "command" in cell and cell.status.exercised]
    lines = [f"{BAR} {conclusions.mode} {BAR}"]
    for cell in sorted(ran, key=lambda cell: cell["started"]):
        verb = "Run successfully" if cell.status is statuses.PASSED else "Run failed"
        lines.append(f"\033[33m {verb} with command - {cell['model']} - {cell['command']} - {cell['log']}  \033[0m")
    return "\n".join(lines) + "\n"
