"""The supervisor of a stage: it starts the worker, watches it, and publishes what it made with a record of it.

It measures the process tree, keeps what it prints, ends it when its time is up or when it is itself told to stop,
and moves the outputs into place. So a worker that crashes, is killed or hangs still leaves a record, and an output
appears whole or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from segcert import attempts, gpus, machine, processes, record, schedulers, stages, statuses
from segcert.errors import ConfigError
from segcert.files import hashes, write_json
from segcert.masking import masked
from segcert.numbers import finite
from segcert.stage import at_hand, family, judging, leases, printed, surroundings
from segcert.stage.advice import with_advice
from segcert.stage.inputs import Inputs
from segcert.stage.judging import Known, Outcome, Told
from segcert.stage.load import OtherLoad
from segcert.stage.plan import Plan, worst
from segcert.stage.worker import PARENT, PROGRESS_FD, WORKER, Result, Staging

# Set by the tests alone: what computes in place of the devices that a worker was given. No cell is passed with it.
STAND_IN = "SEGCERT_STAND_IN"
PROGRESS = "SEGCERT_PROGRESS"  # set to 0 by the workflow, whose jobs share a terminal that has its own progress
WORKFLOW = "SEGCERT_WORKFLOW"  # set by the workflow: the process whose end ends its stages (JSON of processes.identity)
SAMPLE_S = 0.2  # between two looks at the memory of the process tree, at least
SAMPLE_SHARE = 0.04  # of a core, at most, that those looks may take
GRACE_S = 10  # between asking a worker to end and ending it
GUARD_S = 0.5  # between two looks at whether the workflow still runs
OTHERS_S = 60  # to wait for another attempt at the same record to end


class Supervisor:
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
        self.child: subprocess.Popen[bytes] | None = None
        self.printed_from = 0  # where in the log what the worker prints begins
        self.inputs: Inputs | None = None  # as they were before the worker started, once it has
        self.above: dict[str, dict[str, Any]] = {}  # the records of what this is made from, by their file
        self.paddleseg: at_hand.AtHand | None = None
        self.imported: dict[str, Any] = {}  # what the worker says that it imported
        self.over = threading.Event()
        self._start_clock()

    def run(self) -> int:
        try:
            try:
                self._prepare()
                threading.Thread(target=self._guard, daemon=True).start()
                outcome = self._held_up() or self._unless_changed(self._lease_and_run())
                self._publish(outcome, time.monotonic() - self.clock)
            except OSError as error:
                outcome = self._publish_anyway(error)
        finally:
            self.over.set()
            shutil.rmtree(self.staging.folder, ignore_errors=True)
        status, reason = outcome.status, outcome.reason and masked(outcome.reason)
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

    def _held_up(self) -> Outcome | None:
        """What follows from a record above that is not passed, or was made by other code; None where all are well."""
        records = []
        for path in self.args.upstream:
            try:
                above = record.read(path)
            except record.RecordError as error:
                self.log.write_text(f"not started: {error}\n", encoding="utf-8")
                return self._failed(str(error))
            if outcome := judging.held_up(above, self.stand_in):
                self.log.write_text(f"not started: {path} is {above['status']}\n", encoding="utf-8")
                return outcome
            records.append(above)
        self.above = dict(zip(self.args.upstream, records, strict=True))
        if why := self._look_at_paddleseg(records):
            self.log.write_text(f"not started: {why}\n", encoding="utf-8")
            return self._failed(why)
        return None

    def _look_at_paddleseg(self, records: list[dict[str, Any]]) -> str | None:
        """In words, why the PaddleSeg at hand cannot be used with what this is made from; None where it can."""
        config = getattr(self.args, "config", None)
        try:
            self.paddleseg = at_hand.look(self.args.paddleseg, self.args.model, config, records)
        except ConfigError as error:
            return str(error)
        if self.paddleseg is None:
            return None
        told = (self.paddleseg.differs_from(*of) for of in zip(records, self.args.upstream, strict=True))
        return next(filter(None, told), None)

    def _lease_and_run(self) -> Outcome:
        if not self.plan.gpus:
            return self._work()
        try:
            lease = leases.acquire(self.plan.gpus)
        except leases.TooFewDevices as error:
            return Outcome(statuses.UNVERIFIED, str(error))
        except leases.LeaseError as error:
            return self._failed(str(error))
        try:
            outcome = self._work(lease)
        finally:
            lease.release()
        devices = [{**vars(device), "model": gpus.model(device.key)} for device in lease.devices]
        outcome.result.extra |= {"gpus": devices, "gpus_by": lease.assigned_by}
        return outcome

    def _work(self, lease: leases.Lease | None = None) -> Outcome:
        # Before the work: of a file that is edited during it, the record must not name what nothing was made from.
        self.inputs = Inputs(self.plan.inputs)
        if why := self.inputs.not_as_made(self.above):
            self.log.write_text(f"not started: {why}\n", encoding="utf-8")
            return self._advised(Outcome(statuses.FAILED, why))  # no known failure is an excuse for this
        return self._judge(self._run_child(lease))

    def _environment(self, lease: leases.Lease | None) -> dict[str, str]:
        threads = str(self.plan.threads)
        own = {WORKER: str(self.staging.folder), PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        own |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        # PaddleSeg makes folders there when it is imported; nobody else's caches are of use to a stage.
        own["SEG_HOME"] = str(self.staging.path("paddleseg").absolute())
        if not os.access(Path.home(), os.W_OK):  # Paddle makes folders there when it exports
            own |= {"HOME": str(self.staging.folder.absolute()), "NETRC": str(Path.home() / ".netrc")}
        return {**os.environ, **own, **(lease.environment if lease else {}), **self.plan.environment}

    def _run_child(self, lease: leases.Lease | None = None) -> int:
        self._start_clock()  # waiting for devices is not part of the work
        environment = self._environment(lease)
        descriptors = lease.descriptors if lease else ()
        if sys.stderr.isatty() and os.environ.get(PROGRESS) != "0":
            terminal = os.dup(sys.stderr.fileno())  # a number of its own: the worker's stderr is the log
            descriptors += (terminal,)
            environment[PROGRESS_FD] = str(terminal)
        if self.plan.launch:
            write_json(self.staging.arguments, sys.argv[1:])
        family.adopt_orphans()
        with self.log.open("wb") as log:
            log.write(f"$ {command_line()}\n".encode())
            if self.cleared:
                log.write(f"set aside of what the surroundings set: {', '.join(self.cleared)}\n".encode())
            log.flush()
            self.printed_from = log.tell()
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

    def _on_signal(self, number: int, _frame: Any) -> None:
        # Which of the two, the scheduler can tell once the job is over: the conclusions ask it.
        name = signal.Signals(number).name
        if number == signal.SIGINT:
            self._stop(f"ended by {name}: interrupted (Ctrl-C); run again, without --force or --forcerun, to go on")
        else:
            self._stop(f"ended by {name}: cancelled, or over a limit of its scheduler")

    def _stop(self, why: str, grace: float = GRACE_S) -> None:
        if self.stopped_by is None and self.child is not None and self.child.poll() is None:
            self.stopped_by = why
            family.signal_group(self.child, signal.SIGTERM)
            ending = threading.Timer(grace, family.signal_group, (self.child, signal.SIGKILL))
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
                self._look_at_memory(family.resident_bytes(process))
                pause = max(SAMPLE_S, (time.process_time() - begun) / SAMPLE_SHARE)
            if time.monotonic() > deadline:
                self._stop(f"timed out after {self.args.timeout_min:g} minutes")
        family.signal_group(child, signal.SIGKILL)  # whatever it left behind, such as data loader workers
        family.end_orphans(GRACE_S)
        return code

    def _look_at_memory(self, taken: int) -> None:
        """Note what the process tree takes, in bytes, and end it where that is more than it may."""
        self.peak_rss = max(self.peak_rss, taken)
        most = self.args.memory_gb
        if most is not None and taken > most * 2**30:
            key = ".".join(filter(None, (stages.by_name(self.plan.stage).section, "memory_gb")))
            # At once: what is asked first goes on to take memory.
            self._stop(f"took {taken / 2**30:.1f} GiB of memory, more than {key} allows, {most:g}", grace=0)

    def _append_rank_logs(self, log: Any) -> None:
        so_far = self.log.read_bytes()  # the launcher prints what rank 0 does, unless it ends too early
        for file in sorted(self.staging.ranks.glob("workerlog.*")):
            said = file.read_bytes()
            if said.strip() not in so_far:
                log.write(f"---- rank {file.suffix[1:]} ----\n".encode() + said)

    # -- judging ------------------------------------------------------------------------------

    def _judge(self, code: int) -> Outcome:
        killed = machine.oom_kills()
        end = judging.Exit(
            code,
            self.stopped_by,
            out_of_memory=killed is not None and self.oom_kills is not None and killed > self.oom_kills,
            printed=self._printed() if code else b"",
        )
        result = None
        if code == 0 and self.staging.result.is_file():
            result = Result(**json.loads(self.staging.result.read_text(encoding="utf-8")))
        missing = [name for name in self.plan.outputs if not self.staging.path(name).exists()]
        outcome = judging.judge(
            self.plan.stage,
            self.plan.requested,
            result,
            end,
            self._told(),
            self._known_failures(),
            missing=missing,
            stand_in=self.stand_in,
        )
        return self._advised(self._not_as_asked(outcome))

    def _printed(self) -> bytes:
        """The end of what the worker printed."""
        with self.log.open("rb") as log:
            log.seek(max(self.printed_from, self.log.stat().st_size - printed.KEPT))
            return log.read()

    def _not_as_asked(self, outcome: Outcome) -> Outcome:
        """The outcome; failed where another PaddleSeg was imported than was asked for."""
        with contextlib.suppress(OSError, ValueError):
            self.imported = json.loads(self.staging.imported.read_text(encoding="utf-8"))
        why = at_hand.not_it(self.paddleseg, self.imported.get("paddleseg", [])) if self.paddleseg else None
        return replace(outcome, status=statuses.FAILED, reason=why) if why else outcome

    def _told(self) -> Told | None:
        try:
            told = json.loads(self.staging.error.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        rank = f"rank {told['rank']}: " if self.plan.launch and not told["unverified"] else ""
        texts = [rank + text for text in told["texts"]]
        return Told(rank + told["message"], texts, told["unverified"], told["lasting"])

    def _failed(self, reason: str) -> Outcome:
        """The outcome of a stage that came to no worker."""
        return self._advised(judging.excused(Outcome(statuses.FAILED, reason), self._known_failures()))

    def _known_failures(self) -> list[Known]:
        """Those of the Paddle that runs here."""
        listed = [(known, "") for known in self.args.known_failure]
        listed += [((name, *known), gates) for name, gates, *known in self.args.known_gates]
        return [
            Known(name, error, why, link, worst(gates))
            for (name, error, why, link, paddle), gates in listed
            if machine.paddle_is(paddle.replace("any", ""))
        ]

    def _advised(self, outcome: Outcome) -> Outcome:
        if not (outcome.status.red and outcome.reason):
            return outcome
        return replace(outcome, reason=with_advice(outcome.reason, self.record.parent))

    def _unless_changed(self, outcome: Outcome) -> Outcome:
        """The outcome; failed where an input is not what it was when the work began: nobody knows what was read."""
        changed: str | None = None
        if self.inputs and not self.stopped_by:
            changed = self.inputs.changed() or (self.paddleseg.changed() if self.paddleseg else None)
        if changed is None:
            return outcome
        if self.plan.kept:  # made from who knows what as well
            shutil.rmtree(self.plan.kept, ignore_errors=True)
        # No known failure is an excuse for this.
        reason = f"{outcome.reason}; {changed}" if outcome.status.red else changed
        return replace(outcome, status=statuses.FAILED, reason=reason)

    # -- publishing ---------------------------------------------------------------------------

    def _publish_anyway(self, error: OSError) -> Outcome:
        """Say that something could not be written; in a record as well, if that still can be."""
        shutil.rmtree(self.staging.folder, ignore_errors=True)  # makes room
        outcome = self._advised(Outcome(statuses.FAILED, f"cannot go on: {error}"))
        with contextlib.suppress(OSError):
            self._publish(outcome, time.monotonic() - self.clock)
        return outcome

    def _publish(self, outcome: Outcome, wall: float) -> None:
        status, reason, result = outcome.status, outcome.reason, outcome.result
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
            **({"try_again": False} if outcome.lasting else {}),
            "reason": reason and masked(reason),
            "command": command_line(),
            "log": self.log.as_posix(),
            "started": _iso(self.started),
            "wall_s": finite(wall),
            "cpu_s": finite(cpu),
            "peak_rss_mb": round(self.peak_rss / 2**20, 1),
            "load": self.load,
            "env": self._env(),
            "requested": self.plan.requested,
            "effective": result.effective,
            "metrics": judging.metrics(result),
            "inputs": (self.inputs or Inputs(self.plan.inputs)).hashes,
            "outputs": outputs,
            **({"set_aside": set_aside} if set_aside else {}),
            **({"stand_in": self.stand_in} if self.stand_in else {}),
            "scheduler_job": schedulers.job(os.environ),
            **result.extra,
        }
        record.write(self.failure if status.red else self.record, content)
        if not status.red:
            self.failure.unlink(missing_ok=True)
            if self.plan.kept:
                shutil.rmtree(self.plan.kept, ignore_errors=True)

    def _env(self) -> dict[str, Any]:
        """What the stage ran in: versions of what the worker imported, of the rest those that are installed."""
        own = {"surroundings": surroundings.told(), "cleared": self.cleared}
        observed = {**(self.paddleseg.env if self.paddleseg else {}), **self.imported.get("versions", {})}
        return machine.environment() | observed | own

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


def command_line() -> str:
    """The command that runs this script, as one could paste it into a shell."""
    return masked(shlex.join([sys.executable, *sys.argv]))
