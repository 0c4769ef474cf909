"""Several sides of one matrix, the first of which is today's: what each would cost, and whether to go there.

Pure: sides come as their repeats' conclusions, and each is compared with the first as `compare` does
(segcert/comparison.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segcert import SCHEMA_VERSION, comparison, statuses
from segcert.comparison import BETTER, WORSE, Change, Comparison, Tolerances
from segcert.concluded import Concluded
from segcert.errors import ConfigError
from segcert.noise import BY_NAME
from segcert.sides import is_public
from segcert.statuses import Status

# Verdicts on a side.
FIRST = "first"  # it is what the others are compared with
UPGRADE = "upgrade"  # nothing got worse
STAY = "do not upgrade"  # something got worse
NO_ANSWER = "no answer"  # it could not be made, or not each of its runs concluded, or nothing passed to compare
MOST_REASONS = 3  # in one sentence
MOST_NOTE = 200  # characters of one of them
NO_MODEL = "data"


@dataclass(frozen=True)
class Ran:
    """A run of a side.

    Attributes:
        folder: where it ran, from the folder that the run was started in.
        conclusions: what it concluded; None where it did not.
        why_not: in words, why it did not.
    """

    folder: str
    started: str
    wall_s: float
    conclusions: Mapping[str, Any] | None
    why_not: str | None = None


@dataclass
class Tried:
    """A side with what became of it.

    Attributes:
        made: how its environment came about.
        why_not: why that could not be made; then it has no runs.
        paddle: the version that it is to run on; None where it is not by a version that it is asked for.
    """

    name: str
    entry: str
    made: str | None = None
    why_not: str | None = None
    runs: list[Ran] = field(default_factory=list)
    paddle: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing follows from it, in words; None where all its runs concluded."""
        if self.why_not:
            return f"its environment could not be made: {self.why_not}"
        failed = [(number, run) for number, run in enumerate(self.runs, 1) if run.conclusions is None]
        if failed:
            number, run = failed[0]
            return f"{len(failed)} of {len(self.runs)} runs wrote no conclusions: run {number}: {run.why_not}"
        return self._of_another_paddle() if self.runs else "it did not run"

    @property
    def seen(self) -> list[str]:
        """The versions of Paddle that the records of its runs saw, each once."""
        cells = [cell for run in self.runs for cell in (run.conclusions or {}).get("cells", ())]
        found = [Concluded(cell).env.get("paddle") for cell in cells]
        return list(dict.fromkeys(str(version) for version in found if version))

    def _of_another_paddle(self) -> str | None:
        """In words, that it did not run on what it is named by; None where it did."""
        if len(self.seen) > 1:
            return f"its records are of several Paddles: {', '.join(self.seen)}"
        if self.paddle and self.seen and not is_public(self.seen[0], self.paddle):
            return f"its records are of Paddle {self.seen[0]}, and {self.paddle} is asked for: delete its environment"
        return None

    def pooled(self, *, candidate: bool) -> Mapping[str, Any] | None:
        """Its runs as one; None where none concluded."""
        concluded = [run.conclusions for run in self.runs if run.conclusions is not None]
        return comparison.pool(concluded, candidate=candidate) if concluded else None


@dataclass(frozen=True)
class Judged:
    """A side and the verdict on it.

    Attributes:
        because: in words, why.
        pooled: its runs as one, as far as they concluded.
        compared: with the first side; None of the first, and where there is nothing to compare.
    """

    tried: Tried
    verdict: str
    because: str
    pooled: Mapping[str, Any] | None
    compared: Comparison | None = None

    @property
    def name(self) -> str:
        return self.tried.name

    @property
    def red(self) -> bool:
        """Whether it may not be shown as good."""
        return self.verdict in (STAY, NO_ANSWER)

    @property
    def paddle(self) -> str:
        """The versions of Paddle that its records saw."""
        return ", ".join(self.tried.seen) or "–"

    @property
    def counts(self) -> dict[str, dict[Status, int]]:
        """Model -> how many of its cells have each status."""
        found: dict[str, Counter[str]] = {}
        for cell in (self.pooled or {}).get("cells", ()):
            if cell["stage"] != comparison.CERTIFICATE:
                found.setdefault(cell["model"] or NO_MODEL, Counter())[cell["status"]] += 1
        return {
            model: {status: counts[status.name] for status in statuses.ALL if counts[status.name]}
            for model, counts in found.items()
        }

    @property
    def worse_in(self) -> dict[str, int]:
        """Model -> what got worse in it."""
        changes = self.compared.of_kind(WORSE) if self.compared else []
        return dict(Counter(change.model or NO_MODEL for change in changes))


