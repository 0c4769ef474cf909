"""The history of runs that were kept: how each model and figure went from run to run, where it stepped, and a badge.

A series is one figure of one cell on one machine, of the same work: those of two machines, or of what was asked for
differently, are never joined. Only cells that passed have points, and a measurement that was kept twice is one point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from segcert import noise, statuses, steps
from segcert.comparison import Tolerances, beyond, incomparable
from segcert.concluded import Concluded
from segcert.keeping import Kept
from segcert.noise import Metric
from segcert.numbers import finite, is_number

HISTORY_VERSION = 1  # of history.json
FIGURES = ("inference_ms", "train_ips", "miou", "peak_rss_mb", "model_mb")
ROWS_OF_DATA = "data"
GREEN, YELLOW, RED = "brightgreen", "yellow", "red"


@dataclass(frozen=True)
class Point:
    """A figure of a run.

    Attributes:
        run: its place among all runs.
        low, high: its interval; the value alone where it has none.
    """

    run: int
    value: float
    low: float
    high: float
    cell: Concluded


@dataclass(frozen=True)
class Change:
    """A step of a series.

    Attributes:
        at: of the first point after it.
        before, after: medians of the points on its two sides, as far as the next steps.
        versions: what differs between the last run before it and the first one after, as (what, before, after).
    """

    at: int
    before: float
    after: float
    p: float
    worse: bool
    versions: list[tuple[str, Any, Any]]

    @property
    def ratio(self) -> float | None:
        return finite(self.after / self.before) if self.before else None


@dataclass
class Series:
    """One figure of one cell on one machine."""

    mode: str
    metric: Metric
    machine: tuple[str, ...]
    points: list[Point]
    changes: list[Change] = field(default_factory=list)

    @property
    def cell(self) -> Concluded:
        """The cell as it was last."""
        return self.points[-1].cell


# -- series -----------------------------------------------------------------------------------


def collect(runs: Sequence[Kept], tolerances: Callable[[str], Tolerances]) -> list[Series]:
    """All series with their steps.

    Args:
        runs: the oldest first.
        tolerances: those of a mode.
    """
    strands: dict[tuple[Any, ...], list[Series]] = {}
    for number, run in enumerate(runs):
        for cell in run.cells:
            if cell.status is statuses.PASSED:
                for metric in (noise.BY_NAME[name] for name in FIGURES):
                    _add(strands, run.mode, metric, number, cell)
    found = [series for group in strands.values() for series in group]
    of_mode = {mode: tolerances(mode) for mode in {run.mode for run in runs}}
    judged = [series for series in found if _is_judged(series, of_mode[series.mode])]
    for series in judged:
        series.changes = _changes(series, runs, of_mode[series.mode], len(judged))
    return found


def _add(strands: dict[tuple[Any, ...], list[Series]], mode: str, metric: Metric, number: int, cell: Concluded) -> None:
    """Put a cell's figure into the series that it goes on, or begin another one."""
    value = noise.figure_of(cell, metric)
    if not is_number(value):
        return
    key = (mode, cell["model"], cell["stage"], cell["train_cell"], cell["cell"], metric.name, cell.machine)
    group = strands.setdefault(key, [])
    series = next((one for one in reversed(group) if not incomparable(one.cell, cell)), None)
    point = Point(number, value, *noise.interval_of(cell, metric), cell)
    if series is None:
        group.append(Series(mode, metric, cell.machine, [point]))
    elif all(one.cell["started"] != cell["started"] for one in series.points):
        series.points.append(point)


def _is_judged(series: Series, tolerances: Tolerances) -> bool:
    return tolerances.of_metric[series.metric.name] is not None and len(series.points) >= steps.FEWEST


def _changes(series: Series, runs: Sequence[Kept], tolerances: Tolerances, together: int) -> list[Change]:
    tolerance = tolerances.of_metric[series.metric.name] or {}
    values = [point.value for point in series.points]
    granted = _with_a_core(series)

    def counts(begin: int, at: int, end: int) -> bool:
        """Beyond the tolerance, also after an allowance for cores that others had."""
        apart = [(median(told[begin:at]), median(told[at:end])) for told in (values, granted)]
        (old, new), (first, then) = apart
        return beyond(old, new, tolerance) and beyond(first, then, tolerance) and (new > old) == (then > first)

    found = steps.find(values, together, counts, ratios="relative" in tolerance)
    changes = []
    for step in found:
        begin = max((other.at for other in found if other.at < step.at), default=0)
        end = min((other.at for other in found if other.at > step.at), default=len(values))
        old, new = median(values[begin : step.at]), median(values[step.at : end])
        last, first = series.points[step.at - 1], series.points[step.at]
        changes.append(
            Change(
                step.at,
                old,
                new,
                step.p,
                (new > old) == series.metric.lower_is_better,
                list(versions(runs[last.run], last.cell, runs[first.run], first.cell)),
            )
        )
    return changes


