"""Random changes of good data sets, each with its plain meaning, for the property that holds them all.

A change alters the files or the archive and, where it means another picture,
    another label map or another sample, what
is meant as well. One that means nothing, such as an empty line, leaves that alone. So what passes must give what is
meant, and what is refused must be named by one of the words that the changes left.
"""

import contextlib
import copy
import io
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import makers as m
import numpy as np
import reading
from hypothesis import reject
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from segcert.data import archives, folders

SPLITS = ("train", "val", "test")
Draw = Callable


@dataclass
class Made:
    """A data set that is being changed.

    Attributes:
        files: content by name, in the order of the archive.
        photos, labels: what is meant by a file, as pixels.
        pairs: the samples by split, as names of files.
        words: of which a refusal has one.
        odd: whether something may be refused.
        turned: photos whose EXIF orientation must be told of if they pass.
        links: name -> (type, target), of the archive.
        again: members that stand in the archive behind all others.
        around: what stands before all names in the archive.
        way: in which it comes.
        told: what was done, for a person.
    """

    layout: str
    files: dict[str, bytes]
    photos: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    pairs: dict[str, list[tuple[str, str | None]]]
    words: list[str] = field(default_factory=list)
    odd: bool = False
    turned: set[str] = field(default_factory=set)
    links: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    again: list[tuple[str, bytes]] = field(default_factory=list)
    around: str = ""
    way: "Way | None" = None
    told: list[str] = field(default_factory=list)

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text(f"{self.layout}: {'; '.join(self.told)}; {self.way}")

    def meant(self) -> reading.Meant:
        return {
            split: [(self.photos[image], self.labels[label] if label else None) for image, label in pairs]
            for split, pairs in self.pairs.items()
        }

    def doubtful(self) -> bool:
        """Whether an orientation must be told of."""
        return any(image in self.turned for pairs in self.pairs.values() for image, _ in pairs)

    def note(self, told: str, *words: str, odd: bool = True) -> None:
        self.told.append(told)
        self.words += words
        self.odd |= odd


def named(made: Made, name: str) -> list[str]:
    """The words of a fault of a file."""
    return [last(name)]


def last(name: str) -> str:
    return name.rpartition("/")[2][:40]


def _pairs(made: Made) -> st.SearchStrategy[tuple[str, str | None]]:
    return st.sampled_from([pair for pairs in made.pairs.values() for pair in pairs])


@cache
def _clean(layout: str) -> Made:
    if layout == "mini_supervisely":
        files = m.people({"train": 3, "val": 2, "test": 2})
    else:
        files = m.streets({"train": ["a0", "a1", "a2"], "val": ["b0", "b1"], "test": ["c0"]})
    pairs = reading.pairs(files, layout)
    every = [pair for listed in pairs.values() for pair in listed]
    photos = {image: reading.photo(files[image]) for image, _ in every}
    labels = {label: np.asarray(m.picture(files[label])) for _, label in every}
    return Made(layout, files, photos, labels, pairs)


# -- one file: another picture, another format ------------------------------------------------


def pillow(kind: str, mode: str | None = None, **options: object) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        image = Image.fromarray(pixels)
        return m.saved(image.convert(mode) if mode else image, kind, **options)

    return encode


def opencv(extension: str, kind: type = np.uint8, factor: float = 1) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        turned = pixels[..., ::-1] if pixels.ndim == 3 else pixels
        return m.encoded(extension, np.ascontiguousarray(turned).astype(kind) * kind(factor))

    return encode


def see_through(pixels: np.ndarray) -> bytes:
    """A photo of which no pixel is opaque: transparency is dropped."""
    alpha = np.arange(pixels[..., 0].size, dtype=np.uint8).reshape(pixels.shape[:2])
    return m.saved(Image.fromarray(np.dstack([pixels, alpha])), "PNG")


