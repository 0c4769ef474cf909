"""The options of PaddleSeg's transforms, and what each may be: known before any job starts, so without PaddleSeg.

Tests hold the table against the signatures of the classes of paddleseg 2.8.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Accepts:
    """What an option may be: in words, and as a question."""

    words: str
    fits: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    return type(value) is int


def _are_numbers(value: Any, *lengths: int) -> bool:
    return isinstance(value, list | tuple) and len(value) in lengths and all(map(is_number, value))


INTERPOLATIONS = ("NEAREST", "LINEAR", "CUBIC", "AREA", "LANCZOS4", "RANDOM")
BLURS = ("gaussian", "median", "blur", "random")
ANY = Accepts("anything", lambda _: True)  # what sizes follow from is looked at where they are
FLAG = Accepts("true or false", lambda value: value in (True, False))
NUMBER = Accepts("a number", is_number)
WHOLE = Accepts("a whole number", is_whole)
ABOVE = Accepts("a number above 0", lambda value: is_number(value) and value > 0)
SHARE = Accepts("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)
FROM_0 = Accepts("a number of at least 0", lambda value: is_number(value) and value >= 0)
HUE = Accepts("a number from 0 to 180", lambda value: is_number(value) and 0 <= value <= 180)
BLUR = Accepts(f"one of {', '.join(BLURS)}", lambda value: value in BLURS)  # of another word PaddleSeg makes gaussian
MEAN = Accepts("a list of 1 or 3 numbers", lambda value: _are_numbers(value, 1, 3))
STD = Accepts("a list of 1 or 3 numbers that are not 0", lambda value: _are_numbers(value, 1, 3) and 0 not in value)
SHARES = Accepts(
    "two numbers from 0 to 1", lambda value: _are_numbers(value, 2) and all(0 <= share <= 1 for share in value)
)
INTERP = Accepts(f"one of {', '.join(INTERPOLATIONS)}", lambda value: value in INTERPOLATIONS)

PADDED = {"im_padding_value": NUMBER, "label_padding_value": WHOLE}
DISTORTED = ("brightness", "contrast", "saturation", "hue", "sharpness")
OPTIONS: dict[str, dict[str, Accepts]] = {
    "Normalize": {"mean": MEAN, "std": STD},
    "Resize": {"target_size": ANY, "keep_ratio": FLAG, "size_divisor": ANY, "interp": INTERP},
    "ResizeByLong": {"long_size": ANY},
    "ResizeByShort": {"short_size": ANY, "max_size": ABOVE},
    "LimitLong": {"max_long": ANY, "min_long": ANY},
    "Padding": {"target_size": ANY, **PADDED},
    "PaddingByAspectRatio": {"aspect_ratio": ABOVE, **PADDED},
    "RandomHorizontalFlip": {"prob": SHARE},
    "RandomVerticalFlip": {"prob": SHARE},
    "RandomNoise": {"prob": SHARE, "max_sigma": FROM_0},
    "RandomBlur": {"prob": SHARE, "blur_type": BLUR},
    "RandomDistort": {
        **{f"{name}_{what}": kind for name in DISTORTED for what, kind in (("range", FROM_0), ("prob", SHARE))},
        "hue_range": HUE,
    },
    "RandomScaleAspect": {"min_scale": NUMBER, "aspect_ratio": NUMBER},
    "RandomPaddingCrop": {
        "crop_size": ANY,
        **PADDED,
        "category_max_ratio": NUMBER,
        "ignore_index": WHOLE,
        "loop_times": WHOLE,
    },
    "RandomAffine": {
        "size": ANY,
        "translation_offset": NUMBER,
        "max_rotation": NUMBER,
        "min_scale_factor": NUMBER,
        "max_scale_factor": NUMBER,
        **PADDED,
    },
    "RandomCenterCrop": {"retain_ratio": SHARES},
    "RandomRotation": {"max_rotation": NUMBER, **PADDED},
    "ResizeStepScaling": {"min_scale_factor": ABOVE, "max_scale_factor": ABOVE, "scale_step_size": FROM_0},
    "ResizeRangeScaling": {"min_value": ABOVE, "max_value": ABOVE},
    "GenerateInstanceTargets": {"num_classes": WHOLE, "ignore_index": WHOLE},
    "ScalePadding": {"target_size": ANY, **PADDED},
}
NEEDED = {"GenerateInstanceTargets": ("num_classes",)}
# Pairs of which the first is at most the second, with what they are where they are not written.
RANGES: dict[str, tuple[tuple[str, Any], tuple[str, Any]]] = {
    "LimitLong": (("min_long", None), ("max_long", None)),
    "ResizeStepScaling": (("min_scale_factor", 0.75), ("max_scale_factor", 1.25)),
    "ResizeRangeScaling": (("min_value", 400), ("max_value", 600)),
}


def wrong(item: Mapping[str, Any], strict: bool) -> Iterator[str]:
    """In words, beginning with the option, what is wrong with those of a transform that is in the table.

    Args:
        strict: refuse what paddleseg 2.8.0 does not know.
    """
    name = item["type"]
    options = OPTIONS[name]
    for option, value in item.items():
        if option == "type":
            continue
        if option not in options:
            if strict:
                yield f"{name}.{option}: is no option of {name} in paddleseg 2.8.0; allowed: {', '.join(options)}"
        elif not options[option].fits(value):
            yield f"{name}.{option}: {value!r} is refused; allowed: {options[option].words}"
    for option in NEEDED.get(name, ()):
        if option not in item:
            yield f"{name}.{option}: this option is needed: {options[option].words}"
    if name in RANGES:
        (low, least), (high, most) = RANGES[name]
        lower, upper = item.get(low, least), item.get(high, most)
        if is_number(lower) and is_number(upper) and lower > upper:
            yield f"{name}.{low}: {lower!r} is refused; allowed: at most {high}, which is {upper!r}"
