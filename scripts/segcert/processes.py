"""Which process one means: a number alone is used again, on this machine and on others."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# psutil is imported where it is needed: what looks at a machine before anything is installed has no packages.


def identity(pid: int | None = None) -> dict[str, Any]:
    """What names a process (this one, if none is given) for ever and everywhere: for `runs`."""
    pid = os.getpid() if pid is None else pid
    return {**place(), "pid": pid, "begun": _begun(pid)}


def here(named: Mapping[str, Any]) -> bool:
    """Whether a process is one of those that this machine (and this container) can tell of."""
    own = place()
    return all(named.get(key) == own[key] for key in ("host", "namespace"))


def runs(named: Mapping[str, Any]) -> bool:
    """Whether a process of this machine still runs; one that waits for its parent to notice its end does not."""
    if not here(named) or named.get("boot") != place()["boot"] or not isinstance(named.get("pid"), int):
        return False
    begun = _begun(named["pid"])
    return begun is not None and begun == named.get("begun")


def is_below(named: Mapping[str, Any]) -> bool:
    """Whether a process of this machine still runs and this one is its child, or its children's."""
    import psutil

    try:
        return runs(named) and named["pid"] in [parent.pid for parent in psutil.Process().parents()]
    except psutil.Error:  # one of them ended just now
        return runs(named)


def place() -> dict[str, str | None]:
    """What names this machine, since it was started, and this container."""
    return {"host": platform.node(), "boot": _read("/proc/sys/kernel/random/boot_id"), "namespace": _namespace()}


def _begun(pid: int) -> str | None:
    """When a process began; None where there is none. Ticks since boot, which no clock that is set moves."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat.rpartition(")")[2].split()  # proc(5): a name in parentheses may hold anything
    return None if fields[0] in "ZX" else fields[19]


def _namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
