"""Archives of any common kind, made into one plain tar and unpacked, trusting nothing in them.

A data set or a weight file needs no link, no device and no path outside its folder; an archive that
holds one is refused whole, by name, before anything of it is used. So is one that unpacks to more
than `Limits` admit. Whatever the bytes are, reading them raises StageError and nothing else.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from segcert.errors import StageError

BLOCK = 1 << 20
UTF8 = 0x800  # in the flags of a member of a zip: its name is in UTF-8 (APPNOTE.TXT, 4.4.4, bit 11)
MAX_HEADER = 16 << 20  # bytes that tarfile may ask for at once: a header's worth, held in memory
MAX_BEHIND = 64 << 20  # bytes behind the end of a tar; tar itself fills up to some MB with zeros
UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,  # also UnicodeDecodeError: a name that is in no encoding
    OverflowError,
    NotImplementedError,  # a zip compression that Python has not
    RuntimeError,  # an encrypted zip
)


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    Attributes:
        bytes: of all files. Full Cityscapes has about 12 GB; far above that, far below "fills any disk".
        members: entries of any kind. Full Cityscapes has about 30 000.
        ratio: unpacked to packed bytes, above `ratio_from` unpacked bytes. Photographs and weights
            hardly shrink, label maps in plain pixels may shrink a hundred times, bombs a thousand times and more.
    """

    bytes: int = 200 * 10**9
    members: int = 1_000_000
    ratio: int = 200
    ratio_from: int = 10**9


LIMITS = Limits()


class Member:
    """The content of a member; reading it raises StageError where the archive is broken there."""

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self._archive, self._stream = archive, stream

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except UNREADABLE as error:
            raise _unreadable(self._archive, error) from error


class _Bounded:
    """A stream of which no more is read at once than a header has: a header may claim any size.

    Attributes:
        last: what was read last.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.tell, self.seek = stream.tell, stream.seek
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._stream.read(size)
        return self.last


OTHER_KINDS = {b"7z\xbc\xaf": "a 7z archive", b"\x28\xb5\x2f\xfd": "packed by zstd", b"Rar!": "a RAR archive"}


def _unreadable(archive: Path, error: Exception) -> StageError:
    with archive.open("rb") as stream:
        begins = stream.read(8)
    if other := next((kind for magic, kind in OTHER_KINDS.items() if begins.startswith(magic)), None):
        return StageError(f"{archive}: is {other}, which is not read here; allowed: tar, tar.gz, tar.bz2, tar.xz, zip")
    if "encrypted" in str(error):
        return StageError(f"{archive}: {error}; pack it without a password")
    return StageError(f"{archive}: cannot be read as an archive: {error}; is it whole? Fetch it again")


def checked_name(name: str, archive: str) -> str:
    """A member's name, if it stays inside the folder it is unpacked to, wherever; StageError otherwise."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.parts and path.parts[0].endswith(":")
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name:
        raise StageError(
            f"{archive}: member {name!r} climbs out of the archive; it is refused, look for another source"
        )
    return PurePosixPath(name).as_posix()


def kind(file: Path) -> str | None:
    """`zip` or `tar` (of any compression), or None where a file is neither.

    By its first bytes: a tar whose last member is a zip ends like a zip.
    """
    with file.open("rb") as stream:
        if stream.read(4) in (b"PK\3\4", b"PK\5\6"):
            return "zip"
    try:
        _, tar = _open_tar(file)
    except UNREADABLE:
        return None
    tar.close()
    return "tar"


def members(archive: Path, limits: Limits = LIMITS) -> Iterator[tuple[str, int, Member]]:
    """Name, size in bytes and content of every regular file of a tar (any compression) or zip.

    Raises:
        StageError: not an archive, truncated, larger than the limits, or it holds what a data set does not need.
    """
    packed = archive.stat().st_size
    most = min(limits.bytes, max(limits.ratio_from, packed * limits.ratio))
    total = count = 0
    seen: set[str] = set()
    for name, size, stream in _zip_members(archive) if kind(archive) == "zip" else _tar_members(archive):
        total, count = total + size, count + 1
        if total > most:
            raise StageError(f"{archive}: {packed} bytes that unpack to more than {most}; it is refused")
        if count > limits.members:
            raise StageError(f"{archive}: holds more than {limits.members} members; it is refused")
        checked = checked_name(name, archive.name)
        if stream is None:
            continue
        if checked in seen or checked == ".":
            raise StageError(f"{archive.name}: member {name!r} is there twice or has no name; it is refused")
        seen.add(checked)
        yield checked, size, stream


