"""The GPUs of this machine: what its driver lists, and which of those are shared out to jobs.

The driver is asked through nvidia-smi, which is there wherever a driver is. It is asked once a run: the
workflow hands its answer on to its jobs. An answer can be late, broken, or a message in place of a list;
then nothing is assumed, and whoever needs a GPU is told in the driver's own words.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from segcert import asked, processes
from segcert.errors import ConfigError

POOL = "TIPC_GPU_POOL"  # the devices to share out, by comma; instead of what the machine has
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = "TIPC_NVIDIA_SMI_SECONDS"  # how long to wait for the driver's answer
PATIENCE_S = 5.0
# Variables by which a scheduler's job knows itself.
SCHEDULERS = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "AWS_BATCH_JOB_ID", "KUBERNETES_SERVICE_HOST", "_CONDOR_JOB_AD")
ANSWER = "SEGCERT_DRIVER"  # set by the workflow for its jobs: what the driver of which machine answered
COMMAND = "nvidia-smi"
FIELDS = ("index", "name", "driver_version", "uuid", "memory.total", "compute_cap")
# What nvidia-smi says in place of a value: [N/A], [Not Supported], [Unknown Error], ERR!, ...
MOST_TOLD = 400  # characters of what a driver says that are passed on: it may print megabytes
NO_VALUE = re.compile(r"\[.*\]|N/A|ERR!|Unknown Error|", re.I)
# The least compute capability that computes in a type (CUDA C++ programming guide, "Arithmetic Instructions").
LEAST_CAPABILITY = {"float16": (5, 3), "bfloat16": (8, 0)}


class DriverError(Exception):
    """The driver gave no answer that can be used; the message has its own words."""


@dataclass(frozen=True)
class Device:
    """A GPU: `visible` is what CUDA_VISIBLE_DEVICES calls it, `key` names it for everybody on the machine."""

    visible: str
    key: str


@dataclass(frozen=True)
class Listing:
    """What the driver says that this machine has.

    Attributes:
        there: whether there is a driver to ask.
        gpus: of each index, name, driver_version, uuid, memory.total (MiB) and compute_cap, as far as the driver
            knows them; `mig` names the instances of one that is cut into several.
        trouble: why there are not more, in the driver's words; None where it answered as it should.
    """

    there: bool
    gpus: tuple[Mapping[str, Any], ...] = ()
    trouble: str | None = None

    @property
    def devices(self) -> list[Device]:
        """What can be given to a job: whole GPUs, and of one that is cut into instances those."""
        return [
            Device(name, key)
            for gpu in self.gpus
            for name, key in ([(name, name) for name in gpu["mig"]] or [(gpu["index"], gpu["uuid"])])
        ]

    def device(self, name: str) -> Device | None:
        """A device by its index, its UUID or the beginning of that, as CUDA takes them.

        None where there is none, or where the beginning fits several.
        """
        found = []
        for gpu in self.gpus:
            if name == gpu["index"] or (name.startswith("GPU-") and gpu["uuid"].startswith(name)):
                # Of a GPU that is cut into instances CUDA takes the first.
                instance = gpu["mig"][0] if gpu["mig"] else None
                own = Device(name if name == gpu["index"] else gpu["uuid"], gpu["uuid"])
                found.append(Device(instance, instance) if instance else own)
            found += [Device(key, key) for key in gpu["mig"] if name.startswith("MIG-") and key.startswith(name)]
        return found[0] if len(found) == 1 else None

    def behind(self, devices: Iterable[Device]) -> tuple[Mapping[str, Any], ...]:
        """The GPUs of these devices; all where they are not told apart."""
        keys = {device.key for device in devices}
        return tuple(gpu for gpu in self.gpus if keys & {gpu["uuid"], *gpu["mig"]}) or self.gpus

    def in_words(self) -> str:
        return ", ".join(f"{device.visible} ({device.key})" for device in self.devices) or "none"


@dataclass(frozen=True)
class Pool:
    """The devices that are shared out to jobs, and why there are not more."""

    devices: tuple[Device, ...]
    why: str

    def lacks(self, count: int) -> str | None:
        """Why so many devices are not to be had; None where they are."""
        if len(self.devices) >= count:
            return None
        if not self.devices:
            return f"needs {'a GPU' if count == 1 else f'{count} GPUs'}; {self.why}"
        shared = "1 is" if len(self.devices) == 1 else f"{len(self.devices)} are"
        return f"needs {count} GPUs; {shared} shared out: {self.why}"


def pool(environment: Mapping[str, str]) -> Pool:
    """The devices to share out: those of TIPC_GPU_POOL, else of CUDA_VISIBLE_DEVICES, else all that there are.

    Names are held against the driver's list; without a driver to ask they are taken as they are.

    Raises:
        ConfigError: TIPC_GPU_POOL names a device that this machine does not have.
    """
    listing = listed()
    if listing.trouble and not listing.gpus:
        return Pool((), listing.trouble)
    variable = next((name for name in (POOL, VISIBLE) if name in environment), None)
    if variable is None:
        has = f"this machine has {len(listing.devices) or 'none'}"
        return Pool(tuple(listing.devices), has + (f"; {listing.trouble}" if listing.trouble else ""))
    told = f"{variable}={environment[variable]}"
    devices: dict[str, Device] = {}
    for name in (part.strip() for part in environment[variable].split(",")):
        if not name:
            continue
        device = listing.device(name) if listing.there else Device(name, name)
        if variable == POOL and device is None:
            raise ConfigError(
                f"{told}: {name} is refused; this machine's GPUs are {listing.in_words()}"
                + (f" ({listing.trouble})" if listing.trouble else "")
            )
        if device is None or name == "-1":  # CUDA itself sees nothing from here on
            break
        devices.setdefault(device.key, device)
    hidden = [device for device in listing.devices if device.key not in devices]
    hides = f", which hides {', '.join(device.visible for device in hidden)} of this machine" if hidden else ""
    return Pool(tuple(devices.values()), f"{told}{hides}")


@cache
def listed() -> Listing:
    """What the driver of this machine lists: asked, unless the workflow that started this process has asked it."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        told = json.loads(os.environ[ANSWER])
        if processes.here(told["machine"]) and told["job"] == _job():
            return Listing(told["there"], tuple(told["gpus"]), told["trouble"])
    return _ask_for_list()


