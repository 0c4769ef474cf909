"""Two runs of one mode compared: what got worse, what got better, what appeared or vanished.

The two are contents of `conclusions.json`, from other commits, Paddle versions or machines. A status is worse
where it says more against the cell. A figure is worse where it moved the wrong way by more than its tolerance
and beyond what the noise explains: the intervals of medians, and the cores that others took from each process.
Each side may be several repeats of a run: then the interval is that of all of them, and every figure has one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import yaml

from segcert import SCHEMA_VERSION, noise, sections, statuses
from segcert.causes import cause
from segcert.concluded import Concluded
from segcert.errors import ConfigError
from segcert.noise import BY_NAME, METRICS, Metric
from segcert.numbers import finite, is_number
from segcert.paths import SHIPPED

WORSE, BETTER, CHANGED, APPEARED = "worse", "better", "changed", "appeared"

# Fields of `env` that make a machine: where they differ, times tell of it and not of the code.
MACHINE = ("cpu", "cpu_cores", "gpu")
NOT_JUDGED = "not judged: "  # how a figure's `judged` begins that was held to nothing
OTHER_MACHINE = f"{NOT_JUDGED}other machine"
NOTHING_COMPARED = "nothing was compared: no cell ran in both"
WAITED = "explained by waiting for a core"
CERTIFICATE = "certificate"  # stands for a stage, in what is compared


@dataclass(frozen=True)
class Tolerances:
    """The section `compare` of the configuration.

    Attributes:
        lost_is_worse: whether a cell that passed, and now is not exercised or not there, is a regression.
        judge_other_machines: whether times of different machines are judged.
        of_metric: metric -> the changes that count for nothing: `relative` to the smaller value, so that it is the
            same both ways, and `absolute` in the metric's unit. None: the metric is listed and not judged.
    """

    lost_is_worse: bool
    judge_other_machines: bool
    of_metric: Mapping[str, Mapping[str, float] | None]

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Tolerances:
        """Raises ConfigError for a metric that is not known or has no tolerance, and for what is no such section."""
        keys = {"lost", "judge_other_machines", "tolerance"}
        if not (isinstance(section, Mapping) and keys <= section.keys() and isinstance(section["tolerance"], Mapping)):
            raise ConfigError(f"compare: {section!r} is refused; allowed: the keys {', '.join(sorted(keys))}")
        tolerance = section["tolerance"]
        for name in (*tolerance, *BY_NAME):
            if name not in tolerance or name not in BY_NAME:
                raise ConfigError(f"compare.tolerance.{name}: has to be there; the metrics are {', '.join(BY_NAME)}")
        return cls(section["lost"] == "regression", section["judge_other_machines"], tolerance)


def shipped_section(mode: str) -> Mapping[str, Any]:
    """The section `compare` of the shipped configuration in a mode."""
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return sections.merge(config["compare"], config["modes"].get(mode, {}).get("compare", {}))


@dataclass(frozen=True)
class Change:
    """A difference between the two runs in one cell.

    Attributes:
        kind: worse | better | changed (neither) | appeared.
        what: `status`, `cell`, `reason`, `observed`, or a metric's name.
        before, after: the values; None where there is none.
        note: why it counts as it does, or what the records say about it.
    """

    kind: str
    model: str
    stage: str
    train_cell: str
    cell: str
    what: str
    before: Any
    after: Any
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return _ratio(self.before, self.after) if self.what in BY_NAME else None


@dataclass(frozen=True)
class Figure:
    """One metric of one cell that passed in both runs; `judged` is the kind, or why there is none."""

    model: str
    stage: str
    train_cell: str
    cell: str
    label: str
    metric: str
    before: float
    after: float
    judged: str

    @property
    def ratio(self) -> float | None:
        return _ratio(self.before, self.after)


@dataclass
class Comparison:
    """Two runs compared.

    Attributes:
        environment: fields of `env` that differ; `inputs`: files that both read, with other content.
        newly_red: cells that are red in the candidate and were not in the baseline, whatever they were there.
        cells_compared: how many were exercised in both.
        still_red: how many are red in both.
        not_seen_again: how many passed in the baseline and were not exercised in the candidate.
    """

    mode: str
    baseline: dict[str, Any]
    candidate: dict[str, Any]
    environment: list[dict[str, Any]]
    inputs: list[str]
    changes: list[Change] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    newly_red: list[Change] = field(default_factory=list)
    cells_compared: int = 0
    still_red: int = 0
    not_seen_again: int = 0

    @property
    def regressed(self) -> bool:
        return any(change.kind == WORSE for change in self.changes)

    @property
    def figures_judged(self) -> int:
        """How many figures were held to their tolerances; the others are listed alone."""
        return sum(not figure.judged.startswith(NOT_JUDGED) for figure in self.figures)

    @property
    def remarks(self) -> list[str]:
        """What no regression says nothing of, and a reader must not take it to."""
        red = len(self.newly_red) + self.still_red
        told = [f"the candidate is red in {red} cell{'s' if red > 1 else ''}"] if red else []
        told = told or (["the candidate is red"] if self.candidate["red"] else [])
        lost = self.not_seen_again
        return told + ([f"{lost} cell{'s' if lost > 1 else ''} that passed did not run again"] if lost else [])

    @property
    def no_regression(self) -> str:
        """In words, that there is none, and with what beside it."""
        return "; ".join(["no regression" if self.cells_compared else NOTHING_COMPARED, *self.remarks])

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(change.kind for change in self.changes)
        return {kind: found[kind] for kind in (WORSE, BETTER, CHANGED, APPEARED)}

    def of_kind(self, kind: str) -> list[Change]:
        return [change for change in self.changes if change.kind == kind]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "mode": self.mode,
            "regressed": self.regressed,
            "counts": self.counts,
            "cells_compared": self.cells_compared,
            "remarks": self.remarks,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "environment": self.environment,
            "inputs": self.inputs,
            "overall": overall(self),
            "changes": [{**asdict(change), "ratio": change.ratio} for change in self.changes],
            "figures": [{**asdict(figure), "ratio": figure.ratio} for figure in self.figures],
        }


def compare(baseline: Mapping[str, Any], candidate: Mapping[str, Any], tolerances: Tolerances) -> Comparison:
    """Compare two contents of `conclusions.json`.

    Raises:
        ConfigError: they are of different modes, or share no cell.
    """
    if baseline["mode"] != candidate["mode"]:
        raise ConfigError(
            f"the baseline is of mode {baseline['mode']} and the candidate of mode {candidate['mode']}: "
            "only runs of one mode do the same work"
        )
    before, after = _by_key(baseline), _by_key(candidate)
    common = [key for key in before if key in after]
    if not common:
        raise ConfigError("the baseline and the candidate have no cell in common: there is nothing to compare")
    found = Comparison(
        candidate["mode"],
        _described(baseline),
        _described(candidate),
        _environment(baseline, candidate),
        [*_inputs([(before[key], after[key]) for key in common]), *_paddleseg_files(baseline, candidate)],
        cells_compared=sum(before[key].status.exercised and after[key].status.exercised for key in common),
    )
    for key in dict.fromkeys((*before, *after)):
        _count(found, key, before.get(key), after.get(key))
        if key not in after:
            found.changes.append(_gone(key, before[key], tolerances))
        elif key not in before:
            found.changes.append(Change(APPEARED, *key, "cell", None, after[key]["status"], after[key]["reason"] or ""))
        else:
            found.changes += _statuses(key, before[key], after[key], tolerances)
            for figure, change in _figures(key, before[key], after[key], tolerances):
                found.figures.append(figure)
                found.changes += [change] if change else []
    return found


def _count(found: Comparison, key: Key, before: Concluded | None, after: Concluded | None) -> None:
    """Count a cell that is red, or that was not seen again."""
    if after and after.status.red:
        if before and before.status.red:
            found.still_red += 1
        else:
            was = before["status"] if before else None
            found.newly_red.append(Change(WORSE, *key, "status", was, after["status"], after["reason"] or ""))
    if before and before.status is statuses.PASSED and not (after and after.status.exercised):
        found.not_seen_again += 1


# -- repeats ----------------------------------------------------------------------------------


def pool(runs: Sequence[Mapping[str, Any]], *, candidate: bool = False) -> Mapping[str, Any]:
    """Repeats of a run as one: in each cell the worst status, and of each metric the median and its range.

    The range of a metric (`ranges` of the cell) spans the values of all repeats and the intervals that they have.

    Args:
        candidate: whether it is they that are judged. Then a repeat in which a cell was not exercised, or is not at
            all, says something against it. In a baseline it says nothing: what the others were must be held.

    Raises:
        ConfigError: the runs are of different modes.
    """
    first, *others = runs
    if not others:
        return first
    if len({run["mode"] for run in runs}) > 1:
        raise ConfigError(f"repeats of one run have one mode, not {', '.join(run['mode'] for run in runs)}")
    cells: dict[Key, list[Concluded]] = {}
    for run in runs:
        for key, cell in _by_key(run).items():
            cells.setdefault(key, []).append(cell)
    pooled = [_pooled(repeats, len(runs), candidate) for repeats in cells.values()]
    return {
        **first,
        "red": any(run["red"] for run in runs),
        "cells": pooled,
        "certificates": [],  # they are among the cells now
        "counts": dict(Counter(cell["status"] for cell in pooled if cell["stage"] != CERTIFICATE)),
        "runs": len(runs),
    }


def _pooled(repeats: list[Concluded], of: int, candidate: bool) -> Mapping[str, Any]:
    """The repeats of a cell, which is in some of so many runs, as one."""
    worst = max(repeats, key=lambda cell: cell.status.severity if candidate else cell.status.badness)
    pooled = {**worst, **noise.of_repeats(repeats), **_unlike(repeats)}
    times = sum(cell["status"] == worst["status"] for cell in repeats)
    absent = of - len(repeats)
    if candidate and absent and worst.status.severity < statuses.NOT_RUN.severity:
        return {**pooled, "status": statuses.NOT_RUN.name, "reason": f"not in the matrix of {absent} of {of} runs"}
    if times < of:
        pooled["reason"] = f"in {times} of {of} runs: {worst['reason'] or worst['status']}"
    return pooled


def _unlike(repeats: Sequence[Concluded]) -> dict[str, Any]:
    """What repeats of a cell differ in, so that they are no repeats: in words, the work, and whether the machine."""
    first, *others = [cell for cell in repeats if cell.env] or repeats[:1]
    work = next((why for cell in others if (why := incomparable(first, cell))), "")
    return {
        "unlike_work": work and f"{NOT_JUDGED}repeats differ: {work.removeprefix(NOT_JUDGED)}",
        "unlike_machines": any(_other_machine(first, cell) for cell in others),
    }


Key = tuple[str, str, str, str]


def _by_key(conclusions: Mapping[str, Any]) -> dict[Key, Concluded]:
    """Cells by what they are: model, stage, train cell, name. Data sets have no model and no train cell."""
    return {
        (cell["model"] or "", cell["stage"], cell.get("train_cell") or "", cell["cell"]): Concluded(cell)
        for cell in (*conclusions["cells"], *map(_as_cell, conclusions.get("certificates", ())))
    }


def _as_cell(certificate: Mapping[str, Any]) -> Mapping[str, Any]:
    """A certificate of a training in the form of a cell: its verdict gets better and worse like any status."""
    return {
        "model": certificate["model"],
        "stage": CERTIFICATE,
        "cell": certificate.get("cell") or certificate["amp"],  # so it was called where all were of mixed precision
        "status": certificate["verdict"],
        "reason": certificate["reason"],
        "requested": {},
    }


# -- statuses ---------------------------------------------------------------------------------


def _gone(key: Key, before: Concluded, tolerances: Tolerances) -> Change:
    lost = before.status is statuses.PASSED and tolerances.lost_is_worse
    return Change(WORSE if lost else CHANGED, *key, "cell", before["status"], None, "not in the candidate's matrix")


def _statuses(key: Key, before: Concluded, after: Concluded, tolerances: Tolerances) -> Iterator[Change]:
    """What a cell's status, reason and observations say."""
    old, new = before.status, after.status
    reason = after["reason"] or (before["reason"] if old != new else None) or ""
    if old != new:
        yield Change(_status_kind(old, new, tolerances), *key, "status", old.name, new.name, reason)
    elif new.badness > 0 and _another_reason(before, after):
        yield Change(CHANGED, *key, "reason", before["reason"], after["reason"], f"still {new.name}")
    elif _both_passed(before, after):
        seen = _moves(before.effective, after.effective) + _recorded_once(before, after)
        if seen:
            yield Change(CHANGED, *key, "observed", None, None, "; ".join(seen))