# A photo in another format, all of its pixels kept. What OpenCV does not decode is refused.
KEPT = {
    "PNG": pillow("PNG"),
    "interlaced or not, by OpenCV": opencv(".png"),
    "BMP": pillow("BMP"),
    "TIFF": pillow("TIFF"),
    "TIFF by LZW": pillow("TIFF", compression="tiff_lzw"),
    "TIFF by Deflate": pillow("TIFF", compression="tiff_adobe_deflate"),
    "PPM": pillow("PPM"),
    "WebP": pillow("WEBP", lossless=True),
    "JPEG 2000": pillow("JPEG2000"),
    "Sun raster": opencv(".ras"),
    "transparent": see_through,
    "16 bits": opencv(".png", np.uint16, 257),
    "TIFF of 16 bits": opencv(".tiff", np.uint16, 257),
}
KEPT_OR_NOT = {
    "GIF": pillow("GIF"),
    "TGA": pillow("TGA"),
    "PCX": pillow("PCX"),
    "SGI": pillow("SGI"),
    "ICO": pillow("ICO"),
    "PDF": pillow("PDF"),
    "EPS": pillow("EPS"),
    "DDS": pillow("DDS"),
    "floats": opencv(".tiff", np.float32, 1 / 255),
    "HDR": opencv(".hdr", np.float32, 1 / 255),
    "PFM": opencv(".pfm", np.float32, 1 / 255),
    "EXIF only": lambda pixels: b"Exif\0\0MM\0*",
    "text": lambda pixels: b"a photo, really",
    "SVG": lambda pixels: b"<svg xmlns='http://www.w3.org/2000/svg' width='100' height='80'/>",
}
# Its pixels are what any decoder says: OpenCV, asked by the test.
LOSSY = {
    "JPEG": pillow("JPEG", quality=70),
    "JPEG, progressive": pillow("JPEG", progressive=True),
    "JPEG, grey": pillow("JPEG", "L"),
    "JPEG, CMYK": pillow("JPEG", "CMYK"),
    "JPEG, no subsampling": pillow("JPEG", subsampling=0, optimize=True),
    "JPEG with restart marks": lambda pixels: m.encoded(".jpg", pixels[..., ::-1], cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    "PNG, grey": pillow("PNG", "L"),
    "PNG, grey with alpha": pillow("PNG", "LA"),
    "PNG, palette": pillow("PNG", "P"),
    "PNG, 1 bit": pillow("PNG", "1"),
    "PNG, 16 bits of grey": lambda pixels: m.encoded(".png", pixels[..., 0].astype(np.uint16) * 200),
    "WebP that loses": pillow("WEBP", quality=50),
    "AVIF": pillow("AVIF"),
}


def photo_kind(draw: Draw, made: Made) -> None:
    """A photo in another format."""
    image, _ = draw(_pairs(made))
    table = draw(st.sampled_from([KEPT, KEPT_OR_NOT, LOSSY]))
    kind = draw(st.sampled_from(sorted(table)))
    made.files[image] = table[kind](made.photos[image])
    if table is LOSSY and (decoded := reading.photo(made.files[image])) is not None:
        made.photos[image] = decoded
    made.note(f"{image} is {kind}", *named(made, image), odd=table is not KEPT)


def _bits(count: int, colour: int) -> Callable[[np.ndarray], bytes]:
    return lambda label: m.small_png(count, colour)(pillow("PNG")(label))


def white_is_zero(label: np.ndarray) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    return m.saved(Image.fromarray(label), "TIFF", tiffinfo=tags)


def pgm(largest: int, ascii_: bool = False) -> Callable[[np.ndarray], bytes]:
    def encode(label: np.ndarray) -> bytes:
        head = f"{'P2' if ascii_ else 'P5'} {label.shape[1]} {label.shape[0]} {largest}\n".encode()
        if ascii_:
            return head + " ".join(map(str, label.ravel().tolist())).encode() + b"\n"
        return head + label.astype(">u2" if largest > 255 else np.uint8).tobytes()

    return encode


def another_palette(label: np.ndarray) -> bytes:
    """Colours in another order, white first: the numbers are the classes all the same."""
    image = Image.fromarray(label, "P")
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    return m.saved(image, "PNG")


def several(kind: str) -> Callable[[np.ndarray], bytes]:
    return lambda label: m.animated(kind)(pillow("PNG")(label))


# A label in a form that keeps its numbers, and is read.
READ = {
    "PNG": pillow("PNG"),
    "palette": another_palette,
    "palette of 4 bits": _bits(4, 3),
    "palette of 2 bits": _bits(2, 3),
    "BMP": pillow("BMP"),
    "TIFF": pillow("TIFF"),
    "TIFF by LZW": pillow("TIFF", compression="tiff_lzw"),
    "TIFF by PackBits": pillow("TIFF", compression="packbits"),
    "TIFF by Deflate": pillow("TIFF", compression="tiff_adobe_deflate"),
    "GIF": pillow("GIF"),
    "PGM": pgm(255),
    "PGM of 16 bits": pgm(65535),
    "PGM in letters": pgm(255, ascii_=True),
    "TGA": pillow("TGA"),
    "TGA by RLE": pillow("TGA", compression="tga_rle"),
    "16 bits": opencv(".png", np.uint16),
    "32 bits": opencv(".tiff", np.int32),
    "TIFF of 16 bits": opencv(".tiff", np.uint16),
}
# One that Pillow may give other numbers than it holds.
NUMBERED = {
    "1 bit": lambda label: pillow("PNG")(label > 0),
    "grey of 2 bits": _bits(2, 0),
    "grey of 4 bits": _bits(4, 0),
    "TIFF whose 0 is white": white_is_zero,
    "PBM": lambda label: m.pbm(pillow("PNG")(label)),
    "BMP of black and white": lambda label: m.bmp(8, (0, 255))(pillow("PNG")(label)),
    "BMP of 4 bits in black and white": lambda label: m.bmp(4, (0, 255))(pillow("PNG")(label)),
    "BMP of 16 greys": lambda label: m.bmp(4, tuple(range(16)))(pillow("PNG")(label)),
    "GIF of greys": lambda label: m.paletted("GIF", (0, 5, 9))(pillow("PNG")(label)),
    "PNG of greys": lambda label: m.paletted("PNG", (0, 5, 255))(pillow("PNG")(label)),
    "PGM of 7": pgm(7),
    "PGM of 300": pgm(300),
    "PGM in letters of 7": pgm(7, ascii_=True),
}
# One that is no label, or is read.
READ_OR_NOT = {
    "signed 16 bits": lambda label: m.saved(Image.fromarray(label.astype(np.int32)), "TIFF"),
    "big-endian": lambda label: m.saved(Image.fromarray(label.astype(">u2")), "TIFF"),
    "colours": pillow("PNG", "RGB"),
    "colours with alpha": pillow("PNG", "RGBA"),
    "grey with alpha": pillow("PNG", "LA"),
    "CMYK": pillow("TIFF", "CMYK"),
    "floats": opencv(".tiff", np.float32),
    "JPEG": pillow("JPEG"),
    "WebP": pillow("WEBP", "RGB", lossless=True),
    "JPEG 2000": pillow("JPEG2000"),
    "TIFF by JPEG": pillow("TIFF", compression="jpeg"),
    "PCX": pillow("PCX"),
    "SGI": pillow("SGI"),
    "ICO": pillow("ICO"),
    "animated PNG": several("PNG"),
    "animated GIF": several("GIF"),
    "pages": several("TIFF"),
    "NumPy": lambda label: b"\x93NUMPY\x01\0" + label.tobytes(),
    "JSON": lambda label: b'{"shapes": []}',
}


def label_kind(draw: Draw, made: Made) -> None:
    """A label in another format or mode, with the same numbers."""
    _, label = draw(_pairs(made))
    table = draw(st.sampled_from([READ, NUMBERED, READ_OR_NOT]))
    kind = draw(st.sampled_from(sorted(table)))
    if ("black and white" in kind or kind in ("1 bit", "PBM")) and made.labels[label].max() > 1:
        return
    made.files[label] = table[kind](made.labels[label].astype(np.uint8))
    made.note(f"{label} is {kind}", *named(made, label), odd=table is not READ)


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF: as shown, of what is stored
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.swapaxes(stored, 0, 1),
    6: partial(np.rot90, k=3),
    7: lambda stored: np.rot90(np.swapaxes(stored, 0, 1), 2),
    8: np.rot90,
}


