"""How a stage's script runs: a supervisor that keeps the evidence, and a worker that does the work.

The script is started once and starts itself again as the worker (or, for several ranks, starts
`paddle.distributed.launch` on itself). The supervisor measures the process tree, keeps what it
prints, ends it when its time is up or when it is itself told to stop, decides the status, and moves
the outputs into place. So a worker that crashes, is killed or hangs still leaves a record, and an
output appears whole or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from segcert import attempts, gpus, machine, processes, proof, record, schedulers, statuses
from segcert.errors import StageError, Unverified
from segcert.files import hashes, write_json
from segcert.masking import masked
from segcert.numbers import finite
from segcert.stage import deferred, leases, surroundings
from segcert.stage.advice import with_advice
from segcert.stage.inputs import Inputs
from segcert.stage.load import OtherLoad

WORKER = "SEGCERT_WORKER"  # set for the worker: its staging folder
PARENT = "SEGCERT_PARENT"  # set for the worker: the process that started it, with which it ends
RANK = "PADDLE_TRAINER_ID"  # set by Paddle's launcher for each rank
# Set by the tests alone: what computes in place of the devices that a worker was given. No cell is passed with it.
STAND_IN = "SEGCERT_STAND_IN"
FORGIVEN = {"device", "engine", "precision", "level", "dtype"}  # of a stand-in: what it cannot do as asked
PROGRESS = "SEGCERT_PROGRESS"  # set to 0 by the workflow, whose jobs share a terminal that has its own progress
PROGRESS_FD = "SEGCERT_PROGRESS_FD"  # set for the worker where a person watches: the terminal
WORKFLOW = "SEGCERT_WORKFLOW"  # set by the workflow: the process whose end ends its stages (JSON of processes.identity)
SAMPLE_S = 0.2  # between two looks at the memory of the process tree, at least
SAMPLE_SHARE = 0.04  # of a core, at most, that those looks may take
GRACE_S = 10  # between asking a worker to end and ending it
GUARD_S = 0.5  # between two looks at whether the workflow still runs
OTHERS_S = 60  # to wait for another attempt at the same record to end


@dataclass
class Result:
    """What a worker found.

    Attributes:
        effective: what was observed to run, under the names of the request.
        metrics: numbers of the stage.
        gates: numerical gates, as `proof.gate` makes them.
        extra: further fields of the record, such as raw samples.
    """

    effective: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Plan:
    """What a script tells its supervisor.

    Attributes:
        stage: train | eval | export | infer | data.
        requested: what is asked for, by field.
        inputs: files and folders that the stage reads, for the record's hashes.
        outputs: name -> final path; the worker writes each to `Staging.path(name)`.
        work: does the work in the worker.
        ranks: processes of `paddle.distributed.launch`; 1 starts the worker directly.
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
    ranks: int = 1
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    kept: Path | None = None
    set_aside: Sequence[str] = ()


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
    def arguments(self) -> Path:
        return self.folder / "arguments.json"

    @property
    def ranks(self) -> Path:
        return self.folder / "ranks"


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
        help="a failure whose message matches the regular expression ERROR is known-failure, "
        "on the versions of Paddle that PADDLE specifies (such as ==3.2.*; any: on all)",
    )
    return options


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments of this process.

    A rank has them from its staging folder: Paddle's launcher reads every option on its command line
    as its own or its own's abbreviation, also those behind the script.
    """
    folder = os.environ.get(WORKER)
    if folder and (saved := Staging(folder).arguments).is_file():
        sys.argv[1:] = json.loads(saved.read_text(encoding="utf-8"))
    return options.parse_args()


def main(args: argparse.Namespace, plan: Plan) -> int:
    """Run the stage: as the worker where the supervisor started us so, else as the supervisor."""
    folder = os.environ.get(WORKER)
    if not folder:
        return _Supervisor(args, plan).run()
    if plan.ranks > 1 and RANK not in os.environ:
        return _launch(plan, Staging(folder))
    return _worker(args, plan, Staging(folder))


# -- worker -----------------------------------------------------------------------------------


def _worker(args: argparse.Namespace, plan: Plan, staging: Staging) -> int:
    die_with_parent(int(os.environ[PARENT]))
    if not plan.gpus:
        # Here and not by the supervisor: Paddle's launcher takes an empty list for one device without a name.
        os.environ[gpus.VISIBLE] = ""
    deferred.defer()
    try:
        result = plan.work(args, staging)
    except BaseException as error:
        print(masked(traceback.format_exc()), file=sys.stderr)
        tell(error)
        sys.stderr.flush()
        return 1
    if _rank() == 0:
        write_json(staging.result, vars(result))
    return 0


def tell(error: BaseException) -> None:
    """Tell the supervisor, if there is one, why this process fails, from whatever process of the stage.

    Only the first to tell is heard: it has the cause. Other ranks fail because it is gone, and a worker gets
    no more than a notice that its data loader broke.
    """
    folder = os.environ.get(WORKER)
    if not folder:
        return
    kind = "unverified" if isinstance(error, Unverified) else "error"
    message = str(error) if isinstance(error, Unverified | StageError) else f"{type(error).__name__}: {error}"
    message = " ".join(message.split())  # a reason is one line, in tables too; the log has it as it came
    with contextlib.suppress(OSError), Staging(folder).error.open("x", encoding="utf-8") as stream:
        told = {"kind": kind, "rank": _rank(), "message": message, "lasting": getattr(error, "lasting", False)}
        json.dump(told, stream)


def _rank() -> int:
    return int(os.environ.get(RANK, "0"))


def _launch(plan: Plan, staging: Staging) -> int:
    """Become Paddle's launcher of the ranks, each of which runs this script again; it ends the process with them."""
    # Not killed: it is to end its ranks first, and to hold their devices until they have ended.
    die_with_parent(int(os.environ[PARENT]), signal.SIGTERM)
    os.environ[PARENT] = str(os.getpid())
    from paddle.distributed.launch.main import launch

    options = ["--nproc_per_node", str(plan.ranks), "--log_dir", str(staging.ranks)]
    # Otherwise it asks the driver for the devices' use every few seconds, while ranks are timed on them.
    options += ["--enable_gpu_log", "false"]
    sys.argv = ["paddle.distributed.launch", *options, sys.argv[0]]
    return int(launch() or 0)


