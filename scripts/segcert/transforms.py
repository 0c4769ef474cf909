"""What PaddleSeg's transforms do to an image, as far as it can be known without running them.

One table says of every transform of PaddleSeg 2.8.0 whether it draws random numbers, what it does to the size, and
whether PaddleSeg brings a label map back from it. From that follows, before any job starts, which may stand where
in a model's configuration: an exported model has one input size, and what it predicts is compared at the labels'
own size. Tests hold the table and the sizes against PaddleSeg's classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segcert import transformoptions

Size = tuple[int, int]  # width, height
Item = Mapping[str, Any]
TRAINING, VALIDATION, EXPORT = "training", "validation", "export"


class SizeError(ValueError):
    """A transform cannot be given an image of that size, whatever it shows."""


@dataclass(frozen=True)
class Kind:
    """What a transform is.

    Attributes:
        random: whether it draws random numbers.
        size: the size after it, from its options and the size before; None: each image has another, or another
            every time.
        size_key: the option that holds a size [width, height], where one does.
        default: of that option.
        back: what brings a label map back: `resize`, `crop`, or None where the size stays or PaddleSeg does not note
            what it did, so that nothing does.
        keeps_size: whether an image has the same size after it, whichever that is.
        fault: why it is never used, as far as that is PaddleSeg's fault.
    """

    random: bool = False
    size: Callable[[Item, Size | None], Size | None] = lambda _item, size: size
    size_key: str | None = None
    default: Size = (512, 512)
    back: str | None = None
    keeps_size: bool = True
    fault: str | None = None


# -- sizes, by the arithmetic of PaddleSeg 2.8.0 --------------------------------------------------------


def _scaled(size: Size, scale: float) -> Size:
    width, height = round(size[0] * scale), round(size[1] * scale)
    if not (width and height):
        raise SizeError(f"{size[0]}x{size[1]} cannot be scaled to {width}x{height}")
    return width, height


def _resize(item: Item, size: Size | None) -> Size | None:
    width, height = item.get("target_size", (512, 512))
    if item.get("keep_ratio"):
        if size is None:
            return None
        width, height = _scaled(size, min(max(width, height) / max(size), min(width, height) / min(size)))
    if divisor := item.get("size_divisor"):
        width, height = (math.ceil(side / divisor) * divisor for side in (width, height))
    return width, height


def _by_long(item: Item, size: Size | None) -> Size | None:
    return size and _scaled(size, float(item["long_size"]) / float(max(size)))


def _by_short(item: Item, size: Size | None) -> Size | None:
    if size is None or isinstance(item["short_size"], list):
        return None
    return _scaled(size, float(item["short_size"]) / float(min(size)))


def _limit(item: Item, size: Size | None) -> Size | None:
    if size is None:
        return None
    most, least, now = item.get("max_long"), item.get("min_long"), max(size)
    target = most if most is not None and now > most else least if least is not None and now < least else now
    return size if target == now else _scaled(size, float(target) / float(now))


def _padding(item: Item, size: Size | None) -> Size | None:
    width, height = item["target_size"]
    if size and (size[0] > width or size[1] > height):
        raise SizeError(f"{size[0]}x{size[1]} cannot be padded to {width}x{height}")
    return width, height


def _to_ratio(item: Item, size: Size | None) -> Size | None:
    if size is None:
        return None
    width, height = size
    asked = item.get("aspect_ratio", 1)
    if width / height > asked:
        height = int(width / asked)
    elif width / height < asked:
        width = int(height * asked)
    return width, height


def _crop(item: Item, _size: Size | None) -> Size | None:
    width, height = item.get("crop_size", (512, 512))
    return width, height


def _affine(item: Item, _size: Size | None) -> Size | None:
    width, height = item.get("size", (224, 224))
    return width, height


def _open(_item: Item, _size: Size | None) -> Size | None:
    return None


# -- the table ----------------------------------------------------------------------------------------

COLOURS_AT_RANDOM = Kind(random=True)
TABLE: dict[str, Kind] = {
    "Normalize": Kind(),
    "Resize": Kind(size=_resize, size_key="target_size", back="resize", keeps_size=False),
    "ResizeByLong": Kind(size=_by_long, back="resize", keeps_size=False),
    "ResizeByShort": Kind(size=_by_short, back="resize", keeps_size=False),
    "LimitLong": Kind(size=_limit, back="resize", keeps_size=False),
    "Padding": Kind(size=_padding, size_key="target_size", back="crop", keeps_size=False),
    "PaddingByAspectRatio": Kind(size=_to_ratio, back="crop", keeps_size=False),
    "RandomHorizontalFlip": Kind(random=True),
    "RandomVerticalFlip": Kind(random=True),
    "RandomNoise": COLOURS_AT_RANDOM,
    "RandomBlur": COLOURS_AT_RANDOM,
    "RandomDistort": COLOURS_AT_RANDOM,
    "RandomScaleAspect": Kind(random=True),
    "RandomPaddingCrop": Kind(random=True, size=_crop, size_key="crop_size", keeps_size=False),
    "RandomAffine": Kind(random=True, size=_affine, size_key="size", default=(224, 224), keeps_size=False),
    "RandomCenterCrop": Kind(random=True, size=_open, keeps_size=False),
    "RandomRotation": Kind(random=True, size=_open, keeps_size=False),
    "ResizeStepScaling": Kind(random=True, size=_open, keeps_size=False),
    "ResizeRangeScaling": Kind(random=True, size=_open, keeps_size=False),
    "GenerateInstanceTargets": Kind(),
    "ScalePadding": Kind(
        keeps_size=False,
        fault="it resizes labels by cubic interpolation, which makes classes that the labels do not hold "
        "(a fault of paddleseg 2.8.0); use Resize with keep_ratio and then Padding",
    ),
    "Compose": Kind(fault="it is the list that the transforms stand in; write what it holds one by one"),
}
# Whole numbers that sizes follow from, and whether they are needed.
NUMBERS = {
    "Resize": {"size_divisor": False},
    "ResizeByLong": {"long_size": True},
    "ResizeByShort": {"short_size": True},
    "LimitLong": {"max_long": False, "min_long": False},
}
# Of them, those that are given the run's `input_size` in place of their own.
SIZED = {name: kind.size_key for name, kind in TABLE.items() if kind.size_key}


def kind(item: Item, own: Mapping[str, Mapping[str, Any]] | None = None) -> Kind | None:
    """What a transform is; None where neither the table nor the run's `own_transforms` has it."""
    name = item["type"]
    if name not in TABLE and own and name in own:
        changes = own[name]["size"] == "changed"
        return Kind(random=own[name]["random"], size=_open if changes else Kind.size, keeps_size=not changes)
    return TABLE.get(name)


