"""What becomes of a stage: a status and its reason, from how its worker ended and what that left."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segcert import proof, statuses
from segcert.stage import printed
from segcert.stage.worker import Result

FORGIVEN = {"device", "engine", "precision", "level", "dtype"}  # of a stand-in: what it cannot do as asked


@dataclass(frozen=True)
class Exit:
    """How a worker ended.

    Attributes:
        code: its exit code; below 0: less the number of the signal that killed it.
        stopped_by: why it was ended before its work was over; None where it ended by itself.
        out_of_memory: whether the system killed a process of its group for its memory meanwhile.
        printed: the end of what it printed.
    """

    code: int
    stopped_by: str | None = None
    out_of_memory: bool = False
    printed: bytes = b""


@dataclass(frozen=True)
class Told:
    """What a worker said of its failure.

    Attributes:
        message: for a record.
        texts: all that the failure says, at length.
        unverified: whether that is no failure, but something that cannot be had here.
        lasting: whether another try ends in the same.
    """

    message: str
    texts: Sequence[str] = ()
    unverified: bool = False
    lasting: bool = False


@dataclass(frozen=True)
class Known:
    """A failure that the configuration knows of.

    Attributes:
        error: a pattern that must be found in what the failure says.
        why, link: why it is, and where that is told.
        gates: by its name the worst value of a gate that is excused; of one that names none, words excuse a gate.
    """

    name: str
    error: str
    why: str
    link: str
    gates: Mapping[str, float] = field(default_factory=dict)

    def is_said(self, texts: Iterable[str]) -> bool:
        return any(re.search(self.error, text) for text in texts)

    def excuses(self, sentence: str, gate: Mapping[str, Any] | None, texts: Iterable[str]) -> bool:
        """Whether a gate that does not hold is as it is known to be.

        Args:
            sentence: what is wrong with it.
            gate: None where that is not what its numbers say.
            texts: all that the failure says.
        """
        if not self.gates:
            return self.is_said([sentence])
        return gate is not None and self._worse(gate) is None and self.is_said(texts)

    def why_not(self, sentence: str, gate: Mapping[str, Any] | None) -> str:
        """In words, why one that names gates does not excuse this one."""
        if gate is None:
            return f"nothing excuses this: {sentence}"
        return self._worse(gate) or f"{self.name} is told by {self.error!r} as well"

    def _worse(self, gate: Mapping[str, Any]) -> str | None:
        """In words, how the value of a gate is worse than is known; None where it is not."""
        name, bound, value = gate["name"], gate.get("bound"), gate.get("value")
        if name not in self.gates:
            return f"{self.name} says nothing of {name}"
        worst = self.gates[name]
        by = proof.worse_by(gate, worst)
        known = f"{self.name} excuses {name} of {bound} {worst:g}"
        if by is None:
            return f"{known}, and it is no number"
        return f"{known}, and {value:g} is worse by {by:.3g}" if by > 0 else None


@dataclass(frozen=True)
class Outcome:
    """What a stage comes to.

    Attributes:
        lasting: of an unverified one, whether another try would be as unverified.
        texts: what the reason leaves out, at length.
    """

    status: statuses.Status
    reason: str | None = None
    result: Result = field(default_factory=lambda: Result({}))
    lasting: bool = False
    texts: Sequence[str] = ()


def judge(
    stage: str,
    requested: Mapping[str, Any],
    result: Result | None,
    end: Exit,
    told: Told | None,
    known: Sequence[Known] = (),
    *,
    missing: Sequence[str] = (),
    stand_in: str | None = None,
) -> Outcome:
    """The outcome of a stage whose worker has ended.

    Args:
        stage: its name in records.
        requested: what was asked for, by field.
        result: what the worker found; None where it left nothing.
        told: what the worker said of its failure; None where it said nothing, or could not because the disk is full.
        known: failures that are known of the Paddle that ran.
        missing: names of outputs that the worker did not make.
        stand_in: what computed in place of the devices, if anything did.
    """
    outcome = _ended_early(end, told)
    if outcome is None:
        if result is None:
            outcome = Outcome(statuses.FAILED, "ended without a result although its exit code was 0")
        else:
            outcome = _held_against(stage, requested, result, missing, stand_in)
    return excused(outcome, known)


def excused(outcome: Outcome, known: Sequence[Known]) -> Outcome:
    """The outcome; a red one that is known is no failure, and one that passes has a remark where one is known."""
    if outcome.status.red:
        return _as_known(outcome, known)
    reason = outcome.reason or ""
    unseen = [one.name for one in known if one.gates or not one.is_said([reason])]
    if outcome.status is statuses.PASSED and unseen:
        said = f"passes although listed as known failure {', '.join(unseen)}: take it off the list"
        return replace(outcome, reason="; ".join(filter(None, [outcome.reason, said])))
    return outcome


def _as_known(outcome: Outcome, known: Sequence[Known]) -> Outcome:
    """A red outcome, which is no failure where all of it is known: each gate that does not hold, and what else broke.

    One that is not says by how much it is worse than what is known of its gates.
    """
    texts = (outcome.reason or "", *outcome.texts)
    failing = proof.failing(outcome.result.gates)
    takers = [next((one for one in known if one.excuses(*gate, texts)), None) for gate in failing]
    if outcome.status is not statuses.ACCURACY_FAILED:
        rest = texts[0]
        for sentence, _ in failing:  # what excuses a gate excuses nothing else
            rest = rest.replace(sentence, "")
        takers.append(next((one for one in known if not one.gates and one.is_said([rest, *outcome.texts])), None))
    if takers and None not in takers:
        told = dict.fromkeys(f"{one.name}: {one.why} ({one.link})" for one in takers if one)
        reason = f"{'; '.join(told)} Seen: {outcome.reason}"
        return replace(outcome, status=statuses.KNOWN_FAILURE, reason=reason)
    worse = [
        one.why_not(*gate)
        for gate, taker in zip(failing, takers, strict=False)
        for one in known
        if taker is None and one.gates
    ]
    return replace(outcome, reason=f"{outcome.reason}; not as known: {'; '.join(worse)}") if worse else outcome


def held_up(above: Mapping[str, Any], stand_in: str | None = None) -> Outcome | None:
    """What follows from the record of something that a stage is made from; None where the stage can run.

    Args:
        above: the content of that record.
        stand_in: what computes in place of the devices here, if anything does.
    """
    if stand_in and above.get("stand_in"):
        return None  # so that the whole of it is walked; nothing of it is ever passed
    status = statuses.by_name(above["status"])
    if status.holds_up is None:
        return None
    reason = f"made from {above['stage']} {above['cell']}: {status.name}: {above['reason']}"
    return Outcome(statuses.by_name(status.holds_up), reason)


def metrics(result: Result) -> dict[str, Any]:
    """The metrics of a record: the worker's, with its gates where it has some."""
    return {**result.metrics, **({"gates": result.gates} if result.gates else {})}


