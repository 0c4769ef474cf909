"""What a cluster's scheduler says of a job: why it was ended, in words for a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from segcert import asked

# States of Slurm (scontrol(1), "JOB STATE CODES" of squeue(1)) that end a job from outside.
SLURM_STATES = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "over its time limit",
    "DEADLINE": "over its deadline",
    "OUT_OF_MEMORY": "over its memory",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "preempted by another job",
    "BOOT_FAIL": "its node did not start",
}
PATIENCE_S = 10  # for an answer of the controller's or of the accounting database
# What slurmstepd writes where it ends a step for its memory without a state of that name.
MEMORY_WORDS = re.compile(r"exceeded memory limit|oom[-_ ]kill|Out Of Memory", re.I)


def job(environment: Mapping[str, str]) -> dict[str, str]:
    """The scheduler's job that this process belongs to: {"slurm": "17"}, or nothing."""
    return {"slurm": environment["SLURM_JOB_ID"]} if environment.get("SLURM_JOB_ID") else {}


def verdict(job: Mapping[str, str]) -> str | None:
    """Why a job was ended, as its scheduler says; None where it does not say or cannot be asked."""
    identifier = job.get("slurm", "")
    if not identifier.isdigit():
        return None
    shown = asked.ask(["scontrol", "show", "job", "-o", identifier], PATIENCE_S).text
    fields = dict(re.findall(r"(\w+)=(\S*)", shown))
    state = fields.get("JobState") or _sacct(identifier) or ""
    if fields.get("Reason") == "TimeLimit":  # while the job is completing, its state does not tell yet
        state = "TIMEOUT"
    words = next((words for name, words in SLURM_STATES.items() if state.startswith(name)), None)
    if words is None and state.startswith("FAILED") and _says_memory(fields.get("StdErr")):
        words = SLURM_STATES["OUT_OF_MEMORY"]
    return f"Slurm job {identifier} was {state}: {words}" if words else None


def _says_memory(log: str | None) -> bool:
    """Whether the job's own log says that it was ended for its memory, where the state does not."""
    try:
        return bool(log and MEMORY_WORDS.search(Path(log).read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False


def _sacct(identifier: str) -> str | None:
    """State from the accounting database, where there is one: the controller forgets a job after MinJobAge."""
    answer = asked.ask(["sacct", "-n", "-X", "-P", "-o", "State", "-j", identifier], PATIENCE_S)
    return None if answer.why_not else answer.text.split("\n", 1)[0].strip() or None
