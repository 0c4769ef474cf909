"""What a cluster's scheduler says of a job: why it was ended, in words for a reason."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping

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
    state = _scontrol(identifier) or _sacct(identifier)
    for name, words in SLURM_STATES.items():
        if state and state.startswith(name):
            return f"Slurm job {identifier} was {name}: {words}"
    return None


def _scontrol(identifier: str) -> str | None:
    """State from the controller, which forgets a job some minutes after its end (MinJobAge)."""
    answer = _ask("scontrol", "show", "job", "-o", identifier)
    found = re.search(r"\bJobState=(\S+)", answer)
    return found[1] if found else None


def _sacct(identifier: str) -> str | None:
    """State from the accounting database, where there is one."""
    answer = _ask("sacct", "-n", "-X", "-P", "-o", "State", "-j", identifier)
    return answer.split("\n", 1)[0].strip() or None


def _ask(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