def _ended_early(end: Exit, told: Told | None) -> Outcome | None:
    """The outcome of a worker that did not come to its end; None for one that did."""
    if end.stopped_by:
        return Outcome(statuses.FAILED, end.stopped_by)
    if told:
        status = statuses.UNVERIFIED if told.unverified else statuses.FAILED
        return Outcome(status, told.message, lasting=told.lasting, texts=told.texts)
    if end.code != 0:
        killed = "; a process of its group was killed for its memory" if end.out_of_memory else ""
        return Outcome(statuses.FAILED, _in_words(end) + killed)
    return None


def _held_against(
    stage: str, requested: Mapping[str, Any], result: Result, missing: Sequence[str], stand_in: str | None
) -> Outcome:
    """The outcome of a worker that came to its end: by what it made, what was asked for and what it must prove."""
    broken = proof.broken(result.gates)
    if missing and not broken:  # a worker that sees early that a gate does not hold makes nothing
        return Outcome(statuses.FAILED, f"ended without its outputs {', '.join(missing)}", result)
    forgiven = FORGIVEN if stand_in else set()
    asked = {key: value for key, value in requested.items() if key not in forgiven}
    if different := proof.differences(asked, result.effective):
        limit = _is_hardware_limit(requested, result.effective) and not broken
        return Outcome(statuses.UNVERIFIED if limit else statuses.FAILED, "; ".join([*different, *broken]), result)
    if broken:
        return Outcome(statuses.ACCURACY_FAILED, "; ".join(broken), result)
    # The conclusions would not believe it either, and Snakemake would take the job for done.
    content = {"stage": stage, "requested": asked, "effective": result.effective, "metrics": metrics(result)}
    if unproven := proof.unproven({**content, **result.extra}):
        return Outcome(statuses.FAILED, f"not proved: {'; '.join(unproven)}", result)
    if stand_in:
        return Outcome(statuses.UNVERIFIED, f"computed on a stand-in: {stand_in}", result)
    return Outcome(statuses.PASSED, result.remark, result)


def _in_words(end: Exit) -> str:
    """An exit code that is not 0; first the last line that was printed, where that may be why."""
    if end.code < 0:
        name = signal.Signals(-end.code).name
        hint = {"SIGKILL": "; was the machine out of memory? (dmesg tells)", "SIGSEGV": " in native code"}.get(name, "")
        how = f"killed by {name}{hint}"
        return printed.why(how, end.code, end.printed) or how
    how = f"ended with exit code {end.code}"
    return printed.why(how, end.code, end.printed) or f"{how} and no message; see the log"


def _is_hardware_limit(requested: Mapping[str, Any], effective: Mapping[str, Any]) -> bool:
    """Mixed precision on a CPU place computes in fp32 by Paddle's design: not a fault, but no proof either."""
    return requested.get("precision") == "amp" and effective.get("device") == "cpu"
