"""Archives of any common kind, made into one plain tar and unpacked, trusting nothing in them.

A data set or a weight file needs no link, no device and no path outside its folder; an archive that
holds one is refused whole, by name, before anything of it is used.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from segcert.errors import StageError

MAX_BYTES = 500 * 10**9  # unpacked; far above the largest data set here, far below "fills any disk"
MAX_MEMBERS = 5_000_000
UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


class Member:
    """The content of a member; reading it raises StageError where the archive is broken there."""

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self._archive, self._stream = archive, stream

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except UNREADABLE as error:
            raise _unreadable(self._archive, error) from error


def _unreadable(archive: Path, error: Exception) -> StageError:
    return StageError(f"{archive}: cannot be read as an archive: {error}; is it whole? Fetch it again")


def checked_name(name: str, archive: str) -> str:
    """A member's name, if it stays inside the folder it is unpacked to; StageError otherwise."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.parts and path.parts[0].endswith(":")
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name:
        raise StageError(
            f"{archive}: member {name!r} climbs out of the archive; it is refused, look for another source"
        )
    return path.as_posix()


def members(archive: Path) -> Iterator[tuple[str, int, Member]]:
    """Name, size in bytes and content of every regular file of a tar (any compression) or zip.

    Raises:
        StageError: not an archive, truncated, or it holds what a data set does not need.
    """
    total = count = 0
    source = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
    for name, size, stream in source:
        total, count = total + size, count + 1
        if total > MAX_BYTES or count > MAX_MEMBERS:
            raise StageError(f"{archive}: unpacks to more than {MAX_BYTES} bytes or {MAX_MEMBERS} files; it is refused")
        yield checked_name(name, archive.name), size, stream


def _tar_members(archive: Path) -> Iterator[tuple[str, int, Member]]:
    try:
        tar = tarfile.open(archive, "r:*")  # noqa: SIM115  (closed below; opening alone is tried here)
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    with tar:
        while True:
            try:
                member = tar.next()
                stream = tar.extractfile(member) if member is not None and member.isreg() else None
            except UNREADABLE as error:
                raise _unreadable(archive, error) from error
            if member is None:
                return
            if member.isdir():
                checked_name(member.name, archive.name)
            elif stream is None:
                raise StageError(f"{archive.name}: member {member.name!r} is a link or a device; it is refused")
            else:
                yield member.name, member.size, Member(archive, stream)


def _zip_members(archive: Path) -> Iterator[tuple[str, int, Member]]:
    try:
        packed = zipfile.ZipFile(archive)
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    with packed:
        for info in packed.infolist():
            if info.is_dir():
                checked_name(info.filename, archive.name)
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise StageError(f"{archive.name}: member {info.filename!r} is a link; it is refused")
            try:
                stream = packed.open(info)
            except UNREADABLE as error:
                raise _unreadable(archive, error) from error
            with stream:
                yield info.filename, info.file_size, Member(archive, stream)


def add_file(tar: tarfile.TarFile, name: str, size: int, stream: Member | IO[bytes]) -> None:
    """Add a file with nothing of its origin but its name and content, so that equal data give equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    tar.addfile(info, stream)


def to_tar(archive: Path, destination: Path) -> int:
    """Write the files of any archive into a plain tar; the number of files."""
    count = 0
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, size, stream in members(archive):
            add_file(tar, name, size, stream)
            count += 1
    if not count:
        raise StageError(f"{archive}: holds no file")
    return count


def unpack(archive: Path, destination: Path) -> None:
    """Unpack every file below `destination`, which is made."""
    destination.mkdir(parents=True)
    for name, size, stream in members(archive):
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            written = 0
            while block := stream.read(1 << 20):
                written += len(block)
                if written > size:
                    raise StageError(f"{archive.name}: member {name!r} is larger than it says; it is refused")
                out.write(block)
        if written != size:
            raise StageError(f"{archive.name}: member {name!r} ends after {written} of {size} bytes; fetch it again")
