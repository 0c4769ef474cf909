"""One look at every image and label of a data set, when it is unpacked, by the decoders that the stages use.

A cut or damaged JPEG is half grey to OpenCV, without an error: its decoder says so on the standard error stream
alone. So everything is decoded in full here, and what the decoders print is held against the file that they printed
it of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
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

from segcert.data import images, layouts, wholeness
from segcert.errors import StageError
from segcert.files import sha256
from segcert.layouts import by_name, class_of
from segcert.stage.progress import progress

CHUNK = 32  # files of a thread between two looks at what the decoders printed
MOST_VALUES = 65536  # different numbers in the labels of a split
EIGHT_BITS = ("JPEG", "MPO", "WEBP")
TURNS = range(2, 9)
SAMPLE_FORMAT = 339  # a tag of TIFF, which is 2 for signed numbers (TIFF 6.0, section 19)
SIGNED = "is a TIFF file of signed numbers, which are read as if they had no sign; save it as PNG"
INTERLACED = 28  # where a PNG says whether it is
SAMPLED_ROWS = 8  # of an image, by which it is told whether it may be a label map
# Of these the decoder itself tells whether they are whole; of the others Pillow is asked as well.
TELLS = ("JPEG", "PNG", "PAM")
MAGIC = {wholeness.JPEG: "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"P7\n": "PAM"}
# What a decoder says of notes beside the picture, such as a colour profile: all pixels are what they were.
BESIDE = re.compile(
    r"libpng warning: (?!.*CRC error)"
    r"(iCCP|cHRM|gAMA|sRGB|sBIT|pHYs|tIME|bKGD|tEXt|zTXt|iTXt|eXIf|hIST|sPLT|oFFs|tRNS): .*"
    r"|Invalid SOS parameters for sequential JPEG"
    r"|Warning: unknown JFIF revision number .*"
    r"|\S+ readData OpenJPEG2000: Image has unknown or unspecified color space, SRGB is assumed"
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
        colours: of a label with a palette of colours: number that it holds -> the colour that it is shown in.
        flat: of an image, whether most pixels are as the one beside them, as in a label map.
        sample: of an image, what is the same for the same pixels, and seldom for others.
    """

    sha256: str
    size: tuple[int, int] | None = None
    problem: str | None = None
    orientation: int | None = None
    notes: tuple[str, ...] = ()
    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    flat: bool = False
    sample: str = ""


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
            and `values`: class -> pixels. A class is a number in the label, less the layout's `first_class`.
        values: of each label the same of it alone.
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
    jobs += [partial(look_at_label, root / path, by_name(layout).first_class) for path in labels]
    found = list(_looked(jobs, threads, f"look at {name}"))
    seen_images = dict(zip(photos, found, strict=False))
    seen_labels = dict(zip(labels, found[len(photos) :], strict=True))
    if faults := [
        *_faults(root, pairs, seen_images, seen_labels),
        *_exchanged(pairs),
        *_recoloured(pairs, seen_labels),
    ]:
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
    shown = _shown(root, seen_images)
    return Inspected(
        {"dataset": name, "layout": layout, "splits": splits, "counts": counts, "files": files},
        {path: seen.values for path, seen in seen_labels.items()},
        [
            *layouts.remarks(root, layout, splits),
            *_ambiguous(root, splits, shown, seen_labels),
            *_copied(splits, shown, seen_labels),
            *_shared(splits, shown),
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

    content = path.read_bytes()
    seen = Seen(hashlib.sha256(content).hexdigest())
    head = _Head.of(path, content)
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
    seen.sample = f"{seen.size} {hashlib.sha256(rows.tobytes()).hexdigest()}"
    notes = ["frames"] if head.frames > 1 and head.kind != "MPO" else []
    turned = _is_turned(path, content, head, image)
    if turned or head.orientation in TURNS:
        seen.orientation = head.orientation
        notes.append("turned" if turned else "not turned")
    if head.kind not in EIGHT_BITS:
        depth = _depth(path, head)
        if depth.kind == "f":
            seen.problem = f"holds {depth} numbers; PaddleSeg reads images of 8 bits a channel"
        elif depth.itemsize > 1:
            notes.append("deep")
    seen.problem = seen.problem or _not_whole(path, content, head)
    seen.notes = tuple(notes)
    return seen


def _is_turned(path: Path, content: bytes, head: _Head, image: NDArray[Any]) -> bool:
    """Whether OpenCV turns or mirrors a picture: seen by what it does, because it heeds others than Pillow does."""
    import cv2

    if content.startswith(wholeness.JPEG):
        # What it reads an orientation from, put into a small picture whose corners differ.
        exif = wholeness.exif(content)
        return bool(exif) and _small_is_turned(exif)
    if head.kind == "TIFF":  # which it turns whatever it is asked
        usual = wholeness.as_stored(content)
        stored = _decoded(usual or b"", cv2.IMREAD_COLOR)
        return stored is not None and not np.array_equal(stored, image)
    if not head.orientation and b"eXIf" not in content:
        return False
    stored = _decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is None or not np.array_equal(stored, image)


def _small_is_turned(exif: bytes) -> bool:
    import cv2

    corner = np.zeros((8, 16, 3), np.uint8)
    corner[:4, :8] = 255
    small = cv2.imencode(".jpg", corner)[1].tobytes()
    with_exif = small[:2] + exif + small[2:]
    shown = _decoded(with_exif, cv2.IMREAD_COLOR)
    stored = _decoded(with_exif, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return shown is None or stored is None or not np.array_equal(shown, stored)


def _not_whole(path: Path, content: bytes, head: _Head) -> str | None:
    """In words, why an image that OpenCV decodes is not all there, or is read otherwise than it says."""
    import cv2

    if content.startswith(wholeness.JPEG):
        return wholeness.missing_scans(content)
    if head.kind is None:
        return "is a file that OpenCV alone decodes, so that nothing tells whether it is whole; save it as PNG"
    if head.kind == "PAM":
        return _pam(content)
    if head.kind == "PPM" and head.largest not in images.WHOLE:
        return (
            f"is a {head.kind} file whose largest number is {head.largest}, and OpenCV takes 255 for white all the "
            "same; save it as PNG"
        )
    for jpeg in head.jpegs or ():
        if _decoded(jpeg, cv2.IMREAD_COLOR) is None:
            return "is a TIFF file packed by JPEG of which a strip cannot be decoded"
        if missing := wholeness.missing_scans(jpeg):
            return f"is a TIFF file packed by JPEG of which a strip {missing}"
    return head.not_whole or (_by_pillow(path) if head.kind not in TELLS else None)


def _pam(content: bytes) -> str | None:
    """In words, why a PAM, which Pillow does not know, is not read as it says."""
    words = dict(line.split(None, 1) for line in content.partition(b"ENDHDR")[0].splitlines() if b" " in line)
    depth, largest = words.get(b"DEPTH", b"").strip(), words.get(b"MAXVAL", b"").strip()
    if depth == b"1" and largest in (b"255", b"65535"):
        return None
    return (
        f"is a PAM file of {depth.decode('ascii', 'replace')} channels up to {largest.decode('ascii', 'replace')}, "
        "and OpenCV takes such for BGR, and 255 for white, whatever it says; save it as PNG"
    )


class _Head(NamedTuple):
    """What Pillow sees at the beginning of a file.

    Attributes:
        kind: the format; None where nobody knows it.
        orientation: of EXIF, XMP or a TIFF, where it is not the usual one; it may be a number of no meaning.
        largest: of a PPM, the number that is white.
        refused: in words, why nobody should decode it as an image.
        not_whole: in words, why it is not all there, or why nobody can tell.
        jpegs: of a TIFF packed by JPEG, its parts.
    """

    kind: str | None = None
    orientation: int | None = None
    frames: int = 1
    raw: str = ""
    largest: int = 255
    refused: str | None = None
    not_whole: str | None = None
    jpegs: list[bytes] | None = None

    @classmethod
    def of(cls, path: Path, content: bytes) -> _Head:
        from PIL import Image

        kind = next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)
        try:
            with Image.open(path) as opened:
                raw = " ".join(str(tile[3]) for tile in opened.tile[:1])
                # Of a PNG, Pillow decodes all of it to see whether there is one behind the picture.
                exif = {} if opened.format == "PNG" and b"eXIf" not in content else opened.getexif()
                turn = exif.get(wholeness.ORIENTATION)
                if isinstance(turn, bytes):  # of a type that it should not have, and which OpenCV reads
                    turn = int.from_bytes(turn, "little")
                turn = turn if isinstance(turn, int) and turn not in (0, 1) else None
                frames, kind, largest = getattr(opened, "n_frames", 1), opened.format, 255
                if kind == "PPM" and opened.tile and isinstance(opened.tile[0][3], tuple):
                    largest = opened.tile[0][3][1]
                if kind != "TIFF":
                    return cls(kind, turn, frames, raw, largest)
                opened.seek(0)
                tags: Mapping[int, Any] = getattr(opened, "tag_v2", {})
                refused = SIGNED if 2 in tags.get(SAMPLE_FORMAT, ()) else None
                why, jpegs = wholeness.tiff(opened, content), wholeness.jpegs_in_tiff(opened, content)
                return cls(kind, turn, frames, raw, refused=refused, not_whole=why, jpegs=jpegs)
        except Image.DecompressionBombError as error:
            return cls(refused=f"is too large to be decoded: {error}")
        except Exception:  # Pillow's readers raise nearly anything: OpenCV, which is used, may know better
            return cls(kind)


def _decoded(source: Path | bytes, flags: int) -> NDArray[Any] | None:
    """A file, or what would be one, as OpenCV decodes it."""
    import cv2

    image: NDArray[Any] | None
    try:
        if isinstance(source, bytes):
            image = cv2.imdecode(np.frombuffer(source, np.uint8), flags) if source else None
        else:
            image = cv2.imread(str(source), flags)
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


def _by_pillow(path: Path) -> str | None:
    """In words, why Pillow, which knows the format, does not get to the end of the file."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            opened.load()
    except Exception as error:
        return f"cannot be decoded to its end: {type(error).__name__}: {error}"
    return None


def look_at_label(path: Path, first: int = 0) -> Seen:
    """Read a label as the stages do, and count its classes, of which 0 is the number `first`."""
    from PIL import Image

    content = path.read_bytes()
    seen = Seen(hashlib.sha256(content).hexdigest())
    try:
        label = images.read_numbers(path, first)
        with Image.open(path) as opened:
            opened.verify()  # the checksums of a PNG, which nobody looks at who decodes it
    except StageError as error:
        seen.problem = str(error).removeprefix(f"{path}: ").replace(f" {str(path)!r}", "")
    except Exception as error:
        seen.problem = f"is damaged: {type(error).__name__}: {error}"
    else:
        seen.size = (label.shape[1], label.shape[0])
        numbers = histogram(label)
        seen.values = {class_of(number, first): pixels for number, pixels in numbers.items()}
        head = _Head.of(path, content)
        seen.problem = head.not_whole
        # Where lines are missing, the last ones are 0: the first look costs nothing.
        if head.kind == "PNG" and (content[INTERLACED] or not label[-1].any()):
            seen.problem = wholeness.missing_lines(content)
        if head.orientation in TURNS:
            seen.orientation = head.orientation
            seen.notes = ("label turned" if head.kind == "TIFF" else "label not turned",)
        if "label turned" in seen.notes and not np.array_equal(np.asarray(Image.open(io.BytesIO(content))), label):
            seen.problem = (
                f"is a TIFF file of the orientation {head.orientation} whose pixels Pillow, and so PaddleSeg, mixes "
                "up; save it as it is to be seen, without an orientation"
            )
        _look_at_palette(path, seen, numbers)
    return seen


def _look_at_palette(path: Path, seen: Seen, numbers: Mapping[int, int]) -> None:
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
        seen.colours = {number: tuple(palette[number].tolist()) for number in numbers if number < len(palette)}
        return
    greys = {number: int(palette[number, 0]) for number in numbers if number < len(palette)}
    other = [number for number, grey in greys.items() if number != grey]
    if not other:
        return
    steps = {len(palette) - 1, max(numbers)}
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
        elif own.problem or its_label.problem:  # which was told
            continue
        elif own.flat and len(its_label.values) > 1 and _shows(root / image, root / label):
            yield f"{place}: {image}: shows its own label map, pixel by pixel, and no photo"


def _exchanged(pairs: Sequence[tuple[str, layouts.Pair]]) -> Iterator[str]:
    """In words, each label that has the name of another listed image than that it is listed with."""
    places = {Path(image).stem: (place, image) for place, (image, _) in reversed(pairs)}
    for place, (image, label) in pairs:
        stem = Path(label or "").stem
        if stem.startswith(Path(image).stem):
            continue
        named = next((stem[:end] for end in range(len(stem), 0, -1) if stem[:end] in places), None)
        if named is not None:
            other_place, other = places[named]
            yield (
                f"{place}: {label}: has the name of {other} ({other_place}), and is listed with {image}: were lines or "
                "columns exchanged? If it belongs there, rename it"
            )


def _recoloured(pairs: Sequence[tuple[str, layouts.Pair]], seen_labels: Mapping[str, Seen]) -> Iterator[str]:
    """In words, each label whose palette has a colour at another place than those before it: their numbers differ."""
    first: dict[tuple[int, ...], tuple[int, str]] = {}  # colour -> its number, and the label that has it so
    told = set()
    for place, (_, label) in pairs:
        colours = seen_labels[label].colours if label else {}
        if label is None or label in told or len(set(colours.values())) < len(colours):
            continue  # of two numbers of one colour, the colour says nothing
        for number, colour in colours.items():
            known, other = first.setdefault(colour, (number, label))
            if known != number:
                told.add(label)
                yield (
                    f"{place}: {label}: has the colour {colour} of its palette at {number}, {other} at {known}: "
                    "PaddleSeg reads the numbers, so one of the two is wrong; save all with one palette"
                )
                break


def _copied(
    splits: Mapping[str, layouts.Pairs], shown: Mapping[str, str], seen_labels: Mapping[str, Seen]
) -> Iterator[str]:
    """In words, how many labels are those of other pictures, byte for byte, and of more than one class."""
    found: dict[str, dict[str, tuple[str, str]]] = {}  # content of a label -> picture -> label, image
    for image, label in (pair for pairs in splits.values() for pair in pairs):
        if label and len(seen_labels[label].values) > 1:
            found.setdefault(seen_labels[label].sha256, {}).setdefault(shown[image], (label, image))
    copies = [by_picture for by_picture in found.values() if len({label for label, _ in by_picture.values()}) > 1]
    if copies:
        (one, image), (two, other), *_ = {label: (label, image) for label, image in copies[0].values()}.values()
        count = sum(len(by_picture) for by_picture in copies)
        yield (
            f"{count} labels are those of other pictures, byte for byte, such as {one} (of {image}) and {two} (of "
            f"{other}): right only where these show the same"
        )


def _shows(image: Path, label: Path) -> bool:
    """Whether an image is the picture of a label map, or its numbers as greys: of one number an image may well be."""
    import cv2

    with _printed():  # of a label as a picture, which nobody takes it for
        photo, picture = (_decoded(path, cv2.IMREAD_COLOR) for path in (image, label))
    pictures = (picture, images.read_label(label)[..., None])
    return photo is not None and any(
        picture is not None and picture.shape[:2] == photo.shape[:2] and bool((picture == photo).all())
        for picture in pictures
    )


def _turned(image: Seen, label: Seen) -> str:
    """What an EXIF orientation has to do with it, to go behind the sizes."""
    told = []
    if "turned" in image.notes and not image.orientation:
        told.append("an EXIF orientation of the image, which others do not see, is applied to it by OpenCV")
    elif image.orientation:
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


def _shown(root: Path, seen_images: Mapping[str, Seen]) -> dict[str, str]:
    """Of each image what is the same for the same pixels, however they are packed, and for no others."""
    by_sample: dict[str, dict[str, list[str]]] = {}  # sample -> content of a file -> the images that have it
    for path, seen in seen_images.items():
        by_sample.setdefault(seen.sample, {}).setdefault(seen.sha256, []).append(path)
    shown: dict[str, str] = {}
    with _printed():  # which was told
        for sample, by_content in by_sample.items():
            for paths in by_content.values():
                key = sample if len(by_content) == 1 else _pixels(images.read_image(root / paths[0]))
                shown |= dict.fromkeys(paths, key)
    return shown


def _pixels(picture: NDArray[Any]) -> str:
    """What is the same for the same pixels alone."""
    return f"{picture.shape} {hashlib.sha256(picture.astype(np.int32).tobytes()).hexdigest()}"


def _ambiguous(
    root: Path, splits: Mapping[str, layouts.Pairs], shown: Mapping[str, str], seen_labels: Mapping[str, Seen]
) -> Iterator[str]:
    """In words, which pairs of a split contradict each other, or look as if a line of its list were wrong."""
    for split, pairs in splits.items():
        labelled = [(image, label) for image, label in pairs if label]
        truths: dict[str, dict[str, str]] = {}  # of a picture, by its pixels: content of a label -> its name
        names: dict[str, str] = {}
        pictures: dict[str, set[str]] = {}  # of a label file: what its images show
        for image, label in labelled:
            content = shown[image]
            names.setdefault(content, image)
            truths.setdefault(content, {}).setdefault(seen_labels[label].sha256, label)
            pictures.setdefault(label, set()).add(content)
        several: dict[str, list[str]] = {}
        for content, by_file in truths.items():
            if len(by_file) > 1:  # of files that differ; their numbers need not
                differing = {_pixels(images.read_label(root / label)): label for label in by_file.values()}
                several |= {content: list(differing.values())} if len(differing) > 1 else {}
        for content, labels in list(several.items())[:1]:
            yield (
                f"{len(several)} of the pictures of {split} have several labels that differ, such as "
                f"{names[content]} ({', '.join(labels[:2])}): at most one is right"
            )
        if used := [label for label, contents in pictures.items() if len(contents) > 1]:
            yield (
                f"{len(used)} of the labels of {split} are listed for several pictures, such as {used[0]}: right only "
                "where these show the same"
            )


def _shared(splits: Mapping[str, layouts.Pairs], shown: Mapping[str, str]) -> Iterator[str]:
    """In words, which splits have pictures in common, by their pixels."""
    contents = {split: {shown[image]: image for image, _ in reversed(pairs)} for split, pairs in splits.items()}
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
