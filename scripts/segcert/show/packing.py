"""Zip files whose bytes follow from what is in them: written whole or not at all, and at no time of day."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

LOG_BEGIN, LOG_END = 1 << 20, 3 << 20  # bytes of a longer log that are kept
SEAL = b"sha256:"


def write(
    to: Path,
    contents: Iterable[tuple[str, bytes]],
    sealed: bool = False,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a zip of files (name, content) beside its place and rename it there.

    Args:
        sealed: whether the comment of the zip is the hash of all bytes before it. A changed byte that no content
            depends on shows so too, such as the bits that fill up the last byte of what was compressed.
        check: looks at the zip before it gets its name; where it raises, there is none.

    Raises:
        OSError: it cannot be written.
    """
    partial = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in contents:
                packed.writestr(_entry(name), content)
            if sealed:
                packed.comment = SEAL + b"0" * 64
        if sealed:
            _seal(partial)
        if check:
            check(partial)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _seal(path: Path) -> None:
    before = path.read_bytes()[:-64]
    path.write_bytes(before + hashlib.sha256(before).hexdigest().encode())


def sums(contents: Iterable[tuple[str, bytes]]) -> str:
    """A line for each file, as `sha256sum --check` reads them."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents)


def read(path: str) -> tuple[bytes, bool]:
    """A file's content, and whether its middle was left out, as of a log that is too long.

    Raises:
        OSError: it cannot be read.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as stream:
        if size <= LOG_BEGIN + LOG_END or not path.endswith(".log"):
            return stream.read(), False
        begin = stream.read(LOG_BEGIN)
        stream.seek(size - LOG_END)
        end = stream.read()
    return begin + f"\n... {size - LOG_BEGIN - LOG_END} bytes are left out here ...\n".encode() + end, True