def _status_kind(old: statuses.Status, new: statuses.Status, tolerances: Tolerances) -> str:
    if old.badness >= 0 and new.badness >= 0:
        return WORSE if new.badness > old.badness else BETTER if new.badness < old.badness else CHANGED
    if old is statuses.PASSED:
        return WORSE if tolerances.lost_is_worse else CHANGED
    if new is statuses.PASSED:
        return BETTER
    # Not exercised before: what it is now is a new finding, not a worse one; and the other way round.
    return CHANGED


def _another_reason(before: Concluded, after: Concluded) -> bool:
    """Whether the reasons differ, also in what they come to: of conclusions that were kept that alone is there."""
    if _without_numbers(before["reason"]) == _without_numbers(after["reason"]):
        return False
    known = before.status is statuses.KNOWN_FAILURE
    first, second = (cause(cell["reason"] or "", cell["model"], known=known) for cell in (before, after))
    return first != second


def _without_numbers(text: str | None) -> str:
    """A reason without process ids, addresses and measured values, which differ every time."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", text or "")


def _moves(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """In words, each field that both have, with another value."""
    return [f"{key}: {before[key]} -> {after[key]}" for key in before if key in after and before[key] != after[key]]


def _recorded_once(before: Concluded, after: Concluded) -> list[str]:
    """In words, each metric that only one of the two records has: it cannot be compared."""
    only = []
    for metric in METRICS:
        there = [is_number(noise.figure_of(cell, metric)) for cell in (before, after)]
        if there[0] != there[1]:
            only.append(f"{metric.name} is in the {'baseline' if there[0] else 'candidate'} alone")
    return only


def _both_passed(before: Concluded, after: Concluded) -> bool:
    return before.status is after.status is statuses.PASSED


# -- figures ----------------------------------------------------------------------------------


def _figures(
    key: Key, before: Concluded, after: Concluded, tolerances: Tolerances
) -> Iterator[tuple[Figure, Change | None]]:
    """Every metric that both records have, where both cells passed."""
    if not _both_passed(before, after):
        return
    why_not = incomparable(before, after)
    for metric in METRICS:
        old, new = noise.figure_of(before, metric), noise.figure_of(after, metric)
        if not is_number(old) or not is_number(new):
            continue
        kind, note = ("", why_not) if why_not else _judge(metric, before, after, tolerances)
        yield (
            Figure(*key, after.label("column"), metric.name, old, new, kind or note),
            Change(kind, *key, metric.name, old, new, note) if kind in (WORSE, BETTER) else None,
        )


def incomparable(before: Concluded, after: Concluded) -> str:
    """In words, why the figures of the two cells are of different work; empty where they are not."""
    if told := before.get("unlike_work") or after.get("unlike_work"):
        return str(told)
    asked = _moves(before.requested, after.requested)
    if asked:
        return f"{NOT_JUDGED}asked for differently: " + "; ".join(asked)
    shapes = [noise.value_of(cell, "metrics.input_shape") for cell in (before, after)]
    return f"{NOT_JUDGED}input shape {shapes[0]} -> {shapes[1]}" if shapes[0] != shapes[1] else ""


def _judge(metric: Metric, before: Concluded, after: Concluded, tolerances: Tolerances) -> tuple[str, str]:
    """(worse | better | "", why)."""
    tolerance = tolerances.of_metric[metric.name]
    if tolerance is None:
        return "", f"{NOT_JUDGED}compare.tolerance says so"
    if metric.of_machine and not tolerances.judge_other_machines and _other_machine(before, after):
        return "", OTHER_MACHINE
    old, new = noise.figure_of(before, metric), noise.figure_of(after, metric)
    if not beyond(old, new, tolerance):
        return "", "within its tolerance"
    if metric.of_machine:
        explained = new * noise.had_more_of_a_core(metric, before, after) ** (-1 if metric.lower_is_better else 1)
        if not beyond(old, explained, tolerance) or (explained > old) != (new > old):
            return "", WAITED
    if not (noise.has_interval(before, metric) and noise.has_interval(after, metric)):
        return "", f"{NOT_JUDGED}too few samples to know its noise"
    (low, high), (new_low, new_high) = noise.interval_of(before, metric), noise.interval_of(after, metric)
    if new_low <= high and low <= new_high:
        return "", "within its noise"
    note = f"{low:.4g} to {high:.4g}, now {new_low:.4g} to {new_high:.4g}" if low < high or new_low < new_high else ""
    return (WORSE if (new > old) == metric.lower_is_better else BETTER), note


def beyond(old: float, new: float, tolerance: Mapping[str, float]) -> bool:
    """Whether two values are further apart than a tolerance allows."""
    moved = abs(new - old)
    relative = tolerance.get("relative", 0) * min(abs(old), abs(new))
    return moved > tolerance.get("absolute", 0) and moved > relative


def _other_machine(before: Concluded, after: Concluded) -> bool:
    """Whether the two cells ran on machines that time differently; of GPUs, those count that the jobs really had."""
    if before.get("unlike_machines") or after.get("unlike_machines"):
        return True
    machines = [{key: cell.env.get(key) for key in MACHINE} for cell in (before, after)]
    had = [cell.gpu_models for cell in (before, after)]
    if all(had):
        machines = [{**found, "gpu": models} for found, models in zip(machines, had, strict=True)]
    return machines[0] != machines[1]


def _ratio(before: Any, after: Any) -> float | None:
    return finite(after / before) if before else None


# -- the two runs -----------------------------------------------------------------------------


def _described(conclusions: Mapping[str, Any]) -> dict[str, Any]:
    ran = [cell for cell in map(Concluded, conclusions["cells"]) if cell.env]
    paddles = dict.fromkeys(f"{cell.env.get('paddle')} ({cell.env.get('paddle_commit')})" for cell in ran)
    started = sorted(cell["started"] for cell in ran if cell.get("started"))
    shares = [cores.own for cell in ran if cell["stage"] == "infer" and (cores := noise.cores_of(cell))]
    return {
        "runs": conclusions.get("runs", 1),
        "paddle": ", ".join(paddles) or None,
        "cpu": ", ".join(dict.fromkeys(f"{cell.env.get('cpu')}, {cell.env.get('cpu_cores')} cores" for cell in ran)),
        "core_share": finite(median(shares)) if shares else None,
        "started": started[0] if started else None,
        "red": conclusions["red"],
        "counts": conclusions["counts"],
    }


def _environment(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fields of `env` whose values differ; a run on several machines has several.

    Where one of PaddleSeg does, its commit is told also if it is the same: what was edited was edited on that.
    """
    values = [_env_values(conclusions) for conclusions in (baseline, candidate)]
    keys = dict.fromkeys((*values[0], *values[1]))
    sides = [{key: ", ".join(found.get(key, {"": None})) for key in keys} for found in values]
    differ = {key for key in keys if sides[0][key] != sides[1][key]}
    if any(key.startswith("paddleseg") for key in differ):
        differ.add("paddleseg_commit")
    return [{"field": key, "baseline": sides[0][key], "candidate": sides[1][key]} for key in keys if key in differ]


