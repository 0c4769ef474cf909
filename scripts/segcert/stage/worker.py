"""The process that does a stage's work, under the supervisor that started it: what it is given and what it leaves."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcert import gpus, machine
from segcert.checkout import pinned
from segcert.errors import Unverified
from segcert.files import write_json
from segcert.masking import masked
from segcert.stage import deferred, reasons

WORKER = "SEGCERT_WORKER"  # set for the worker: its staging folder
PARENT = "SEGCERT_PARENT"  # set for the worker: the process that started it, with which it ends
RANK = "PADDLE_TRAINER_ID"  # set by Paddle's launcher for each rank
PROGRESS_FD = "SEGCERT_PROGRESS_FD"  # set for the worker where a person watches: the terminal


@dataclass
class Result:
    """What a worker found.

    Attributes:
        effective: what was observed to run, under the names of the request.
        metrics: numbers of the stage.
        gates: numerical gates, as `proof.gate` makes them.
        extra: further fields of the record, such as raw samples.
        remark: what a person must know of it although it passes.
    """

    effective: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    remark: str | None = None


class Staging:
    """The folder in which a worker makes its outputs before they are published."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def error(self) -> Path:
        return self.folder / "error.json"

    @property
    def imported(self) -> Path:
        return self.folder / "imported.json"

    @property
    def arguments(self) -> Path:
        return self.folder / "arguments.json"

    @property
    def ranks(self) -> Path:
        return self.folder / "ranks"


def run(work: Callable[[], Result], staging: Staging, on_gpus: bool) -> int:
    """Do the work and leave its result, or the reason why there is none, in the staging folder; the exit code."""
    die_with_parent(int(os.environ[PARENT]))
    if not on_gpus:
        # Here and not by the supervisor: Paddle's launcher takes an empty list for one device without a name.
        os.environ[gpus.VISIBLE] = ""
    deferred.defer()
    try:
        result = _observed(work, staging)
    except BaseException as error:
        print(masked(traceback.format_exc()), file=sys.stderr)
        tell(error)
        sys.stderr.flush()
        return 1
    if _rank() == 0:
        write_json(staging.result, vars(result))
    return 0


def _observed(work: Callable[[], Result], staging: Staging) -> Result:
    """The result of the work; what it imported is left in the staging folder, however it ends."""
    try:
        return work()
    finally:
        if _rank() == 0:
            found = {"paddleseg": pinned.imported(), "versions": machine.imported_versions()}
            with contextlib.suppress(OSError):
                write_json(staging.imported, found)


def launch(start: Callable[[Path], int], staging: Staging) -> int:
    """Become the launcher of the ranks, each of which runs this script again; it ends the process with them."""
    # Not killed: it is to end its ranks first, and to hold their devices until they have ended.
    die_with_parent(int(os.environ[PARENT]), signal.SIGTERM)
    os.environ[PARENT] = str(os.getpid())
    return start(staging.ranks)


def is_rank() -> bool:
    """Whether this process was started by a launcher of ranks."""
    return RANK in os.environ


def tell(error: BaseException) -> None:
    """Tell the supervisor, if there is one, why this process fails, from whatever process of the stage.

    Only the first to tell is heard: it has the cause. Other ranks fail because it is gone, and a worker gets
    no more than a notice that its data loader broke.
    """
    folder = os.environ.get(WORKER)
    if not folder:
        return
    told = {
        "rank": _rank(),
        "message": reasons.reason(error),
        "texts": reasons.texts(error),
        "unverified": isinstance(error, Unverified),
        "lasting": isinstance(error, Unverified) and error.lasting,
    }
    with contextlib.suppress(OSError), Staging(folder).error.open("x", encoding="utf-8") as stream:
        json.dump(told, stream)


def die_with_parent(parent: int | None = None, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to end this process when its parent ends, however that ends (prctl(2)).

    Args:
        parent: the process that is to be the parent; where it no longer is, this one ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG
    if parent is not None and os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)


def _rank() -> int:
    return int(os.environ.get(RANK, "0"))