def _with_a_core(series: Series) -> list[float]:
    """The values as they would be had each run as much of a core as the first one, as far as others took it."""
    if not series.metric.of_machine:
        return [point.value for point in series.points]
    sign = -1 if series.metric.lower_is_better else 1
    first = series.points[0].cell
    return [point.value * noise.had_more_of_a_core(series.metric, first, point.cell) ** sign for point in series.points]


def versions(run: Kept, cell: Concluded, next_run: Kept, next_cell: Concluded) -> Iterator[tuple[str, Any, Any]]:
    """What differs between two runs of a cell: the project's commit, what `env` tells, files that the runs read."""
    if run.commit != next_run.commit:
        yield "commit of the project", run.commit, next_run.commit
    for key in dict.fromkeys((*cell.env, *next_cell.env)):
        if cell.env.get(key) != next_cell.env.get(key):
            yield key, cell.env.get(key), next_cell.env.get(key)
    other = [path for path, digest in run.told["inputs"].items() if next_run.told["inputs"].get(path, digest) != digest]
    if other:
        yield "files with other content", "", ", ".join(sorted(other))


def beside(change: Change, series: Series, everything: Iterable[Series]) -> tuple[int, int]:
    """Of the series of the same figure, mode and machine that have points around a step, how many step there; of all.

    Where most of them do, it may be the machine, or what is common to them all.
    """
    run = series.points[change.at].run
    alike = [
        other
        for other in everything
        if (other.mode, other.metric, other.machine) == (series.mode, series.metric, series.machine)
        and other.points[0].run < run <= other.points[-1].run
    ]
    return sum(any(other.points[c.at].run == run for c in other.changes) for other in alike), len(alike)


# -- statuses ---------------------------------------------------------------------------------


def grid(runs: Sequence[Kept]) -> dict[str, dict[str, dict[int, Counter[str]]]]:
    """Mode -> model -> place of a run -> how many cells have each status."""
    found: dict[str, dict[str, dict[int, Counter[str]]]] = {}
    for number, run in enumerate(runs):
        for cell in run.cells:
            rows = found.setdefault(run.mode, {}).setdefault(cell["model"] or ROWS_OF_DATA, {})
            rows.setdefault(number, Counter())[cell["status"]] += 1
    return found


def badge(runs: Sequence[Kept], broken: Sequence[str]) -> dict[str, Any]:
    """What shields.io draws of the last run of each mode.

    Red where one is red. Green only where every cell of them passed: what did not run, or failed as is known, is
    neither, and nobody knows what a file that cannot be read would say.
    """
    last = {run.mode: run for run in runs}
    parts, colours = [], set()
    for mode, run in last.items():
        counts = Counter(cell["status"] for cell in run.cells)
        passed, all_of_it = counts[statuses.PASSED.name], counts.total()
        told = "red, " if run.told["red"] else ""
        parts.append(f"{mode}: {told}{passed} of {all_of_it} passed")
        colours.add(RED if run.told["red"] else GREEN if passed == all_of_it else YELLOW)
    if broken:
        parts.append(f"{len(broken)} file{'s'[: len(broken) > 1]} not read")
        colours.add(YELLOW)
    colour = next(colour for colour in (RED, YELLOW, GREEN) if colour in colours)
    return {"schemaVersion": 1, "label": "certified", "message": "; ".join(parts), "color": colour}


# -- as data ----------------------------------------------------------------------------------


def as_json(runs: Sequence[Kept], broken: Sequence[str], found: Sequence[Series]) -> dict[str, Any]:
    """What history.json holds."""
    return {
        "history_version": HISTORY_VERSION,
        "method": {"alpha": steps.ALPHA, "side": steps.SIDE, "fewest": steps.FEWEST},
        "runs": [
            {
                "file": run.name,
                **{key: run.told[key] for key in ("time", "mode", "red", "counts", "commit")},
                "machines": machines(run),
            }
            for run in runs
        ],
        "not_read": list(broken),
        "series": [_series_as_json(series, found) for series in found],
    }


def machines(run: Kept) -> list[str]:
    """The machines that a run's cells ran on."""
    return list(dict.fromkeys(machine_in_words(cell.machine) for cell in run.cells if cell.env))


def machine_in_words(machine: Sequence[str]) -> str:
    cpu, cores, gpu = machine
    return f"{cpu}, {cores} cores" + (f", {gpu}" if gpu != "None" else "")


def _series_as_json(series: Series, everything: Sequence[Series]) -> dict[str, Any]:
    return {
        "mode": series.mode,
        **{key: series.cell[key] for key in ("model", "stage", "train_cell", "cell")},
        "label": series.cell.label("column"),
        "figure": series.metric.name,
        "machine": list(series.machine),
        "points": [
            {"run": point.run, "value": point.value, "interval": [point.low, point.high]} for point in series.points
        ],
        "steps": [
            {
                "run": series.points[change.at].run,
                "before": change.before,
                "after": change.after,
                "ratio": change.ratio,
                "p": finite(change.p),
                "worse": change.worse,
                "versions": [dict(zip(("what", "before", "after"), one, strict=True)) for one in change.versions],
                "beside": dict(zip(("step", "of"), beside(change, series, everything), strict=True)),
            }
            for change in series.changes
        ],
    }
