"""The certificate of mixed-precision training: held against its fp32 twin, from the records of both.

The twin is the fp32 training of the same model and topology with the same seed, data, sizes and
iterations. Nothing is run here; where the mixed-precision training did not run, the certificate says
so, and what could be had instead: the twin, and inference in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from segcert import history, statuses
from segcert.concluded import Concluded
from segcert.numbers import finite

SAME = ("iters", "batch_size", "input_size", "seed", "devices", "workers")


@dataclass
class Certificate:
    """What mixed precision comes to for one model and topology.

    Attributes:
        amp, twin: names of the train cells; twin is None where there is none.
        verdict: name of a status. reason: one line.
        loss: iter, amp, fp32: the curves, thinned to at most `history.POINTS`.
        loss_distance: mean absolute distance of the curves as a share of the twin's mean loss.
        nonfinite: losses that were not finite; their steps were left out. With any, the curves are not compared.
        loss_scale: first, last, min, decreases; None for bfloat16, which needs none.
        ips_ratio, memory_ratio: mixed precision over fp32; images per second, peak memory of the device.
        miou_difference: mixed precision less fp32.
        bf16_inference: inference cells of the same topology's checkpoints that were to compute in bfloat16.
    """

    model: str
    topology: str
    amp: str
    twin: str | None
    verdict: str = statuses.UNVERIFIED.name
    reason: str = ""
    loss: dict[str, list[float | None]] = field(default_factory=dict)
    loss_distance: float | None = None
    nonfinite: int | None = None
    loss_scale: dict[str, float] | None = None
    skipped_steps: int | None = None
    ips_ratio: float | None = None
    memory_ratio: float | None = None
    miou_amp: float | None = None
    miou_fp32: float | None = None
    miou_difference: float | None = None
    bf16_inference: list[dict[str, Any]] = field(default_factory=list)


def certify(cells: Iterable[Mapping[str, Any]], gates: Mapping[str, float]) -> list[dict[str, Any]]:
    """A certificate for every mixed-precision train cell of the conclusions.

    Args:
        cells: as in conclusions.json.
        gates: loss_distance and miou_drop, the most that is allowed.
    """
    views = [Concluded(cell) for cell in cells]
    trained = [cell for cell in views if cell["stage"] == "train"]
    return [asdict(_certificate(cell, views, gates)) for cell in trained if cell.requested.get("precision") == "amp"]


def _certificate(amp: Concluded, cells: Sequence[Concluded], gates: Mapping[str, float]) -> Certificate:
    of_model = [cell for cell in cells if cell["model"] == amp["model"]]
    twin = next(
        (
            cell
            for cell in of_model
            if cell["stage"] == "train"
            and cell["topology"] == amp["topology"]
            and cell.requested.get("precision") == "fp32"
        ),
        None,
    )
    found = Certificate(amp["model"], amp["topology"], amp["cell"], twin["cell"] if twin else None)
    found.bf16_inference = list(_bf16_inference(cell for cell in of_model if cell["topology"] == amp["topology"]))
    if amp.status is not statuses.PASSED:
        return _not_exercised(found, amp, twin)
    if twin is None or twin.status is not statuses.PASSED:
        found.reason = f"no fp32 twin to hold it against: {twin['status'] if twin else 'none is in the matrix'}"
        return found
    other = [key for key in SAME if amp.requested.get(key) != twin.requested.get(key)]
    if amp.requested["device"] != twin.requested["device"]:
        other.append("device")
    if other:
        found.reason = f"its fp32 twin was trained with another {', '.join(other)}"
        return found
    _compare(found, amp, twin)
    _compare_accuracy(found, of_model)
    return _with_verdict(found, gates)


def _not_exercised(found: Certificate, amp: Concluded, twin: Concluded | None) -> Certificate:
    found.verdict = amp["status"]
    parts = [amp["reason"] or f"the training with mixed precision is {amp['status']}"]
    if twin is not None and twin.status is statuses.PASSED:
        iterations, losses = history.read(twin) or ([], [])
        found.loss = {"iter": _thin(iterations), "fp32": _thin(losses)}
        where = twin.effective.get("device")
        if losses:
            parts.append(f"its fp32 twin on {where} ends at a loss of {losses[-1]:.4g}")
    passed = [cell for cell in found.bf16_inference if cell["status"] == statuses.PASSED.name]
    if found.bf16_inference:
        parts.append(f"inference in bfloat16: {len(passed)} of {len(found.bf16_inference)} cells pass")
    found.reason = "; ".join(parts)
    return found


def _compare(found: Certificate, amp: Concluded, twin: Concluded) -> None:
    mixed, full = history.read(amp), history.read(twin)
    if mixed and full:
        found.loss = {"iter": _thin(full[0]), "amp": _thin(mixed[1]), "fp32": _thin(full[1])}
        found.loss_distance = loss_distance(mixed[1], full[1])
        found.nonfinite = mixed[1].count(None)
    measured, plain = amp.metrics, twin.metrics
    found.loss_scale = measured.get("loss_scale") if amp.requested["dtype"] == "float16" else None
    found.skipped_steps = measured.get("skipped_steps")
    found.ips_ratio = _ratio(measured.get("ips"), plain.get("ips"))
    found.memory_ratio = _ratio(measured.get("peak_gpu_mb"), plain.get("peak_gpu_mb"))


def _compare_accuracy(found: Certificate, of_model: Iterable[Concluded]) -> None:
    scores = {
        cell["train_cell"]: cell.metrics.get("miou")
        for cell in of_model
        if cell["stage"] == "eval" and cell.status is statuses.PASSED
    }
    found.miou_amp, found.miou_fp32 = scores.get(found.amp), scores.get(found.twin or "")
    if found.miou_amp is not None and found.miou_fp32 is not None:
        found.miou_difference = finite(found.miou_amp - found.miou_fp32)


def _with_verdict(found: Certificate, gates: Mapping[str, float]) -> Certificate:
    parts, broken = [], []
    if found.loss_distance is None:
        found.reason = (
            "the loss curves cannot be compared: a history.csv is missing, not what its record names, or not finite"
        )
        return found
    parts.append(f"loss curves {found.loss_distance:.1%} apart")
    if found.loss_distance > gates["loss_distance"]:
        broken.append(f"at most {gates['loss_distance']:.1%} is allowed")
    if found.miou_difference is None:
        parts.append("mIoU not compared, an evaluation did not pass")
    else:
        parts.append(f"mIoU {found.miou_amp:.4f} against {found.miou_fp32:.4f}")
        if -found.miou_difference > gates["miou_drop"]:
            broken.append(f"a drop of at most {gates['miou_drop']} is allowed")
    parts += [f"{found.ips_ratio:.2f} x images/s"] if found.ips_ratio else []
    parts += [f"{found.memory_ratio:.2f} x memory"] if found.memory_ratio else []
    parts += [f"{found.skipped_steps} skipped steps"] if found.skipped_steps is not None else []
    if broken:
        found.verdict = statuses.ACCURACY_FAILED.name
    elif found.miou_difference is not None:
        found.verdict = statuses.PASSED.name
    found.reason = "; ".join([*parts, *broken])
    return found


def _bf16_inference(of_model: Iterable[Concluded]) -> Iterable[dict[str, Any]]:
    cells = [cell for cell in of_model if cell["stage"] == "infer"]
    for cell in cells:
        if cell.requested["precision"] != "bf16":
            continue
        like = (cell["train_cell"], {**cell.requested, "precision": "fp32"})
        twin = next((other.p50 for other in cells if (other["train_cell"], other.requested) == like), None)
        yield {
            "cell": cell["cell"],
            "train_cell": cell["train_cell"],
            "status": cell["status"],
            "pixel_agreement": cell.metrics.get("pixel_agreement"),
            "miou_drop": cell.metrics.get("miou_drop"),
            "speedup": _ratio(twin, cell.p50),
        }


def _ratio(one: float | None, other: float | None) -> float | None:
    return finite(one / other, 4) if one and other else None


def loss_distance(one: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """Mean absolute distance of two curves as a share of the mean of the second.

    None where they are of different length or hold a loss that is not finite, which is None.
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=False) if a is not None and b is not None]
    if not pairs or not len(pairs) == len(one) == len(other) or not any(b for _, b in pairs):
        return None
    return finite(sum(abs(a - b) for a, b in pairs) / sum(abs(b) for _, b in pairs))


def _thin(values: Sequence[Any]) -> list[Any]:
    return list(values[:: history.step(len(values))])
