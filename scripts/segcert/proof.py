"""What a record must show before it may say `passed`: what was observed, its gates, its raw timings."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from segcert import output_ops, own_scripts, published, stages
from segcert.numbers import is_number

AT_LEAST = ("opset",)  # what may be more than was asked for: paddle2onnx raises it to what a model needs
OUTCOME = "outcome"  # says itself, in words, what was not done
LOGITS = ("logits_l2", "logits_peak", "logits_gap")  # the gates on an inference cell's logits
OF_AN_ENGINE = ("device", "engine", "precision")  # what must be seen of the one that computed them
STREAM_LABELS = "stream_labels"  # the gate on what several requests at once are answered
IF_ASKED = ("streams", "soak", "shapes", "size", "output_op")  # what must be seen where it is asked for
SOFTMAX = "softmax_peak"  # the gate on probabilities
GROWTH = "memory_mb_per_1000_batches"  # the gate on what a long run takes
RISE = "memory_mb_rise"  # the gate on what it takes besides, at once or late
MOST_RISE_MB = 64  # its threshold: allocators take more at a time, too
LEAST, MOST = "at least", "at most"
# Every gate that a stage may be held against, and on which side of its threshold its value is to be.
GATES = {
    **dict.fromkeys(LOGITS, MOST),
    STREAM_LABELS: LEAST,
    GROWTH: MOST,
    RISE: MOST,
    SOFTMAX: MOST,
    "pixel_agreement": LEAST,
    "miou_drop": MOST,
    "exported_agreement": LEAST,
    "exported_logits": MOST,
    "rank_weight_difference": MOST,
    "skipped_share": MOST,
    "pretrained_share": LEAST,
    "published_miou": MOST,
    "reference_agreement": LEAST,
    "first_loss": MOST,
    "later_loss": MOST,
    "history_loss": MOST,
    "learning_rate": MOST,
    "miou_difference": MOST,
}


def differences(requested: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """In words, each field that was asked for and observed to be something else.

    A field that was not observed does not count here; a request of None asks for nothing.
    """
    return [
        str(effective[key]) if key == OUTCOME else f"{key}: {want} requested, {effective[key]} observed"
        for key, want in requested.items()
        if want is not None
        and key in effective
        and effective[key] != want
        and not (key in AT_LEAST and is_number(want) and is_number(effective[key]) and effective[key] > want)
    ]


def _unobserved(stage: str, requested: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """In words, each field that a stage must have observed and did not."""
    taken = "weights" in requested  # not trained: weights that somebody released
    proves = stages.by_name(stage, stages.RELEASED.topology if taken else None).proves
    proves += tuple(key for key in IF_ASKED if key in requested)
    # An export that says that it has no ONNX model has no operator set of it either.
    without = {"opset"} if effective.get("onnx") is False else set()
    return [f"{key} was not observed" for key in proves if key not in effective and key not in without]


def gate(name: str, value: float | None, bound: str, threshold: float, sentence: str) -> dict[str, Any]:
    """A numerical gate: `value` must be "at least" or "at most" (the bound) the threshold.

    Args:
        value: None where it is not a number: then the gate does not hold.
        sentence: what is wrong where it does not hold, with the numbers.
    """
    made = {"name": name, "value": value, "bound": bound, "threshold": threshold}
    return {**made, "holds": _holds(made), "sentence": sentence}


def _holds(gate: Mapping[str, Any]) -> bool:
    value, threshold, bound = gate.get("value"), gate.get("threshold"), gate.get("bound")
    if not (is_number(value) and is_number(threshold) and bound in (LEAST, MOST)):
        return False
    if bound != GATES.get(gate.get("name", ""), bound):
        return False  # turned round, anything holds
    return bool(value >= threshold if bound == LEAST else value <= threshold)


def broken(gates: Any) -> list[str]:
    """In words, each gate that does not hold: by its numbers, whatever it says of itself."""
    return [sentence for sentence, _ in failing(gates)]


def failing(gates: Any) -> list[tuple[str, Mapping[str, Any] | None]]:
    """The same, each with the gate; without one where it is not the numbers of a gate that tell."""
    if not isinstance(gates, list):
        return [("its gates are no list", None)]
    found: list[tuple[str, Mapping[str, Any] | None]] = []
    for item in gates:
        if not (isinstance(item, Mapping) and isinstance(item.get("name"), str)):
            found.append(("one of its gates is none", None))
        elif not _holds(item) and item.get("holds") is True:
            numbers = f"{item.get('value')}, {item.get('bound')} {item.get('threshold')} is asked"
            found.append((f"the gate {item.get('name')} is said to hold and does not: {numbers}", None))
        elif item.get("holds") is not True:
            found.append((str(item.get("sentence")), None if _holds(item) else item))
    return found


def worse_by(gate: Mapping[str, Any], than: float) -> float | None:
    """By how much the value of a gate is worse than another; at most 0 where it is not; None where nobody can tell."""
    value, bound = gate.get("value"), gate.get("bound")
    if not is_number(value) or bound not in (LEAST, MOST):
        return None
    return than - value if bound == LEAST else value - than


def unproven(content: Mapping[str, Any]) -> list[str]:
    """In words, what a record lacks for `passed`: an empty list where it proves what was asked for."""
    effective, metrics = content["effective"], content["metrics"]
    problems = _unobserved(content["stage"], content["requested"], effective)
    problems += differences(content["requested"], effective)
    problems += broken(metrics.get("gates", []))
    if not problems:
        problems += _without_gates(content["stage"], content["requested"], effective, metrics)
    if content["stage"] == stages.INFER.name:
        problems += _unlike_samples(content.get("samples_ms"), metrics)
        problems += _other_logits(content["requested"], metrics)
        problems += _unlike_passes(content.get("samples_offline_ips"), content["requested"], metrics)
        if "server_p99_ms" in content["requested"]:
            problems += _unlike_trials(content["requested"]["server_p99_ms"], metrics.get("server"))
    if "soak" in content["requested"]:
        problems += _unlike_looks(content.get("samples_soak_mb"), content["requested"]["soak"], metrics)
    if "output_op" in content["requested"]:
        problems += _unlike_output(effective, metrics)
    if content["stage"] == stages.QUANTISE.name:
        problems += _not_calibrated(content["requested"], metrics)
    if content["stage"] == stages.EVAL.name:
        problems += _not_evaluated(content["requested"], metrics)
        problems += published.unproven(content["requested"], metrics)
    return problems


def _without_gates(
    stage: str, requested: Mapping[str, Any], effective: Mapping[str, Any], metrics: Mapping[str, Any]
) -> list[str]:
    """In words, each gate that a stage must have been held against and was not, or with another number."""
    needed = {
        "pixel_agreement": (stage == stages.INFER.name, "no gate was held against its label maps"),
        **dict.fromkeys(LOGITS, (stage == stages.INFER.name, "its logits were not held against the checkpoint's")),
        STREAM_LABELS: (
            stage == stages.INFER.name and "streams" in requested,
            "what several requests at once were answered was not held against what each is alone",
        ),
        SOFTMAX: (
            requested.get("output_op") == output_ops.SOFTMAX and stage in (stages.EXPORT.name, stages.INFER.name),
            "what it gives was not held against the softmax of its model's logits",
        ),
        **dict.fromkeys((GROWTH, RISE), ("soak" in requested, "its memory was not looked at over a long run")),
        "exported_agreement": (
            # Records of exports that were not compared request ONNX as well.
            stage == stages.EXPORT.name and "onnx" not in requested,
            "its program was not compared with its model",
        ),
        "rank_weight_difference": (
            stage == stages.TRAIN.name and effective.get("devices") not in (None, 1),
            "its ranks' weights were not compared",
        ),
        "skipped_share": (
            stage == stages.TRAIN.name and effective.get("dtype") == "float16",
            "the steps that it left out were not counted",
        ),
        "pretrained_share": (
            stage == "train" and bool(metrics.get("pretrained")),
            "what was loaded into it was not held against what was to be loaded",
        ),
    }
    if stage == stages.SCRIPTS.name:
        name = own_scripts.GATES.get(str(requested.get("script")), "a script")
        needed[name] = (True, f"its result was not held against this run's ({name})")
    held = {gate["name"]: gate.get("value") for gate in metrics.get("gates", [])}
    problems = dict.fromkeys(words for name, (asked, words) in needed.items() if asked and name not in held)
    return list(problems) + [
        f"the gate {name} was held against {value}, and {metrics[name]} is its metric"
        for name, value in held.items()
        if name in metrics and metrics[name] != value
    ]


def _other_logits(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, what computed the logits and is not what was asked for, or was not seen to be."""
    told = metrics.get("logits")
    seen = told.get("effective") if isinstance(told, Mapping) else None
    if not isinstance(seen, Mapping):
        return ["what computed its logits was not observed"]
    unseen = [f"{key} of what computed its logits was not observed" for key in OF_AN_ENGINE if key not in seen]
    return unseen + [f"its logits: {words}" for words in differences(requested, seen)]


