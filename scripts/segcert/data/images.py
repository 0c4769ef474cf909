"""The one reader of labels and of images: a file means the same in training, evaluation, inference and on the page.

Labels are read as PaddleSeg reads them, by Pillow: a palette's indices, 0 and 1 of one bit, the numbers of 8, 16 and
32 bits. What Pillow gives other numbers than the file holds, or what has no number a pixel, is refused by name.
Images are read as PaddleSeg reads them, by OpenCV: 8 bits of three channels, turned as their EXIF orientation says.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.errors import StageError

Label = NDArray[np.uint8] | NDArray[np.int32]
# Formats that keep every number; which modes of Pillow's have one number a pixel.
LOSSLESS = ("PNG", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA")
ONE_NUMBER = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")
EIGHT_BITS = ("L", "P")  # of which PaddleSeg's arithmetic stays in 8 bits
LOSSY_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")
TURNED_ROUND = re.compile(r";\d*(I|IR)$")  # how Pillow calls numbers of which it takes the complement
BITS = {"1": 1, "P;1": 1, "P;4": 4}  # of a pixel, by Pillow's names of how those of a BMP lie in it; else 8
WHOLE = (255, 65535)  # the largest numbers of a PGM file that Pillow does not stretch


def read_label(path: Path | str, first: int = 0) -> Label:
    """A label map, H x W, by its classes: uint8, or int32 where a number does not fit into 8 bits.

    Args:
        first: the number in the file that is class 0, as the layout of the data set has it.

    Raises:
        StageError: the file is missing or damaged, or it is no label map.
    """
    return as_classes(read_numbers(path, first), first)


def as_classes(numbers: Label, first: int) -> Label:
    """The classes of what stands in a file. What is below the first comes round in 8 bits: of 1, 0 is 255."""
    classes: Label = numbers - np.uint8(first) if first else numbers
    return classes


def read_numbers(path: Path | str, first: int = 0) -> Label:
    """The numbers that a label's file holds; otherwise as `read_label`."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            problem = no_label(opened, first)
            values = None if problem else np.asarray(opened)
    except Exception as error:  # Pillow's readers raise nearly anything
        raise StageError(
            f"{path}: is missing or is not an image that Pillow decodes in full: {type(error).__name__}: {error}"
        ) from error
    if values is None:
        raise StageError(f"{path}: {problem}")
    return _narrow(values)


def no_label(image: Any, first: int = 0) -> str | None:
    """In words, why a file that Pillow has opened is no label map; None where it may be one.

    Args:
        first: as of `read_label`.
    """
    kind, mode = image.format, image.mode
    if kind not in LOSSLESS:
        loses = ", which changes numbers to save room" if kind in ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF") else ""
        return f"is a {kind} file{loses}; a label map must be PNG, BMP, TIFF, GIF, PGM or TGA"
    if kind == "TIFF" and image.info.get("compression") in LOSSY_IN_TIFF:
        return f"is a TIFF file compressed by {image.info['compression']}, which changes numbers to save room"
    if mode not in ONE_NUMBER:
        channels = len(image.getbands())
        has = f"has {channels} channels (mode {mode})" if channels > 1 else f"has numbers of mode {mode}"
        return f"{has}; a label map has one channel, the class of each pixel"
    if first and mode not in EIGHT_BITS:
        return (
            f"has numbers of mode {mode}; PaddleSeg takes {first} from each number of this layout's labels, and only "
            "in 8 bits does that make 255 of 0; save it with 8 bits a pixel"
        )
    if changed := _changed(image):
        return f"{changed}; PaddleSeg reads such labels by Pillow: save it with 8 bits a pixel, 0 as black"
    frames = getattr(image, "n_frames", 1)
    return f"holds {frames} images; a label map is one" if frames > 1 else None


def _changed(image: Any) -> str | None:
    """In words, why Pillow would give other numbers than the file holds."""
    if image.format in ("BMP", "DIB") and (own := _bits_of_bmp(image)) != BITS.get(image.tile[0][3][0], 8):
        # Pillow gives a palette of greys up, and with it how many bits a pixel has.
        return f"is a {image.format} file of {own} bits a pixel whose palette is grey, which Pillow misreads"
    for _, _, _, settings in image.tile:
        words = settings if isinstance(settings, tuple) else (settings,)
        raw = str(words[0])
        if bits := re.match(r"L;([24])", raw):
            one = 255 // (2 ** int(bits[1]) - 1)
            return (
                f"is grey of {bits[1]} bits a pixel (mode {raw}), which Pillow stretches to 8: 1 would be read as {one}"
            )
        if image.format == "PPM" and len(words) == 2 and words[1] not in WHOLE:
            return f"is a PGM file whose largest number is {words[1]}, which Pillow stretches to 255 or 65535"
        if TURNED_ROUND.search(raw):
            return f"is a {image.format} file whose 0 is white (mode {raw}), which Pillow turns round"
    return None


def _bits_of_bmp(image: Any) -> int:
    """How many bits a pixel has, by the file's header (Microsoft, BITMAPCOREHEADER and BITMAPINFOHEADER)."""
    with Path(image.filename).open("rb") as stream:
        header = stream.read(32)[14 if image.format == "BMP" else 0 :]
    place = 10 if header[:4] == (12).to_bytes(4, "little") else 14
    return int.from_bytes(header[place : place + 2], "little")


def _narrow(values: NDArray[Any]) -> Label:
    """The same numbers in the form that every transform of PaddleSeg's takes: Paddle takes uint16 for bfloat16."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_ or (values.min() >= 0 and values.max() <= 255):
        return values.astype(np.uint8)
    return values.astype(np.int32)


def write_label(path: Path | str, label: NDArray[np.integer[Any]]) -> None:
    """Write a label map (H x W, class numbers below 256) as PNG."""
    import cv2

    if not cv2.imwrite(str(path), label.astype(np.uint8)):
        raise StageError(f"{path}: cannot be written; is the disk full?")


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """H x W x 3, RGB, uint8, turned as its EXIF orientation says; StageError where OpenCV cannot decode the file."""
    import cv2

    # As PaddleSeg does it: asked for RGB, OpenCV gives BGR of some formats.
    image: NDArray[np.uint8] | None = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise StageError(f"{path}: is missing or is not an image that OpenCV decodes; check the data set")
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return image
