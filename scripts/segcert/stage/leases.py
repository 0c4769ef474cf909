"""Leases of GPUs: every GPU job of this machine on devices of its own.

Snakemake counts GPUs but assigns none. A lease is an exclusive lock (flock, through the filelock
package) on a file per device in a folder that all users of the machine share. The kernel lets go of
it when the last process that holds it is gone, however that ended. The job inherits a descriptor of its own,
so a device stays taken while the job runs, also where the job's own parent was killed. (Ranks of a multi-GPU
training hold it through their launcher, and end with it.)

Several devices are taken behind one gate: who is at the gate keeps what comes free until it has
enough, and nobody passes it meanwhile. So two jobs never wait for each other's devices, and a job
that needs two is not starved by jobs that need one.

The lock folder must be on a local file system: devices belong to a machine, and so do their locks. It is one
place for everybody, whatever TMPDIR says.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from segcert import gpus
from segcert.errors import ConfigError, StageError
from segcert.gpus import POOL, SCHEDULERS, VISIBLE, Device

FOLDER = "TIPC_GPU_LOCKS"  # where the lock files are; instead of LOCKS
LOCKS = Path("/tmp/paddleseg-gpu-leases")  # noqa: S108  (of the machine, so not in anybody's TMPDIR)
BUSY = "TIPC_GPU_BUSY"  # what to do about a device on which somebody else computes: warn | wait | refuse
ORDER = "CUDA_DEVICE_ORDER"
POLL_S = 0.05


class LeaseError(StageError):
    """No lease: too few devices, a busy one, or the time is up."""


class TooFewDevices(LeaseError):
    """The pool is smaller than what is needed, so no waiting helps."""


@dataclass
class Lease:
    """Devices that are this process's until `release`, and its children's that inherit `descriptors`.

    Attributes:
        assigned_by: lease | scheduler.
        descriptors: duplicates of the open files that are the locks, one a device: a child that inherits them
            holds the lease too. They are ours: what the locking library does to its own at a fork is no matter.
    """

    devices: list[Device]
    locks: list[FileLock]
    assigned_by: str
    descriptors: tuple[int, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """For the job. What it leases itself, it leases among these devices, with locks of its own."""
        if not self.devices:
            return {}
        names = ",".join(device.visible for device in self.devices)
        # An index is the driver's, which goes by the bus; CUDA's own order puts the fastest first.
        return {
            ORDER: "PCI_BUS_ID",
            VISIBLE: names,
            POOL: names,
            FOLDER: str(_folder(os.environ) / f"within-{os.getpid()}"),
        }

    def release(self) -> None:
        """Let go of the devices; for when the job is over."""
        for lock in self.locks:
            lock.release()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.locks, self.descriptors = [], ()


@dataclass
class _Held:
    """One leased device: its lock, and a duplicate of the open file that is the lock."""

    device: Device
    lock: FileLock
    descriptor: int

    def release(self) -> None:
        self.lock.release()
        os.close(self.descriptor)


def _is_assigned(count: int, pool: gpus.Pool, environment: Mapping[str, str]) -> bool:
    """Whether a scheduler has given this very job its devices: it sees exactly as many as it needs."""
    within = any(name in environment for name in SCHEDULERS) and POOL not in environment
    return within and VISIBLE in environment and len(pool.devices) == count


def acquire(
    count: int, timeout: float | None = None, busy: str | None = None, environment: Mapping[str, str] | None = None
) -> Lease:
    """Wait for `count` devices and take them.

    Args:
        count: devices, at least 1.
        timeout: seconds; None waits as long as it takes.
        busy: warn | wait | refuse; None: what TIPC_GPU_BUSY says, else warn.

    Raises:
        TooFewDevices: the pool is too small.
        LeaseError: the time is up, a device is busy and that is refused, or TIPC_GPU_POOL names one that there is not.
    """
    environment = os.environ if environment is None else environment
    try:
        pool = gpus.pool(environment)
    except ConfigError as error:
        raise LeaseError(str(error)) from error
    if lacking := pool.lacks(count):
        raise TooFewDevices(lacking)
    devices = pool.devices
    busy = busy or environment.get(BUSY, "warn")
    if busy not in ("warn", "wait", "refuse"):
        raise LeaseError(f"{BUSY}: {busy} is refused; allowed: warn, wait, refuse")
    deadline = None if timeout is None else time.monotonic() + timeout
    folder = _folder(environment)
    gate = FileLock(folder / "gate.lock", mode=0o666, thread_local=False, preserve_lock_file=True)
    try:
        gate.acquire(timeout=-1 if timeout is None else timeout, poll_interval=POLL_S)
    except Timeout:
        raise LeaseError(f"no turn for {count} GPUs within {timeout:g} s; others are waiting before") from None
    taken: list[_Held] = []
    try:
        while True:
            for device in devices:
                if len(taken) < count and device not in [held.device for held in taken]:
                    held = _try(folder, device, busy)
                    if held is not None:
                        taken.append(held)
            if len(taken) == count:
                # In the pool's order, so that rank 0 is on the first device.
                taken.sort(key=lambda held: devices.index(held.device))
                return Lease(
                    [held.device for held in taken],
                    [held.lock for held in taken],
                    "scheduler" if _is_assigned(count, pool, environment) else "lease",
                    tuple(held.descriptor for held in taken),
                )
            if deadline is not None and time.monotonic() > deadline:
                raise LeaseError(f"{len(taken)} of {count} GPUs came free within {timeout:g} s; the others are leased")
            time.sleep(POLL_S)
    except BaseException:
        for held in taken:
            held.release()
        raise
    finally:
        gate.release()


def _folder(environment: Mapping[str, str]) -> Path:
    """The folder of lock files, open to every user of the machine as /tmp is.

    A job inherits a folder of its own (`Lease.environment`) and leases within that. So does a step of a scheduler's
    job: which devices are whose is the scheduler's to say, and a name may mean another device in another job.
    """
    step = "-".join(environment[name] for name in (*SCHEDULERS, "SLURM_STEP_ID") if name in environment)
    folder = Path(environment.get(FOLDER) or LOCKS)
    if step:
        folder /= f"of-{re.sub(r'[^A-Za-z0-9.]+', '_', step)}"
    for path in (folder.parent, folder):
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
            with contextlib.suppress(PermissionError):
                path.chmod(0o1777)
    return folder


def _try(folder: Path, device: Device, busy: str) -> _Held | None:
    """The device, or None where it is taken, or computes for somebody else and that is to be waited for."""
    lock = FileLock(
        folder / f"device-{device.key.replace('/', '_')}.lock",
        mode=0o666,
        thread_local=False,
        preserve_lock_file=True,
        on_acquired=lambda descriptor: duplicates.append(os.dup(descriptor)),
    )
    duplicates: list[int] = []
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    held = _Held(device, lock, duplicates[0])
    strangers = gpus.compute_processes(device.key)
    if not strangers:
        return held
    told = f"GPU {device.visible} is leased to nobody but computes for process {', '.join(map(str, strangers))}"
    if busy == "warn":
        print(f"warning: {told}; timings on it will not be worth much", file=sys.stderr)
        return held
    held.release()
    if busy == "wait":
        return None
    raise LeaseError(f"{told}; end it, leave the device out of {POOL}, or set {BUSY} to warn or wait")
