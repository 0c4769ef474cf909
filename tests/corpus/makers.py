"""Small data sets and odd files, made here: each a mapping of a file's name to its bytes. No file of others' making."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

Files = dict[str, bytes]
WIDTH, HEIGHT = 100, 80
COUNTS = {"train": 4, "val": 2, "test": 2}


# -- data sets --------------------------------------------------------------------------------


def scene(number: int, classes: int = 2, size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[np.ndarray, np.ndarray]:
    """A photo (H x W x 3, BGR) of ellipses on noise and its label map: learnt in a few iterations."""
    rng = np.random.default_rng([7, number])
    width, height = size
    label = np.zeros((height, width), np.uint8)
    for value in range(1, classes):
        centre = int(width * rng.uniform(0.25, 0.7)), int(height * rng.uniform(0.3, 0.6))
        cv2.ellipse(label, centre, (int(width * 0.2), int(height * 0.25)), 20, 0, 360, value, -1)
    colours = np.array([(60, 60, 60), (40, 90, 220), (200, 160, 40)], np.float32)
    photo = colours[label] + rng.normal(0, 12, (height, width, 3))
    return np.clip(photo, 0, 255).astype(np.uint8), label


def people(counts: Mapping[str, int] = COUNTS) -> Files:
    """A data set in the layout of mini_supervisely, with label maps as 8-bit grey PNG."""
    files: Files = {}
    number = 0
    for split, count in counts.items():
        lines = []
        for _ in range(count):
            photo, truth = scene(number)
            files[f"Images/{split}_{number}.jpg"] = jpeg(photo)
            files[f"Annotations/{split}_{number}.png"] = png(truth)
            lines.append(f"Images/{split}_{number}.jpg Annotations/{split}_{number}.png\n")
            number += 1
        files[f"{split}.txt"] = "".join(lines).encode()
    return files


def streets(names: Mapping[str, list[str]] | None = None) -> Files:
    """A data set in the layout of Cityscapes, of Cityscapes' classes 0 to 2."""
    files: Files = {}
    number = 0
    for split, stems in (names or {"train": ["a0", "a1", "a2"], "val": ["b0", "b1"]}).items():
        for stem in stems:
            photo, truth = scene(number, 3)
            files[f"leftImg8bit/{split}/town/{stem}_leftImg8bit.png"] = png(photo)
            files[f"gtFine/{split}/town/{stem}_gtFine_labelTrainIds.png"] = png(truth)
            number += 1
    return files


def changed(files: Files, **changes: object) -> Files:
    """The data set with some files replaced (a value), changed (a function of the bytes) or taken out (None).

    A key is a file's name with `_` for `/` and `.`.
    """
    made = {}
    keys = {name.replace("/", "_").replace(".", "_"): name for name in files}
    assert changes.keys() <= keys.keys(), changes.keys() - keys.keys()
    for key, name in keys.items():
        change = changes.get(key, files[name])
        if change is not None:
            made[name] = change(files[name]) if callable(change) else change
    return made


def every(files: Files, kind: str, change: Callable[[bytes], bytes]) -> Files:
    """The data set with all files changed whose name holds a word."""
    return {name: change(content) if kind in name else content for name, content in files.items()}


def renamed(files: Files, one: str, other: str) -> Files:
    return {other if name == one else name: content for name, content in files.items()}


def relisted(files: Files, old: str, new: str) -> Files:
    """The lists name a file otherwise."""
    return {
        name: content.replace(old.encode(), new.encode()) if name.endswith(".txt") else content
        for name, content in files.items()
    }


def below(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


def tar(files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    """A tar; names of its files may hold any byte, as surrogates."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as packed:
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            packed.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return stream.getvalue()


# -- images -----------------------------------------------------------------------------------


def encoded(extension: str, image: np.ndarray, *options: int) -> bytes:
    done, content = cv2.imencode(extension, image, list(options))
    assert done
    return content.tobytes()


def png(image: np.ndarray) -> bytes:
    return encoded(".png", image)


def jpeg(image: np.ndarray) -> bytes:
    return encoded(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, 95)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def as_kind(kind: str, mode: str | None = None, **options: object) -> Callable[[bytes], bytes]:
    """The same picture in another format or mode of Pillow's."""

    def change(content: bytes) -> bytes:
        opened = picture(content)
        return saved(opened.convert(mode) if mode else opened, kind, **options)

    return change


def as_numbers(kind: type, extension: str, factor: int = 1) -> Callable[[bytes], bytes]:
    """The same numbers in another type of OpenCV's."""

    def change(content: bytes) -> bytes:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        return encoded(extension, image.astype(kind) * kind(factor))

    return change


def valued(*values: tuple[int, int]) -> Callable[[bytes], bytes]:
    """A label with numbers exchanged: (old, new); 16 bits where a new one needs them."""

    def change(content: bytes) -> bytes:
        label = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        made = label.astype(np.int32)
        for old, new in values:
            made[label == old] = new
        return png(made.astype(np.uint16 if made.max() > 255 else np.uint8))

    return change


def oriented(orientation: int, kind: str = "JPEG") -> Callable[[bytes], bytes]:
    """A picture with an EXIF orientation, and that shown with it: its stored pixels are what they were."""

    def change(content: bytes) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return saved(picture(content).convert("RGB"), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))

    return change


def grey_oriented(orientation: int) -> Callable[[bytes], bytes]:
    """A label with an EXIF orientation in its PNG."""

    def change(content: bytes) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return saved(picture(content), "PNG", exif=exif)

    return change


def as_shown(orientation: int) -> Callable[[bytes], bytes]:
    """A label turned as a picture of that orientation is shown."""

    def change(content: bytes) -> bytes:
        turns = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
                 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_270],
                 8: [Image.Transpose.ROTATE_90]}[orientation]  # fmt: skip
        opened = picture(content)
        for turn in turns:
            opened = opened.transpose(turn)
        return png(np.asarray(opened))

    return change


