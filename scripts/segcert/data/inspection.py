"""One look at every image and label of a data set, when it is unpacked, by the decoders that the stages use.

A cut or damaged JPEG is half grey to OpenCV, without an error: its decoder says so on the standard error stream
alone. So everything is decoded in full here, and what the decoders print is held against the file that they printed
it of.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcert.data import images, layouts
from segcert.errors import StageError
from segcert.files import sha256
from segcert.stage.progress import progress

CHUNK = 32  # files of a thread between two looks at what the decoders printed
MOST_VALUES = 65536  # different numbers in the labels of a split
ORIENTATION = 0x0112  # of EXIF
EIGHT_BITS = ("JPEG", "MPO", "WEBP")
TURNS = range(2, 9)
SAMPLED_ROWS = 8  # of an image, by which it is told whether it may be a label map
NEXT_MARKER = re.compile(rb"\xff(?![\x00\xd0-\xd7\xff])", re.DOTALL)  # behind the data of a scan of a JPEG
# Of these the decoder itself tells whether they are whole; of the others Pillow is asked as well.
TELLS = ("JPEG", "MPO", "PNG")
# What a decoder says of notes beside the picture, such as a colour profile: all pixels are what they were.
BESIDE = re.compile(
    r"libpng warning: (?!.*CRC error)"
    r"(iCCP|cHRM|gAMA|sRGB|sBIT|pHYs|tIME|bKGD|tEXt|zTXt|iTXt|eXIf|hIST|sPLT|oFFs|tRNS): .*"
    r"|Invalid SOS parameters for sequential JPEG"
    r"|Warning: unknown JFIF revision number .*"
)


# What tells nothing to a reader of OpenCV's own messages: times, and paths of this machine and of its maker's.
OPENCV = re.compile(r"\[ ?\w+:\d+@[\d.]+\] global |imread_\('[^']*'\): |OpenCV\([\d.]+\) \S+: ")


@dataclass
class Seen:
    """What a file is.

    Attributes:
        size: [width, height] as decoded; None where it could not be.
        problem: in words, why it is refused.
        orientation: of EXIF, where it says that the picture is to be turned or mirrored; else None.
        notes: keys of REMARKS.
        values: of a label: class -> pixels.
        flat: of an image, whether most pixels are as the one beside them, as in a label map.
    """

    sha256: str
    size: tuple[int, int] | None = None
    problem: str | None = None
    orientation: int | None = None
    notes: tuple[str, ...] = ()
    values: Mapping[int, int] = field(default_factory=dict)
    flat: bool = False


REMARKS = {
    "turned": "turned or mirrored by their EXIF orientation, as OpenCV does: their labels must be drawn on the image "
    "as it is shown, and nothing here can see whether they are",
    "not turned": "used as they are stored, because OpenCV does not turn their format by its EXIF orientation: their "
    "labels must be drawn on the image as it is stored, and nothing here can see whether they are",
    "label turned": "turned or mirrored by their orientation, as Pillow, and so PaddleSeg, does with labels in TIFF",
    "label not turned": "used as they are stored, whatever their EXIF orientation says: PaddleSeg turns no labels",
    "deep": "of 16 bits a channel, of which OpenCV, and so PaddleSeg, keeps the upper 8",
    "frames": "of several pictures, of which OpenCV, and so PaddleSeg, reads the first",
    "grey palette": "shown by a palette of greys, which are not the classes: PaddleSeg takes the number of the entry",
    "beside": "with notes beside the picture that their decoder does not understand, such as a colour profile; the "
    "pixels are whole",
}


class Inspected(NamedTuple):
    """What a data set holds.

    Attributes:
        manifest: what is written down of it. Its `counts` are of each split `images`, `labels`, `pixels` of the labels,
            and `values`: number in the label -> pixels.
        values: of each label the numbers in it.
        notes: in words, what is odd and not refused.
    """

    manifest: dict[str, Any]
    values: dict[str, Mapping[int, int]]
    notes: list[str]


def inspect(root: Path, layout: str, name: str, threads: int = 1) -> Inspected:
    """Read a data set's lists, and decode every image and label once.

    Args:
        name: of the data set.

    Raises:
        StageError: with all lines of the lists, or else all files, that cannot be used, by list and line: damaged, or
            no label map, or a label of another size than its image.
    """
    paths = _paths(root, name)
    splits = layouts.splits(root, layout, name)
    pairs = [
        (layouts.place(layout, split, index), pair)
        for split in layouts.SPLITS
        for index, pair in enumerate(splits[split])
    ]
    photos = dict.fromkeys(image for _, (image, _) in pairs)
    labels = dict.fromkeys(label for _, (_, label) in pairs if label)
    jobs = [partial(look_at_image, root / path) for path in photos]
    jobs += [partial(look_at_label, root / path) for path in labels]
    found = list(_looked(jobs, threads, f"look at {name}"))
    seen_images = dict(zip(photos, found, strict=False))
    seen_labels = dict(zip(labels, found[len(photos) :], strict=True))
    if faults := list(_faults(root, pairs, seen_images, seen_labels)):
        raise StageError.of(name, faults)
    counts = {split: _counts(splits[split], seen_labels) for split in layouts.SPLITS}
    for split, counted in counts.items():
        if len(counted["values"]) > MOST_VALUES:
            raise StageError(
                f"{name}: the labels of {split} hold {len(counted['values'])} different numbers, more than "
                f"{MOST_VALUES}: are they numbers of things, not of classes?"
            )
    hashes = {path: seen.sha256 for path, seen in (seen_images | seen_labels).items()}
    files = [_file(root, path, hashes.get(path)) for path in paths]
    return Inspected(
        {"dataset": name, "layout": layout, "splits": splits, "counts": counts, "files": files},
        {path: seen.values for path, seen in seen_labels.items()},
        [
            *layouts.remarks(root, layout, splits),
            *_ambiguous(splits, seen_images, seen_labels),
            *_shared(splits, seen_images),
            *_remarks("images", seen_images),
            *_remarks("labels", seen_labels),
        ],
    )


def _paths(root: Path, name: str) -> list[str]:
    """Every file, from the root, but for a manifest that the data set brought along.

    Raises:
        StageError: with the names that cannot be written down, before anybody reads one of them.
    """
    paths = [file.relative_to(root).as_posix() for file in sorted(root.rglob("*")) if file.is_file()]
    if faults := list(filter(None, map(layouts.no_name, paths))):
        raise StageError.of(name, faults)
    return [path for path in paths if path != "manifest.json"]


def _file(root: Path, path: str, known: str | None) -> dict[str, Any]:
    """Path, size and hash of a file; the hash may be known."""
    return {"path": path, "bytes": (root / path).stat().st_size, "sha256": known or sha256(root / path)}


# -- one file ---------------------------------------------------------------------------------


def look_at_image(path: Path) -> Seen:
    """Decode an image as the stages do, and see what is odd about it."""
    import cv2

    seen = Seen(sha256(path))
    head = _Head.of(path)
    if head.refused:
        seen.problem = head.refused
        return seen
    image = _decoded(path, cv2.IMREAD_COLOR)
    if image is None:
        seen.problem = f"is not an image that OpenCV decodes{f' (it is {head.kind})' if head.kind else ''}"
        return seen
    seen.size = (image.shape[1], image.shape[0])
    rows = image[:: max(1, len(image) // SAMPLED_ROWS)]
    seen.flat = bool((rows[:, 1:] == rows[:, :-1]).all(axis=-1).mean() > 0.5) if image.shape[1] > 1 else True
    notes = ["frames"] if head.frames > 1 and head.kind != "MPO" else []
    if head.orientation:
        # Whether OpenCV heeds it is seen, not known: of several, and of odd ones, it takes others than Pillow.
        stored = _decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        turned = stored is None or not np.array_equal(stored, image)
        if turned or head.orientation in TURNS:
            seen.orientation = head.orientation
            notes.append("turned" if turned else "not turned")
    if head.kind == "JPEG" and (missing := _missing_scans(path.read_bytes())):
        seen.problem = missing
    if head.kind not in EIGHT_BITS:
        depth = _depth(path, head)
        if depth.kind == "f":
            seen.problem = f"holds {depth} numbers; PaddleSeg reads images of 8 bits a channel"
        elif depth.itemsize > 1:
            notes.append("deep")
    if head.kind and head.kind not in TELLS:
        seen.problem = seen.problem or _by_pillow(path)
    seen.notes = tuple(notes)
    return seen


class _Head(NamedTuple):
    """What Pillow sees at the beginning of a file.

    Attributes:
        kind: the format; None where Pillow knows none.
        orientation: of EXIF, XMP or a TIFF, where it is not the usual one; it may be a number of no meaning.
        refused: in words, why nobody should decode it.
    """

    kind: str | None = None
    orientation: int | None = None
    frames: int = 1
    raw: str = ""
    refused: str | None = None

    @classmethod
    def of(cls, path: Path) -> _Head:
        from PIL import Image

        try:
            with Image.open(path) as opened:
                raw = " ".join(str(tile[3]) for tile in opened.tile[:1])
                # Of a PNG, Pillow decodes all of it to see whether there is one behind the picture.
                exif = {} if opened.format == "PNG" and b"eXIf" not in path.read_bytes() else opened.getexif()
                turn = exif.get(ORIENTATION)
                if isinstance(turn, bytes):  # of a type that it should not have, and which OpenCV reads
                    turn = int.from_bytes(turn, "little")
                frames = getattr(opened, "n_frames", 1)
                return cls(opened.format, turn if isinstance(turn, int) and turn not in (0, 1) else None, frames, raw)
        except Image.DecompressionBombError as error:
            return cls(refused=f"is too large to be decoded: {error}")
        except Exception:  # Pillow's readers raise nearly anything: OpenCV, which is used, may know better
            return cls()


def _decoded(path: Path, flags: int) -> NDArray[Any] | None:
    import cv2

    try:
        image: NDArray[Any] | None = cv2.imread(str(path), flags)
    except cv2.error:  # larger than OpenCV's limit
        return None
    return image


def _depth(path: Path, head: _Head) -> np.dtype[Any]:
    """The type of an image's numbers in its file."""
    import cv2

    if head.kind == "PNG":
        return np.dtype(np.uint16 if "16" in head.raw else np.uint8)
    image = _decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return np.dtype(np.uint8) if image is None else image.dtype