def _unlike_samples(samples: Any, metrics: Mapping[str, Any]) -> list[str]:
    """In words, what of an inference cell's statistics does not follow from its raw timings."""
    phases = samples if isinstance(samples, Mapping) else {}
    if not phases.get("inference"):
        return ["it has no timed samples"]
    problems = []
    for phase, values in phases.items():
        if not (isinstance(values, list) and values and all(is_number(value) and value >= 0 for value in values)):
            problems.append(f"its samples of {phase} are no times")
            continue
        told = metrics.get(f"{phase}_ms")
        told = told if isinstance(told, Mapping) else {}
        found = {
            "count": len(values),
            "p50": statistics.median(values),
            "mean": statistics.fmean(values),
            "min": min(values),
            "max": max(values),
        }
        wrong = [
            f"{name} {told.get(name)}, not {value:g}"
            for name, value in found.items()
            if not _close(told.get(name), value)
        ]
        if wrong:
            problems.append(f"its statistics are not those of its {len(values)} samples of {phase}: {', '.join(wrong)}")
    return problems


def _unlike_passes(samples: Any, requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, what of the throughput of several streams does not follow from the passes that were timed."""
    if "streams" not in requested:
        return []
    if not (isinstance(samples, list) and samples and all(is_number(value) and value > 0 for value in samples)):
        return ["it has no timed passes of its streams"]
    median, told = statistics.median(samples), metrics.get("offline")
    figures = {"offline.ips": told.get("ips") if isinstance(told, Mapping) else None}
    figures["throughput_ips"] = metrics.get("throughput_ips")
    return [f"{name} is {value}, and its passes give {median:g}" for name, value in figures.items()
            if not _close(value, median)]  # fmt: skip


def _unlike_trials(asked: Any, server: Any) -> list[str]:
    """In words, that the highest rate of requests within a bound (ms) is not one of the trials that held."""
    found = server if isinstance(server, Mapping) else {}
    trials = [trial for trial in found.get("trials") or () if isinstance(trial, Mapping)]
    if found.get("bound_ms") != asked:
        return [f"the highest rate of requests within {asked} ms was not looked for"]
    held = [trial.get("rate") for trial in trials if trial.get("holds") is True and _within(trial.get("p99_ms"), asked)]
    best = max(filter(is_number, held), default=None)
    told = found.get("rate")
    return [] if told == best else [f"its highest rate within {asked} ms is {told}, and its trials give {best}"]


def _within(took: Any, bound: Any) -> bool:
    """Whether a time is within a bound but for rounding to 6 digits."""
    return is_number(took) and is_number(bound) and took <= bound * (1 + 1e-5)


def rise(looks: Sequence[Sequence[float]], most: float) -> float:
    """MiB by which the memory at the end of a long run's looks is above that at their beginning, by the medians of a
    tenth of them each, beyond what the gate on its growth allows.

    Args:
        looks: (number of the batch, MiB), in their order.
        most: MiB that a thousand batches may take.
    """
    tenth = max(1, len(looks) // 10)
    first, last = (statistics.median(taken for _, taken in part) for part in (looks[:tenth], looks[-tenth:]))
    return round(last - first - most * (looks[-1][0] - looks[0][0]) / 1000, 4)


def _unlike_looks(looks: Any, asked: Any, metrics: Mapping[str, Any]) -> list[str]:
    """In words, what of the growth of memory does not follow from the looks at it."""
    if not (isinstance(looks, list) and len(looks) > 1 and all(map(_is_look, looks))):
        return ["it has no looks at its memory"]
    places = [number for number, _ in looks]
    far = is_number(asked) and places[-1] - places[0] >= 0.35 * asked
    if not (far and all(before < after for before, after in itertools.pairwise(places))):
        return [f"its looks are at {places[0]} to {places[-1]}, and are to go through the second half of {asked}"]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(looks, 2)]
    growth = 1000 * statistics.median(slopes)
    # What is no gate is told of with the others.
    held = metrics.get("gates")
    gates = [gate for gate in held if isinstance(gate, Mapping)] if isinstance(held, list) else []
    none: Mapping[str, Any] = {}
    of_growth, of_rise = (next((gate for gate in gates if gate.get("name") == name), none) for name in (GROWTH, RISE))
    most = of_growth.get("threshold")
    told = [(metrics.get("growth_mb_per_1000"), growth), (of_growth.get("value"), growth)]
    told += [(of_rise.get("value"), rise(looks, most))] if is_number(most) else []
    return [f"its memory grows by {value}, and its looks give {found}" for value, found in told
            if not (is_number(value) and abs(value - found) <= 0.001)]  # fmt: skip


def _unlike_output(effective: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, that a program ends in something else than what it gave shows."""
    shown = output_ops.ended_in(metrics.get("output"))
    told = effective.get("output_op")
    return [] if told == shown else [f"it is said to end in {told}, and what it gave shows {shown}"]


def _is_look(look: Any) -> bool:
    return isinstance(look, list) and len(look) == 2 and all(map(is_number, look))


def _close(told: Any, value: float) -> bool:
    """Whether a statistic is a number but for rounding: samples to 4 decimals, statistics to 6 digits."""
    return is_number(told) and math.isclose(told, value, rel_tol=1e-5, abs_tol=1e-4)


def _not_calibrated(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, what a quantisation does not say of the images whose ranges it took."""
    there, named = metrics.get("train_images"), metrics.get("calibrated_on")
    if not (is_number(there) and isinstance(named, Mapping) and named and all(named.values())):
        return ["it does not name the images that it was calibrated on"]
    asked = min(requested["images"], there)
    return [] if len(named) == asked else [f"it was calibrated on {len(named)} images, not {asked}"]


def _not_evaluated(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, what an evaluation lacks that would be worth its name."""
    problems = []
    if not (is_number(metrics.get("miou")) and 0 <= metrics["miou"] <= 1):
        problems.append(f"its mIoU is {metrics.get('miou')}")
    if metrics.get("classes_present") == 0:
        problems.append("no pixel of its labels was counted")
    for name, there in (("images", "val_images"), ("reference_images", "inference_images")):
        available = metrics.get(there)
        if not is_number(available) or available < 1:
            problems.append(f"{there} is {available}")
            continue
        asked = min(requested[name], available) if is_number(requested.get(name)) else available
        if metrics.get(name) != asked:
            problems.append(f"{name} is {metrics.get(name)}, not {asked}")
    return problems
