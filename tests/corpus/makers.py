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


def short_png(rows: int, interlaced: bool = False, checksum: int | None = None) -> Callable[[bytes], bytes]:
    """A label as PNG whose data end as they should, after so many lines; or after the first of seven passes."""

    def change(content: bytes) -> bytes:
        label = np.asarray(picture(content))
        lines = label[::8, ::8] if interlaced else label[:rows]
        data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
        data = data if checksum is None else data[:-4] + struct.pack(">I", checksum)
        head = struct.pack(">IIBBBBB", label.shape[1], label.shape[0], 8, 0, 0, 0, interlaced)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    return change


def interlaced_png(content: bytes) -> bytes:
    """A label as PNG of seven passes (PNG, 8.2)."""
    label = np.asarray(picture(content))
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    lines = [line for x, y, dx, dy in starts for line in label[y::dy, x::dx]]
    head = struct.pack(">IIBBBBB", label.shape[1], label.shape[0], 8, 0, 0, 0, 1)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def strips(count: int) -> Callable[[bytes], bytes]:
    """A label as TIFF with so many of its four strips."""

    def change(content: bytes) -> bytes:
        label = np.asarray(picture(content))
        height, width = label.shape
        data = label.tobytes()[: width * height // 4 * count]
        start, size = 8 + len(data), width * height // 4
        tags = {256: (1, width), 257: (1, height), 258: (1, 8), 259: (1, 1), 262: (1, 1), 277: (1, 1),
                278: (1, height // 4)}  # fmt: skip
        end = start + 2 + 12 * (len(tags) + 2) + 4
        tags |= {273: (count, end), 279: (count, end + 4 * count)}
        entries = b"".join(struct.pack("<HHII", tag, 4, *value) for tag, value in sorted(tags.items()))
        lists = struct.pack(f"<{2 * count}I", *(8 + size * number for number in range(count)), *[size] * count)
        return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + lists

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


def coloured(*order: int, colours: tuple[tuple[int, ...], ...] = ((0, 0, 0), (220, 20, 60), (0, 0, 142))):
    """A label in colours, of which class n is the entry order[n] of the palette: what is seen is always the same."""

    def change(content: bytes) -> bytes:
        numbers = np.array(order, np.uint8)[np.asarray(picture(content))]
        made = Image.fromarray(numbers).convert("P")
        palette = dict(zip(order, colours, strict=False))
        made.putpalette([value for entry in range(len(order)) for value in palette[entry]])
        return saved(made, "PNG")

    return change


def signed(content: bytes) -> bytes:
    """An image in TIFF whose numbers are said to have a sign (TIFF 6.0, SampleFormat)."""
    return saved(picture(content).convert("L"), "TIFF", tiffinfo={339: 2})


def without_scans(count: int) -> Callable[[bytes], bytes]:
    """A progressive JPEG that ends as it should, but for its last scans."""

    def change(content: bytes) -> bytes:
        whole = saved(picture(content), "JPEG", progressive=True)
        starts = [place for place in range(len(whole)) if whole.startswith(b"\xff\xda", place)]
        return whole[: starts[-count]] + b"\xff\xd9"

    return change


def fill_byte(marker: bytes) -> Callable[[bytes], bytes]:
    """A JPEG with one more 0xFF before a marker, which is allowed."""

    def change(content: bytes) -> bytes:
        place = content.index(marker)
        return content[:place] + b"\xff" + content[place:]

    return change


def called_mpo(content: bytes) -> bytes:
    """A JPEG with the segment by which Pillow knows several pictures in one file."""
    several = saved(Image.new("RGB", (8, 8)), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    start = several.index(b"MPF\0") - 4
    return content[:2] + several[start : start + 2 + int.from_bytes(several[start + 2 : start + 4])] + content[2:]


def scan_by_scan(count: int, components: int = 3) -> Callable[[bytes], bytes]:
    """A sequential JPEG with a scan for each component, but for the last ones."""

    def change(content: bytes) -> bytes:
        planes = picture(content).convert("YCbCr").split()
        parts = [saved(plane, "JPEG", quality=90) for plane in planes]
        head, width, height = parts[0], *planes[0].size
        tables = head[2 : head.index(b"\xff\xc0")] + head[head.index(b"\xff\xc4") : head.index(b"\xff\xda")]
        frame = struct.pack(">BHHB", 8, height, width, components)
        frame += b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
        scans = [
            b"\xff\xda" + struct.pack(">H6B", 8, 1, number + 1, 0, 0, 63, 0) + part[part.index(b"\xff\xda") + 10 : -2]
            for number, part in enumerate(parts[:count])
        ]
        start = b"\xff\xd8" + tables + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
        return start + b"".join(scans) + b"\xff\xd9"

    return change


def tiff_of_jpeg(make: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A TIFF whose one strip is a JPEG file."""

    def change(content: bytes) -> bytes:
        width, height = picture(content).size
        return tiff_of(make(content), {256: width, 257: height, 258: 8, 259: 7, 262: 6, 277: 3, 530: (2, 2)})

    return change


def by_opencv(extension: str) -> Callable[[bytes], bytes]:
    """The pixels that OpenCV decodes, packed otherwise."""
    return lambda content: encoded(extension, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))


def dotted() -> np.ndarray:
    """A black picture with one dot, where no row is that is looked at first."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[5, 7] = 255
    return picture


def in_tiff(way: str, damage: Callable[[bytes], bytes] | None = None, mode: str = "RGB") -> Callable[[bytes], bytes]:
    """A picture in a TIFF that is packed in some way, with its one strip damaged: as long as it was."""

    def change(content: bytes) -> bytes:
        whole = saved(picture(content).convert(mode), "TIFF", compression=way)
        if damage is None:
            return whole
        tags = picture(whole).tag_v2
        (start,), (length,) = tags[273], tags[279]
        made = damage(whole[start : start + length])
        assert len(made) == length
        return whole[:start] + made + whole[start + length :]

    return change


def half_zeros(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def half_and_end(data: bytes) -> bytes:
    """Half of a JPEG, and its end."""
    return (data[: len(data) // 2] + b"\xff\xd9").ljust(len(data), b"\0")


def tiff_of(data: bytes, tags: Mapping[int, int | tuple[int, int]]) -> bytes:
    """A TIFF of one strip, by its tags: width and height are 256 and 257."""
    every = {**tags, 273: 8, 278: tags[257], 279: len(data)}
    entries = b"".join(
        struct.pack("<HHIHH", tag, 3, 2, *value)
        if isinstance(value, tuple)
        else struct.pack("<HHII", tag, 4 if tag in (256, 257, 273, 278, 279) else 3, 1, value)
        for tag, value in sorted(every.items())
    )
    start = struct.pack("<I", 8 + len(data))
    return b"II*\0" + start + data + struct.pack("<H", len(every)) + entries + bytes(4)


def white_is_zero_in_bits(order: int) -> Callable[[bytes], bytes]:
    """A label of two classes as TIFF of 1 bit a pixel, 0 white; order: 2 where the first pixel is the lowest bit."""

    def change(content: bytes) -> bytes:
        label = np.asarray(picture(content))
        data = np.packbits(label, axis=1, bitorder="big" if order == 1 else "little").tobytes()
        return tiff_of(data, {256: label.shape[1], 257: label.shape[0], 258: 1, 259: 1, 262: 0, 266: order, 277: 1})

    return change


def grey_and_more(content: bytes) -> bytes:
    """A photo as TIFF of two channels of which it does not say what the second is: Pillow knows no such."""
    grey = np.asarray(picture(content).convert("L"))
    data = np.dstack([grey, grey]).tobytes()
    return tiff_of(data, {256: grey.shape[1], 257: grey.shape[0], 258: (8, 8), 259: 1, 262: 1, 277: 2})


def odd_exif(name: bytes = b"Exif\0\0", kind: int = 3, count: int = 1, value: int = 3) -> Callable[[bytes], bytes]:
    """A JPEG with an orientation that Pillow does not see."""
    segment = name + b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x0112, kind, count, value) + bytes(4)
    return lambda content: content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def tiff_oriented(turn: int, order: str = "<", big: bool = False) -> Callable[[bytes], bytes]:
    """A picture as TIFF with an orientation."""

    def change(content: bytes) -> bytes:
        pixels = np.asarray(picture(content).convert("RGB"))
        height, width = pixels.shape[:2]
        start = 16 if big else 8
        tags = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 273: start, 274: turn, 277: 3, 278: height,
                279: pixels.nbytes}  # fmt: skip
        form = f"{order}HH{'QQ' if big else 'II'}"
        long = (256, 257, 273, 278, 279)
        short = 0 if order == "<" else 48 if big else 16  # of big-endian numbers, a short one stands first
        entries = b"".join(
            struct.pack(form, tag, 4 if tag in long and not big else 16 if tag in long else 3, 1,
                        value if tag in long else value << short)
            for tag, value in tags.items()
        )  # fmt: skip
        directory = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries + bytes(8 if big else 4)
        magic = b"II" if order == "<" else b"MM"
        head = struct.pack(f"{order}HHHQ", 43, 8, 0, start + pixels.nbytes) if big else struct.pack(
            f"{order}HI", 42, start + pixels.nbytes)  # fmt: skip
        return magic + head + pixels.tobytes() + directory

    return change


def ppm(largest: int) -> Callable[[bytes], bytes]:
    """A photo as PPM whose white is another number."""

    def change(content: bytes) -> bytes:
        pixels = np.asarray(picture(content).convert("RGB")).astype(np.uint32) * largest // 255
        head = f"P6 {pixels.shape[1]} {pixels.shape[0]} {largest}\n".encode()
        return head + pixels.astype(np.uint8 if largest < 256 else ">u2").tobytes()

    return change


def pam(kind: str, largest: int = 255) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        pixels = np.asarray(picture(content).convert("RGB" if kind == "RGB" else "L"))
        height, width = pixels.shape[:2]
        depth = 3 if kind == "RGB" else 1
        head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {largest}\nTUPLTYPE {kind}\nENDHDR\n"
        return head.encode() + pixels.tobytes()

    return change


def sun_with_palette(content: bytes) -> bytes:
    """A photo of few colours as Sun raster of 8 bits a pixel."""
    few = picture(content).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    colours = np.zeros((16, 3), np.uint8)
    own = np.array(few.getpalette(), np.uint8).reshape(-1, 3)[:16]
    colours[: len(own)] = own
    width, height = few.size
    return (
        struct.pack(">8I", 0x59A66A95, width, height, 8, width * height, 1, 1, 48) + colours.T.tobytes() + few.tobytes()
    )


def few_colours(content: bytes) -> bytes:
    return saved(picture(content).convert("P", palette=Image.Palette.ADAPTIVE, colors=16).convert("RGB"), "PNG")


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