def _missing_scans(content: bytes) -> str | None:
    """In words, what a progressive JPEG lacks: it was cut between two scans, which no decoder minds.

    Each scan brings some coefficients of some components up to a precision (ITU-T T.81, B.2.3 and G.1.1): after the
    last one all are whole.
    """
    left_out: dict[tuple[int, int], int] = {}  # (component, coefficient) -> bits that no scan has brought yet
    place, coefficients = 2, 0
    while (marker := content[place : place + 2]) and marker != b"\xff\xd9" and marker[0] == 0xFF:
        length = int.from_bytes(content[place + 2 : place + 4])
        segment = content[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == b"\xff\xc2" and len(segment) > 5:  # a progressive frame; its number of components
            coefficients = 64 * segment[5]
        elif marker == b"\xff\xda":
            if not coefficients or len(segment) != 4 + 2 * segment[0]:
                return None
            first, last, bits = segment[-3:]
            of = segment[1:-3:2]
            left_out |= {(component, number): bits & 15 for component in of for number in range(first, last + 1)}
            following = NEXT_MARKER.search(content, place)
            place = following.start() if following else len(content)
    whole = sum(bits == 0 for bits in left_out.values())
    if whole == coefficients:
        return None
    return f"is a progressive JPEG whose last scans are missing: {whole} of {coefficients} coefficients are whole"


def _by_pillow(path: Path) -> str | None:
    """In words, why Pillow, which knows the format, does not get to the end of the file."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            opened.load()
    except Exception as error:
        return f"cannot be decoded to its end: {type(error).__name__}: {error}"
    return None


def look_at_label(path: Path) -> Seen:
    """Read a label as the stages do, and count its numbers."""
    from PIL import Image

    seen = Seen(sha256(path))
    try:
        label = images.read_label(path)
        with Image.open(path) as opened:
            opened.verify()  # the checksums of a PNG, which nobody looks at who decodes it
    except StageError as error:
        seen.problem = str(error).removeprefix(f"{path}: ").replace(f" '{path}'", "")
    except Exception as error:
        seen.problem = f"is damaged: {type(error).__name__}: {error}"
    else:
        seen.size = (label.shape[1], label.shape[0])
        seen.values = histogram(label)
        head = _Head.of(path)
        if head.orientation in TURNS:
            seen.orientation = head.orientation
            seen.notes = ("label turned" if head.kind == "TIFF" else "label not turned",)
        _look_at_palette(path, seen)
    return seen


def _look_at_palette(path: Path, seen: Seen) -> None:
    """See whether a label's palette is the greys of a label map that somebody saved with a palette.

    GIF, and what makes PNG files smaller, put greys that are there into a palette: what was 5 is the second entry of
    two then, and PaddleSeg reads 1. Greys that go evenly from black to white are for the eye, and only told of.
    """
    from PIL import Image

    with Image.open(path) as opened:
        if opened.mode != "P":
            return
        palette = np.array(opened.getpalette("RGB"), np.int64).reshape(-1, 3)
    if (palette != palette[:, :1]).any():
        return
    greys = {number: int(palette[number, 0]) for number in seen.values if number < len(palette)}
    other = [number for number, grey in greys.items() if number != grey]
    if not other:
        return
    steps = {len(palette) - 1, max(seen.values)}
    if any(all(abs(grey - 255 * number / most) <= 1 for number, grey in greys.items()) for most in steps if most):
        seen.notes += ("grey palette",)
        return
    seen.problem = (
        f"has a palette of greys, of which entry {other[0]} is the grey {greys[other[0]]}, and PaddleSeg reads "
        f"{other[0]}; if the grey is the class, save it as grey of 8 bits without a palette, else give the palette "
        "colours"
    )


def histogram(label: images.Label) -> dict[int, int]:
    """Number -> how many pixels hold it."""
    if label.dtype != np.uint8:
        numbers, counts = np.unique(label, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    # Eight pixels at a time where they are equal, as most of a label's are.
    flat = np.ascontiguousarray(label).reshape(-1)
    whole = flat.size // 8 * 8
    eights = flat[:whole].view(np.uint64)
    first = eights & np.uint64(0xFF)
    equal = eights == first * np.uint64(0x0101010101010101)
    found = 8 * np.bincount(first[equal].view(np.int64), minlength=256)
    found += np.bincount(eights[~equal].view(np.uint8), minlength=256)
    found += np.bincount(flat[whole:], minlength=256)
    return {number: int(found[number]) for number in np.flatnonzero(found).tolist()}


# -- all files --------------------------------------------------------------------------------


def _looked(jobs: Sequence[Callable[[], Seen]], threads: int, what: str) -> Iterator[Seen]:
    """What the jobs saw, in order; what their decoders printed is a problem of the file that they printed it of.

    Where anything was printed by several at a time, each of them is looked at once more by itself.
    """
    import cv2

    before = cv2.getNumThreads()
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress(len(jobs), what))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Pillow's, of sizes and of tags: they are no words of a decoder
        cv2.setNumThreads(1)
        stack.callback(cv2.setNumThreads, before)
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        printed = stack.enter_context(_printed())
        step = CHUNK * threads
        for start in range(0, len(jobs), step):
            chunk = jobs[start : start + step]
            found = list(pool.map(_run, chunk))
            if printed():
                found = [_held_against(job(), printed()) for job in chunk]
            yield from found
            bar.update(len(chunk))


def _run(job: Callable[[], Seen]) -> Seen:
    return job()


def _held_against(seen: Seen, said: str) -> Seen:
    """What was seen, with what its decoder said of it."""
    lines = list(dict.fromkeys(line.strip() for line in OPENCV.sub("", said).splitlines() if line.strip()))
    if serious := [line for line in lines if not BESIDE.fullmatch(line)]:
        told = " / ".join(serious)[:300]
        seen.problem = f"{seen.problem or 'is damaged or cut'}; its decoder says: {told}"
    elif lines:
        seen.notes += ("beside",)
    return seen


@contextlib.contextmanager
def _printed() -> Iterator[Callable[[], str]]:
    """Catch what this process prints to its standard error stream; what it gives says what came since it was asked."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)

        def since() -> str:
            caught.seek(0)
            text = caught.read().decode("utf-8", "replace")
            caught.seek(0)  # the position of the stream as well, which is the same open file
            caught.truncate()
            return text

        try:
            yield since
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _faults(
    root: Path,
    pairs: Sequence[tuple[str, layouts.Pair]],
    seen_images: Mapping[str, Seen],
    seen_labels: Mapping[str, Seen],
) -> Iterator[str]:
    """In words, each file that is refused, where it is listed first, and each pair that does not fit."""
    told = set()
    for place, (image, label) in pairs:
        for path, seen in ((image, seen_images[image]), *([(label, seen_labels[label])] if label else [])):
            if seen.problem and path not in told:
                told.add(path)
                yield f"{place}: {path}: {seen.problem}"
        if label is None:
            continue
        own, its_label = seen_images[image], seen_labels[label]
        if own.sha256 == its_label.sha256:
            yield f"{place}: {label}: is its own image, byte for byte"
        elif own.size and its_label.size and own.size != its_label.size:
            sizes = f"is {its_label.size[0]}x{its_label.size[1]}, its image is {own.size[0]}x{own.size[1]}"
            yield f"{place}: {label}: {sizes}{_turned(own, its_label)}; they must be equal"
        elif own.flat and len(its_label.values) > 1 and _shows(root / image, root / label):
            yield f"{place}: {image}: shows its own label map, pixel by pixel, and no photo"


def _shows(image: Path, label: Path) -> bool:
    """Whether an image is the picture of a label map, or its numbers as greys: of one number an image may well be."""
    import cv2

    photo = _decoded(image, cv2.IMREAD_COLOR)
    try:
        numbers = images.read_label(label)
    except StageError:  # told of by itself
        return False
    pictures = (_decoded(label, cv2.IMREAD_COLOR), numbers[..., None])
    return photo is not None and any(
        picture is not None and picture.shape[:2] == photo.shape[:2] and bool((picture == photo).all())
        for picture in pictures
    )


def _turned(image: Seen, label: Seen) -> str:
    """What an EXIF orientation has to do with it, to go behind the sizes."""
    told = []
    if image.orientation:
        applied = "is applied to it" if "turned" in image.notes else "is not applied to it"
        told.append(f"the image's EXIF orientation {image.orientation} {applied} by OpenCV")
    if label.orientation:
        applied = "is applied to it" if "label turned" in label.notes else "is not applied to it"
        told.append(f"the label's EXIF orientation {label.orientation} {applied} by Pillow")
    fit = "draw the label on the image as it is read, or take the orientation out of the file"
    return f" ({'; '.join(told)}: {fit})" if told else ""


def _counts(pairs: layouts.Pairs, seen_labels: Mapping[str, Seen]) -> dict[str, Any]:
    """Of a split; a pair that is listed twice counts twice, as it does in PaddleSeg's data sets."""
    total: Counter[int] = Counter()
    labels = [label for _, label in pairs if label]
    for label in labels:
        total.update(seen_labels[label].values)
    return {
        "images": len(pairs),
        "labels": len(labels),
        "pixels": sum(total.values()),
        "values": {str(number): total[number] for number in sorted(total)},
    }


def _ambiguous(
    splits: Mapping[str, layouts.Pairs], seen_images: Mapping[str, Seen], seen_labels: Mapping[str, Seen]
) -> Iterator[str]:
    """In words, which pairs of a split contradict each other, or look as if a line of its list were wrong."""
    for split, pairs in splits.items():
        labelled = [(image, label) for image, label in pairs if label]
        truths: dict[str, dict[str, str]] = {}  # of a picture, by its content: content of a label -> its name
        names: dict[str, str] = {}
        pictures: dict[str, set[str]] = {}  # of a label file: contents of its images
        for image, label in labelled:
            content = seen_images[image].sha256
            names.setdefault(content, image)
            truths.setdefault(content, {}).setdefault(seen_labels[label].sha256, label)
            pictures.setdefault(label, set()).add(content)
        several = [content for content, labels in truths.items() if len(labels) > 1]
        if several:
            yield (
                f"{len(several)} of the pictures of {split} have several labels that differ, such as "
                f"{names[several[0]]} ({', '.join(list(truths[several[0]].values())[:2])}): at most one is right"
            )
        if used := [label for label, contents in pictures.items() if len(contents) > 1]:
            yield (
                f"{len(used)} of the labels of {split} are listed for several pictures, such as {used[0]}: right only "
                "where these show the same"
            )


def _shared(splits: Mapping[str, layouts.Pairs], seen_images: Mapping[str, Seen]) -> Iterator[str]:
    """In words, which splits have pictures in common, by their content."""
    contents = {
        split: {seen_images[image].sha256: image for image, _ in reversed(pairs)} for split, pairs in splits.items()
    }
    for index, split in enumerate(layouts.SPLITS):
        for other in layouts.SPLITS[:index]:
            common = [content for content in contents[split] if content in contents[other]]
            if common:
                one, two = contents[split][common[-1]], contents[other][common[-1]]
                same = one if one == two else f"{one} is {two}"
                yield (
                    f"{len(common)} of the {len(contents[split])} pictures of {split} are in {other} as well, such as "
                    f"{same}: what is measured on them says little of other pictures"
                )


def _remarks(what: str, files: Mapping[str, Seen]) -> Iterator[str]:
    for key, words in REMARKS.items():
        which = [path for path, seen in files.items() if key in seen.notes]
        if which:
            yield f"{len(which)} of the {len(files)} {what} are {words} (such as {which[0]})"