def _known(item: Item, own: Mapping[str, Mapping[str, Any]] | None) -> Kind:
    """The same, where what nobody knows is taken to keep the size: what is run is looked at there."""
    return kind(item, own) or Kind()


def sized(items: Sequence[Item], size: Sequence[int] | None) -> list[dict[str, Any]]:
    """The transforms with the run's `input_size` in place of every size that they give.

    A `Padding` is given it where something before it brings images down to that size; else it would refuse them.
    """
    if size is None:
        return [dict(item) for item in items]
    changed, given = [], False
    for item in items:
        key = SIZED.get(item["type"])
        if key and (given or item["type"] != "Padding"):
            changed.append({**item, key: list(size)})
            given = True
        else:
            changed.append(dict(item))
    return changed


def final_size(
    items: Sequence[Item], start: Size | None = None, own: Mapping[str, Mapping[str, Any]] | None = None
) -> Size | None:
    """[width, height] of every image after the transforms; None where images differ in it.

    Args:
        start: the size before them; None: any.

    Raises:
        SizeError: one of them cannot be given what those before it make.
    """
    size = start
    for item in items:
        size = _known(item, own).size(item, size)
    return size


# -- what may stand where -----------------------------------------------------------------------------


def laid_out(items: Sequence[Item], purpose: str, input_size: Sequence[int] | None) -> list[dict[str, Any]]:
    """The transforms as a run has them: with its `input_size` in place of theirs.

    Where an export has no Resize, one to that size is put before all else.
    """
    if purpose == EXPORT and input_size and not any(item["type"] == "Resize" for item in items):
        items = [{"type": "Resize", "target_size": list(input_size)}, *items]
    return sized(items, input_size)


def ended(items: Sequence[Item], size: Sequence[int]) -> list[Item]:
    """Transforms that leave images at sizes of their own, or at another than `size`, with a Resize to that behind.

    So they end in that size without a change of what they do. Others, also such as cannot be done, stay as they are.
    """
    try:
        found = final_size(laid_out(items, EXPORT, size))
    except SizeError:
        return list(items)
    changing = [number for number, item in enumerate(items, 1) if not _known(item, None).keeps_size]
    if found == tuple(size) or not changing:
        return list(items)
    return [*items[: changing[-1]], {"type": "Resize", "target_size": list(size)}, *items[changing[-1] :]]


def problems(
    items: Any,
    key: str,
    purpose: str,
    input_size: Sequence[int] | None = None,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool = True,
) -> list[str]:
    """In words, beginning with the key, what is wrong with a list of transforms.

    Args:
        items: the value of the key in the model's configuration.
        key: where it stands, such as `export.transforms`.
        purpose: TRAINING | VALIDATION | EXPORT.
        input_size: of the run's configuration: what the images come out as.
        own: `own_transforms` of the run's configuration.
        strict: refuse what neither the table nor `own` has.
    """
    if not isinstance(items, list | tuple):
        return [f"{key}: {items!r} is refused; allowed: a list of transforms, each a mapping with `type`"]
    malformed = [
        f"{key}.{number}: {item!r} is refused; allowed: a mapping with the name of a transform as `type`"
        for number, item in enumerate(items)
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str)
    ]
    if malformed:
        return malformed
    found = laid_out(items, purpose, input_size)
    first = len(items) - len(found)  # one that was put before them has no number in the file
    wrong = [
        f"{key}.{number}: {text}"
        for number, item in enumerate(found, first)
        for text in _of_one(item, purpose, own, strict)
    ]
    if wrong:
        return wrong
    if purpose == EXPORT and not any(TABLE[item["type"]].size_key for item in found if item["type"] in TABLE):
        return [
            "export.transforms: a Resize with target_size: [width, height] is needed, or `input_size` in the run's "
            "configuration: the inference matrix runs on models of one input size"
        ]
    return list(_of_sizes(found, key, purpose, own, input_size, first))


