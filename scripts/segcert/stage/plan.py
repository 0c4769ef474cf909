"""What a stage's script tells of it: its options, what is asked for, what it reads and makes, and who does the work."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcert import stages
from segcert.stage.worker import WORKER, Result, Staging


@dataclass
class Plan:
    """What a script tells its supervisor.

    Attributes:
        stage: its name in stages.py.
        requested: what is asked for, by field.
        inputs: files and folders that the stage reads, for the record's hashes.
        outputs: name -> final path; the worker writes each to `Staging.path(name)`.
        work: does the work in the worker.
        launch: where several processes do the work together: starts these ranks, each of which runs this script
            again with its log in the folder that is given, and waits for them; its exit code.
        threads: CPU threads of each worker process.
        environment: further variables for the worker.
        gpus: devices that the worker computes on; they are leased for it. With 0 it sees none.
        kept: a folder that outlives failed attempts, for the next to go on from; it goes when one succeeds.
        set_aside: names of folders among the outputs that stay, as `<folder>.failed`, where a gate does not hold.
    """

    stage: str
    requested: dict[str, Any]
    inputs: Sequence[str]
    outputs: Mapping[str, str]
    work: Callable[[argparse.Namespace, Staging], Result]
    launch: Callable[[Path], int] | None = None
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    kept: Path | None = None
    set_aside: Sequence[str] = ()

    def __post_init__(self) -> None:
        stages.by_name(self.stage)  # before anything is done


def parser(description: str) -> argparse.ArgumentParser:
    """A command line with the options that every stage has."""
    options = argparse.ArgumentParser(description=description, allow_abbrev=False)
    options.add_argument("--mode", help="mode of the run, for the record")
    options.add_argument("--model", help="name of the model, for the record")
    options.add_argument("--algorithm", help="label of its algorithm, for the record")
    options.add_argument("--cell", required=True, help="name of the cell, for the record")
    options.add_argument("--record", required=True, help="where the record goes")
    options.add_argument("--log", required=True, help="where everything that the stage prints goes")
    options.add_argument("--timeout-min", type=float, default=60, help="end the stage after so many minutes")
    options.add_argument(
        "--memory-gb", type=float, help="end the stage when all its processes take more GiB (no limit)"
    )
    options.add_argument(
        "--paddleseg",
        metavar="FOLDER",
        help="the PaddleSeg to import: installed, or a folder that holds its package; without it none is told of",
    )
    options.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="RECORD",
        help="record of what this is made from; unless it passed, this cannot run either",
    )
    options.add_argument(
        "--known-failure",
        nargs=5,
        action="append",
        default=[],
        metavar=("ID", "ERROR", "REASON", "LINK", "PADDLE"),
        help="a failure in whose reason or message the regular expression ERROR is found is known-failure, "
        "on the versions of Paddle that PADDLE specifies (such as ==3.2.*; any: on all)",
    )
    options.add_argument(
        "--known-gates",
        nargs=6,
        action="append",
        default=[],
        metavar=("ID", "GATES", "ERROR", "REASON", "LINK", "PADDLE"),
        help="the same of gates that do not hold: by its name the worst value of each that is excused "
        "(pixel_agreement=0.9,logits_l2=0.5); ERROR must be found as well, and . is found in all that a failure says",
    )
    return options


def worst(gates: str) -> dict[str, float]:
    """By its name the worst value of a gate that is excused, from an option of `--known-gates`."""
    return {name: float(value) for name, _, value in (gate.partition("=") for gate in gates.split(",") if gate)}


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments of this process.

    A rank has them from its staging folder: Paddle's launcher reads every option on its command line
    as its own or its own's abbreviation, also those behind the script.
    """
    folder = os.environ.get(WORKER)
    if folder and (saved := Staging(folder).arguments).is_file():
        sys.argv[1:] = json.loads(saved.read_text(encoding="utf-8"))
    return options.parse_args()