def hand_on(wanted: bool) -> None:
    """Ask the driver, and leave its answer for the processes that this one starts.

    Args:
        wanted: whether a GPU is; where none is, the driver is not asked at all.
    """
    listing = _ask_for_list() if wanted else Listing(False)
    os.environ[ANSWER] = json.dumps({"machine": processes.place(), "job": _job(), **vars(listing)})
    listed.cache_clear()


def _job() -> dict[str, str]:
    """The scheduler's job that this process is in: in one the driver may list fewer devices, under other indices."""
    return {name: os.environ[name] for name in SCHEDULERS if name in os.environ}


def _ask_for_list() -> Listing:
    if not shutil.which(COMMAND):
        return Listing(False)
    try:
        rows, broken = _query("gpu", *FIELDS)
        gpus = [dict(zip(FIELDS, row, strict=False)) for row in rows]
        instances = _instances() if gpus else {}
    except DriverError as error:
        return Listing(True, trouble=str(error))
    known: dict[str, dict[str, Any]] = {}
    for gpu in gpus:
        told = {name: value for name, value in gpu.items() if not NO_VALUE.fullmatch(value)}
        if told.get("index", "").isdigit() and told.get("uuid", "").startswith("GPU-"):
            known.setdefault(told["uuid"], {**told, "mig": instances.get(told["uuid"], [])})
        else:
            broken.append(f"{', '.join(gpu.values())} (a row without an index or a UUID)")
    trouble = "; ".join(broken) or (None if known else "it lists no GPU")
    return Listing(True, tuple(known.values()), trouble and _shortened(f"{COMMAND}: {trouble}"))


