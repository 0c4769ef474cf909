"""What released weights come to against the accuracy that is published of them, from the records of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from segcert import published, statuses
from segcert.concluded import Concluded


def verdicts(cells: Iterable[Concluded]) -> list[dict[str, Any]]:
    """A verdict for each evaluation that was asked to be held to what is published of its weights.

    `verdict` is the name of a status: passed and accuracy-failed by the gate; unverified where a condition is not met,
    also of an evaluation that passed as such; otherwise that of the evaluation, which then says nothing of it.
    """
    return [_verdict(cell, cell.requested[published.METRIC]) for cell in cells if _is_asked(cell)]


def _is_asked(cell: Concluded) -> bool:
    return cell["stage"] == "eval" and bool(cell.requested.get(published.METRIC))


def _verdict(cell: Concluded, told: Mapping[str, Any]) -> dict[str, Any]:
    held = cell.metrics.get(published.METRIC) or {}
    status, reason = cell.status, cell["reason"] or ""
    if status is statuses.PASSED and held.get("unmet"):
        status, reason = statuses.UNVERIFIED, "; ".join(held["unmet"])
    elif status is statuses.PASSED:
        reason = published.in_words(told, cell.metrics["miou"], cell.metrics["images"])
    return {
        "model": cell["model"],
        "train_cell": cell["train_cell"],
        "weights": told["weights"],
        "verdict": status.name,
        "reason": reason,
        "published": told["miou"],
        "miou": cell.metrics.get("miou"),
        "tolerance": told["tolerance"],
        "from": told["from"],
        "record": cell["record"],
    }