def _of_one(item: Item, purpose: str, own: Mapping[str, Mapping[str, Any]] | None, strict: bool) -> Iterator[str]:
    name = item["type"]
    found = kind(item, own)
    if found is None:
        if strict:
            yield (
                f"{name}: is no transform of paddleseg 2.8.0, so it is not known here what it does; if your PaddleSeg "
                f"has it, say what it is in the run's configuration: own_transforms: {{{name}: {{random: true or "
                "false, size: kept or changed}}"
            )
        return
    if found.fault:
        yield f"{name}: {found.fault}"
        return
    options = transformoptions.wrong(item, strict) if name in TABLE else ()
    wrong = [*_of_options(item, found), *options]
    yield from wrong
    if wrong or purpose == TRAINING:
        return
    told = f"the {purpose} must give the same every time"
    if name == "Resize" and item.get("interp") == "RANDOM":
        yield f"Resize.interp: RANDOM draws random numbers, and {told}; name an interpolation, such as LINEAR"
    elif name == "ResizeByShort" and isinstance(item.get("short_size"), list):
        yield f"ResizeByShort.short_size: a list is drawn from at random, and {told}; write one size"
    elif name == "ResizeByShort" and item.get("max_size") is not None:
        yield (
            "ResizeByShort.max_size: an image that is longer makes all images after it smaller too (a fault of "
            "paddleseg 2.8.0); take it out"
        )
    elif name == "GenerateInstanceTargets" and purpose == EXPORT:
        yield (
            f"{name}: makes what a training needs of labels, and an exported model is given none; take it out, it "
            "belongs in train_dataset.transforms"
        )
    elif found.random:
        yield f"{name}: draws random numbers, and {told}; take it out, it belongs in train_dataset.transforms"
    elif not found.keeps_size and not found.back:
        yield (
            f"{name}: changes the size and PaddleSeg does not undo it, so that what is predicted fits no label; take "
            "it out"
        )


def _of_options(item: Item, found: Kind) -> Iterator[str]:
    """What is wrong with the options that sizes follow from."""
    name = item["type"]
    if found.size_key:
        value = item.get(found.size_key, None if name == "Padding" else list(found.default))
        if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_side, value)):
            yield f"{name}.{found.size_key}: {value!r} is refused; allowed: [width, height] in pixels"
    for option, needed in NUMBERS.get(name, {}).items():
        value = item.get(option)
        if option == "short_size" and isinstance(value, list) and value and all(map(_is_side, value)):
            continue  # drawn from at random
        if not (_is_side(value) or (value is None and not needed)):
            yield f"{name}.{option}: {value!r} is refused; allowed: a whole number above 0"


def _is_side(value: Any) -> bool:
    return type(value) is int and value > 0


def _of_sizes(
    items: Sequence[Item],
    key: str,
    purpose: str,
    own: Mapping[str, Mapping[str, Any]] | None,
    input_size: Sequence[int] | None,
    first: int,
) -> Iterator[str]:
    """What is wrong with the sizes that the transforms make, one after the other."""
    size: Size | None = None
    opened: str | None = None  # by which of them images have sizes of their own
    for number, item in enumerate(items, first):
        of_item = _known(item, own)
        try:
            size = of_item.size(item, size)
        except SizeError as error:
            yield f"{key}.{number}: {item['type']}: {error}; make it larger, or the images before it smaller"
            return
        if size is None and not of_item.keeps_size:
            opened = f"{number}.keep_ratio: Resize" if item.get("keep_ratio") else f"{number}: {item['type']}"
    asked = tuple(input_size) if input_size else None
    if purpose == EXPORT and size is None:
        yield (
            f"{key}.{opened} leaves each image at a size of its own, and an exported model has one input size here; "
            "write `keep_ratio: false`, or a Padding with target_size: [width, height] after it"
        )
    elif asked and size != asked and (purpose == EXPORT or (purpose == TRAINING and (size or opened))):
        made = f"{size[0]}x{size[1]}" if size else f"sizes of their own (by {opened})"
        yield (
            f"{key}: images come out of it as {made}, where `input_size` of the run's configuration asks for "
            f"{asked[0]}x{asked[1]}; end it in a Resize{' or a RandomPaddingCrop' if purpose == TRAINING else ''}, to "
            "which `input_size` is given"
        )
