"""Snapshots of a training, from which an interrupted one goes on as if it had not been.

`<folder>/<iteration>/` holds a file for each rank and snapshot.json, which names what the snapshot
belongs to and the files' hashes. A folder gets its name when it is complete, so that a training
killed at any moment leaves a whole snapshot or none. One that cannot be used is set aside as
`<folder>/<iteration>.unusable/`, so that no attempt meets it again.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle

from segcert.files import sha256, write_json
from segcert.stage.progress import say

TOLD = "snapshot.json"
UNUSABLE = ".unusable"
# What a snapshot raises that no later attempt can use either. Memory that does not suffice is not among them.
BROKEN = (
    AssertionError,
    AttributeError,
    EOFError,
    FileNotFoundError,
    ImportError,
    KeyError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class Snapshots:
    """Where and how often a training is saved.

    Attributes:
        folder: of this training alone; it outlives failed attempts.
        identity: of what is trained and how; a snapshot of another identity is not used.
        every: iterations between snapshots.
        rank, ranks: of this process.
        barrier: waits for all ranks.
    """

    folder: Path
    identity: str
    every: int
    rank: int = 0
    ranks: int = 1
    barrier: Callable[[], Any] = lambda: None

    def due(self, iteration: int, last: int) -> bool:
        """Whether to save after an iteration: from `last` on none is, because the training ends in a checkpoint."""
        return iteration % self.every == 0 and iteration < last

    def save(self, iteration: int, state: Mapping[str, Any]) -> None:
        """Save this rank's state; all ranks call it after the same iteration."""
        partial = self.folder / f".{iteration}.partial"
        if self.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.barrier()
        paddle.save(dict(state), str(partial / self._file(self.rank)))
        self.barrier()
        if self.rank == 0:
            files = {self._file(rank): sha256(partial / self._file(rank)) for rank in range(self.ranks)}
            told = {"identity": self.identity, "iteration": iteration, "files": files}
            write_json(partial / TOLD, told)
            target = self.folder / str(iteration)
            if target.exists():  # of another identity: a folder is renamed to none that is there
                shutil.rmtree(target)
            older = list(self.folder.iterdir())
            partial.rename(target)
            for path in older:
                if path != partial and path.suffix != UNUSABLE:
                    shutil.rmtree(path, ignore_errors=True)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """Iteration and this rank's state of the newest snapshot of this training; None where there is none.

        A file is loaded, which unpickles it, only after its hash is found to be what the training wrote. A snapshot
        that is not whole, or that does not load, is set aside. All ranks call it.
        """
        found: tuple[int, dict[str, Any]] | None = None
        broken: dict[int, Exception] = {}
        for told in sorted(self._told(), key=lambda item: -item["iteration"]):
            files = {name: self.folder / str(told["iteration"]) / name for name in told["files"]}
            if len(files) != self.ranks:
                continue
            try:
                other = [name for name, path in files.items() if sha256(path) != told["files"][name]]
                if other:
                    raise ValueError(f"{other[0]} is not what was written")
                found = told["iteration"], paddle.load(str(files[self._file(self.rank)]))
                break
            except BROKEN as error:
                broken[told["iteration"]] = error
        for iteration, why in broken.items():
            self.set_aside(iteration, why)
        return found

    def set_aside(self, iteration: int, why: Exception) -> None:
        """Put a snapshot that cannot be used where no attempt looks for one, and say so. All ranks call it."""
        self.barrier()
        path = self.folder / str(iteration)
        if self.rank == 0:
            aside = path.with_name(path.name + UNUSABLE)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            say(
                f"the snapshot after iteration {iteration} cannot be used and is set aside as {aside}: "
                f"{type(why).__name__}: {why}"
            )
        self.barrier()

    def _told(self) -> list[dict[str, Any]]:
        found = []
        for path in self.folder.glob(f"*/{TOLD}"):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                if told["identity"] == self.identity and path.parent.name == str(told["iteration"]):
                    found.append(told)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    @staticmethod
    def _file(rank: int) -> str:
        return f"rank{rank}.pdstate"
