"""The search for the first of several candidates in which something is bad.

Pure: `step` takes what has been seen so far, and says what to look at next, or the answer. So a search that was cut
goes on from its transcript, and the same transcript has the same answer.

What is searched is a status, which one run tells, or a figure, which takes repeats: then each candidate is held
against both ends, and what is clear of neither is no verdict. An answer is confirmed by looking at the two beside the
change and at both ends once more, at the last good one as often as a figure's candidates are looked at, and by one look
into what is left on each side: so a fault that comes and goes, or that shows in some runs alone, is mostly told as that
and not as a change. How often is measured in docs/bisect.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

GOOD, BAD = "good", "bad"
# No verdict: its environment cannot be made, its run concluded nothing, or neither the cell nor a stage that it is made
# from ran and failed.
UNBUILDABLE = "unbuildable"
# No verdict either: its runs differ, or its figure is clear of neither end.
UNCLEAR = "unclear"

# Kinds of answers.
FOUND = "found"  # the first bad one is known
BETWEEN = "between"  # it is one of several: those between have no verdict
SAME_ENDS = "same-ends"  # the good end is bad, or the bad end good
NO_END = "no-end"  # an end has no verdict
NOT_SEPARABLE = "not-separable"  # the figures of the two ends are not apart
FLAKY = "flaky"  # runs of one candidate differ
COMES_AND_GOES = "comes-and-goes"  # bad before it is good


@dataclass(frozen=True)
class Seen:
    """One run of a candidate.

    Attributes:
        verdict: good | bad | unbuildable; of a figure's run that has one `good`, for there the ends decide.
    """

    candidate: int
    verdict: str


@dataclass(frozen=True)
class Figure:
    """That a figure is searched.

    Attributes:
        repeats: runs of a candidate before it is judged.
        worse: whether the second candidate is worse than the first, by all their runs so far.
    """

    repeats: int
    worse: Callable[[int, int], bool]


@dataclass(frozen=True)
class Ask:
    """Look at this candidate, once."""

    candidate: int
    why: str


@dataclass(frozen=True)
class Answer:
    """What came out.

    Attributes:
        first_bad, last_good: of the change, where there is one.
        skipped: candidates between them that have no verdict.
        verdicts: what is known of each candidate that was looked at.
    """

    kind: str
    verdicts: Mapping[int, str]
    last_good: int | None = None
    first_bad: int | None = None
    skipped: tuple[int, ...] = ()


class _Need(Exception):
    """Another run is needed before anything more can be said."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask.why)
        self.ask = ask