def orientation(draw: Draw, made: Made) -> None:
    """A photo with an EXIF orientation; its label is drawn on it as it is stored, or as it is shown."""
    image, label = draw(_pairs(made))
    turn = draw(st.integers(2, 8))
    kind, options = draw(st.sampled_from([("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})]))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = np.ascontiguousarray(made.photos[image])
    made.files[image] = content = m.saved(Image.fromarray(stored), kind, exif=exif, **options)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    made.photos[image] = decoded if kind == "WEBP" else TURNS[turn](decoded)  # OpenCV turns no WebP
    shown = draw(st.booleans())
    if shown and label:
        made.labels[label] = np.ascontiguousarray(TURNS[turn](made.labels[label]))
        made.files[label] = _written(made.labels[label])
    words = named(made, image) + (named(made, label) if label else [])
    made.note(f"{image} in {kind} has orientation {turn}, its label is as {'shown' if shown else 'stored'}", *words)
    made.turned.add(image)


def _written(label: np.ndarray) -> bytes:
    return m.png(label.astype(np.uint16 if label.max() > 255 else np.uint8))


def sizes(draw: Draw, made: Made) -> None:
    """A photo, its label, or both of another size."""
    image, label = draw(_pairs(made))
    size = draw(st.tuples(st.sampled_from([1, 2, 3, 79, 80, 100, 101, 300]), st.sampled_from([1, 2, 80, 81, 100, 257])))
    which = draw(st.sampled_from(["both", "photo", "label"]))
    photo = cv2.resize(made.photos[image], size, interpolation=cv2.INTER_NEAREST)
    truth = cv2.resize(made.labels[label].astype(np.int32), size, interpolation=cv2.INTER_NEAREST) if label else None
    if which != "label" or truth is None:
        made.files[image] = pillow("PNG")(photo)
        made.photos[image] = photo if which == "both" or truth is None else made.photos[image]
    if which != "photo" and truth is not None:
        made.files[label] = _written(truth)
        made.labels[label] = truth if which == "both" else made.labels[label]
    made.note(f"{which} of {image}: {size}", *named(made, image), *(named(made, label) if label else []),
              odd=which != "both")  # fmt: skip


def numbers(draw: Draw, made: Made) -> None:
    """Other numbers in a label."""
    _, label = draw(_pairs(made))
    old = draw(st.sampled_from([0, 1, 2]))
    new = draw(st.sampled_from([0, 1, 2, 7, 18, 19, 254, 255, 256, 1000, 65535, -1, 2**31 - 1]))
    truth = made.labels[label].astype(np.int32)
    truth[truth == old] = new
    made.labels[label] = truth
    small = truth.min() >= 0 and truth.max() < 65536
    made.files[label] = _written(truth) if small else m.saved(Image.fromarray(truth), "TIFF")
    made.note(f"{label}: {new} for {old}", *named(made, label), *SPLITS)


def own_label(draw: Draw, made: Made) -> None:
    """The file of a photo is its label's, or the other way round."""
    image, label = draw(_pairs(made))
    one, other = draw(st.permutations([image, label]))
    made.files[one] = made.files[other]
    made.turned.discard(one)
    made.note(f"{one} is {other}", *named(made, image), *named(made, label))


# -- names ------------------------------------------------------------------------------------

ODD_NAMES = [
    "a b", " a", "a ", "\uff41", "caf\u00e9", "cafe\u0301", "a.b", "a.", "..a", ".a", "._a", "-a", "--help",
    "~a", "a%20b",
    "a[1]", "[a-z]", "a*", "?", "#a", "a#b", "A0", "TRAIN_0", "a'\"", "a$(x)", "a;b", "a,b", "a|b", "a\\b",
    "a:b", "c:",
    "a\tb", "a\nb", "a\rb", "a\x0bb", "a\x0cb", "a\x1cb", "a\x85b", "a\u2028b", "a\xa0b", "\u200ba", "\ufeffa",
    "a\u202eb",
    "\u732b", "\U0001f431", "a" * 200, "a" * 260, "a_leftImg8bit", "a_gtFine_labelTrainIds", "CON", "__MACOSX", "{a}",
    "a\x7fb", "a\x01b", "=a", "&a", "%s", "\\", "a\\", "train.txt", "\udce9",
]  # fmt: skip
PLAIN_NAMES = ("caf\u00e9", "a.b", "-a", "--help", "~a", "a%20b", "#a", "a#b", "A0", "TRAIN_0", "\u732b",
    "\U0001f431",
               "a$(x)", "a" * 200, "CON", "%s", "=a")  # fmt: skip
# PaddleSeg sorts images and labels each by themselves: what comes between g and l is sorted otherwise in the two.
SUFFIXES = ["_h", "_i2", "_k", "_ha", "_j.x", "-", "0", ".x", "!", " ", "A", "_leftImg8bit", "_gtFine"]


def names(draw: Draw, made: Made) -> None:
    """A sample has another name: an odd one, or one that begins as another does."""
    split = draw(st.sampled_from([split for split in SPLITS if made.pairs[split]]))
    index = draw(st.integers(0, len(made.pairs[split]) - 1))
    image, label = made.pairs[split][index]
    siblings = [stem(other) + suffix for other, _ in made.pairs[split] for suffix in SUFFIXES]
    new = draw(
        st.sampled_from(siblings)
        | st.sampled_from(siblings + ODD_NAMES)
        | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
    )
    if made.layout == "cityscapes":
        town = draw(st.sampled_from([None, None, None, ".", "sub", new]))
        renames = {}
        for name in filter(None, (image, label)):
            folder, _, file = name.rpartition("/")
            if town:
                folder = f"{folder.rpartition('/')[0]}/{'town' if town == '.' else town}"
            renames[name] = f"{folder}/{file.replace(stem(image), new, 1)}"
        hidden = any(renames[image].split("/")[-part].startswith(".") for part in (1, 2))
    else:
        ends = draw(st.sampled_from([(".jpg", ".png"), (".JPG", ".png"), ("", ""), (".png", ".png"), (".jpg.", ".p")]))
        where = draw(st.sampled_from(["", "", "more/"]))
        renames = {name: f"{name.partition('/')[0]}/{where}{new}{end}"
                   for name, end in zip((image, label), ends, strict=True) if name}  # fmt: skip
        hidden = False
    if set(renames.values()) & made.files.keys():
        return
    rename(made, renames)
    plain = new in PLAIN_NAMES and made.layout == "mini_supervisely"
    made.note(f"{renames}", *(last(name) for name in renames.values()), f"{split}.txt", odd=not plain)
    if hidden:  # so it is left out, as PaddleSeg leaves out what is hidden
        del made.pairs[split][index]
        made.words.append("is empty")


def stem(image: str) -> str:
    return last(image).removesuffix("_leftImg8bit.png").removesuffix(".jpg")


def rename(made: Made, renames: dict[str, str]) -> None:
    made.files = {renames.get(name, name): content for name, content in made.files.items()}
    for pixels in (made.photos, made.labels):
        for old, new in renames.items():
            if old in pixels:
                pixels[new] = pixels.pop(old)
    made.turned = {renames.get(name, name) for name in made.turned}
    for split, pairs in made.pairs.items():
        made.pairs[split] = [tuple(renames.get(name, name) for name in pair) for pair in pairs]
        if made.layout == "mini_supervisely":
            _relist(made, split, lambda line: " ".join(renames.get(word, word) for word in line.split(" ")))


def lone_name(draw: Draw, made: Made) -> None:
    """A file of a pair has another name, and no list says so."""
    name = draw(st.sampled_from([name for name in draw(_pairs(made)) if name]))
    folder, _, file = name.rpartition("/")
    new = draw(st.sampled_from([file.upper(), file.swapcase(), f"{file} ", f" {file}", file.replace("_", "-"),
        "a" + file,
                                file.removesuffix(".png").removesuffix(".jpg"), file + ".bak",
                                "._" + file]))  # fmt: skip
    if new == file or f"{folder}/{new}" in made.files:
        return
    made.files = {f"{folder}/{new}" if other == name else other: content for other, content in made.files.items()}
    _forget(made, name, f"{folder}/{new}")
    made.note(f"{name} is called {new}", last(name), last(f"{folder}/{new}"), "is empty")


def _forget(made: Made, name: str, new: str | None = None) -> None:
    """A file is not there, or has another name: in Cityscapes' test, which may have no labels, that is no fault."""
    if made.layout != "cityscapes":
        return
    pairs = []
    for image, label in made.pairs["test"]:
        if label == name:
            _as_decoded(made, image)  # what it may have to do with its label, nobody can tell
        if image != name:
            pairs.append((image, None if label == name else label))
        elif new and new.endswith("_leftImg8bit.png") and not last(new).startswith("."):
            made.photos[new] = made.photos[image]
            made.turned |= {new} if image in made.turned else set()
            _as_decoded(made, new)
            pairs.append((new, None))
    made.pairs["test"] = pairs


# -- lists ------------------------------------------------------------------------------------


def _lines(made: Made, split: str) -> list[str]:
    lines = made.files.get(f"{split}.txt", b"").decode("utf-8", "surrogateescape").split("\n")
    return lines if lines[-1] else lines[:-1]


def _relist(made: Made, split: str, change: Callable[[str], str]) -> None:
    lines = [change(line) for line in _lines(made, split)]
    if f"{split}.txt" in made.files:
        made.files[f"{split}.txt"] = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


NOTHING = ["", " ", "\t", "# a comment", "// a comment", "#", "\ufeff", "image label", "\x0c", "---",
    "Images/ Annotations/",
           "image\tlabel", "%", ";", "\0", "\x1a"]  # fmt: skip
BLANKS = [
    "  ",
    "\t",
    ",",
    ", ",
    ";",
    "|",
    "\xa0",
    "\u3000",
    " \t",
    "\x0b",
    "\x1f",
    "\u2003",
    "\r",
    "\u200b",
    " - ",
    "   ",
]
ENDS = [
    "\r\n",
    "\r",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\n\n",
    " \n",
    "\t\n",
    "\0\n",
    "\n\r",
    ";\n",
    "\u200b\n",
]
SPELT = [lambda name: f"./{name}", lambda name: name.replace("/", "//"), lambda name: name.replace("/", "/./"),
         lambda name: f"x/../{name}", lambda name: f"Images/../{name}", lambda name: f"/{name}",
         lambda name: f"../{name}",
         lambda name: f"../d/{name}", lambda name: name.replace("/", "\\"), str.upper, str.lower, str.title,
         lambda name: f'"{name}"', lambda name: f"'{name}'", lambda name: f"{name}/", lambda name: f"{name}/.",
         lambda name: name.partition("/")[2], lambda name: f"~/{name}", lambda name: name.replace(".", "%2E"),
         lambda name: name + "\u200b", lambda name: f"file://{name}", lambda name: f"set/{name}"]  # fmt: skip


def listing(draw: Draw, made: Made) -> None:
    """A list is written otherwise."""
    split = draw(st.sampled_from(SPLITS))
    name = f"{split}.txt"
    if not _lines(made, split):
        return
    what = draw(st.sampled_from(sorted(LISTINGS)))
    number = draw(st.integers(0, len(_lines(made, split)) - 1))
    harmless = LISTINGS[what](draw, made, split, number)
    words = (name, "is listed with two labels", "would share the label map")  # a label may come to be an image
    made.note(f"{name} line {number + 1}: {what}: {made.files[name]!r}", *words, odd=not harmless)


def _one_line(change: Callable[[Draw, str], str], draw: Draw, made: Made, split: str, number: int) -> None:
    lines = _lines(made, split)
    lines[number] = change(draw, lines[number])
    _write(made, split, lines)


def _write(made: Made, split: str, lines: list[str], end: str = "\n") -> None:
    made.files[f"{split}.txt"] = "".join(line + end for line in lines).encode("utf-8", "surrogateescape")


def _shuffled(draw: Draw, made: Made, split: str, number: int) -> bool:
    _write(made, split, draw(st.permutations(_lines(made, split))))
    return True


def _nothing(draw: Draw, made: Made, split: str, number: int) -> None:
    lines = _lines(made, split)
    lines.insert(draw(st.sampled_from([number, len(lines)])), draw(st.sampled_from(NOTHING)))
    _write(made, split, lines)


def _twice(draw: Draw, made: Made, split: str, number: int) -> bool:
    lines = _lines(made, split)
    copies = draw(st.integers(1, 9))
    _write(made, split, lines + [lines[number]] * copies)
    for pair in made.pairs[split]:
        if pair[0] == lines[number].split(" ")[0]:
            made.pairs[split] = made.pairs[split] + [pair] * copies
            return True
    return False


def _shared(draw: Draw, made: Made, split: str, number: int) -> bool:
    other = draw(st.sampled_from(SPLITS))
    if f"{other}.txt" not in made.files:
        return True
    made.files[f"{split}.txt"] = made.files[f"{other}.txt"]
    made.pairs[split] = list(made.pairs[other])
    made.words.append(f"{other}.txt")
    return True


def _encoding(draw: Draw, made: Made, split: str, number: int) -> None:
    text = made.files[f"{split}.txt"].decode("utf-8", "surrogateescape")
    kind = draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp500"]))
    made.files[f"{split}.txt"] = text.encode(kind, "replace")


def _lone_label(draw: Draw, made: Made, split: str, number: int) -> None:
    """A label is left out, which may be in test."""
    lines = _lines(made, split)
    image = lines[number].split(" ")[0]
    lines[number] = image
    _write(made, split, lines)
    if split == "test":
        made.pairs[split] = [(one, None if one == image else label) for one, label in made.pairs[split]]


def _spelt(draw: Draw, line: str) -> str:
    words = line.split(" ")
    which = draw(st.sampled_from([0, -1]))
    words[which] = draw(st.sampled_from(SPELT))(words[which])
    return " ".join(words)


def _all_ends(draw: Draw, made: Made, split: str, number: int) -> bool:
    end = draw(st.sampled_from(ENDS))
    _write(made, split, _lines(made, split), end)
    return end in ("\r\n", "\r")


def _inserted(draw: Draw, line: str) -> str:
    place = draw(st.integers(0, len(line)))
    return line[:place] + draw(st.characters(exclude_categories=["Cs"])) + line[place:]


def _ended(draw: Draw, made: Made, split: str, number: int) -> bool:
    content = made.files[f"{split}.txt"]
    made.files[f"{split}.txt"] = content.removesuffix(b"\n") + draw(
        st.sampled_from([b"", b"\0", b"\x1a", b"\n\n", b" "])
    )
    return False


LISTINGS: dict[str, Callable[[Draw, Made, str, int], bool | None]] = {
    "another order": _shuffled,
    "a line that says nothing": _nothing,
    "a line several times": _twice,
    "the list of another split": _shared,
    "another encoding": _encoding,
    "no label": _lone_label,
    "other ends of lines": _all_ends,
    "another end": _ended,
    "another separator": partial(
        _one_line, lambda draw, line: line.replace(" ", draw(st.sampled_from(BLANKS)))
    ),
    "another spelling": partial(_one_line, _spelt),
    "columns exchanged": partial(_one_line, lambda draw, line: " ".join(reversed(line.split(" ")))),
    "a third column": partial(_one_line, lambda draw, line: f"{line} {draw(st.sampled_from(['1', 'x', line]))}"),
    "blanks around": partial(
        _one_line, lambda draw, line: draw(st.sampled_from([" ", "\t",
        ""])) + line + draw(st.sampled_from([" ", "\t"]))
    ),
    "a character more": partial(_one_line, _inserted),
}  # fmt: skip


# -- files that are missing or too many -------------------------------------------------------


def missing(draw: Draw, made: Made) -> None:
    """A file is not there."""
    name = draw(st.sampled_from(sorted(made.files)))
    del made.files[name]
    _forget(made, name)
    if name == "test.txt":
        made.pairs["test"] = []
    made.note(f"{name} is missing", last(name), "train.txt", "is empty")


EXTRA = {
    "README.md": b"x", "notes/readme.txt": b"train.txt", "._train.txt": b"\0\5\x16\7", ".DS_Store": b"\0",
    "Thumbs.db": b"\0", "__MACOSX/._Images": b"\0", "__MACOSX/train.txt": b"x y\n", ".git/HEAD": b"x",
    "manifest.json": b"{}",
    "train.txt.bak": b"x", "Train.txt": b"x y\n", "old/train.txt": b"x y\n", "trainval.txt": b"x y\n",
    "leftImg8bit/train/town/desktop.ini": b"x", "Images/more/unlisted.jpg": b"x", "unpacked": b"x", "a\nb": b"x",
    "gtFine/train/town/a0_gtFine_color.png": b"x", "gtFine/train/town/a0_gtFine_polygons.json": b"{}", " ": b"x",
    "leftImg8bit/train_extra/town/x_leftImg8bit.png": b"x", "leftImg8bit/train/notes.txt": b"x", "caf\udce9": b"x",
    "gtFine/train/._town/a0_gtFine_labelTrainIds.png": b"x", "leftImg8bit/val/town/._b0_leftImg8bit.png": b"x",
    "set/leftImg8bit/train/town/a0_leftImg8bit.png": b"x", "x" * 240: b"x",
}  # fmt: skip


def extra(draw: Draw, made: Made) -> None:
    """A file that no sample needs, in its place in the order of the archive or before all."""
    name = draw(st.sampled_from(sorted(EXTRA)))
    if name in made.files:
        return
    files = [*made.files.items()]
    files.insert(draw(st.sampled_from([0, len(files)])), (name, EXTRA[name]))
    made.files = dict(files)
    made.note(f"{name!a} beside", last(name), "more than one folder", odd=name in ("caf\udce9", "old/train.txt"))


# -- damage -----------------------------------------------------------------------------------


def damage(draw: Draw, made: Made) -> None:
    """A photo or a label is cut, or some of its bytes are others."""
    name = draw(st.sampled_from([name for name in draw(_pairs(made)) if name]))
    content = made.files.get(name)
    if not content:
        return
    how = draw(
        st.sampled_from(
            [
                "cut",
                "cut at the end",
                "cut and ended",
                "flipped",
                "checksum",
                "zeroes",
                "longer",
                "without the beginning",
            ]
        )
    )
    if how == "cut":
        content = content[: draw(st.integers(0, len(content) - 1))]
    elif how == "cut at the end":
        content = content[: -draw(st.integers(1, min(40, len(content))))]
    elif how == "cut and ended":  # as what mends JPEGs does
        content = content[: draw(st.integers(2, len(content) - 1))] + b"\xff\xd9"
    elif how == "longer":
        content += draw(st.sampled_from([b"\0", b"\n", b"\0" * 600, b"\xff\xd9", b"PK\3\4", content]))
    elif how == "without the beginning":
        content = content[draw(st.integers(1, min(64, len(content)))) :]
    else:
        changed = bytearray(content)
        start = draw(st.integers(0, len(changed) - 1))
        if how == "checksum" and content.startswith(b"\x89PNG"):
            changed[-13 - draw(st.integers(0, 3))] ^= 0xFF  # of the last part of the pixels
        elif how != "zeroes":
            changed[start] ^= draw(st.integers(1, 255))
        else:
            changed[start : start + 512] = bytes(len(changed[start : start + 512]))
        content = bytes(changed)
    if content == made.files[name]:
        return
    sums = made.files[name].startswith(b"\x89PNG")
    made.turned.discard(name)  # what it says of itself may be spoilt
    made.files[name] = content
    made.note(f"{name}: {how}", *named(made, name))
    if how in ("flipped", "checksum", "zeroes") and not sums:
        _as_decoded(made, name)  # without sums, nobody can tell


def _as_decoded(made: Made, name: str) -> None:
    """What is meant by a file is what any decoder says, if one does."""
    for pixels, decode in ((made.photos, reading.photo), (made.labels, lambda content: np.asarray(m.picture(content)))):
        with contextlib.suppress(Exception):  # decoders raise nearly anything
            if name in pixels and (decoded := decode(made.files[name])) is not None:
                pixels[name] = decoded


# -- the archive ------------------------------------------------------------------------------


def order(draw: Draw, made: Made) -> None:
    """The members of the archive come in another order."""
    made.files = dict(draw(st.permutations(list(made.files.items()))))
    made.note("another order", odd=False)


def around(draw: Draw, made: Made) -> None:
    """A folder, or something else, before all names."""
    made.around = draw(st.sampled_from(["set/", "./", "a/b/", "a b/c/d/", "a/b/c/d/", ".set/", "__MACOSX/",
        "../", "/", "C:/",
                                        "a/../", "a//", "set\\", "\u732b/", "caf\udce9/", "train.txt/"]))  # fmt: skip
    plain = made.around in ("set/", "./", "a/b/", "a b/c/d/", "\u732b/")
    made.note(
        f"in {made.around!a}", "has no train.txt", "has no leftImg8bit", last(made.around.rstrip("/")), odd=not plain
    )


def link(draw: Draw, made: Made) -> None:
    """A file lies elsewhere in the archive, and a link is where it was."""
    name = draw(st.sampled_from(sorted(made.files)))
    made.files = {f"real/{last(name)}" if other == name else other: content for other, content in made.files.items()}
    kind = draw(st.sampled_from([tarfile.SYMTYPE, tarfile.LNKTYPE]))
    up = "../" * name.count("/") if kind == tarfile.SYMTYPE else ""
    made.links[name] = (kind, f"{up}real/{last(name)}")
    made.note(f"{name} is a link", last(name))


def twice(draw: Draw, made: Made) -> None:
    """A name stands in the archive twice, with the file of another."""
    name, other = (draw(st.sampled_from(sorted(made.files))) for _ in range(2))
    made.again.append((draw(st.sampled_from([name, f"./{name}", name.replace("/", "//")])), made.files[other]))
    made.note(f"{name} twice", last(name))


class Way(NamedTuple):
    """How a data set comes: as an archive, or as a folder.

    Attributes:
        kind: a key of TARS, zip, or folder.
        form: of a tar.
        compressed: a zip's content.
        entries: also of folders.
        broken: (share of the length, bits that change, whether the rest is cut) of a compressed archive.
    """

    kind: str
    form: int
    compressed: bool
    entries: bool
    broken: tuple[float, int, bool] | None


TARS = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


@st.composite
def ways(draw: Draw) -> Way:
    kind = draw(st.sampled_from(["tar", "tar", *TARS, "zip", "zip", "folder"]))
    packed = kind not in ("tar", "folder")
    damaged = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
    broken = draw(st.none() | st.none() | st.none() | damaged) if packed else None
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
    return Way(kind, form, draw(st.booleans()), draw(st.booleans()), broken)


def pack(made: Made, folder: Path) -> Path:
    """The plain tar that is unpacked, made of what the user has.

    Raises:
        StageError: it is refused.
        hypothesis.errors.UnsatisfiedAssumption: no such archive or folder can be.
    """
    try:
        packed = {"folder": _folder, "zip": _zip}.get(made.way.kind, _tar)(made, folder)
    except (OSError, ValueError):  # a name that is too long or in no encoding, a file where a folder should be
        reject()
    if made.way.kind == "folder":
        folders.to_tar(packed, made.layout, {}, folder / "d.tar")
        return folder / "d.tar"
    if made.way.broken:
        share, bits, cut = made.way.broken
        content = bytearray(packed.read_bytes())
        place = int(share * len(content))
        content[place] ^= bits
        packed.write_bytes(content[:place] if cut else content)
    archives.to_tar(packed, folder / "d.tar")
    return folder / "d.tar"


def _members(made: Made) -> Iterator[tuple[str, bytes]]:
    for name, content in (*made.files.items(), *made.again):
        yield f"{made.around}{name}", content


def _tar(made: Made, folder: Path) -> Path:
    path = folder / f"archive.{made.way.kind}"
    seen = set()
    with tarfile.open(path, TARS[made.way.kind], format=made.way.form, encoding="utf-8") as packed:
        for name, content in _members(made):
            for parent in [*PurePosixPath(name).parents][::-1] if made.way.entries else []:
                if parent not in seen:
                    seen.add(parent)
                    info = tarfile.TarInfo(f"{parent}/")
                    info.type, info.mode = tarfile.DIRTYPE, 0o000
                    packed.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(content), 0o000, 99999
            packed.addfile(info, io.BytesIO(content))
        for name, (kind, target) in made.links.items():
            info = tarfile.TarInfo(f"{made.around}{name}")
            info.type, info.linkname = kind, target
            packed.addfile(info)
    return path


def _zip(made: Made, folder: Path) -> Path:
    path = folder / "archive.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED * made.way.compressed) as packed:
        warnings.simplefilter("ignore")  # of names that are there twice
        seen = set()
        for name, content in _members(made):
            parent = name.rpartition("/")[0]
            if made.way.entries and parent and parent not in seen:
                seen.add(parent)
                packed.writestr(f"{parent}/", b"")
            packed.writestr(name, content)
        for name, (_, target) in made.links.items():
            info = zipfile.ZipInfo(f"{made.around}{name}")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, target)
    return path


def _folder(made: Made, folder: Path) -> Path:
    """Not within another folder: it is itself what the configuration names."""
    source = folder / "archive."
    for name, content in made.files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            out.write(content)
    for name, (kind, target) in made.links.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if kind == tarfile.SYMTYPE:
            (source / name).symlink_to(target)
        else:
            (source / name).hardlink_to(source / target)
    return source


# In the order in which they are done.
ALL = (photo_kind, label_kind, numbers, sizes, orientation, own_label, names, listing, lone_name, missing, extra,
       damage, order, around, link, twice)  # fmt: skip
# How often each is drawn; first what means least.
DRAWN = (order, extra, around, photo_kind, photo_kind, label_kind, label_kind, label_kind, numbers, sizes, orientation,
         orientation, own_label, names, names, names, listing, listing, listing, damage, damage, lone_name, missing,
         link, twice)  # fmt: skip


@st.composite
def changed(draw: Draw) -> Made:
    """A good data set with one to three changes, packed in some way."""
    made = copy.deepcopy(_clean(draw(st.sampled_from(["mini_supervisely", "cityscapes"]))))
    fitting = [change for change in DRAWN if change is not listing or made.layout == "mini_supervisely"]
    for change in sorted({draw(st.sampled_from(fitting)) for _ in range(draw(st.integers(1, 3)))}, key=ALL.index):
        change(draw, made)
    if made.layout == "cityscapes":  # a sample of which nothing is left is none
        there = made.files.keys() | made.links.keys()
        made.pairs = {split: [pair for pair in pairs if there & set(pair)] for split, pairs in made.pairs.items()}
    made.way = draw(ways())
    if made.way.kind != "folder":
        made.words += ["archive.", "d.tar"]
    made.odd |= made.way.broken is not None
    return made
