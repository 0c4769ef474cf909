"""A model that a params file plans: its entry of `model_zoo` in the making, and what is said of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcert.tipc.params import Meaning


@dataclass
class Model:
    """An entry of `model_zoo` in the making.

    Attributes:
        trains: whether this run trains it, or takes its released weights.
        others: entries of `weights` that there are already.
    """

    path: Path
    meaning: Meaning
    trains: bool
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    datasets: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def note(self, name: str, text: str) -> None:
        """Something that this run takes from elsewhere than the line called `name` says."""
        self.notes.append(f"{self.path}:{self.meaning.lines[name]}: {text}")

    def remark(self, name: str, text: str) -> None:
        """Something that is so with every file like this one."""
        self.remarks.append(f"{self.path}:{self.meaning.lines[name]}: {text}")

    def of_weights(self, entry: Mapping[str, Any], path: Path) -> str:
        """The name of an entry of `weights`: of one that there is already, or of this one, which is added.

        Args:
            path: what the name is made from.
        """
        there = {**self.others, **self.weights}
        for name, other in there.items():
            if entry.items() <= other.items():
                return name
        name = slug(path)
        if name in there:
            name += f"_{hashlib.sha256(repr(entry).encode()).hexdigest()[:8]}"
        self.weights[name] = dict(entry)
        return name

    def at(self, line: int) -> str:
        return f"{self.path.name}:{line}"

    def skip(self, stage: str, topology: str, name: str, what: str, reason: str, **more: Any) -> None:
        """A cell that is asked for and not done. Names are unique: the cell table needs that."""
        taken = {item["name"] for item in self.skipped if item["stage"] == stage}
        unique = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1000))) if n not in taken)
        self.skipped.append(
            {"stage": stage, "topology": topology, "name": unique, "what": what, "reason": reason, **more}
        )


def slug(path: Path) -> str:
    """A name for an entry, from the last two parts of a path."""
    parts = [re.sub(r"(\.tar)?\.[A-Za-z]+$", "", part) for part in path.parts[-2:]]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(parts)).strip("_.-")
    return name or "data"
