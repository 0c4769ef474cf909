"""A search over versions, wheels, interpreters or commits: its candidates, its probes, and its transcript.

What is looked at next is decided in segcert/bisecting.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from segcert import SCHEMA_VERSION, bisecting, comparison, keeping, noise, record, stages, statuses
from segcert import sides as sides_of
from segcert.bisecting import BAD, GOOD, UNBUILDABLE, Answer, Ask
from segcert.comparison import WORSE, Tolerances
from segcert.concluded import Concluded
from segcert.conclusions import made_from
from segcert.errors import ConfigError, StageError
from segcert.files import write_json, write_text
from segcert.noise import BY_NAME
from segcert.numbers import is_number
from segcert.series import environments, nested
from segcert.series.environments import Made, Maker
from segcert.series.nested import Plan, tell
from segcert.show import bisected
from segcert.sides import COMMIT, VERSION, Side, is_public

STATUS = "status"
DATA, TEXT = "bisect.json", "bisect.md"


@dataclass(frozen=True)
class Probe:
    """One run of the cell with one candidate.

    Attributes:
        why: why it was looked at.
        status, reason: of the cell; None where it was not concluded.
        value: of the figure that is searched.
        verdict: good | bad | unbuildable, as `bisecting.Seen` has it.
        conclusions: the file that it is read from; None where there is none.
    """

    number: int
    candidate: str
    why: str
    verdict: str
    status: str | None = None
    reason: str | None = None
    value: float | None = None
    paddle: str | None = None
    folder: str | None = None
    conclusions: str | None = None
    started: str | None = None
    wall_s: float | None = None


@dataclass(frozen=True)
class Question:
    """What is searched: the first candidate in which a cell is worse.

    Attributes:
        cell: its record.
        what: status, or a figure.
        candidates: the good end first, the bad end last.
        digest: of all that the answer follows from.
        contents: of each candidate by name, a digest of what it is run with.
    """

    cell: str
    what: str
    candidates: Sequence[Side]
    repeats: int
    digest: str
    contents: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        return [side.name for side in self.candidates]


def question(plan: Plan) -> Question:
    """What the settings ask.

    Raises:
        ConfigError, StageError: they name no two ends, or nobody can tell what is between them.
    """
    asked = plan.settings
    maker = plan.maker
    found = candidates(asked, maker)
    if asked["what"] != STATUS:
        tolerances = Tolerances.of(asked["compare"])
        if tolerances.of_metric[asked["what"]] is None:
            raise ConfigError(f"compare.tolerance.{asked['what']}: null is refused for a search of it; name a change")
    # By content: an interpreter may be another by now under the same path, and a branch another commit.
    contents = {side.name: nested.content_of(side, maker) for side in found}
    of = [asked["cell"], asked["what"], asked["compare"], asked["bisect"]["repeats"], plan.config, plan.overrides]
    of.append(nested.contents(plan))
    digest = nested.digest([*of, *([name, content] for name, content in contents.items())])
    return Question(asked["cell"], asked["what"], found, asked["bisect"]["repeats"], digest, contents)


def candidates(asked: Mapping[str, Any], maker: Maker) -> list[Side]:
    """All that lies between the good and the bad end, and these."""
    among = sides_of.parse(asked["bisect"]["among"] or [], "bisect.among")
    if among:
        good, bad = (_end(among, asked[key], key, place) for key, place in (("good", 0), ("bad", -1)))
        first, last = among.index(good), among.index(bad)
        found = among[first : last + 1] if first < last else among[last : first + 1][::-1]
    else:
        good, bad = sides_of.one(asked["good"], "good"), sides_of.one(asked["bad"], "bad")
        found = _between(good, bad, maker)
    if len(found) < 2:
        raise ConfigError(f"good, bad: both are {found[0].name}: name two")
    return found


def _end(among: Sequence[Side], named: str | None, key: str, place: int) -> Side:
    if named is None:
        return among[place]
    for side in among:
        if named in (side.name, side.entry):
            return side
    raise ConfigError(f'{key}: "{named}" is refused; allowed: one of bisect.among: {", ".join(s.name for s in among)}')


def _between(good: Side, bad: Side, maker: Maker) -> list[Side]:
    if good.kind == bad.kind == VERSION:
        first, last = Version(good.what), Version(bad.what)
        low, high = min(first, last), max(first, last)
        known = [version for version in environments.published() if low < version < high]
        tell(f"between {low} and {high} there are: {', '.join(map(str, known)) or 'none'}")
        found = [Side(str(version), VERSION, str(version)) for version in (low, *known, high)] if low < high else [good]
        return found if first <= last else found[::-1]
    if good.kind == bad.kind == COMMIT:
        if maker.checkout is None:
            raise ConfigError("paddleseg: has to name a checkout of PaddleSeg: --config paddleseg=FOLDER")
        commits = environments.commits_between(maker.checkout, good.what, bad.what)
        return [Side(f"paddleseg-{commit[:12]}", COMMIT, commit) for commit in commits]
    raise ConfigError(
        f'good, bad: "{good.entry}" and "{bad.entry}": what lies between is known of two versions of Paddle, and of '
        "two commits; list others in order: bisect: {among: [...]}"
    )


# -- probing ----------------------------------------------------------------------------------


class Search:
    """A question with its transcript, which is written after each probe.

    Attributes:
        probes: those of before first; what had no verdict is tried again.
    """

    def __init__(self, plan: Plan, asked: Question, folder: Path) -> None:
        self.plan, self.asked, self.folder = plan, asked, folder
        self.tolerances = Tolerances.of(plan.settings["compare"])
        self.probes = [probe for probe in _kept(folder / DATA, asked.digest) if self._is_as_told(probe)]
        self._made: dict[str, Made | str] = {}

    def run(self) -> Answer:
        """Probe until there is an answer."""
        if self.probes:
            tell(f"{len(self.probes)} probes of before count: {self.folder / DATA}")
        while isinstance(found := self._step(), Ask):
            side = self.asked.candidates[found.candidate]
            tell(f"probe {len(self.probes) + 1}: {side.name}: {found.why}")
            self.probes.append(self._probe(side, found.why))
            tell(f"probe {len(self.probes)}: {side.name}: {bisected.told(asdict(self.probes[-1]), self.asked.what)}")
            self._write(None)
        self._write(found)
        return found

    def _is_as_told(self, probe: Probe) -> bool:
        """Whether a probe of before has a verdict, and its run still says the same: a transcript may be edited."""
        if probe.conclusions is None or probe.candidate not in self.asked.names:
            return False
        try:
            content = keeping.conclusions(Path(probe.conclusions))
        except ConfigError:
            return False
        cell = _cell(content, self.asked.cell) or _recorded(Path(str(probe.folder)) / self.asked.cell)
        verdict, value, _ = self._verdict(cell, content) if cell else (UNBUILDABLE, None, None)
        return verdict != UNBUILDABLE and (verdict, value) == (probe.verdict, probe.value)

    def _step(self) -> Ask | Answer:
        seen = [bisecting.Seen(self.asked.names.index(probe.candidate), probe.verdict) for probe in self.probes]
        figure = None if self.asked.what == STATUS else bisecting.Figure(self.asked.repeats, self._worse)
        return bisecting.step(len(self.asked.candidates), seen, figure, self.asked.repeats)

    def _probe(self, side: Side, why: str) -> Probe:
        number = len(self.probes) + 1
        made = self._environment(side)
        if isinstance(made, str):
            return Probe(number, side.name, why, UNBUILDABLE, reason=made)
        folder = self._folder(side)
        ran = nested.run(self.plan, folder, made.changes, [self.asked.cell], f"[{side.name}] ")
        place = f"{ran.folder}/results/{self.plan.mode}/conclusions.json"
        about: dict[str, Any] = {"folder": ran.folder, "started": ran.started, "wall_s": ran.wall_s}
        if ran.conclusions is None:
            return Probe(number, side.name, why, UNBUILDABLE, reason=ran.why_not, **about)
        cell = _cell(ran.conclusions, self.asked.cell) or _recorded(folder / self.asked.cell)
        if cell is None:
            reason = "its run has no such cell"
            return Probe(number, side.name, why, UNBUILDABLE, reason=reason, conclusions=place, **about)
        seen = cell.env.get("paddle")
        if side.version and seen and not is_public(str(seen), str(side.version)):
            reason = f"it ran on Paddle {seen}, and {side.version} is asked for: delete its environment"
            return Probe(number, side.name, why, UNBUILDABLE, reason=reason, paddle=seen, conclusions=place, **about)
        verdict, value, note = self._verdict(cell, ran.conclusions)
        return Probe(
            number, side.name, why, verdict, cell.status.name, note or cell["reason"], value, cell.env.get("paddle"),
            conclusions=place, **about,
        )  # fmt: skip

    def _folder(self, side: Side) -> Path:
        """Where the next run of a candidate goes: what was run there with something else by that name stays as it is.

        Else Snakemake would find all of it made, and the former candidate would answer for this one.
        """
        content = self.asked.contents[side.name]
        taken = {probe.folder for probe in self.probes}
        for number in itertools.count(1):
            folder = self.folder / side.name / str(number)
            mark = folder / nested.MARK
            if not folder.exists():
                write_text(mark, content)
            if folder.as_posix() not in taken and mark.is_file() and mark.read_text(encoding="utf-8") == content:
                break
        return folder

    def _environment(self, side: Side) -> Made | str:
        """What the side is run with, or why that cannot be made."""
        if side.name not in self._made:
            try:
                self._made[side.name] = self.plan.maker.make(side)
            except (StageError, OSError) as error:
                self._made[side.name] = f"its environment could not be made: {error}"
        return self._made[side.name]

    def _verdict(self, cell: Concluded, ran: Mapping[str, Any]) -> tuple[str, float | None, str | None]:
        """(verdict of one run, the figure, why there is none or what it is due to)."""
        if self.asked.what == STATUS:
            verdict, note = of_status(cell, ran)
            return verdict, None, note
        value = noise.value_of(cell, BY_NAME[self.asked.what].path)
        if cell.status is not statuses.PASSED:
            return UNBUILDABLE, None, f"{cell.status.name}, so its figures say nothing: {cell['reason']}"
        if not is_number(value):
            return UNBUILDABLE, None, f"its record has no {self.asked.what}"
        return GOOD, value, None

    def _worse(self, before: int, after: int) -> bool:
        """Whether the figure of the second candidate is worse by all their runs, as `compare` says."""
        names = self.asked.names
        found = comparison.compare(self._pooled(names[before]), self._pooled(names[after]), self.tolerances)
        return any(change.what == self.asked.what for change in found.of_kind(WORSE))

    def _pooled(self, candidate: str) -> Mapping[str, Any]:
        """The runs of a candidate as one, of the cell alone."""
        runs = []
        for probe in self.probes:
            if probe.candidate == candidate and probe.conclusions:
                content = keeping.conclusions(Path(probe.conclusions))
                cell = _cell(content, self.asked.cell)
                runs.append({**content, "cells": [cell.content] if cell else [], "certificates": []})
        return comparison.pool(runs)

    def _write(self, answer: Answer | None) -> None:
        names = self.asked.names
        content = {
            "schema_version": SCHEMA_VERSION,
            "question": self.asked.digest,
            "cell": self.asked.cell,
            "what": self.asked.what,
            "repeats": self.asked.repeats,
            "candidates": [{"name": side.name, "entry": side.entry} for side in self.asked.candidates],
            "probes": [asdict(probe) for probe in self.probes],
            "answer": answer and _in_names(answer, names, self.asked.what),
        }
        write_text(self.folder / TEXT, bisected.markdown(content))
        write_json(self.folder / DATA, content)


def of_status(cell: Concluded, conclusions: Mapping[str, Any]) -> tuple[str, str | None]:
    """(verdict of a cell by its status, what it is due to where the reason of the cell does not say it).

    Bad is what ran and did not pass: the cell, or the stage of its chain that kept it from running. What ended
    before it wrote a record never ran, so nothing is known of the candidate.
    """
    if cell.status is statuses.PASSED:
        return GOOD, None
    at = cell
    while not at.status.exercised:
        parent = _held_up_by(at, conclusions)
        if parent is None:
            return UNBUILDABLE, f"{cell.status.name}: {cell['reason']}"
        at = parent
    told = f"{at.status.name}: {at['reason']}"
    if at is not cell:
        told = f"what it is made from failed: {at['stage']} {at['cell']}: {told}"
    if not (at.get("started") and at.env):
        return UNBUILDABLE, f"{told}; it left no record, so it may never have started"
    return BAD, None if at is cell else told


def _held_up_by(cell: Concluded, conclusions: Mapping[str, Any]) -> Concluded | None:
    """The stage of its own chain because of which a cell did not run; None where it is another reason."""
    above = stages.by_name(cell["stage"], cell.get("topology")).parents
    for other in map(Concluded, conclusions["cells"]):
        same = all(other.get(key) == cell.get(key) for key in ("model", "train_cell"))
        if same and other["stage"] in above and (cell["reason"] or "").startswith(made_from(other)):
            return other
    return None


def _in_names(answer: Answer, names: Sequence[str], what: str) -> dict[str, Any]:
    return {
        "kind": answer.kind,
        "last_good": None if answer.last_good is None else names[answer.last_good],
        "first_bad": None if answer.first_bad is None else names[answer.first_bad],
        "skipped": [names[place] for place in answer.skipped],
        "verdicts": {names[place]: verdict for place, verdict in answer.verdicts.items()},
        "sentence": bisecting.sentence(answer, names, what),
    }


def _kept(file: Path, digest: str) -> list[Probe]:
    """The probes of before that answered the same question; none where there are none, or of another one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["question"] != digest or content["schema_version"] != SCHEMA_VERSION:
            return []
        return [Probe(**probe) for probe in content["probes"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _recorded(file: Path) -> Concluded | None:
    """A cell by the record that its run has just made: of data, conclusions have only what broke."""
    try:
        return Concluded(record.read(file))
    except (OSError, record.RecordError):
        return None


def _cell(conclusions: Mapping[str, Any], path: str) -> Concluded | None:
    return next((Concluded(cell) for cell in conclusions["cells"] if cell.get("record") == path), None)
