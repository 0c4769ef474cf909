"""The certificate of a training that is to come to the same as another, its twin: from the records of both.

A mixed-precision training is held against the fp32 training of the same model and topology with the same seed, data,
sizes and iterations; one of a static graph against the dynamic one. Nothing is run here; where the training did not
run, the certificate says so, and what could be had instead: the twin, and inference in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from segcert import history, statuses
from segcert.concluded import Concluded
from segcert.numbers import finite

SAME = ("iters", "batch_size", "input_size", "seed", "devices", "workers")
AMP, TO_STATIC = "amp", "to_static"  # the kinds of certificates; each has gates of its name
TWINS = {AMP: "fp32 twin", TO_STATIC: "dynamic twin"}


@dataclass
class Certificate:
    """What mixed precision, or a static graph, comes to for one model and topology.

    Attributes:
        kind: amp | to_static.
        cell, twin: names of the train cells; twin is None where there is none.
        verdict: name of a status. reason: one line.
        loss: iter, cell, twin: the curves, thinned to at most `history.POINTS`.
        first_loss_difference: of the first losses, as a share of the twin's.
        loss_distance: mean absolute distance of the curves as a share of the twin's mean loss.
        nonfinite: losses that were not finite; their steps were left out. With any, the curves are not compared.
        loss_scale: first, last, min, decreases; None for bfloat16, which needs none.
        ips_ratio, memory_ratio: to the twin's; images per second, peak memory of the device.
        miou_difference: less the twin's.
        bf16_inference: of mixed precision, inference cells of the same topology's checkpoints that were to compute in
            bfloat16.
    """

    model: str
    topology: str
    kind: str
    cell: str
    twin: str | None
    verdict: str = statuses.UNVERIFIED.name
    reason: str = ""
    loss: dict[str, list[float | None]] = field(default_factory=dict)
    first_loss_difference: float | None = None
    loss_distance: float | None = None
    nonfinite: int | None = None
    loss_scale: dict[str, float] | None = None
    skipped_steps: int | None = None
    ips_ratio: float | None = None
    memory_ratio: float | None = None
    miou: float | None = None
    miou_twin: float | None = None
    miou_difference: float | None = None
    bf16_inference: list[dict[str, Any]] = field(default_factory=list)


def certify(cells: Iterable[Mapping[str, Any]], gates: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """A certificate for every train cell of the conclusions that has a twin to be held against, by what it asks for.

    Args:
        cells: as in conclusions.json.
        gates: by kind, the most that is allowed. amp: loss_distance, miou_drop. to_static: first_loss, loss_distance,
            miou.
    """
    views = [Concluded(cell) for cell in cells]
    asked = [(cell, _kind(cell)) for cell in views if cell["stage"] == "train" and cell.status is not statuses.SKIPPED]
    return [asdict(_certificate(kind, cell, views, gates[kind])) for cell, kind in asked if kind]


def _kind(train: Concluded) -> str | None:
    if train.requested.get("graph") == "to_static":
        return TO_STATIC
    return AMP if train.requested.get("precision") == "amp" else None


def _is_twin(kind: str, train: Concluded, other: Concluded) -> bool:
    """Whether another cell is the training that one is to be held against."""
    asked, theirs = train.requested, other.requested
    if other["stage"] != "train" or other["topology"] != train["topology"] or theirs.get("graph") == "to_static":
        return False
    if kind == AMP:
        return theirs.get("precision") == "fp32"
    return all(asked.get(key) == theirs.get(key) for key in ("precision", "level", "dtype"))


def _certificate(kind: str, train: Concluded, cells: Sequence[Concluded], gates: Mapping[str, float]) -> Certificate:
    of_model = [cell for cell in cells if cell["model"] == train["model"]]
    twin = next((cell for cell in of_model if _is_twin(kind, train, cell)), None)
    found = Certificate(train["model"], train["topology"], kind, train["cell"], twin["cell"] if twin else None)
    if kind == AMP:
        alike = (cell for cell in of_model if cell["topology"] == train["topology"])
        found.bf16_inference = list(_bf16_inference(alike))
    if train.status is not statuses.PASSED:
        return _not_exercised(found, train, twin)
    if twin is None or twin.status is not statuses.PASSED:
        why = twin["status"] if twin else "none is in the matrix"
        found.reason = f"no {TWINS[kind]} to hold it against: {why}"
        return found
    other = [key for key in SAME if train.requested.get(key) != twin.requested.get(key)]
    if train.requested["device"] != twin.requested["device"]:
        other.append("device")
    if other:
        found.reason = f"its {TWINS[kind]} was trained with another {', '.join(other)}"
        return found
    _compare(found, train, twin)
    _compare_accuracy(found, of_model)
    return _with_verdict(found, gates)


def _not_exercised(found: Certificate, train: Concluded, twin: Concluded | None) -> Certificate:
    found.verdict = train["status"]
    parts = [train["reason"] or f"the training {found.cell} is {train['status']}"]
    if twin is not None and twin.status is statuses.PASSED:
        iterations, losses = history.read(twin) or ([], [])
        found.loss = {"iter": _thin(iterations), "twin": _thin(losses)}
        where = twin.effective.get("device")
        if losses:
            parts.append(f"its {TWINS[found.kind]} on {where} ends at a loss of {losses[-1]:.4g}")
    passed = [cell for cell in found.bf16_inference if cell["status"] == statuses.PASSED.name]
    if found.bf16_inference:
        parts.append(f"inference in bfloat16: {len(passed)} of {len(found.bf16_inference)} cells pass")
    found.reason = "; ".join(parts)
    return found


def _compare(found: Certificate, train: Concluded, twin: Concluded) -> None:
    own, theirs = history.read(train), history.read(twin)
    if own and theirs:
        found.loss = {"iter": _thin(theirs[0]), "cell": _thin(own[1]), "twin": _thin(theirs[1])}
        found.first_loss_difference = loss_distance(own[1][:1], theirs[1][:1])
        found.loss_distance = loss_distance(own[1], theirs[1])
        found.nonfinite = own[1].count(None)
    measured, plain = train.metrics, twin.metrics
    found.loss_scale = measured.get("loss_scale") if train.requested["dtype"] == "float16" else None
    found.skipped_steps = measured.get("skipped_steps") if found.kind == AMP else None
    found.ips_ratio = _ratio(measured.get("ips"), plain.get("ips"))
    found.memory_ratio = _ratio(measured.get("peak_gpu_mb"), plain.get("peak_gpu_mb"))


def _compare_accuracy(found: Certificate, of_model: Iterable[Concluded]) -> None:
    scores = {
        cell["train_cell"]: cell.metrics.get("miou")
        for cell in of_model
        if cell["stage"] == "eval" and cell.status is statuses.PASSED
    }
    found.miou, found.miou_twin = scores.get(found.cell), scores.get(found.twin or "")
    if found.miou is not None and found.miou_twin is not None:
        found.miou_difference = finite(found.miou - found.miou_twin)


def _with_verdict(found: Certificate, gates: Mapping[str, float]) -> Certificate:
    parts, broken = [], []
    if found.loss_distance is None:
        found.reason = (
            "the loss curves cannot be compared: a history.csv is missing, not what its record names, or not finite"
        )
        return found
    if found.kind == TO_STATIC:
        # Of rounding alone: before it nothing was trained that could magnify it.
        first = found.first_loss_difference
        parts.append("first losses equal" if not first else f"first losses {first:.1e} apart")
        if first is None or first > gates["first_loss"]:
            broken.append(f"at most {gates['first_loss']:.1e} is allowed")
    parts.append(f"loss curves {found.loss_distance:.1%} apart" if found.loss_distance else "loss curves equal")
    if found.loss_distance > gates["loss_distance"]:
        broken.append(f"at most {gates['loss_distance']:.1%} is allowed")
    if found.miou_difference is None:
        parts.append("mIoU not compared, an evaluation did not pass")
    else:
        parts.append(f"mIoU {found.miou:.4f} against {found.miou_twin:.4f}")
        if found.kind == AMP and -found.miou_difference > gates["miou_drop"]:
            broken.append(f"a drop of at most {gates['miou_drop']} is allowed")
        if found.kind == TO_STATIC and abs(found.miou_difference) > gates["miou"]:
            broken.append(f"a difference of at most {gates['miou']} is allowed")
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