@dataclass(frozen=True)
class Upgrade:
    """What sides come to."""

    name: str
    mode: str
    sides: list[Judged]

    @property
    def failed(self) -> bool:
        """Whether one of them is worse than the first, or says nothing."""
        return any(side.red for side in self.sides)

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(model for side in self.sides for model in side.counts))

    @property
    def sentences(self) -> list[str]:
        """One for each side but the first: upgrade or not, and because of what."""
        first, *others = self.sides
        if first.red:
            return [f"No answer: {first.name}, which all others are compared with: {first.because}."]
        return [_sentence(first, side) for side in others]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "mode": self.mode,
            "failed": self.failed,
            "sentences": self.sentences,
            "sides": [_as_json(side) for side in self.sides],
        }


def judge(name: str, mode: str, tried: Sequence[Tried], tolerances: Tolerances) -> Upgrade:
    """The verdict on each side, by comparison with the first."""
    first, *others = tried
    baseline = first.pooled(candidate=False)
    trouble = first.trouble or _nothing_passed(baseline)
    today = Judged(first, NO_ANSWER if trouble else FIRST, trouble or "the others are compared with it", baseline)
    return Upgrade(name, mode, [today, *(_judged(today, side, tolerances) for side in others)])


def _judged(today: Judged, side: Tried, tolerances: Tolerances) -> Judged:
    pooled = side.pooled(candidate=True)
    if today.pooled is None or pooled is None:
        because = side.trouble or f"there is nothing to compare with: {today.because}"
        return Judged(side, NO_ANSWER, because, pooled)
    try:
        found = comparison.compare(today.pooled, pooled, tolerances)
    except ConfigError as error:  # no cell in common
        return Judged(side, NO_ANSWER, str(error), pooled)
    trouble = side.trouble or (today.because if today.red else None)
    if trouble:
        return Judged(side, NO_ANSWER, trouble, pooled, found)
    # What is red there and was not exercised today is no regression, and no reason to go there.
    worse = found.of_kind(WORSE) or found.newly_red
    if worse:
        return Judged(side, STAY, reasons(worse), pooled, found)
    if trouble := _nothing_known(found, pooled):
        return Judged(side, NO_ANSWER, trouble, pooled, found)
    return Judged(side, UPGRADE, _nothing_worse(found), pooled, found)


def _nothing_known(found: Comparison, pooled: Mapping[str, Any]) -> str | None:
    """In words, why nothing follows from nothing being worse; None where something does."""
    if not pooled["counts"].get(statuses.PASSED.name):
        return "no cell of it passed"
    if not found.cells_compared:
        return "no cell ran on both sides"
    if pooled["red"]:
        return f"nothing got worse, but it is red, as the first is: {found.still_red} cells are red on both sides"
    return None


def _nothing_passed(pooled: Mapping[str, Any] | None) -> str | None:
    """A side in which nothing passed has nothing that another could lose."""
    if pooled is not None and not pooled["counts"].get(statuses.PASSED.name):
        return "no cell of it passed, so there is nothing that another could lose"
    return None


def _nothing_worse(found: Comparison) -> str:
    better, lost = len(found.of_kind(BETTER)), found.not_seen_again
    told = f", {better} better" if better else ""
    told += f"; {lost} that passed before did not run" if lost else ""
    told += "; the two environments are equal" if not (found.environment or found.inputs) else ""
    return f"of {found.cells_compared} cells that ran on both and {found.figures_judged} figures none is worse{told}"