def _open_tar(archive: Path) -> tuple[IO[bytes], tarfile.TarFile]:
    """The unpacked stream and the tar in it."""
    with archive.open("rb") as stream:
        start = stream.read(6)
    decompress: Any = open
    for magic, function in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if start.startswith(magic):
            decompress = function
    stream = decompress(archive, "rb")
    try:
        return stream, tarfile.open(fileobj=_Bounded(stream), mode="r:")  # type: ignore[call-overload]
    except BaseException:
        stream.close()
        raise


def _tar_members(archive: Path) -> Iterator[tuple[str, int, Member | None]]:
    try:
        source, tar = _open_tar(archive)
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    with source, tar:
        while True:
            try:
                member = tar.next()
                stream = tar.extractfile(member) if member is not None and member.isreg() else None
            except UNREADABLE as error:
                raise _unreadable(archive, error) from error
            if member is None:
                # tarfile takes a header that is damaged or missing for the end, which is a block of zeros.
                if tar.fileobj.last != bytes(tarfile.BLOCKSIZE):  # type: ignore[attr-defined]
                    raise _unreadable(archive, tarfile.ReadError("a header is damaged, or the end is missing"))
                _require_whole(archive, source)
                return
            # tarfile keeps every header, which is gigabytes for millions of files
            tar.members.clear()  # type: ignore[attr-defined]
            if member.isdir():
                yield member.name, 0, None
            elif stream is None:
                raise StageError(f"{archive.name}: member {member.name!r} is a link or a device; it is refused")
            else:
                yield member.name, member.size, Member(archive, stream)


def _require_whole(archive: Path, stream: IO[bytes]) -> None:
    """Raise StageError where a compressed stream is damaged, which its last bytes tell: they hold a checksum of all.

    A tar ends before them, with zeros, so that nobody else reads so far.
    """
    if isinstance(stream, io.BufferedReader):  # not compressed: there is no checksum
        return
    left = MAX_BEHIND
    try:
        while left > 0 and (block := stream.read(BLOCK)):
            left -= len(block)
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    if left <= 0:
        raise StageError(f"{archive}: holds more than {MAX_BEHIND} bytes behind its end; it is refused")


def _zip_members(archive: Path) -> Iterator[tuple[str, int, Member | None]]:
    try:
        packed = zipfile.ZipFile(archive)
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error
    with packed:
        for info in packed.infolist():
            # Some that are made on Windows separate folders so; in a tar it is a character as any other.
            if "/" in info.filename and "\\" in info.filename:
                raise StageError(
                    f"{archive.name}: member {info.filename!r} has / and \\ in its name; which separates folders?"
                )
            name = _in_utf8(info).replace("\\", "/")
            if name.endswith("/"):
                yield name, 0, None
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise StageError(f"{archive.name}: member {info.filename!r} is a link; it is refused")
            try:
                stream = packed.open(info)
            except UNREADABLE as error:
                raise _unreadable(archive, error) from error
            with stream:
                yield name, info.file_size, Member(archive, stream)


def _in_utf8(info: zipfile.ZipInfo) -> str:
    """The name of a member; many programs write UTF-8 without the mark that says so, and zipfile reads cp437 then.

    What is no UTF-8 is in another encoding. What is UTF-8 by chance is not met with: two letters must fit.
    """
    if info.flag_bits & UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def copy(archive: Path, name: str, size: int, stream: Member, out: IO[bytes]) -> None:
    """Copy a member, which must be as long as it says."""
    written = 0
    while block := stream.read(min(BLOCK, size - written)):
        written += len(block)
        out.write(block)
    if written != size:
        raise StageError(f"{archive.name}: member {name!r} ends after {written} of {size} bytes; fetch it again")


def add_file(tar: tarfile.TarFile, name: str, size: int, stream: Member | IO[bytes]) -> None:
    """Add a file with nothing of its origin but its name and content, so that equal data give equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    tar.addfile(info, stream)


def to_tar(archive: Path, destination: Path, limits: Limits = LIMITS) -> int:
    """Write the files of any archive into a plain tar; the number of files."""
    count = 0
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, size, stream in members(archive, limits):
            try:
                add_file(tar, name, size, stream)
            except (OSError, ValueError) as error:  # it ends too early, its name cannot be written, the disk is full
                raise StageError(f"{archive}: member {name!r} cannot be copied: {error}") from error
            tar.members.clear()  # type: ignore[attr-defined]
            count += 1
    if not count:
        raise StageError(f"{archive}: holds no file")
    return count


def unpack(archive: Path, destination: Path, limits: Limits = LIMITS) -> None:
    """Unpack every file below `destination`, which is made."""
    destination.mkdir(parents=True)
    for name, size, stream in members(archive, limits):
        target = destination / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                copy(archive, name, size, stream, out)
        except (OSError, ValueError) as error:  # a file where a folder should be, a name too long, the disk is full
            why = getattr(error, "strerror", None) or error  # without its path, which is of this machine
            raise StageError(f"{archive}: member {name!r} cannot be written: {why}") from error
