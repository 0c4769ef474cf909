"""Published accuracy: what is published of released weights, and when an evaluation may be held to it.

Only where all is as it was published: the file, the data set, its split and all of that split's images, the size,
the transforms, and nothing done besides. Anything less verifies nothing, and is told in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from segcert.masking import bare
from segcert.numbers import finite, is_number

GATE = "published_miou"
METRIC = "published"  # of an evaluation: what was observed, and `unmet`
PLAIN = {"aug_eval": True, "scales": 1.0}  # of a test_config: what changes nothing


def asked(name: str, weights: Mapping[str, Any], data: Mapping[str, Any], tolerance: float) -> str:
    """What an evaluation is told: the entry `published` of a weight file's, the files, and the gate's tolerance.

    Args:
        name, weights: the weight file in the configuration's `weights`.
        data: the entry of `datasets` that the model works on.
    """
    files = {"file": _place(weights), "data_file": _place(data)}
    return json.dumps({**weights["published"], **files, "weights": name, "tolerance": tolerance}, sort_keys=True)


def _place(entry: Mapping[str, Any]) -> str:
    """Where a file or a data set comes from: its URL, its path, or in a word that it is generated."""
    return bare(entry["url"]) if entry["source"] == "url" else str(entry.get("path") or "generated here")


def unmet(published: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """In words, each condition of what is published that an evaluation does not meet; empty where it may be held to it.

    Args:
        published: what `asked` told.
        observed: of the evaluation: `dataset`, `split`, `images` of `val_images` that the split has, `sizes` in which
            images reached the model, `transforms` and those that are `published_transforms` (each as `type` with its
            settings), `test_config`, and `left_out`, variables of the file that are in no part of the model.
    """
    return list(_unmet(published, observed))


def _unmet(published: Mapping[str, Any], observed: Mapping[str, Any]) -> Iterator[str]:
    images, there = (observed.get(key) or 0 for key in ("images", "val_images"))
    named = published.get("images") or there
    if images < max(named, there) or not images:
        yield f"{images} of {max(named, there)} images"
    elif there != named:
        yield f"{there} images, where it is published of {named}"
    for key, what in (("dataset", "data set"), ("split", "split")):
        if observed.get(key) != published[key]:
            yield f"{what} {observed.get(key)}, not {published[key]}"
    if observed.get("sizes") != [published["size"]]:
        sizes = observed.get("sizes") or []
        shown = ", ".join(f"{size[0]}x{size[1]}" for size in sizes[:3]) + (", ..." if len(sizes) > 3 else "")
        yield f"images of {shown or 'no size that was seen'}, not of {'x'.join(map(str, published['size']))}"
    if not observed.get("transforms") or observed["transforms"] != observed.get("published_transforms"):
        done, wanted = (_in_words(observed.get(key)) for key in ("transforms", "published_transforms"))
        yield f"transforms {done}, not {wanted}"
    besides = {key: value for key, value in (observed.get("test_config") or {}).items() if PLAIN.get(key) != value}
    if besides:
        yield f"not a plain evaluation: {', '.join(f'{key} {value}' for key, value in besides.items())}"
    if published.get("data") and published["data"] != published.get("data_file"):
        yield f"data set {published['dataset']} from {published.get('data_file')}, not from {published['data']}"
    if published.get("of") and published["of"] != published["file"]:
        yield f"weights {published['file']}, and it is published of {published['of']}"
    if left_out := observed.get("left_out"):
        yield f"another network: {len(left_out)} variables of the weights are in no part of it, such as {left_out[0]}"


def _in_words(transforms: Any) -> str:
    """Transforms with their settings, on one line; what is no list of them as it is."""
    if not isinstance(transforms, list):
        return str(transforms)
    parts = []
    for item in transforms:
        settings = ", ".join(f"{key}={value}" for key, value in item.items() if key != "type")
        parts.append(f"{item['type']}({settings})")
    return ", ".join(parts)


def difference(published: Mapping[str, Any], miou: Any) -> float | None:
    """A mIoU less the published one; None where it is no number."""
    return finite(miou - published["miou"]) if is_number(miou) else None


def in_words(published: Mapping[str, Any], miou: float, images: int) -> str:
    """Both numbers, and of what they are."""
    return (
        f"mIoU {miou:.4f} on all {images} images of {published['dataset']} {published['split']}, "
        f"{published['miou']:.4f} is published"
    )


def unproven(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, what the record of an evaluation lacks that was asked to be held to what is published."""
    published, told = requested.get(METRIC), metrics.get(METRIC)
    if not published:
        return []
    gates = [gate for gate in metrics.get("gates", []) if gate.get("name") == GATE]
    if not isinstance(told, Mapping):
        return ["its mIoU was not held against the published one"]
    counted = {key: metrics.get(key) for key in ("images", "val_images")}
    found = unmet(published, {**told, **counted})
    if found:
        return [f"it was held to what is published although: {'; '.join(found)}"] if gates else []
    if not gates:
        return ["its mIoU was not held against the published one, and nothing is said that would forbid it"]
    apart = difference(published, metrics.get("miou"))
    wrong = [gate for gate in gates if apart is None or gate.get("value") != abs(apart)]
    wrong += [gate for gate in gates if gate.get("threshold") != published["tolerance"]]
    return [f"the gate {GATE} was held against {wrong[0].get('value')}, and {apart} lies between"] if wrong else []