class _Done(Exception):
    """There is an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.kind)
        self.answer = answer


def step(count: int, seen: Sequence[Seen], figure: Figure | None = None, looks: int = 3) -> Ask | Answer:
    """What to look at next, or the answer.

    Args:
        count: candidates, the good end first and the bad end last; two at least.
        seen: all runs so far, in their order.
        figure: what a figure is judged by; None: a status is searched.
        looks: at the last good one of a status, before it is named.
    """
    search = _Search(count, seen, figure, looks)
    try:
        return search.answer()
    except _Need as need:
        return need.ask
    except _Done as done:
        return done.answer


class _Search:
    def __init__(self, count: int, seen: Sequence[Seen], figure: Figure | None, looks: int) -> None:
        self.last = count - 1
        self.figure = figure
        self.looks = 0 if figure else looks
        self.once = figure.repeats if figure else 1
        self.runs: dict[int, list[str]] = {}
        for one in seen:
            self.runs.setdefault(one.candidate, []).append(one.verdict)
        self.known: dict[int, str] = {}

    def answer(self) -> Answer:
        self._ends(self.once)
        good, bad = self._narrow()
        for place in (good, bad):  # where this run says otherwise, the search from the beginning takes another way
            self._judge(place, self.once + 1, "once more, beside the change")
        self._ends(self.once + 1)
        # One look at a fault that shows in some runs alone may have missed it.
        self._judge(good, max(self.once + 1, self.looks), "once more, whether it is good each time")
        for low, high in ((bad, self.last), (0, good)):
            self._look_into(low, high, good, bad)
        skipped = tuple(range(good + 1, bad))
        return self._answer(BETWEEN if skipped else FOUND, good, bad, skipped)

    # -- the parts of a search ----------------------------------------------------------------

    def _ends(self, runs: int) -> None:
        """Both ends as they must be; an answer where they are not."""
        ends = (0, self.last)
        why = "an end" if runs == self.once else "an end, once more"
        # In turns: what the machine does meanwhile hits both alike.
        for place in sorted(ends, key=lambda place: len(self.runs.get(place, ()))):
            self._need(place, runs, why)
        first, last = (self._raw(place) for place in ends)
        self.known |= {0: first, self.last: last}
        if UNBUILDABLE in (first, last):
            raise _Done(self._answer(NO_END))
        if self.figure:
            if self.figure.worse(0, self.last):
                self.known |= {0: GOOD, self.last: BAD}
                return
            other = self.figure.worse(self.last, 0)
            self.known |= {0: BAD, self.last: GOOD} if other else {0: UNCLEAR, self.last: UNCLEAR}
            raise _Done(self._answer(SAME_ENDS if other else NOT_SEPARABLE))
        if (first, last) != (GOOD, BAD):
            raise _Done(self._answer(SAME_ENDS))

    def _narrow(self) -> tuple[int, int]:
        """The last good and the first bad one, by halving what lies between; what has no verdict is stepped over."""
        good, bad = 0, self.last
        while open_ones := [p for p in range(good + 1, bad) if self.known.get(p) not in (UNBUILDABLE, UNCLEAR)]:
            place = min(open_ones, key=lambda place: abs(2 * place - good - bad))
            beside = any(self.known.get(p) for p in range(good + 1, bad))
            verdict = self._judge(place, self.once, "a neighbour" if beside else "in the middle")
            if verdict == GOOD:
                good = place
            elif verdict == BAD:
                bad = place
        return good, bad

    def _look_into(self, low: int, high: int, good: int, bad: int) -> None:
        """One look between two of one verdict: whether all between them is as they are."""
        for place in sorted(range(low + 1, high), key=lambda place: abs(2 * place - low - high)):
            verdict = self._judge(place, self.once, "whether the fault comes and goes")
            if verdict in (GOOD, BAD):
                if verdict != self.known[low]:
                    raise _Done(self._answer(COMES_AND_GOES, good, bad))
                return

    # -- verdicts -----------------------------------------------------------------------------

    def _judge(self, place: int, runs: int, why: str) -> str:
        self._need(place, runs, why)
        if self.figure and place in (0, self.last):
            return self.known[place]
        verdict = self._raw(place)
        if self.figure and verdict == GOOD:
            verdict = self._of_figure(self.figure, place)
        self.known[place] = verdict
        return verdict

    def _of_figure(self, figure: Figure, place: int) -> str:
        """Bad where it is worse than the good end, good where the bad end is worse than it, else no verdict.

        One that lies between the two, apart from both, is bad: some of what was lost is lost in it.
        """
        if figure.worse(0, place):
            return BAD
        return GOOD if figure.worse(place, self.last) else UNCLEAR

    def _need(self, place: int, runs: int, why: str) -> None:
        there = self.runs.get(place, [])
        # An environment that cannot be made is not tried again for a repeat.
        if len(there) < runs and UNBUILDABLE not in there:
            raise _Need(Ask(place, why))

    def _raw(self, place: int) -> str:
        """What the runs say by themselves; an answer where they differ."""
        found = set(self.runs[place])
        if UNBUILDABLE in found:
            return UNBUILDABLE
        if len(found) > 1:
            self.known[place] = UNCLEAR
            raise _Done(self._answer(FLAKY))
        return found.pop()

    def _answer(
        self, kind: str, good: int | None = None, bad: int | None = None, skipped: tuple[int, ...] = ()
    ) -> Answer:
        return Answer(kind, dict(sorted(self.known.items())), good, bad, skipped)


# -- in words ---------------------------------------------------------------------------------


def sentence(answer: Answer, names: Sequence[str], what: str) -> str:
    """The answer as one sentence, or two."""
    good, bad = (None if place is None else names[place] for place in (answer.last_good, answer.first_bad))
    known = ", ".join(f"{names[place]} {verdict}" for place, verdict in answer.verdicts.items())
    match answer.kind:
        case "found":
            return f"{bad} is the first bad one for {what}; {good}, the one before it, is good."
        case "between":
            skipped = ", ".join(names[place] for place in answer.skipped)
            return f"The change of {what} lies after {good} and not after {bad}; no verdict on {skipped}."
        case "same-ends":
            return f"The two ends are not as they were said to be: {known}. There is nothing to search."
        case "no-end":
            return f"An end has no verdict ({known}): name another."
        case "not-separable":
            return (
                f"Not separable: of {what} the figures of {names[0]} and {names[-1]} are not apart beyond "
                "tolerance and noise."
            )
        case "flaky":
            return f"No answer: runs of one candidate differ ({known}). The fault shows in some runs alone."
        case "comes-and-goes":
            return f"No single change: the fault comes and goes ({known})."
    raise ValueError(f"no such answer: {answer.kind}")
