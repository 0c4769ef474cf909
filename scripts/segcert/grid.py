"""Many models at a glance: a row for each, a column for each stage and engine; pass rates; causes by what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from segcert import conclusions as concluded
from segcert import stages, statuses
from segcert.causes import cause
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions
from segcert.statuses import Status

# What others are made from: a cell of these may hold up others.
PARENTS = {stages.DATA.name, *(name for stage in stages.ALL for name in stage.parents)}
MANY = 20  # models: with more, documents show this first, and shorten what tells of each model


def is_wanted(conclusions: Conclusions) -> bool:
    """Whether there are so many models that nobody reads a table of all that is known of each."""
    return len(concluded.models(conclusions)) > MANY


def family(cell: Mapping[str, object]) -> str | None:
    """The algorithm, which of a configuration of PaddleSeg's is its `model.type`; None where a file names none."""
    named = cell["algorithm"]
    return None if named is None or named == cell["model"] else str(named)


# -- rows and columns -------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A stage; of inference an engine with its precision, and its device where that is no CPU.

    Attributes:
        engine: what its cells are called; None for a stage, and for inference that is asked for and not done.
    """

    stage: str
    engine: str | None = None


@dataclass(frozen=True)
class Place:
    """What one model comes to in a column.

    Attributes:
        counts: how many cells have each status, in the order of all; a training is no better than its certificate.
        weak: how many of those that passed rest on weak evidence.
        record: of the first cell that has the worst of them.
    """

    counts: Mapping[Status, int]
    weak: int
    record: str

    @property
    def status(self) -> Status:
        """The worst of them."""
        return statuses.worst(status.name for status in self.counts)

    @property
    def all(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Row:
    """A model, with the statuses that a cell of it has."""

    model: str
    family: str | None
    places: Mapping[Column, Place]

    @property
    def statuses(self) -> list[Status]:
        return [status for status in statuses.ALL if any(status in place.counts for place in self.places.values())]

    @property
    def passed(self) -> int:
        return sum(place.counts.get(statuses.PASSED, 0) for place in self.places.values())

    @property
    def all(self) -> int:
        return sum(place.all for place in self.places.values())


def columns(conclusions: Conclusions) -> list[Column]:
    """The columns that the cells need: stages in their order, engines as they come, those on a GPU last."""
    found = {_column(cell): cell.requested.get("device") == "gpu" for cell in conclusions.cells}
    order = {column: number for number, column in enumerate(found)}
    return sorted(
        found,
        key=lambda column: (
            stages.NAMES.index(column.stage),
            column.engine is not None and found[column],
            order[column],
        ),
    )


def rows(conclusions: Conclusions) -> list[Row]:
    """A row for each model, in the order of the matrix; of data that broke one called `data`."""
    judged = _judged(conclusions)
    found: dict[str, dict[Column, list[Concluded]]] = {}
    families: dict[str, str | None] = {}
    for cell in conclusions.cells:
        model = cell["model"] or stages.DATA.name
        found.setdefault(model, {}).setdefault(_column(cell), []).append(cell)
        families[model] = family(cell)
    return [
        Row(model, families[model], {column: _place(cells, judged) for column, cells in places.items()})
        for model, places in found.items()
    ]


def _column(cell: Concluded) -> Column:
    named = cell["stage"] == stages.INFER.name and cell.requested.get("precision")
    return Column(cell["stage"], cell.label("engine") if named else None)


def _judged(conclusions: Conclusions) -> dict[str, Status]:
    """Record -> status of each cell; a training is as good as the worst of itself and its certificates."""
    found = {cell["record"]: [cell["status"]] for cell in conclusions.cells}
    for train, item in _certified(conclusions):
        found[train["record"]].append(item["verdict"])
    return {path: statuses.worst(names) for path, names in found.items()}


def _certified(conclusions: Conclusions) -> Iterable[tuple[Concluded, Mapping[str, str]]]:
    """(training, its certificate)."""
    for item in conclusions.certificates:
        for train in conclusions.select(model=item["model"], stage=stages.TRAIN.name, cell=item["cell"]):
            yield train, item


def _place(cells: list[Concluded], judged: Mapping[str, Status]) -> Place:
    counts = _in_order(judged[cell["record"]] for cell in cells)
    worst = statuses.worst(status.name for status in counts)
    record = next(cell["record"] for cell in cells if judged[cell["record"]] is worst)
    return Place(counts, sum(cell.weak for cell in cells), record)


def _in_order(found: Iterable[Status]) -> dict[Status, int]:
    counts = Counter(found)
    return {status: counts[status] for status in statuses.ALL if counts[status]}


# -- pass rates -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """How many cells of a column passed, of those that were exercised; and what became of the others.

    Attributes:
        counts: as of `Place`.
        weak: as of `Place`.
    """

    column: Column
    counts: Mapping[Status, int]
    weak: int

    @property
    def passed(self) -> int:
        return self.counts.get(statuses.PASSED, 0)

    @property
    def exercised(self) -> int:
        return sum(count for status, count in self.counts.items() if status.exercised)

    @property
    def others(self) -> dict[Status, int]:
        """Those that were not exercised: none of them says anything of the engine."""
        return {status: count for status, count in self.counts.items() if not status.exercised}

    @property
    def share(self) -> float | None:
        """Of those that were exercised; None where there are none."""
        return self.passed / self.exercised if self.exercised else None


def rates(conclusions: Conclusions) -> list[Rate]:
    """A rate for each column."""
    judged = _judged(conclusions)
    found: dict[Column, list[Concluded]] = {column: [] for column in columns(conclusions)}
    for cell in conclusions.cells:
        found[_column(cell)].append(cell)
    return [
        Rate(column, _in_order(judged[cell["record"]] for cell in cells), sum(cell.weak for cell in cells))
        for column, cells in found.items()
    ]


# -- causes -----------------------------------------------------------------------------------


@dataclass
class Cause:
    """What several cells did not pass for.

    Attributes:
        text: as `causes.cause` tells it; empty where the records give no reason.
        reason: as the first cell has it.
        cells: those that tell of it themselves.
        held_up: those that did not run because of them.
        models: that it costs something, each once, in the order of the matrix.
    """

    status: Status
    text: str
    reason: str
    cells: list[Concluded]
    held_up: list[Concluded]

    @property
    def models(self) -> list[str]:
        names = (cell["model"] for cell in (*self.cells, *self.held_up))
        return list(dict.fromkeys(name for name in names if name))


def causes(conclusions: Conclusions) -> list[Cause]:
    """Why cells did not pass: first of what broke, then of what was not exercised; what costs most models first.

    A cell that was held up counts for the cause of what it is made from. Certificates that do not hold are among them.
    """
    found: dict[tuple[str, str], Cause] = {}
    shared = conclusions.select(model=None)
    for model in dict.fromkeys(cell["model"] for cell in conclusions.cells):
        cells = conclusions.select(model=model)
        origins = _origins([*cells, *shared])
        for cell in cells:
            if cell.status is statuses.PASSED:
                continue
            origin = _origin(cell, origins)
            group = _group(found, origin.status, origin["reason"] or "", origin["model"])
            (group.cells if origin is cell else group.held_up).append(cell)
    for train, item in _certified(conclusions):
        if item["verdict"] == statuses.ACCURACY_FAILED.name:
            _group(found, statuses.ACCURACY_FAILED, item["reason"], item["model"]).cells.append(train)
    return sorted(found.values(), key=lambda one: (not one.status.broke, -len(one.models), -one.status.severity))


def _group(found: dict[tuple[str, str], Cause], status: Status, reason: str, model: str | None) -> Cause:
    text = cause(reason, model, known=status is statuses.KNOWN_FAILURE)
    return found.setdefault((status.name, text), Cause(status, text, reason, [], []))


def _origins(cells: Iterable[Concluded]) -> dict[str, Concluded]:
    """What a cell says that is made from one of these -> that one."""
    return {concluded.made_from(cell): cell for cell in cells if cell["stage"] in PARENTS and cell.status.holds_up}


def _origin(cell: Concluded, origins: Mapping[str, Concluded]) -> Concluded:
    """The cell whose reason it is that this one did not run: its own, or that of what it is made from."""
    seen = [cell]
    while said := seen[-1]["reason"]:
        # A stage that was started all the same adds the reason of what held it up.
        held = next((one for text, one in origins.items() if said == text or said.startswith(f"{text}: ")), None)
        if held is None or held in seen:
            break
        seen.append(held)
    return seen[-1]