# Of `env`: of each model another one. Which files it comes from is among the files that both read.
LEFT_OUT = ("paddleseg_hash",)


def _env_values(conclusions: Mapping[str, Any]) -> dict[str, dict[str, None]]:
    """Field -> the texts of its values, in order, each once."""
    found: dict[str, dict[str, None]] = {}
    for cell in map(Concluded, conclusions["cells"]):
        for key, value in ((key, value) for key, value in cell.env.items() if key not in LEFT_OUT):
            text = (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
            found.setdefault(key, {})[text] = None
    return found


def _inputs(pairs: list[tuple[Concluded, Concluded]]) -> list[str]:
    """Files from outside the runs (data, weights, configurations) that both read, with other content."""
    made = {path for pair in pairs for cell in pair for path in cell.get("outputs", {})}
    other = {
        path
        for before, after in pairs
        for path, digest in before.get("inputs", {}).items()
        if path not in made and after.get("inputs", {}).get(path, digest) != digest
    }
    return sorted(other)


def _paddleseg_files(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[str]:
    """Files of PaddleSeg that the two runs had with other content, or one of them alone.

    A script of its own stands for all code beside the package that it may import: its hash is of them all.
    """
    told = [(side.get("scope") or {}).get("paddleseg") or {} for side in (baseline, candidate)]
    found: list[str] = []
    for kind in ("files", "scripts"):
        before, after = (side.get(kind) for side in told)
        if before is not None and after is not None:  # an earlier version did not say
            found += sorted(name for name in before.keys() | after if before.get(name) != after.get(name))
    return found


def overall(comparison: Comparison) -> list[dict[str, Any]]:
    """For each metric: cells, and the smallest, median and largest ratio of candidate to baseline.

    The median over many cells shows what is common to all of them, such as a busier machine.
    """
    rows = []
    for metric in METRICS:
        ratios = [f.ratio for f in comparison.figures if f.metric == metric.name and f.ratio is not None]
        if ratios:
            rows.append(
                {
                    "metric": metric.name,
                    "cells": len(ratios),
                    "min": min(ratios),
                    "median": finite(median(ratios)),
                    "max": max(ratios),
                }
            )
    return rows
