"""What becomes of a stage: a status and its reason, from how its worker ended and what that left."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
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
    """A failure that the configuration knows of: its name, the pattern of its message, why it is, and a link."""

    name: str
    error: str
    why: str
    link: str


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
    """The outcome; a red one that is known is no failure, and one that passes has a remark where one is known.

    A gate that does not hold is excused by what is known of gates: by an entry that has its own words.
    """
    broken = proof.broken(outcome.result.gates)
    told = all(any(re.search(one.error, sentence) for one in known) for sentence in broken)
    if outcome.status.red and told:
        for one in known:
            if any(re.search(one.error, text) for text in (outcome.reason or "", *outcome.texts)):
                reason = f"{one.name}: {one.why} ({one.link}) Seen: {outcome.reason}"
                return replace(outcome, status=statuses.KNOWN_FAILURE, reason=reason)
    unseen = [one.name for one in known if not re.search(one.error, outcome.reason or "")]
    if outcome.status is statuses.PASSED and unseen:
        said = f"passes although listed as known failure {', '.join(unseen)}: take it off the list"
        return replace(outcome, reason="; ".join(filter(None, [outcome.reason, said])))
    return outcome


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
