"""Which engine to ship, in words and in two languages: the rows of a table, and where there is no answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segcert import fastest, statuses
from segcert.conclusions import Conclusions

Pair = dict[str, str]  # a text by language: en, zh
NONE: Pair = {"en": "none", "zh": "无"}
EQUAL: Pair = {"en": "no pixel differs", "zh": "没有像素不同"}
MOST_TIES = 3  # that are listed
SAME: Pair = {"en": "the same", "zh": "同左"}
OTHER_LOAD: Pair = {"en": "other load was noticed", "zh": "计时期间有其他负载"}
LEFT_OUT = {
    **{status.name: status.zh for status in statuses.ALL},
    fastest.WEAK: "证据较弱",
    fastest.NOT_TIMED: "没有计时",
    fastest.NOT_ALONE: "没有单独计时",
    fastest.ELSEWHERE: "在其他机器上计时",
}


def rows(conclusions: Conclusions) -> list[dict[str, Any]]:
    """A row for each checkpoint, device and batch size that has an answer, and for each other number of threads.

    `model`, `checkpoint` (None where the model has one alone), `on`, `threads` (None: over all), `fp32` and `any`: each
    a pair of texts; `record`s of what is named.
    """
    found = []
    for item, checkpoint in _with_checkpoint(conclusions):
        for part in ({"threads": None, **item["best"]}, *item["by_threads"]):
            if part["any"] is None or (part["threads"] and _records(part) == _records(item["best"])):
                continue
            found.append(
                {
                    "model": item["model"],
                    "checkpoint": checkpoint,
                    "on": _on_machine(item),
                    "threads": part["threads"],
                    "fp32": _named(part["fp32"], item["asked"]),
                    "any": _named(part["any"], item["asked"], part["fp32"]),
                    "record": part["any"]["record"],
                    "fp32_record": (part["fp32"] or part["any"])["record"],
                }
            )
    return found


def _records(part: Mapping[str, Any]) -> list[str | None]:
    return [part[kind] and part[kind]["record"] for kind in ("fp32", "any")]


def unanswered(conclusions: Conclusions) -> list[dict[str, Any]]:
    """Where nothing can be named: `on`, `why` (pairs of texts), and the `models` (with their checkpoints)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for item, checkpoint in _with_checkpoint(conclusions):
        if item["best"]["any"] is None:
            place, why = on(item["asked"]), left_out(item["left_out"])
            group = found.setdefault((place["en"], why["en"]), {"on": place, "why": why, "models": []})
            group["models"].append(" ".join(filter(None, (item["model"], checkpoint))))
    return list(found.values())


def _with_checkpoint(conclusions: Conclusions) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The choices, with the name of the checkpoint where a model has several."""
    checkpoints: dict[str, set[str]] = {}
    for item in conclusions.fastest:
        checkpoints.setdefault(item["model"], set()).add(item["train_cell"])
    for item in conclusions.fastest:
        yield item, item["train_cell"] if len(checkpoints[item["model"]]) > 1 else None


def on(asked: Mapping[str, Any]) -> Pair:
    """What the cells that were compared have in common."""
    others = "".join(f", {key} {value}" for key, value in asked.items() if key not in ("device", "batch_size"))
    text = f"{str(asked.get('device')).upper()}, batch {asked.get('batch_size')}{others}"
    return {"en": text, "zh": text.replace(", ", "，")}


def _on_machine(item: Mapping[str, Any]) -> Pair:
    """The same; and how many cells that would be as good an answer another machine timed."""
    place, elsewhere = on(item["asked"]), item["left_out"].get(fastest.ELSEWHERE)
    if not elsewhere:
        return place
    told = left_out({fastest.ELSEWHERE: elsewhere})
    return {"en": f"{place['en']} ({told['en']})", "zh": f"{place['zh']}（{told['zh']}）"}


def left_out(counts: Mapping[str, int]) -> Pair:
    """How many were not compared, by reason."""
    return {
        "en": ", ".join(f"{count} {why}" for why, count in counts.items()),
        "zh": "，".join(f"{count} 个{LEFT_OUT.get(why, why)}" for why, count in counts.items()),
    }


def _named(choice: Mapping[str, Any] | None, asked: Mapping[str, Any], fp32: Mapping[str, Any] | None = None) -> Pair:
    """A choice: what it is, its time, ties, and, of any precision, what it gains and loses against fp32."""
    if choice is None:
        return NONE
    if fp32 and fp32["record"] == choice["record"]:
        return _with_ties(SAME, [item for item in choice["ties"] if item["precision"] != choice["precision"]], asked)
    label = _label(choice, asked)
    english, chinese = [f"{label}: {choice['p50_ms']:.4g} ms"], [f"{label}：{choice['p50_ms']:.4g} 毫秒"]
    if choice["speedup"]:
        english.append(f"{choice['speedup']:.3g} times as fast")
        chinese.append(f"{choice['speedup']:.3g} 倍速度")
    for loss in _losses(choice):
        english.append(loss["en"])
        chinese.append(loss["zh"])
    if choice["other_load"]:
        english.append(OTHER_LOAD["en"])
        chinese.append(OTHER_LOAD["zh"])
    return _with_ties({"en": ", ".join(english), "zh": "，".join(chinese)}, choice["ties"], asked)


def _with_ties(found: Pair, tied: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> Pair:
    """What is told of a choice, and with which others it is a tie."""
    if not tied:
        return found
    ties = [f"{_label(item, asked)} {item['p50_ms']:.4g} ms" for item in tied[:MOST_TIES]]
    more = len(tied) - len(ties)
    others, all_of = (f" and {more} more", f" 等 {more + len(ties)} 个") if more else ("", "")
    shown = "、".join(ties).replace(" ms", " 毫秒")
    return {
        "en": f"{found['en']}; a tie with {', '.join(ties)}{others}",
        "zh": f"{found['zh']}；与 {shown}{all_of}不分快慢",
    }


def _label(choice: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    threads = f" · {choice['threads']}T" if asked.get("device") != "gpu" and choice["threads"] else ""
    return f"{choice['engine']} {choice['precision']}{threads}"


def _losses(choice: Mapping[str, Any]) -> Iterator[Pair]:
    """What is lost of the checkpoint."""
    agreement, drop, error = choice["pixel_agreement"], choice["miou_drop"], choice["logits"].get("logits_l2")
    if agreement == 1:
        yield EQUAL
    elif agreement is not None:
        shown = f"{min(agreement, 0.99999):.5f}"
        yield {"en": f"agreement {shown}", "zh": f"一致率 {shown}"}
    if drop is not None and agreement != 1:
        yield {"en": f"mIoU drop {drop:.4f}", "zh": f"mIoU 下降 {drop:.4f}"}
    if error is not None:
        yield {"en": f"L2 error of logits {error:.3g}", "zh": f"logits 的 L2 误差 {error:.3g}"}