# -- in words ---------------------------------------------------------------------------------


def _sentence(first: Judged, side: Judged) -> str:
    if side.verdict == UPGRADE:
        text = f"Upgrade from {first.name} to {side.name}: {side.because}"
        return f"{text}; {_unseen(side)}." if _unseen(side) else f"{text}."
    if side.verdict == STAY:
        return f"Do not upgrade from {first.name} to {side.name}: {side.because}."
    return f"No answer on {side.name}: {side.because}."


def _unseen(side: Judged) -> str | None:
    """What the verdict says nothing of."""
    cells = [cell for cell in map(Concluded, (side.pooled or {}).get("cells", ())) if not cell.status.exercised]
    open_ones = [cell for cell in cells if cell.status in (statuses.UNVERIFIED, statuses.NOT_RUN)]
    if len(open_ones) == 1:
        return "1 cell was not exercised, and nothing is known of it"
    return f"{len(open_ones)} cells were not exercised, and nothing is known of them" if open_ones else None


def reasons(worse: Sequence[Change]) -> str:
    """What got worse in words, what many cells have in common first."""
    groups: dict[str, list[Change]] = {}
    for change in worse:
        groups.setdefault(_kind(change), []).append(change)
    # a status before a figure, and of each what hits more cells
    ranked = sorted(groups.items(), key=lambda item: (item[1][0].what in BY_NAME, -len(item[1])))
    told = [_group(words, changes) for words, changes in ranked[:MOST_REASONS]]
    more = sum(len(changes) for _, changes in ranked[MOST_REASONS:])
    return "; ".join(told) + (f"; and {more} more findings" if more else "")


def _kind(change: Change) -> str:
    """What is said of a change and of those like it: without what differs from cell to cell."""
    if change.what in BY_NAME:
        return f"{BY_NAME[change.what].label} is worse"
    after = change.after or "not in the matrix"
    if change.what == "cell":
        return f"passed before, now {after}"
    note = re.sub(r"\s+", " ", change.note).strip().partition(". ")[0]  # what more it says is in the table
    note = note if len(note) <= MOST_NOTE else f"{note[:MOST_NOTE]}..."
    return f"{change.before} before, now {after}" + (f" ({note})" if note else "")


def _group(words: str, changes: Sequence[Change]) -> str:
    models = list(dict.fromkeys(change.model or NO_MODEL for change in changes))
    where = ", ".join(models[:4]) + (f" and {len(models) - 4} more models" if len(models) > 4 else "")
    ratios = [change.ratio for change in changes if change.ratio]
    span = f", ratios {min(ratios):.3g} to {max(ratios):.3g}" if len(ratios) > 1 else ""
    span = f", ratio {ratios[0]:.3g}" if len(ratios) == 1 else span
    cells = list(dict.fromkeys((change.model, change.stage, change.train_cell, change.cell) for change in changes))
    named = f" {cells[0][1]} {cells[0][3]}" if len(cells) == 1 else f", {len(cells)} cells"
    return f"{words}: {where}{named}{span}"


def _as_json(side: Judged) -> dict[str, Any]:
    return {
        "name": side.name,
        "entry": side.tried.entry,
        "paddle": side.paddle,
        "made": side.tried.made,
        "verdict": side.verdict,
        "because": side.because,
        "red": side.red,
        "runs": [
            {
                "folder": run.folder,
                "started": run.started,
                "wall_s": run.wall_s,
                "concluded": run.conclusions is not None,
                "red": run.conclusions["red"] if run.conclusions else None,
                "why_not": run.why_not,
            }
            for run in side.tried.runs
        ],
        "models": {
            model: {status.name: number for status, number in counts.items()} for model, counts in side.counts.items()
        },
        "comparison": side.compared.as_json() if side.compared else None,
    }
