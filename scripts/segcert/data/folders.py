"""A data set that is a folder on this machine, packed into a tar as its layout names its files.

Only what the layout names is packed, so that whatever else lies in the folder stays out. A name that
climbs out of the folder, also through a link, is refused.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from segcert.data import archives, layouts
from segcert.errors import StageError

CITYSCAPES = ("leftImg8bit/*/*/*_leftImg8bit.png", "gtFine/*/*/*_gtFine_labelTrainIds.png")


def to_tar(folder: Path, layout: str, lists: Mapping[str, str], destination: Path) -> int:
    """Write the data set into a plain tar; the number of files.

    Args:
        layout: mini_supervisely | cityscapes.
        lists: mini_supervisely: list files by split, relative to the folder, where they are not `<split>.txt`.

    Raises:
        StageError: the folder, a list or a listed file is missing, or a name climbs out.
    """
    if not folder.is_dir():
        raise StageError(f"{folder}: there is no such folder; correct `path` in the configuration")
    count = 0
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in _contents(folder, layout, lists):
            if isinstance(content, bytes):
                archives.add_file(tar, name, len(content), io.BytesIO(content))
            else:
                with content.open("rb") as stream:
                    archives.add_file(tar, name, content.stat().st_size, stream)
            count += 1
    if not count:
        raise StageError(f"{folder}: holds no file of the layout {layout}")
    return count


def _contents(folder: Path, layout: str, lists: Mapping[str, str]) -> Iterator[tuple[str, Path | bytes]]:
    """Name in the tar, and the file or the text that goes there."""
    if layout == "cityscapes":
        for pattern in CITYSCAPES:
            for path in sorted(folder.glob(pattern)):
                name = path.relative_to(folder).as_posix()
                yield name, _inside(folder, name)
        return
    seen: set[str] = set()
    for split in layouts.SPLITS:
        name = lists.get(split, f"{split}.txt")
        if split == "test" and split not in lists and not (folder / name).is_file():
            continue
        try:
            text = _inside(folder, name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise StageError(f"{folder / name}: is not a list of files in UTF-8") from None
        # Under its own name as well: that is where a model's configuration looks for it.
        for listing in dict.fromkeys((f"{split}.txt", Path(name).name)):
            if listing in seen:
                raise StageError(f"{folder}: two lists are called {listing}; give them names of their own")
            seen.add(listing)
            yield listing, text.encode()
        for file in dict.fromkeys(word for line in text.splitlines() for word in _pair(line)):
            inside = _inside(folder, file)
            if file not in seen:
                seen.add(file)
                yield archives.checked_name(file, str(folder / name)), inside


def _pair(line: str) -> list[str]:
    image, _, label = line.strip().partition(" ")
    return [word for word in (image, label.strip()) if word]


def _inside(folder: Path, name: str) -> Path:
    """A regular file in the folder."""
    try:
        path = (folder / archives.checked_name(name, str(folder))).resolve()
        inside = path.is_relative_to(folder.resolve())
        there = path.is_file()
    except (OSError, ValueError) as error:
        raise StageError(f"{folder}: {name!r}: {error}") from None
    if not inside:
        raise StageError(f"{folder}: {name!r} leads out of the folder; it is refused")
    if not there:
        raise StageError(f"{folder}: {name!r} is listed but not there")
    return path