def _shortened(text: str) -> str:
    more = len(text) - MOST_TOLD
    return text if more <= 0 else f"{text[:MOST_TOLD]} ... and {more} more characters"


def _instances() -> dict[str, list[str]]:
    """GPU -> its MIG instances, by UUID, from `nvidia-smi -L`."""
    found: dict[str, list[str]] = {}
    gpu = ""
    for line in _ask("-L").splitlines():
        uuid = re.search(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", line)
        if uuid and uuid[1].startswith("GPU-"):
            gpu = uuid[1]
        elif uuid:
            found.setdefault(gpu, []).append(uuid[1])
    return found


def model(device: str) -> str | None:
    """Of a GPU by its index, its UUID or the beginning of that; None where no driver knows it."""
    known = listed()
    named = known.device(device)
    for gpu in known.gpus if named else ():
        if named and named.key in (gpu["uuid"], *gpu["mig"]):
            return str(gpu.get("name"))
    return None


def lacks_dtype(gpus: tuple[Mapping[str, Any], ...], dtype: str) -> str | None:
    """Why one of these GPUs does not compute in a type; None where all do, as far as the driver tells."""
    least = LEAST_CAPABILITY.get(dtype)
    for gpu in gpus:
        has = capability(gpu)
        if least and has and has < least:
            name = f"{gpu.get('name')} (compute capability {has[0]}.{has[1]})"
            return f"{name} does not compute in {dtype}; {least[0]}.{least[1]} is needed"
    return None


def capability(gpu: Mapping[str, Any]) -> tuple[int, int] | None:
    """Compute capability, (major, minor); None where the driver does not say."""
    found = re.fullmatch(r"(\d+)\.(\d+)", str(gpu.get("compute_cap", "")))
    return (int(found[1]), int(found[2])) if found else None


def compute_processes(uuid: str) -> list[int]:
    """Processes that compute on a GPU, as its driver lists them; none where it does not say."""
    return [int(pid) for gpu, pid in _processes("gpu_uuid", "pid") if gpu == uuid and pid.isdigit()]


def memory_mb(pid: int) -> float | None:
    """MiB of GPU memory that a process holds, as the driver counts it; None where it does not say."""
    rows = _processes("pid", "used_memory")
    held = [float(used) for owner, used in rows if owner == str(pid) and used.isdigit()]
    return sum(held) if held else None


def _processes(*fields: str) -> list[list[str]]:
    if not shutil.which(COMMAND):
        return []
    with contextlib.suppress(DriverError):
        return _query("compute-apps", *fields)[0]
    return []


def _query(what: str, *fields: str) -> tuple[list[list[str]], list[str]]:
    """Rows of nvidia-smi's answer, and lines that are none."""
    try:
        answer = _ask(f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits")
    except DriverError as error:
        if "not a valid field" not in str(error) or len(fields) < 2:
            raise
        return _query(what, *fields[:-1])  # an old driver does not know the last, and then answers nothing
    rows, others = [], []
    for line in filter(str.strip, answer.splitlines()):
        row = [part.strip() for part in line.split(",")]
        more = len(row) - len(fields)
        if more > 0 and "name" in fields:  # the one field that may hold commas
            at = fields.index("name")
            row[at : at + more + 1] = [", ".join(row[at : at + more + 1])]
        if len(row) == len(fields):
            rows.append(row)
        else:
            others.append(line.strip())
    return rows, others


def _ask(*arguments: str) -> str:
    """What nvidia-smi prints.

    Raises:
        DriverError: it failed, or gave no answer in time.
    """
    answer = asked.ask([COMMAND, *arguments], _patience())
    if answer.why_not:
        said = _shortened(" ".join(answer.text.split())) or "nothing"
        hint = f" ({PATIENCE} sets how long it may take)" if "no answer" in answer.why_not else ""
        raise DriverError(f"{answer.why_not} and said: {said}{hint}")
    return answer.text


def _patience() -> float:
    try:
        return float(os.environ[PATIENCE])
    except (KeyError, ValueError):
        return PATIENCE_S
