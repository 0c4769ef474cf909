"""A model that a file plans: its entry of `model_zoo` in the making, and what is said of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcert.tipc.params import Meaning


@dataclass(kw_only=True)
class Draft:
    """An entry of `model_zoo` in the making.

    Attributes:
        path: the file that it is made from.
        trains: whether this run trains it, or takes its released weights.
        others: entries of `weights` that there are already.
        root: the folder that paths in the file start from; None: it is looked for.
    """

    path: Path
    trains: bool
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    root: str | None = None
    entry: dict[str, Any] = field(default_factory=dict)
    datasets: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, name: str, text: str) -> None:  # noqa: ARG002  (a params file has a line of that name)
        """Something that this run takes from elsewhere than the file says."""
        self.notes.append(f"{self.path}: {text}")

    def leave_out(self, status: str, reason: str) -> None:
        """Plan nothing of it: it is one row of this status, with the reason."""
        self.entry["not_planned"] = not_planned(status, reason)

    def of_weights(self, entry: Mapping[str, Any], path: Path) -> str:
        """The name of an entry of `weights`: of one that there is already, or of this one, which is added.

        Args:
            path: what the name is made from.
        """
        there = {**self.others, **self.weights}
        for name, other in there.items():
            if entry.items() <= other.items():
                return name
        # By the entry alone, whichever others a run has beside it: a run of other files must not make it anew.
        name = f"{slug(path)}_{hashlib.sha256(repr(entry).encode()).hexdigest()[:8]}"
        self.weights[name] = dict(entry)
        return name


@dataclass(kw_only=True)
class Model(Draft):
    """An entry of `model_zoo` in the making, from a params file."""

    meaning: Meaning
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def note(self, name: str, text: str) -> None:
        """Something that this run takes from elsewhere than the line called `name` says."""
        self.notes.append(f"{self.path}:{self.meaning.lines[name]}: {text}")

    def remark(self, name: str, text: str) -> None:
        """Something that is so with every file like this one."""
        self.remarks.append(f"{self.path}:{self.meaning.lines[name]}: {text}")

    def at(self, line: int) -> str:
        return f"{self.path.name}:{line}"

    def skip(self, stage: str, topology: str, name: str, what: str, reason: str, **more: Any) -> None:
        """A cell that is asked for and not done. Names are unique: the cell table needs that."""
        taken = {item["name"] for item in self.skipped if item["stage"] == stage}
        unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1000))) if n not in taken)
        self.skipped.append(
            {"stage": stage, "topology": topology, "name": unique, "what": what, "reason": reason, **more}
        )


def not_planned(status: str, reason: str) -> dict[str, str]:
    """Of an entry whose file plans nothing: its row. A reason stands in one line there."""
    return {"status": status, "reason": " ".join(line.strip() for line in reason.splitlines())}


def slug(path: Path) -> str:
    """A name for an entry, from the last two parts of a path."""
    parts = [re.sub(r"(\.tar)?\.[A-Za-z]+$", "", part) for part in path.parts[-2:]]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(parts)).strip("_.-")
    return name or "data"
