"""Other load on the machine while something is timed."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil

NOTICED_CORES = 0.25
NOTICED_STEAL = 0.05


class OtherLoad:
    """Watches from its making on what CPU time others take: processes beside this one, and the hypervisor."""

    def __init__(self) -> None:
        self._begun = self._now()

    def seen(self) -> dict[str, Any]:
        """Cores that others kept busy on average, the share of time the hypervisor took, and whether that counts.

        own_cores is what this process and its children used, other_cores what the system counts as busy less
        that; all are None where the span is too short for the system's clock (10 ms) to tell.
        """
        span, busy, steal, own = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        if span < 0.1:
            return {"own_cores": None, "other_cores": None, "steal_share": None, "noticed": None}
        others = max(0.0, busy - own) / span
        share = steal / (span * (psutil.cpu_count() or 1))
        return {
            "own_cores": round(own / span, 3),
            "other_cores": round(others, 2),
            "steal_share": round(share, 3),
            "noticed": others >= NOTICED_CORES or share >= NOTICED_STEAL,
        }

    @staticmethod
    def _now() -> tuple[float, float, float, float]:
        system = psutil.cpu_times()
        busy = sum(getattr(system, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))
        return time.monotonic(), busy, getattr(system, "steal", 0.0), sum(os.times()[:4])
