"""Whether the data of a picture are all there, where its decoders would say nothing: JPEG, and what is packed in TIFF.

By the bytes of a file, never by what Pillow calls it: a JPEG with a second picture behind it is an MPO to Pillow.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, Literal

JPEG = b"\xff\xd8\xff"
BLOCK = 1 << 20
BEHIND_SCAN = re.compile(rb"\xff(?![\x00\xd0-\xd7\xff])", re.DOTALL)  # the next marker behind the data of a scan
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a segment
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1, 0xC3, 0xC9), (0xC2, 0xCA)  # frames, by Huffman's or arithmetic codes
START_OF_SCAN, END = 0xDA, 0xD9

ORIENTATION = 0x0112  # of EXIF and of TIFF
STRIPS, TILES, TABLES = (273, 279), (324, 325), 347  # tags of TIFF: (offsets, lengths), and what JPEG has in common
# How Pillow calls the ways in which a TIFF is packed. Decoders of these end early without a word.
UNTOLD = {
    "group4": "CCITT Group 4",
    "tiff_ccitt": "CCITT RLE",
    "tiff_raw_16": "CCITT RLE of words",
    "tiff_jpeg": "the old kind of JPEG",
    "tiff_thunderscan": "ThunderScan",
}


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of the segments of a JPEG up to its end, found as libjpeg finds them.

    It passes over whatever is no marker, and over any number of 0xFF before one (ITU-T T.81, B.1.1.2).
    """
    place = 2
    while True:
        while (place := content.find(b"\xff", place)) >= 0 and content[place + 1 : place + 2] in (b"\xff", b"\0"):
            place += 1
        if place < 0 or place + 1 >= len(content):
            return
        marker = content[place + 1]
        place += 2
        if marker in ALONE:
            continue
        if marker == END:
            return
        length = int.from_bytes(content[place : place + 2])
        yield marker, content[place + 2 : place + length]
        place += length
        if marker == START_OF_SCAN:
            following = BEHIND_SCAN.search(content, place)
            place = following.start() if following else len(content)


def exif(content: bytes) -> bytes:
    """The segments of a JPEG that OpenCV looks for an orientation in, as they stand in it."""
    found = b""
    for marker, segment in _segments(content):
        if marker == 0xE1:
            found += b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment
        elif marker == START_OF_SCAN:
            break
    return found


def missing_scans(content: bytes) -> str | None:
    """In words, what a JPEG lacks: it was cut between two scans, which no decoder minds.

    A scan of a sequential one brings all of some components. One of a progressive JPEG brings some coefficients of
    some components up to a precision (ITU-T T.81, B.2.3 and G.1.1): after the last one all are whole.
    """
    left_out: dict[tuple[int, int], int] = {}  # (component, coefficient) -> bits that no scan has brought yet
    components: set[int] = set()
    progressive = False
    for marker, segment in _segments(content):
        if marker in SEQUENTIAL + PROGRESSIVE:
            components, progressive = set(segment[6::3]), marker in PROGRESSIVE
        elif marker == START_OF_SCAN and len(segment) > 5:
            first, last, bits = segment[-3:] if progressive else (0, 63, 0)
            of = segment[1:-3:2]
            left_out |= {(component, number): bits & 15 for component in of for number in range(first, last + 1)}
            if not progressive and {component for component, _ in left_out} >= components:
                return None  # what is behind is not for the picture, and may be long
    whole = sum(bits == 0 for bits in left_out.values())
    if components and whole == 64 * len(components):
        return None
    if not progressive:
        return f"is a JPEG whose last scans are missing: {whole // 64} of {len(components)} components are there"
    total = 64 * len(components)
    return f"is a progressive JPEG whose last scans are missing: {whole} of {total} coefficients are whole"


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its type of colour