def animated(kind: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        first = picture(content).convert("RGB")
        others = [first.rotate(90), first.rotate(180)]
        return saved(first, kind, save_all=True, append_images=others)

    return change


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def without_end(count: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:-count]


def flipped(place: float, mask: int = 0xFF) -> Callable[[bytes], bytes]:
    """A byte is another, at a share of the length."""

    def change(content: bytes) -> bytes:
        made = bytearray(content)
        made[int(len(made) * place)] ^= mask
        return bytes(made)

    return change


# -- PNG, TIFF, PGM by hand: what no writer makes ---------------------------------------------


def chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(
        ">I", zlib.crc32(name + content) if checksum is None else checksum
    )  # fmt: skip


def with_chunk(name: bytes, content: bytes, checksum: int | None = None) -> Callable[[bytes], bytes]:
    """A PNG with a chunk before its pixels."""

    def change(whole: bytes) -> bytes:
        place = whole.index(b"IDAT") - 4
        return whole[:place] + chunk(name, content, checksum) + whole[place:]

    return change


def small_png(bits: int, colour: int) -> Callable[[bytes], bytes]:
    """A label as PNG of so many bits a pixel; colour: 0 grey, 3 palette."""

    def change(content: bytes) -> bytes:
        label = np.asarray(picture(content))
        rows = b"".join(
            b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for row in label
        )
        head = struct.pack(">IIBBBBB", label.shape[1], label.shape[0], bits, colour, 0, 0, 0)
        palette = chunk(b"PLTE", bytes(range(3 * 2**bits))) if colour == 3 else b""
        ends = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + ends

    return change


def bmp(bits: int, greys: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """A label as BMP of so many bits a pixel, with a palette of greys."""

    def change(content: bytes) -> bytes:
        label = np.asarray(picture(content))
        rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for row in label]
        pixels = b"".join(row + bytes(-len(row) % 4) for row in rows[::-1])
        palette = b"".join(bytes([grey, grey, grey, 0]) for grey in greys)
        start = 54 + len(palette)
        head = struct.pack("<IHHI", start + len(pixels), 0, 0, start)
        shape = (40, label.shape[1], label.shape[0], 1, bits, 0, len(pixels), 0, 0, len(greys), 0)
        return b"BM" + head + struct.pack("<IiiHHIIiiII", *shape) + palette + pixels

    return change


def paletted(kind: str, greys: tuple[int, ...]) -> Callable[[bytes], bytes]:
    """A label of indices, with a palette of greys of just so many entries."""

    def change(content: bytes) -> bytes:
        label = picture(content)
        made = Image.frombytes("P", label.size, label.tobytes())
        made.putpalette([grey for grey in greys for _ in range(3)])
        return saved(made, kind)

    return change


def without_scans(count: int) -> Callable[[bytes], bytes]:
    """A progressive JPEG that ends as it should, but for its last scans."""

    def change(content: bytes) -> bytes:
        whole = saved(picture(content), "JPEG", progressive=True)
        starts = [place for place in range(len(whole)) if whole.startswith(b"\xff\xda", place)]
        return whole[: starts[-count]] + b"\xff\xd9"

    return change


def exif_of_type(kind: int, orientation: int) -> Callable[[bytes], bytes]:
    """A JPEG with an EXIF orientation that is written as another type of number (1: a byte, 4: of 32 bits)."""
    entry = struct.pack("<HHII", 0x0112, kind, 1, orientation)
    segment = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    return lambda content: content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def xmp_orientation(orientation: int) -> Callable[[bytes], bytes]:
    """A JPEG whose orientation stands in XMP alone, which OpenCV does not look at."""
    segment = (
        b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % orientation
    )
    return lambda content: content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def bomb(width: int = 40_000, height: int = 40_000) -> bytes:
    """A PNG of a few bytes that says that it is huge."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(width + 1))) + chunk(b"IEND", b"")


def white_is_zero(content: bytes) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    return saved(picture(content), "TIFF", tiffinfo=tags)


def pgm(content: bytes, largest: int = 255) -> bytes:
    label = np.asarray(picture(content))
    return f"P5 {label.shape[1]} {label.shape[0]} {largest}\n".encode() + label.tobytes()


def pbm(content: bytes) -> bytes:
    label = np.asarray(picture(content))
    rows = b"".join(np.packbits(row).tobytes() for row in label)
    return f"P4 {label.shape[1]} {label.shape[0]}\n".encode() + rows