def die_with_parent(parent: int | None = None, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux to end this process when its parent ends, however that ends (prctl(2)).

    Args:
        parent: the process that is to be the parent; where it no longer is, this one ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by)  # PR_SET_PDEATHSIG
    if parent is not None and os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)


def adopt_orphans() -> None:
    """Ask Linux for the children of children that end: so none escapes its supervisor (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


# -- supervisor -------------------------------------------------------------------------------


class _Supervisor:
    def __init__(self, args: argparse.Namespace, plan: Plan) -> None:
        self.args, self.plan = args, plan
        self.cleared = surroundings.clear()
        self.stand_in = os.environ.get(STAND_IN)
        if not plan.gpus and gpus.ANSWER not in os.environ:  # by hand, and no GPU is wanted: nobody asks the driver
            gpus.hand_on(wanted=False)
        self.record = Path(args.record)
        self.log = Path(args.log)
        self.failure = Path(record.failure(args.record))
        self.staging = Staging(self.record.parent / f".{self.record.stem}.{os.getpid()}.partial")
        self.peak_rss = 0
        self.load: dict[str, Any] | None = None
        self.oom_kills = machine.oom_kills()
        self.stopped_by: str | None = None
        self.lasting = False  # whether another try would be as unverified as this one
        self.child: subprocess.Popen[bytes] | None = None
        self.inputs: Inputs | None = None  # as they were before the worker started, once it has
        self.over = threading.Event()
        self._start_clock()

    def run(self) -> int:
        try:
            try:
                self._prepare()
                threading.Thread(target=self._guard, daemon=True).start()
                status, reason, result = self._held_up() or self._unless_changed(*self._lease_and_run())
                self._publish(status, reason, result, time.monotonic() - self.clock)
            except OSError as error:
                status, reason = self._publish_anyway(error)
        finally:
            self.over.set()
            shutil.rmtree(self.staging.folder, ignore_errors=True)
        reason = reason and masked(reason)
        name = " ".join(filter(None, (self.args.model, self.plan.stage, self.args.cell)))
        verdict = f"{status.name}: {name}{': ' + reason if reason else ''}"
        if status is not statuses.PASSED or os.environ.get(PROGRESS) != "0":  # Snakemake tells of what went well
            print(verdict, file=sys.stderr)
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{verdict}\n")  # what the worker printed may not say why, such as a gate that does not hold
        if status.red:
            print(f"log: {self.log}", file=sys.stderr)
        return 1 if status.red else 0

    def _start_clock(self) -> None:
        self.started, self.clock = datetime.now(UTC), time.monotonic()

    def _prepare(self) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._wait_for_others()
        for leftover, _ in attempts.left_behind(self.record):
            shutil.rmtree(leftover, ignore_errors=True)
        self.staging.folder.mkdir()
        # For whoever finds this folder because we were ended without being able to say why.
        attempt = {
            **processes.identity(),
            "scheduler_job": schedulers.job(os.environ),
            "command": command_line(),
            "log": self.log.as_posix(),
            "started": _iso(datetime.now(UTC)),
        }
        write_json(self.staging.folder / attempts.ATTEMPT, attempt)

    def _wait_for_others(self) -> None:
        """Let another attempt at the same record end first: that of a run that was killed just now does.

        Raises:
            TimeoutError: it goes on.
        """
        deadline = time.monotonic() + OTHERS_S
        while others := attempts.running(self.record):
            if time.monotonic() > deadline:
                said = others[0][1]
                raise TimeoutError(
                    f"another attempt at {self.record} is at work: process {said.get('pid')} on {said.get('host')} "
                    f"since {said.get('started')}; wait until it has ended, or end it"
                )
            time.sleep(GUARD_S)

    def _guard(self) -> None:
        """Give signs of life, and end when the workflow that started us is gone: nobody would take what we make."""
        workflow = json.loads(os.environ.get(WORKFLOW, "{}"))
        beaten = time.monotonic()
        while not self.over.wait(GUARD_S):
            if processes.here(workflow) and not processes.is_below(workflow):
                if self.child is None:
                    shutil.rmtree(self.staging.folder, ignore_errors=True)
                    os._exit(1)
                self._stop("ended because the workflow that started it is gone; run it again", grace=0)
            if time.monotonic() - beaten > attempts.HEARTBEAT_S:
                beaten = time.monotonic()
                with contextlib.suppress(OSError):
                    os.utime(self.staging.folder / attempts.ATTEMPT)

    def _held_up(self) -> tuple[statuses.Status, str | None, dict[str, Any]] | None:
        """The status that follows from an upstream record that is not passed; None where all are."""
        for path in self.args.upstream:
            try:
                above = record.read(path)
            except record.RecordError as error:
                self.log.write_text(f"not started: {error}\n", encoding="utf-8")
                return self._failed(str(error), _nothing())
            if self.stand_in and above.get("stand_in"):
                continue  # so that the whole of it is walked; nothing of it is ever passed
            if held_up := statuses.by_name(above["status"]).holds_up:
                self.log.write_text(f"not started: {path} is {above['status']}\n", encoding="utf-8")
                return (
                    statuses.by_name(held_up),
                    f"made from {above['stage']} {above['cell']}: {above['status']}: {above['reason']}",
                    _nothing(),
                )
        return None

    def _lease_and_run(self) -> tuple[statuses.Status, str | None, dict[str, Any]]:
        if not self.plan.gpus:
            return self._judge(self._run_child(leases.Lease([], [], "lease")))
        try:
            lease = leases.acquire(self.plan.gpus)
        except leases.TooFewDevices as error:
            return statuses.UNVERIFIED, str(error), _nothing()
        except leases.LeaseError as error:
            return self._failed(str(error), _nothing())
        try:
            status, reason, result = self._judge(self._run_child(lease))
        finally:
            lease.release()
        devices = [{**vars(device), "model": gpus.model(device.key)} for device in lease.devices]
        result["extra"] |= {"gpus": devices, "gpus_by": lease.assigned_by}
        return status, reason, result

    def _environment(self, lease: leases.Lease) -> dict[str, str]:
        threads = str(self.plan.threads)
        own = {WORKER: str(self.staging.folder), PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        own |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        # PaddleSeg makes folders there when it is imported; nobody else's caches are of use to a stage.
        own["SEG_HOME"] = str(self.staging.path("paddleseg").absolute())
        if not os.access(Path.home(), os.W_OK):  # Paddle makes folders there when it exports
            own |= {"HOME": str(self.staging.folder.absolute()), "NETRC": str(Path.home() / ".netrc")}
        return {**os.environ, **own, **lease.environment, **self.plan.environment}

    def _run_child(self, lease: leases.Lease) -> int:
        # Before the work: of a file that is edited during it, the record must not name what nothing was made from.
        self.inputs = Inputs(self.plan.inputs)
        self._start_clock()  # waiting for devices is not part of the work
        environment = self._environment(lease)
        descriptors = lease.descriptors
        if sys.stderr.isatty() and os.environ.get(PROGRESS) != "0":
            terminal = os.dup(sys.stderr.fileno())  # a number of its own: the worker's stderr is the log
            descriptors += (terminal,)
            environment[PROGRESS_FD] = str(terminal)
        if self.plan.ranks > 1:
            write_json(self.staging.arguments, sys.argv[1:])
        adopt_orphans()
        with self.log.open("wb") as log:
            log.write(f"$ {command_line()}\n".encode())
            if self.cleared:
                log.write(f"set aside of what the surroundings set: {', '.join(self.cleared)}\n".encode())
            log.flush()
            self.child = subprocess.Popen(
                [sys.executable, *sys.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,
            )
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._on_signal)
            load = OtherLoad()
            code = self._watch(self.child)
            self.load = load.seen()
            self._append_rank_logs(log)
        return code

    def _on_signal(self, number: int, frame: Any) -> None:
        # Which of the two, the scheduler can tell once the job is over: the conclusions ask it.
        name = signal.Signals(number).name
        if number == signal.SIGINT:
            self._stop(f"ended by {name}: interrupted (Ctrl-C); run again, without --force or --forcerun, to go on")
        else:
            self._stop(f"ended by {name}: cancelled, or over a limit of its scheduler")

    def _stop(self, why: str, grace: float = GRACE_S) -> None:
        if self.stopped_by is None and self.child is not None and self.child.poll() is None:
            self.stopped_by = why
            _signal_group(self.child, signal.SIGTERM)
            ending = threading.Timer(grace, _signal_group, (self.child, signal.SIGKILL))
            ending.daemon = True
            ending.start()

    def _watch(self, child: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + self.args.timeout_min * 60
        process, pause = psutil.Process(child.pid), SAMPLE_S
        while True:
            try:
                code = child.wait(pause)
                break
            except subprocess.TimeoutExpired:
                begun = time.process_time()
                self.peak_rss = max(self.peak_rss, _tree_rss(process))
                pause = max(SAMPLE_S, (time.process_time() - begun) / SAMPLE_SHARE)
            if time.monotonic() > deadline:
                self._stop(f"timed out after {self.args.timeout_min:g} minutes")
        _signal_group(child, signal.SIGKILL)  # whatever it left behind, such as data loader workers
        _end_orphans()
        return code

    def _append_rank_logs(self, log: Any) -> None:
        printed = self.log.read_bytes()  # the launcher prints what rank 0 does, unless it ends too early
        for file in sorted(self.staging.ranks.glob("workerlog.*")):
            said = file.read_bytes()
            if said.strip() not in printed:
                log.write(f"---- rank {file.suffix[1:]} ----\n".encode() + said)

    # -- judging ------------------------------------------------------------------------------

    def _judge(self, code: int) -> tuple[statuses.Status, str | None, dict[str, Any]]:
        """Status, reason and the worker's result (empty where there is none)."""
        empty = _nothing()
        if self.stopped_by:
            return self._failed(self.stopped_by, empty)
        if report := self._told():
            if report["kind"] == "unverified":
                self.lasting = report["lasting"]
                return statuses.UNVERIFIED, report["message"], empty
            rank = f"rank {report['rank']}: " if self.plan.ranks > 1 else ""
            return self._failed(rank + report["message"], empty)
        if code != 0:
            oom = machine.oom_kills()
            if oom is not None and self.oom_kills is not None and oom > self.oom_kills:
                return self._failed(f"{_exit_in_words(code)}; a process of its group was killed for its memory", empty)
            return self._failed(_exit_in_words(code), empty)
        if not self.staging.result.is_file():
            return self._failed("ended without a result although its exit code was 0", empty)
        result = json.loads(self.staging.result.read_text(encoding="utf-8"))
        missing = [name for name in self.plan.outputs if not self.staging.path(name).exists()]
        if missing:
            return self._failed(f"ended without its outputs {', '.join(missing)}", result)
        forgiven = FORGIVEN if self.stand_in else set()
        asked = {key: value for key, value in self.plan.requested.items() if key not in forgiven}
        different = proof.differences(asked, result["effective"])
        if different:
            reason = "; ".join(different)
            if _is_hardware_limit(self.plan.requested, result["effective"]):
                return statuses.UNVERIFIED, reason, result
            return self._failed(reason, result)
        broken = proof.broken(result["gates"])
        if broken:
            return self._failed("; ".join(broken), result, statuses.ACCURACY_FAILED)
        # The conclusions would not believe it either, and Snakemake would take the job for done.
        unproven = proof.unproven(
            {
                "stage": self.plan.stage,
                "requested": asked,
                "effective": result["effective"],
                "metrics": _with_gates(result),
                **result["extra"],
            }
        )
        if unproven:
            return self._failed(f"not proved: {'; '.join(unproven)}", result)
        if self.stand_in:
            return statuses.UNVERIFIED, f"computed on a stand-in: {self.stand_in}", result
        return statuses.PASSED, self._passing_remark(), result

    def _unless_changed(
        self, status: statuses.Status, reason: str | None, result: dict[str, Any]
    ) -> tuple[statuses.Status, str | None, dict[str, Any]]:
        """The outcome; failed where an input is not what it was when the work began: nobody knows what was read."""
        changed = self.inputs.changed() if self.inputs and not self.stopped_by else None
        if changed is None:
            return status, reason, result
        if self.plan.kept:  # made from who knows what as well
            shutil.rmtree(self.plan.kept, ignore_errors=True)
        # No known failure is an excuse for this.
        return statuses.FAILED, f"{reason}; {changed}" if status.red else changed, result

    def _told(self) -> dict[str, Any] | None:
        """What the worker said of its failure; None where it said nothing, or could not because the disk is full."""
        try:
            told: dict[str, Any] = json.loads(self.staging.error.read_text(encoding="utf-8"))
            return told
        except (OSError, ValueError):
            return None

    def _failed(
        self, reason: str, result: dict[str, Any], status: statuses.Status = statuses.FAILED
    ) -> tuple[statuses.Status, str, dict[str, Any]]:
        for identifier, error, why, link in self._known_failures():
            if re.search(error, reason):
                return statuses.KNOWN_FAILURE, f"{identifier}: {why} ({link}) Seen: {reason}", result
        return status, with_advice(reason, self.record.parent), result

    def _known_failures(self) -> list[list[str]]:
        """Those of the Paddle that runs here: (id, error, reason, link)."""
        return [known[:4] for known in self.args.known_failure if machine.paddle_is(known[4].replace("any", ""))]

    def _passing_remark(self) -> str | None:
        listed = [identifier for identifier, *_ in self._known_failures()]
        return f"passes although listed as known failure {', '.join(listed)}: take it off the list" if listed else None

    # -- publishing ---------------------------------------------------------------------------

    def _publish_anyway(self, error: OSError) -> tuple[statuses.Status, str]:
        """Say that something could not be written; in a record as well, if that still can be."""
        shutil.rmtree(self.staging.folder, ignore_errors=True)  # makes room
        _, reason, result = self._failed(f"cannot go on: {error}", _nothing())
        with contextlib.suppress(OSError):
            self._publish(statuses.FAILED, reason, result, time.monotonic() - self.clock)
        return statuses.FAILED, reason

    def _publish(self, status: statuses.Status, reason: str | None, result: dict[str, Any], wall: float) -> None:
        outputs = {}
        set_aside = self._set_aside(status)
        if not status.red:
            self.record.unlink(missing_ok=True)  # never beside outputs that are not those it tells of
            outputs = self._publish_outputs(status, reason)
        cpu = sum(os.times()[2:4])  # of the finished child and its children
        content = {
            "model": self.args.model,
            "algorithm": self.args.algorithm,
            "mode": self.args.mode,
            "stage": self.plan.stage,
            "cell": self.args.cell,
            "status": status.name,
            **({"try_again": False} if self.lasting else {}),
            "reason": reason and masked(reason),
            "command": command_line(),
            "log": self.log.as_posix(),
            "started": _iso(self.started),
            "wall_s": finite(wall),
            "cpu_s": finite(cpu),
            "peak_rss_mb": round(self.peak_rss / 2**20, 1),
            "load": self.load,
            "env": machine.environment() | {"surroundings": surroundings.told(), "cleared": self.cleared},
            "requested": self.plan.requested,
            "effective": result["effective"],
            "metrics": _with_gates(result),
            "inputs": (self.inputs or Inputs(self.plan.inputs)).hashes,
            "outputs": outputs,
            **({"set_aside": set_aside} if set_aside else {}),
            **({"stand_in": self.stand_in} if self.stand_in else {}),
            "scheduler_job": schedulers.job(os.environ),
            **result["extra"],
        }
        record.write(self.failure if status.red else self.record, content)
        if not status.red:
            self.failure.unlink(missing_ok=True)
            if self.plan.kept:
                shutil.rmtree(self.plan.kept, ignore_errors=True)

    def _set_aside(self, status: statuses.Status) -> dict[str, str]:
        targets = {name: record.aside(self.plan.outputs[name]) for name in self.plan.set_aside}
        for target in targets.values():
            shutil.rmtree(target, ignore_errors=True)  # of an earlier attempt
        if status is not statuses.ACCURACY_FAILED:
            return {}
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.staging.path(name).replace(target)
            print(f"{name}: {target}", file=sys.stderr)
        return {name: target.as_posix() for name, target in targets.items()}

    def _publish_outputs(self, status: statuses.Status, reason: str | None) -> dict[str, str]:
        for name, final in self.plan.outputs.items():
            made, target = self.staging.path(name), Path(final)
            if not made.exists():
                # The target must exist for the workflow to go on; it says itself why it is empty.
                if target.suffix:
                    made.write_text(f"{status.name}: {reason}\n", encoding="utf-8")
                else:
                    made.mkdir()
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():  # away in one step: half of a folder would be worse than none
                target.rename(self.staging.path(f"{name}.before"))
            made.replace(target)
        return hashes(self.plan.outputs.values())


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _with_gates(result: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a record: the worker's, with its gates where it has some."""
    return {**result["metrics"], **({"gates": result["gates"]} if result["gates"] else {})}


def _nothing() -> dict[str, Any]:
    return vars(Result({}))


def command_line() -> str:
    """The command that runs this script, as one could paste it into a shell."""
    return masked(shlex.join([sys.executable, *sys.argv]))


def _tree_rss(process: psutil.Process) -> int:
    """Bytes of resident memory of a process and all below it, pages that they share counted once.

    That is the sum of proportional set sizes (Linux); elsewhere of resident set sizes.
    """
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            full = member.memory_full_info()
            total += getattr(full, "pss", full.rss)
        except psutil.Error:
            continue
    return total


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _end_orphans() -> None:
    """End what the worker left behind in groups of its own, such as ranks, and wait for it: it may hold a device.

    What cannot be killed, because it waits for a broken driver, is not waited for any longer than GRACE_S.
    """
    deadline = time.monotonic() + GRACE_S
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def _exit_in_words(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = {"SIGKILL": "; was the machine out of memory? (dmesg tells)", "SIGSEGV": " in native code"}.get(name, "")
        return f"killed by {name}{hint}"
    return f"ended with exit code {code} and no message; see the log"


def _is_hardware_limit(requested: Mapping[str, Any], effective: Mapping[str, Any]) -> bool:
    """Mixed precision on a CPU place computes in fp32 by Paddle's design: not a fault, but no proof either."""
    return requested.get("precision") == "amp" and effective.get("device") == "cpu"
