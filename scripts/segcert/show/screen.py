"""What a run shows of its jobs, line by line: one when a job starts, one when it ends.

Snakemake shows a block of a job's paths, which a person cannot read when there are hundreds of jobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

NAMES = 5  # of files, in a list that may have thousands
CHANGE = 160  # characters of a changed parameter
CONTEXT = 40  # of those before the place where it differs
# What Snakemake says in each round of scheduling, which is nothing to a person.
CHATTER = ("Select jobs to execute...",)
# Reasons that come with names of files. Of a job's own outputs and of those that jobs shown above make, the names say
# nothing new.
FOLLOWS = "Input files updated by another job"
UNNAMED = ("Missing output files", FOLLOWS)
CHANGED = "Params have changed since last execution"
# A rule's code as segcert.code.versions gives it, as Snakemake shows it: files, with the first digits of a sha256.
FILE = r"'([^']+)': '([0-9a-f]{12})'"
CODE = rf"\{{{FILE}(?:, {FILE})*\}}"


class Lines:
    """The lines of one run.

    Args:
        dry: nothing is run, the lines tell what would be.
    """

    def __init__(self, *, dry: bool) -> None:
        self.dry = dry
        self._begun: dict[int, tuple[str, float]] = {}
        self._ended: list[str] = []

    def of(self, event: str | None, fields: Mapping[str, Any]) -> str | None:
        """The line for an event of Snakemake's.

        Args:
            event: the event's name; None for a message that is none.
            fields: of its log record.

        Returns:
            the line; empty where there is nothing to show, None where it is to be shown as Snakemake does.
        """
        if event == "job_info":
            return self._start(fields)
        if event == "job_finished":
            self._ended.append(self._end(fields))
            return ""
        if event == "progress":  # follows the end of each job, and is told in its line
            ended, self._ended = self._ended, []
            return "\n".join(f"{line}, {fields['done']} of {fields['total']}" for line in ended)
        if event == "job_started" or fields["msg"] in CHATTER:
            return ""
        return None

    def _start(self, fields: Mapping[str, Any]) -> str:
        rule, number = fields["rule_name"], fields["jobid"]
        self._begun[number] = rule, fields["created"]
        wildcards = {name: value for name, value in (fields["wildcards"] or {}).items() if name != "mode"}
        what = " ".join([rule, *(["/".join(wildcards.values())] if wildcards else [])])
        head = "would run" if self.dry else f"{_time(fields['created'])} start"
        return f"{head} {number}: {what} ({short_reason(fields['reason'])})"

    def _end(self, fields: Mapping[str, Any]) -> str:
        number = fields["job_id"]
        rule, begun = self._begun.pop(number)
        return f"{_time(fields['created'])} done {number}: {rule}, {fields['created'] - begun:.0f} s"


def shortened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An event as Snakemake is to show it itself: with the first files of a long list."""
    return {**fields, **{name: short_list(fields[name]) for name in ("input", "output") if name in fields}}


def short_reason(reason: str) -> str:
    """Snakemake's reason to run a job, without the names of files that the reader knows or cannot take in."""
    parts = reason.split("; ")
    # That its inputs are made anew follows from the lines above; it is told where it is the one reason.
    told = [part for part in parts if not part.startswith(FOLLOWS)] or parts
    return "; ".join(map(_short_part, told))


def short_list(names: Sequence[str]) -> list[str]:
    """The first names of a list, and how many more there are."""
    more = len(names) - NAMES
    return [*names] if more <= 0 else [*names[:NAMES], f"and {more} more"]


def _short_part(part: str) -> str:
    name, colon, rest = part.partition(": ")
    if name in UNNAMED:
        return name
    if name == CHANGED:
        # "... across all output: before: <parameters> now: <parameters>"
        before, _, now = rest.partition("before: ")[2].partition(" now: ")
        return f"{name}: {_contrast(_edited(before, now), _edited(now, before).strip())}"
    return name + colon + ", ".join(short_list(rest.split(", ")))


def _edited(text: str, other: str) -> str:
    """The text, of the code in it only what is not so in the other."""
    same = set(re.findall(FILE, other))
    news = [f"'{file} {digits}'" for file, digits in re.findall(FILE, text) if (file, digits) not in same]
    return re.sub(CODE, lambda _: ", ".join(news) or "<nothing exclusive>", text)


def _contrast(before: str, now: str) -> str:
    start = 0
    if max(len(before), len(now)) > CHANGE:
        differs = next((at for at, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), 0)
        start = max(0, differs - CONTEXT)
    return "; ".join(f"{word}: {_cut(text, start)}" for word, text in (("before", before), ("now", now)))


def _cut(text: str, start: int) -> str:
    shown = text[start : start + CHANGE]
    return f"{'...' if start else ''}{shown}{'...' if start + CHANGE < len(text) else ''}"


def _time(created: float) -> str:
    return f"{datetime.fromtimestamp(created):%H:%M:%S}"