def missing_lines(content: bytes) -> str | None:
    """In words, what a PNG lacks whose lines end too early, which Pillow fills with 0 (PNG, 7.2 and 8)."""
    width, height = (int.from_bytes(content[place : place + 4]) for place in (16, 20))
    depth, colour, interlaced = content[24], content[25], content[28]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    expected = sum(
        high * (1 + -(-wide * depth * CHANNELS[colour] // 8)) for wide, high in sizes if wide > 0 and high > 0
    )
    data, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4])
        data += [content[place + 8 : place + 8 + length]] if content[place + 4 : place + 8] == b"IDAT" else []
        place += 12 + length
    found = len(zlib.decompressobj().decompress(b"".join(data), expected))
    return None if found == expected else f"is cut: its lines are {found} of {expected} bytes"


def packed(opened: Any, content: bytes) -> Iterator[bytes]:
    """The strips or tiles of a TIFF that Pillow has opened, as they are packed."""
    for offsets, lengths in (STRIPS, TILES):
        places = zip(opened.tag_v2.get(offsets, ()), opened.tag_v2.get(lengths, ()), strict=False)
        yield from (content[place : place + length] for place, length in places)


def tiff(opened: Any, content: bytes) -> str | None:
    """In words, why a TIFF that Pillow has opened is not whole, or nobody could tell; None where its decoders tell."""
    way, tags = opened.info.get("compression"), opened.tag_v2
    width, height = tags[256], tags[257]  # not Pillow's size, which is that of the turned picture
    there = min(len(tags.get(tag, ())) for tag in (TILES if TILES[0] in tags else STRIPS))
    rows, columns = (
        (tags.get(323, height), tags.get(322, width)) if TILES[0] in tags else (tags.get(278, height), width)
    )
    needed = -(-height // max(rows, 1)) * -(-width // max(columns, 1)) * (tags.get(277, 1) if tags.get(284) == 2 else 1)
    if there < needed:
        return f"is a TIFF file of which {there} of {needed} strips or tiles are there"
    if way in UNTOLD:
        return (
            f"is a TIFF file packed by {UNTOLD[way]}, of which no decoder here tells whether it is whole; save it as "
            "PNG, or as TIFF without compression"
        )
    if way in ("tiff_adobe_deflate", "tiff_deflate"):
        return next((wrong for data in packed(opened, content) if (wrong := _deflated(data))), None)
    return None


def _deflated(data: bytes) -> str | None:
    """In words, why a strip is not what its checksum says, which libtiff does not read."""
    stream = zlib.decompressobj()
    try:
        while data and not stream.eof:  # piece by piece: it may be a bomb
            stream.decompress(data, BLOCK)
            data = stream.unconsumed_tail
    except zlib.error as error:
        return f"is damaged: {error}"
    return None if stream.eof else "is cut: a strip ends too early"


def jpegs_in_tiff(opened: Any, content: bytes) -> list[bytes] | None:
    """The strips or tiles of a TIFF as JPEG files of their own; None where the TIFF is not packed so.

    The decoder of a TIFF keeps back what libjpeg says of them.
    """
    if opened.info.get("compression") != "jpeg":
        return None
    tables = opened.tag_v2.get(TABLES, b"")
    return [tables[:-2] + data[2:] if tables else data for data in packed(opened, content)]


def as_stored(content: bytes) -> bytes | None:
    """A TIFF with the usual orientation in place of its own; None where it has none."""
    order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(content[place : place + length], order)

    big = number(2, 2) == 43  # BigTIFF: numbers are twice as long
    offset, count, size, value = (8, 8, 20, 12) if big else (4, 2, 12, 8)
    first = number(offset, 8 if big else 4)
    for place in range(first + count, min(first + count + size * number(first, count), len(content)), size):
        if number(place, 2) == ORIENTATION:
            entry = [(3, 2), (1, value - 4), (1, 2), (0, size - value - 2)]
            usual = b"".join(part.to_bytes(length, order) for part, length in entry)
            return content[: place + 2] + usual + content[place + size :]
    return None
