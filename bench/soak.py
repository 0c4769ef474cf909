"""Kill a run of the workflow at random moments, again and again, and see that it ends as if nothing had happened.

    .venv/bin/python bench/soak.py --seconds 1800 --models pp_humanseg_lite pp_humanseg_mobile

First the matrix is run undisturbed. Then, until the time (or the number of kills) is reached: runs in which
Snakemake, a stage's supervisor, its worker, a rank, a data loader or everything at once get SIGKILL after a
random delay; then one run that is left alone, which must end with exit code 0 and with the records and files
of the undisturbed one, but for times and measurements. What a job had made before a kill must not be made
again. The exit code is 1 where a difference was found, and 0 otherwise.

Every process of the runs carries a token in its environment; no process without it is ever killed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64decode
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
MARK = "SEGCERT_SOAK"  # in the environment of every process of the runs
CONFIG: dict[str, Any] = {
    "mode": "smoke",
    "hardware": "cpu",
    "input_size": {"default": [64, 64]},
    # A snapshot after every iteration: killed trainings go on from where they were.
    "train": {"iters": 4, "topologies": ["single", "multi"], "snapshot_iters": 1},
    "evaluate": {"images": 2},
    "infer": {"images": 2, "min_samples": 2, "warmup": 1, "max_warmup": 1},
    "datasets": {
        "mini_supervisely_synthetic": {"images": {"train": 8, "val": 2, "test": 2}},
        "cityscapes_synthetic": {"images": {"train": 8, "val": 2, "test": 0}, "size": [128, 64]},
    },
}
# Fields of records and metrics that differ from run to run, and what says of itself that it was interrupted.
CHANGING = {"started", "wall_s", "cpu_s", "peak_rss_mb", "samples_ms", "load", "steady", "warmup_batches", "resumed_at"}
MEASURED = re.compile(r".*(_ms|_s|_mb|ips|_share)")
TIMED = re.compile(r".*(history\.csv|\.log)")  # outputs that hold times
IGNORED = {".snakemake_timestamp", "run_config.log"}
HISTORY = ("iter", "epoch", "loss", "lr", "loss_scale", "skipped")
# How often which victim is chosen where there are several kinds.
WEIGHTS = {
    "snakemake": 1,
    "everything": 1,
    "shell": 1,
    "supervisor": 2,
    "launcher": 2,
    "worker": 3,
    "rank": 3,
    "loader": 3,
}
RUN_S = 1800  # a run that takes longer hangs
END_S = 60  # for what a killed run leaves behind to end by itself


@dataclass
class Soak:
    """Runs of one matrix in one folder.

    Attributes:
        folder: the working directory; made anew.
        config: the user's configuration of the runs.
        rng: chooses victims and moments.
        cores: for Snakemake.
    """

    folder: Path
    config: dict[str, Any]
    rng: random.Random
    cores: int = 2
    longest_delay: float = 6.0
    runs: int = 0
    recoveries: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    expected: dict[str, Any] = field(default_factory=dict)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def prepare(self) -> None:
        """Make the folder and the results of an undisturbed run.

        Raises:
            RuntimeError: it does not pass.
        """
        self.folder.mkdir(parents=True)
        (self.folder / "soak.yaml").write_text(yaml.safe_dump(self.config), encoding="utf-8")
        if self._run() != 0:
            raise RuntimeError(f"the undisturbed run does not pass:\n{self._output()}")
        self.expected = self.outcome()

    def cycle(self, kills: int) -> None:
        """Spoil something, run with so many kills, then run undisturbed and compare."""
        self._spoil()
        done = self._settled()
        while kills > 0:
            victims = self._run_and_kill(kills)
            kills -= victims
            done = self._compare_settled(done)
            if not victims:
                self._spoil()
                done = self._settled()
        code = self._run()
        if code != 0:
            self._differs(f"an undisturbed run after kills ended with exit code {code}:\n{self._output()}")
            shutil.rmtree(self.folder / "results")  # begin anew, or every cycle from now on would fail
            shutil.rmtree(self.folder / ".snakemake")
            return
        self.recoveries += 1
        self._compare_settled(done)
        found = self.outcome()
        for name in sorted(self.expected.keys() | found.keys()):
            ours, theirs = found.get(name), self.expected.get(name)
            if ours != theirs:
                self._differs(f"{name}: {_first_difference(theirs, ours)}")
        if left := self._left_alive():
            self._differs(f"still running after the end: {left}")

    # -- running and killing ------------------------------------------------------------------

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--cores", str(self.cores), "--profile", str(ROOT / "profiles/default")]
        command += ["--configfile", "soak.yaml"]
        self.runs += 1
        with (self.folder / "output.txt").open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, MARK: self.token},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _run(self) -> int:
        process = self.start()
        try:
            return process.wait(RUN_S)
        except subprocess.TimeoutExpired:
            self._differs(f"a run did not end within {RUN_S} s:\n{self._output()}")
            self._kill_everything()
            return process.wait()

    def _run_and_kill(self, most: int) -> int:
        """A run in which at most so many kills happen; how many did."""
        process = self.start()
        killed = 0
        deadline = time.monotonic() + RUN_S
        while killed < most:
            try:
                process.wait(self.rng.uniform(0.05, self.longest_delay))
                break
            except subprocess.TimeoutExpired:
                killed += self._kill_one()
        if process.poll() is None and self.rng.random() < 0.5:
            self._kill_everything()  # the last kill of a run; otherwise it goes on and ends by itself
            killed += 1
        try:
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._differs(f"a run with kills did not end within {RUN_S} s:\n{self._output()}")
            self._kill_everything()
            process.wait()
        self._check_whole()
        return killed

    def family(self) -> dict[str, list[psutil.Process]]:
        """The processes of the runs, by what they are."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                environment = process.environ()
                if environment.get(MARK) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.setdefault(_kind(process, environment), []).append(process)
        return found

    def _kill_one(self) -> int:
        family = self.family()
        if not family:
            return 0
        kinds = [*sorted(family), "everything"]
        if set(family) <= {"snakemake"} and self.rng.random() < 0.7:
            return 0  # it plans: let it get to work more often than not
        kind = self.rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        if kind == "everything":
            self._kill_everything()
            return 1
        with contextlib.suppress(psutil.NoSuchProcess):
            self.rng.choice(family[kind]).kill()
            self.kills[kind] += 1
            return 1
        return 0

    def _kill_everything(self) -> None:
        """As if the power had gone: twice, for what was being started meanwhile."""
        for _ in range(2):
            for process in (process for kind in self.family().values() for process in kind):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.kills["everything"] += 1

    def _left_alive(self) -> list[str]:
        """What still runs although nothing should, after time enough to end by itself."""
        end = time.monotonic() + END_S
        while (family := self.family()) and time.monotonic() < end:
            time.sleep(0.2)
        shown = []
        for process in (process for kind in family.values() for process in kind):
            with contextlib.suppress(psutil.Error):
                shown.append(" ".join(process.cmdline())[:200])
        if shown:
            self._kill_everything()
        return shown

    def _spoil(self) -> None:
        """Give the next run something to do: all of it, or what follows from one record."""
        records = sorted(path for path in self._records() if path.name != "conclusions.json")
        if not records or self.rng.random() < 0.4:
            shutil.rmtree(self.folder / "results", ignore_errors=True)
        else:
            self.rng.choice(records).unlink()

    def stop(self) -> None:
        """Kill what still runs."""
        if self.family():
            self._kill_everything()

    # -- looking ------------------------------------------------------------------------------

    def _differs(self, what: str) -> None:
        self.differences.append(what)
        print(f"DIFFERENCE: {what}", flush=True)

    def _output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")[-3000:]

    def _records(self) -> list[Path]:
        """Records of cells and conclusions; not what a failed attempt left, nor what is no record."""
        results = self.folder / "results"
        found = [*results.glob("data/*.json"), *results.glob("*/*/*/*.json"), *results.glob("*/*/*/infer/*.json")]
        found = [path for path in found if not path.name.endswith(".failed.json") and not path.name.startswith(".")]
        return [*found, *results.glob("*/conclusions.json")]

    def _check_whole(self) -> None:
        """Every JSON file there is can be read: nothing is half written, at any moment."""
        folders = os.walk(self.folder / "results")  # not rglob, which breaks where a folder goes meanwhile
        for path in (Path(folder, name) for folder, _, names in folders for name in names if name.endswith(".json")):
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                self._differs(f"{path}: is not whole: {error}")
            except FileNotFoundError:  # it went meanwhile
                continue

    def _settled(self) -> dict[str, str]:
        """Records of jobs that nobody has to run again -> when they started.

        Snakemake knows them to be complete, and so is what they were made from, which is not newer.
        """
        incomplete = self.folder / ".snakemake/incomplete"
        unfinished = set()
        for path in incomplete.rglob("*"):
            if path.is_file():
                code = "".join(part.removeprefix("@") for part in path.relative_to(incomplete).parts)
                unfinished.add(urlsafe_b64decode(code).decode())
        times = {
            path.relative_to(self.folder).as_posix(): path.stat().st_mtime_ns
            for path in self._records()
            if path.name != "conclusions.json"
        }
        times = {name: time for name, time in times.items() if name not in unfinished}
        return {
            name: json.loads((self.folder / name).read_text(encoding="utf-8"))["started"]
            for name, made in times.items()
            if all(above in times and times[above] <= made for above in _above(name))
        }

    def _compare_settled(self, before: dict[str, str]) -> dict[str, str]:
        """What was settled before a run must not have been made again by it; what is settled now."""
        for name, started in before.items():
            path = self.folder / name
            now = json.loads(path.read_text(encoding="utf-8"))["started"] if path.exists() else "gone"
            if now != started:
                self._differs(f"{name}: was complete and was made again (started {started}, now {now})")
        return self._settled()

    def outcome(self) -> dict[str, Any]:
        """What a run leaves, without times and measurements: file -> content or digest."""
        found: dict[str, Any] = {}
        results = self.folder / "results"
        for path in sorted(results.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not path.is_file() or path.name in IGNORED or path.suffix in (".lock", ".tsv"):
                continue
            if path.name == "conclusions.json":
                content = json.loads(path.read_text(encoding="utf-8"))
                found[name] = {
                    **{key: content[key] for key in ("red", "counts")},
                    "cells": [_constant(cell) for cell in content["cells"]],
                }
            elif path.suffix == ".json" and path.name not in ("model.json", "manifest.json", "summary.json"):
                found[name] = _constant(json.loads(path.read_text(encoding="utf-8")))
            elif path.name == "history.csv":
                with path.open(encoding="utf-8", newline="") as stream:
                    found[name] = [{key: row[key] for key in HISTORY} for row in csv.DictReader(stream)]
            elif path.suffix in (".log", ".md", ".csv", ".html", ".xml"):
                found[name] = "is there"
            else:
                found[name] = _digest(path)
        return found

    def report(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "kills": sum(self.kills.values()),
            "killed": dict(sorted(self.kills.items())),
            "recoveries": self.recoveries,
            "differences": self.differences,
        }


def _kind(process: psutil.Process, environment: dict[str, str]) -> str:
    command = process.cmdline()
    if "SEGCERT_WORKER" in environment:
        if "PADDLE_TRAINER_ID" in environment:
            return "rank"
        parent = process.parent()
        within = parent is not None and "SEGCERT_WORKER" in parent.environ()
        return "launcher" if "paddle.distributed.launch" in command else "loader" if within else "worker"
    if "snakemake" in command:
        return "snakemake"
    if any(word.endswith(".py") for word in command):
        return "supervisor"
    return "shell"


def _above(name: str) -> list[str]:
    """Names of the records that a record is made from, as far as the run has them."""
    data = {"pp_humanseg": "mini_supervisely_synthetic"}
    parts = name.split("/")
    if parts[1] == "data":
        return [name.replace(".json", ".tar.json")] if not name.endswith(".tar.json") else []
    dataset = next((value for start, value in data.items() if parts[2].startswith(start)), "cityscapes_synthetic")
    folder = "/".join(parts[:4])
    found = [f"results/data/{dataset}.tar.json", f"results/data/{dataset}.json"]
    if name.endswith(("/eval.json", "/export.json")):
        found.append(f"{folder}/train.json")
    elif "/infer/" in name:
        found += [f"{folder}/{stage}.json" for stage in ("train", "eval", "export")]
    return found


def _constant(content: Any) -> Any:
    """A record without what changes from run to run."""
    if isinstance(content, dict):
        return {
            key: _constant({path: digest for path, digest in value.items() if not TIMED.fullmatch(path)})
            if key == "outputs"
            else _constant(value)
            for key, value in content.items()
            if key not in CHANGING and not MEASURED.fullmatch(key)
        }
    if isinstance(content, list):
        return [_constant(item) for item in content]
    return content


def _digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_difference(expected: Any, found: Any, place: str = "") -> str:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                return _first_difference(expected.get(key), found.get(key), f"{place}.{key}")
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{place}.{number}")
    return f"{place or 'it'} is {str(found)[:200]}, undisturbed {str(expected)[:200]}"


def soak(folder: Path, config: dict[str, Any], seed: int, seconds: float, kills: int | None, per_cycle: int) -> Soak:
    """Cycles until the time is over or so many kills are done, whatever comes first."""
    run = Soak(folder, config, random.Random(seed))  # noqa: S311
    try:
        run.prepare()
        end = time.monotonic() + seconds
        while time.monotonic() < end and (kills is None or sum(run.kills.values()) < kills):
            left = per_cycle if kills is None else min(per_cycle, kills - sum(run.kills.values()))
            run.cycle(left if kills is not None else run.rng.randint(1, per_cycle))
            print(json.dumps({key: value for key, value in run.report().items() if key != "differences"}), flush=True)
    finally:
        run.stop()
    return run


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=1800, help="go on for so long; a cycle that began is ended")
    options.add_argument("--kills", type=int, help="end after so many kills")
    options.add_argument("--per-cycle", type=int, default=8, help="kills before a run is left alone, at most")
    options.add_argument("--models", nargs="+", default=["pp_humanseg_lite", "pp_humanseg_mobile"])
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--folder", type=Path, help="where to work (made, and kept); default: a temporary folder")
    args = options.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))) / "run"
        begun = time.monotonic()
        run = soak(folder, {**CONFIG, "models": args.models}, args.seed, args.seconds, args.kills, args.per_cycle)
        print(json.dumps({**run.report(), "models": args.models, "seed": args.seed}, indent=1))
        print(
            f"{run.runs} runs, {sum(run.kills.values())} kills, {run.recoveries} recoveries, "
            f"{len(run.differences)} differences in {time.monotonic() - begun:.0f} s"
        )
    return 1 if run.differences else 0


if __name__ == "__main__":
    sys.exit(main())
