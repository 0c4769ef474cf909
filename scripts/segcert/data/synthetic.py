"""Generated data sets in the exact layouts of the real ones, for machines with no network.

The same numbers give the same bytes. The scenes are simple enough to be learned in a few dozen
iterations, so that a short training can be told from a broken one: colours and places belong to
classes, with noise, light and texture on top.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segcert.data.archives import add_file
from segcert.errors import StageError

# Cityscapes train ids that the street scenes hold, with the colour (BGR) each is painted in.
STREET_COLOURS = {
    0: (90, 85, 90),
    1: (170, 150, 190),
    2: (70, 90, 120),
    5: (150, 150, 150),
    7: (40, 190, 230),
    8: (50, 120, 50),
    10: (230, 190, 140),
    11: (60, 40, 200),
    13: (160, 60, 40),
}
IGNORED = 255
Picture = NDArray[np.uint8]
Size = tuple[int, int] | None  # [width, height], where somebody says it


def write_tar(
    destination: Path, layout: str, images: Mapping[str, int], seed: int, size: tuple[int, int] | None = None
) -> None:
    """Write a data set as a plain tar.

    Args:
        destination: the tar to write.
        layout: the name of one.
        images: number of images by split.
        seed: of everything random in it.
        size: [width, height] of the images, where the layout is not that of photographs of people, which vary from 600
            to 1200.
    """
    if layout not in MAKERS:
        raise StageError(f"layout {layout}: nothing generates it; generated can be: {', '.join(MAKERS)}")
    make = MAKERS[layout](images, seed, size)
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in make:
            add_file(tar, name, len(content), io.BytesIO(content))


def _encode(suffix: str, image: Picture, *options: int) -> bytes:
    content: Picture
    _, content = cv2.imencode(suffix, image, list(options))
    return content.tobytes()


# -- people -----------------------------------------------------------------------------------


def _people(images: Mapping[str, int], seed: int, _size: Size) -> Iterator[tuple[str, bytes]]:
    number = 0
    for split in ("train", "val", "test"):
        lines = []
        for _ in range(images[split]):
            name = f"person_{number:04d}"
            photo, label = person(np.random.default_rng([seed, number]))
            yield f"Images/{name}.jpg", _encode(".jpg", photo, cv2.IMWRITE_JPEG_QUALITY, 90)
            yield f"Annotations/{name}.png", _encode(".png", label)
            lines.append(f"Images/{name}.jpg Annotations/{name}.png\n")
            number += 1
        yield f"{split}.txt", "".join(lines).encode()


def person(rng: np.random.Generator) -> tuple[Picture, Picture]:
    """A photograph (H x W x 3, BGR, uint8) of one or two people and its label map (H x W, 0 or 1)."""
    width, height = (int(side) for side in rng.integers(600, 1201, 2))
    photo = _background(rng, width, height)
    label = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 3))):
        _draw_person(rng, photo, label)
    noise = rng.normal(0, 6, (height // 2 + 1, width // 2 + 1)).astype(np.float32)
    noisy = photo.astype(np.float32) + cv2.resize(noise, (width, height))[..., None]
    return np.clip(noisy, 0, 255).astype(np.uint8), label


def _background(rng: np.random.Generator, width: int, height: int) -> Picture:
    """A gradient from one cold colour to another, with soft patches: never the colours of people."""
    top, bottom = (np.array([rng.integers(120, 240), rng.integers(110, 220), rng.integers(10, 110)]) for _ in range(2))
    rows = np.linspace(0, 1, height)[:, None, None]
    photo = np.broadcast_to(top * (1 - rows) + bottom * rows, (height, width, 3)).astype(np.uint8).copy()
    for _ in range(int(rng.integers(4, 9))):
        colour = tuple(int(c) for c in (rng.integers(100, 230), rng.integers(100, 210), rng.integers(0, 100)))
        corner = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        opposite = (corner[0] + int(rng.integers(40, width // 2)), corner[1] + int(rng.integers(40, height // 2)))
        cv2.rectangle(photo, corner, opposite, colour, -1)
    soft: Picture = cv2.GaussianBlur(photo, (9, 9), 0)
    return soft


def _draw_person(rng: np.random.Generator, photo: Picture, label: Picture) -> None:
    height, width = label.shape
    tall = rng.uniform(0.55, 0.9) * height
    head = tall * 0.13
    x = rng.uniform(0.3, 0.7) * width
    y = height - tall + head
    skin = tuple(int(c) for c in (rng.integers(80, 130), rng.integers(120, 170), rng.integers(200, 250)))
    shirt = tuple(int(c) for c in (rng.integers(0, 60), rng.integers(0, 60), rng.integers(140, 240)))
    trousers = tuple(int(c) for c in rng.integers(0, 60, 3))
    lean = rng.uniform(-0.15, 0.15) * head * 4

    def point(dx: float, dy: float) -> tuple[int, int]:
        return int(x + dx * head + lean * dy / 6), int(y + dy * head)

    def polygon(colour: tuple[int, ...], *corners: tuple[float, float]) -> None:
        points = np.array([point(*corner) for corner in corners], np.int32)
        cv2.fillPoly(photo, [points], colour)
        cv2.fillPoly(label, [points], 1)

    def limb(colour: tuple[int, ...], start: tuple[float, float], end: tuple[float, float], thick: float) -> None:
        for canvas, value in ((photo, colour), (label, 1)):
            cv2.line(canvas, point(*start), point(*end), value, max(3, int(thick * head)))

    for side in (-1, 1):
        limb(trousers, (side * 0.5, 3.8), (side * rng.uniform(0.5, 1.0), 8.0), 0.8)
        limb(skin, (side * 1.2, 1.4), (side * rng.uniform(1.4, 2.2), rng.uniform(2.5, 4.2)), 0.5)
    polygon(shirt, (-1.4, 1.1), (1.4, 1.1), (1.1, 4.2), (-1.1, 4.2))
    axes = (max(4, int(head * 0.75)), max(5, int(head)))
    for canvas, value in ((photo, skin), (label, 1)):
        cv2.ellipse(canvas, point(0, 0), axes, 0, 0, 360, value, -1)


# -- streets ----------------------------------------------------------------------------------


def _streets(images: Mapping[str, int], seed: int, size: Size) -> Iterator[tuple[str, bytes]]:
    number = 0
    for split in ("train", "val", "test"):
        for _ in range(images[split]):
            stem = f"{split}town_{number:06d}_000019"
            photo, label = street(np.random.default_rng([seed, number]), size or (512, 256))
            yield (
                f"leftImg8bit/{split}/{split}town/{stem}_leftImg8bit.png",
                _encode(".png", photo, cv2.IMWRITE_PNG_COMPRESSION, 1),
            )
            yield f"gtFine/{split}/{split}town/{stem}_gtFine_labelTrainIds.png", _encode(".png", label)
            number += 1
    for split in ("train", "val"):
        yield f"{split}.list", _street_list(images, split).encode()


def _street_list(images: Mapping[str, int], split: str) -> str:
    first = 0 if split == "train" else images["train"]
    stems = [f"{split}town_{number:06d}_000019" for number in range(first, first + images[split])]
    return "".join(
        f"leftImg8bit/{split}/{split}town/{stem}_leftImg8bit.png "
        f"gtFine/{split}/{split}town/{stem}_gtFine_labelTrainIds.png\n"
        for stem in stems
    )


def street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Picture, Picture]:
    """A street scene (H x W x 3, BGR, uint8) and its label map of Cityscapes train ids (H x W)."""
    width, height = size
    label = np.full((height, width), 10, np.uint8)  # sky
    horizon = int(height * rng.uniform(0.4, 0.55))

    def box(train_id: int, x0: float, y0: float, x1: float, y1: float) -> None:
        cv2.rectangle(label, (int(x0), int(y0)), (int(x1), int(y1)), train_id, -1)

    x = 0.0
    while x < width:
        step = rng.uniform(0.1, 0.25) * width
        box(2 if rng.random() < 0.6 else 8, x, horizon * rng.uniform(0.15, 0.7), x + step, horizon)
        x += step
    box(1, 0, horizon, width, height)
    corners = np.array(
        [[width * 0.35, horizon], [width * 0.65, horizon], [width * 1.1, height], [-width * 0.1, height]], np.int32
    )
    cv2.fillPoly(label, [corners], 0)
    for _ in range(int(rng.integers(1, 4))):
        near = rng.uniform(0.15, 0.9)
        base, scale = horizon + near * (height - horizon), near * height
        left = rng.uniform(0.1, 0.8) * width
        box(13, left, base - 0.25 * scale, left + 0.4 * scale, base)
    for _ in range(int(rng.integers(1, 5))):
        foot = horizon + rng.uniform(0.05, 0.6) * (height - horizon)
        left = rng.uniform(0.02, 0.95) * width
        box(11, left, foot - 0.22 * height, left + 0.045 * width, foot)
    for _ in range(int(rng.integers(1, 3))):
        left = rng.uniform(0.05, 0.95) * width
        box(5, left, horizon * 0.3, left + max(2, 0.01 * width), horizon * 1.2)
        box(7, left - 0.02 * width, horizon * 0.3, left + 0.03 * width, horizon * 0.45)
    palette = np.zeros((256, 3), np.float32)
    for train_id, colour in STREET_COLOURS.items():
        palette[train_id] = colour
    light = rng.uniform(0.85, 1.15)
    photo = palette[label] * light + rng.normal(0, 8, (height, width, 1))
    label[int(height * 0.97) :] = IGNORED  # the bonnet of the car that carries the camera
    return np.clip(photo, 0, 255).astype(np.uint8), label


# -- scenes of many classes -------------------------------------------------------------------


def scene(rng: np.random.Generator, size: tuple[int, int], classes: int) -> tuple[Picture, Picture]:
    """A scene of things of many classes (H x W x 3, BGR, uint8) and its label map (H x W; IGNORED at the edge).

    The first and the last class are in each, so that labels that are one off hold what is no class.
    """
    width, height = size
    label = np.zeros((height, width), np.uint8)
    for kind in (*rng.integers(1, classes - 1, 6), classes - 1):
        centre = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.4, 0.9) * height))
        axes = (max(2, int(rng.uniform(0.06, 0.2) * width)), max(2, int(rng.uniform(0.06, 0.2) * height)))
        if rng.random() < 0.5:
            cv2.ellipse(label, centre, axes, 0, 0, 360, int(kind), -1)
        else:
            corner, opposite = ((centre[0] + sign * axes[0], centre[1] + sign * axes[1]) for sign in (-1, 1))
            cv2.rectangle(label, corner, opposite, int(kind), -1)
    palette = np.random.default_rng(classes).integers(40, 216, (classes, 3))  # the same in every scene
    photo = palette[label] * rng.uniform(0.85, 1.15) + rng.normal(0, 8, (height, width, 1))
    edge = max(1, height // 40)
    label[:edge] = label[-edge:] = IGNORED
    return np.clip(photo, 0, 255).astype(np.uint8), label


def _indoors(images: Mapping[str, int], seed: int, size: Size) -> Iterator[tuple[str, bytes]]:
    number = 0
    for split, called in (("train", "training"), ("val", "validation"), ("test", "testing")):
        for _ in range(images[split]):
            number += 1
            name = f"ADE_{split}_{number:08d}"
            photo, label = scene(np.random.default_rng([seed, number]), size or (256, 192), 150)
            yield f"images/{called}/{name}.jpg", _encode(".jpg", photo, cv2.IMWRITE_JPEG_QUALITY, 90)
            # In the file 0 is nothing, and class 0 is 1.
            yield f"annotations/{called}/{name}.png", _encode(".png", label + np.uint8(1))


def _voc(images: Mapping[str, int], seed: int, size: Size, form: str) -> Iterator[tuple[str, bytes]]:
    """Pascal VOC 2012, in which the split train is `train`, `trainval`, or `trainaug`: half of it labels of SBD's."""
    train, val = images["train"], images["val"]
    own = {"train": train, "trainval": max(0, train - val), "trainaug": train - train // 2}[form]
    counts = {"train": own, "val": val, "aug": train // 2 if form == "trainaug" else 0, "test": images["test"]}
    stems: dict[str, list[str]] = {}
    number = 0
    for name, count in counts.items():
        stems[name] = [f"2007_{number + place:06d}" for place in range(count)]
        for stem in stems[name]:
            photo, label = scene(np.random.default_rng([seed, number]), size or (250, 188), 21)
            number += 1
            yield f"VOC2012/JPEGImages/{stem}.jpg", _encode(".jpg", photo, cv2.IMWRITE_JPEG_QUALITY, 90)
            if name == "aug":  # grey, and without an edge
                yield f"VOC2012/SegmentationClassAug/{stem}.png", _encode(".png", np.where(label == IGNORED, 0, label))
            elif name != "test":
                yield f"VOC2012/SegmentationClass/{stem}.png", _with_palette(label)
    if form == "trainval":
        stems["trainval"] = stems["train"] + stems["val"]
    for name, listed in stems.items():
        if listed:
            yield f"VOC2012/ImageSets/Segmentation/{name}.txt", "".join(f"{stem}\n" for stem in listed).encode()


def _with_palette(label: Picture) -> bytes:
    """A label map as PNG with Pascal VOC's colours, whose bits are those of the number in turn."""
    from PIL import Image

    picture = Image.fromarray(label, "P")
    bits = [[number >> place & 1 for place in range(8)] for number in range(256)]
    picture.putpalette(
        [sum(own[3 * place + channel] << 7 - place for place in range(3) if 3 * place + channel < 8)
         for own in bits for channel in range(3)]
    )  # fmt: skip
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


# -- thin things ------------------------------------------------------------------------------

Colour = tuple[int, int, int]  # BGR


def branches(rng: np.random.Generator, size: tuple[int, int], ground: Colour, thing: Colour) -> tuple[Picture, Picture]:
    """Lines that leave a spot, as vessels leave an optic disc (H x W x 3, BGR, uint8), and their label map (0 or 1)."""
    width, height = size
    label = np.zeros((height, width), np.uint8)
    spot = (int(rng.uniform(0.3, 0.7) * width), int(rng.uniform(0.3, 0.7) * height))
    cv2.circle(label, spot, max(2, height // 10), 1, -1)
    for angle in rng.uniform(0, 2 * np.pi, 6):
        corners = [spot]
        for _ in range(4):
            angle += rng.uniform(-0.5, 0.5)
            x, y = corners[-1]
            corners.append((int(x + np.cos(angle) * width / 8), int(y + np.sin(angle) * height / 8)))
        cv2.polylines(label, [np.array(corners, np.int32)], False, 1, max(1, height // 40))
    colours = np.array([ground, thing], np.float32)
    photo = colours[label] * rng.uniform(0.9, 1.1) + rng.normal(0, 6, (height, width, 1))
    return np.clip(photo, 0, 255).astype(np.uint8), label


def _listed(
    images: Mapping[str, int], seed: int, size: Size, line: str, name: str, ground: Colour, thing: Colour
) -> Iterator[tuple[str, bytes]]:
    """Thin things by lists.

    Args:
        line: of a list, with the number of an image.
        name: of a list, with {split} in it. That of test is there if it lists something.
    """
    number = 0
    for split in ("train", "val", "test"):
        lines = []
        for _ in range(images[split]):
            photo, label = branches(np.random.default_rng([seed, number]), size or (256, 192), ground, thing)
            lines.append(line.format(number))
            image, truth = re.split(r"[ |]", lines[-1])
            yield image, _encode(".jpg", photo, cv2.IMWRITE_JPEG_QUALITY, 90)
            yield truth, _encode(".png", label)
            number += 1
        if lines or split != "test":
            yield name.format(split=split), "".join(f"{one}\n" for one in lines).encode()


_eyes = partial(
    _listed,
    line="JPEGImages/H{0:04d}.jpg Annotations/H{0:04d}.png",
    name="{split}_list.txt",
    ground=(40, 80, 180),
    thing=(90, 170, 240),
)
_roads = partial(
    _listed,
    line="images/{0:06d}_sat.jpg|labels/{0:06d}_mask.png",
    name="{split}.txt",
    ground=(60, 110, 70),
    thing=(170, 170, 170),
)


# By the name of a layout: its generator, called with the number of images by split, the seed, and the size if any.
MAKERS: dict[str, Callable[[Mapping[str, int], int, Size], Iterator[tuple[str, bytes]]]] = {
    "mini_supervisely": _people,
    "cityscapes": _streets,
    "ade20k": _indoors,
    "pascal_voc": partial(_voc, form="train"),
    "pascal_voc_trainval": partial(_voc, form="trainval"),
    "pascal_voc_aug": partial(_voc, form="trainaug"),
    "optic_disc": _eyes,
    "road_extraction": _roads,
}
