"""A data set that is a folder on this machine, packed into a tar as its layout names its files.

Only what the layout names is packed, so that whatever else lies in the folder stays out. A name that
climbs out of the folder, also through a link, is refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from segcert.data import archives, layouts
from segcert.errors import StageError
from segcert.layouts import Folders, Lists, Names, by_name


def to_tar(folder: Path, layout: str, lists: Mapping[str, str], destination: Path) -> int:
    """Write the data set into a plain tar; the number of files.

    Args:
        layout: the name of one.
        lists: of a layout by lists: the list files by split, relative to the folder, where they are not called so.

    Raises:
        StageError: the folder, a list or a listed file is missing, or a name climbs out.
    """
    form = by_name(layout).pairs
    if not folder.is_dir():
        raise StageError(f"{folder}: there is no such folder; correct `path` in the configuration")
    count = 0
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, file in _contents(folder, form, lists):
            with file.open("rb") as stream:
                archives.add_file(tar, name, file.stat().st_size, stream)
            count += 1
    if not count:
        raise StageError(f"{folder}: holds no file of the layout {layout}")
    return count


def _contents(folder: Path, form: Lists | Folders | Names, lists: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Name in the tar, and the file that goes there."""
    if isinstance(form, Names):
        for name in layouts.named(folder, form):
            yield name, _inside(folder, name)
        return
    if isinstance(form, Folders):
        for pattern in (form.images, form.labels):
            for path in sorted(folder.glob(pattern.format(split="*"))):
                name = path.relative_to(folder).as_posix()
                if not any(part.startswith(".") for part in Path(name).parts):  # what a Mac puts beside the files
                    yield name, _inside(folder, name)
        return
    names = {split: form.name.format(split=split) for split in layouts.SPLITS}
    found = {split: listed for split in layouts.SPLITS if (listed := _list(folder, split, names, lists))}
    yield from _list_files(folder, found, names, lists)
    if "test" not in found:  # so that it is told of
        yield from ((path.name, path) for path in layouts.like_test_lists(folder))
    seen: set[str] = set()
    for split, listed in found.items():
        name = listed.relative_to(folder.resolve()).as_posix()
        labelled = split in layouts.LABELLED
        pairs, faults = layouts.read_list(listed.read_bytes(), name, form.separator, labelled=labelled)
        if faults:
            raise StageError.of(str(folder), faults)
        for index, file in ((index, file) for index, pair in pairs.items() for file in pair if file):
            inside = _inside(folder, file, f"{name} line {index + 1}: ")
            packed = archives.checked_name(file, str(folder))
            if packed not in seen:
                seen.add(packed)
                yield packed, inside


def _list(folder: Path, split: str, names: Mapping[str, str], lists: Mapping[str, str]) -> Path | None:
    """The list of a split; None where the split may be left out and is."""
    name = lists.get(split, names[split])
    if split == "test" and split not in lists and not (folder / name).is_file():
        return None
    return _inside(folder, name)


def _list_files(
    folder: Path, found: Mapping[str, Path], names: Mapping[str, str], lists: Mapping[str, str]
) -> Iterator[tuple[str, Path]]:
    """Each list under the name of its split, and under its own as well: there a model's configuration looks for it."""
    written: dict[str, Path] = {}
    for split, path in found.items():
        for name in dict.fromkeys((names[split], Path(lists.get(split, names[split])).name)):
            other = written.setdefault(name, path)
            if other != path:
                raise StageError(f"{folder}: two lists are called {name}; give them names of their own")
    for name, path in written.items():
        yield name, path


def _inside(folder: Path, name: str, where: str = "") -> Path:
    """A regular file in the folder, as it is named there; `where` tells who names it."""
    try:
        path = (folder / name).resolve()
        inside = layouts.is_inside(name) and path.is_relative_to(folder.resolve())
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # the last of links that go round
        raise StageError(f"{folder}: {where}{name!r}: {error}; put a file there") from None
    if not inside:
        raise StageError(f"{folder}: {where}{name!r} leads out of the folder; it is refused")
    if not there:
        raise StageError(f"{folder}: {where}{name!r} is listed but not there{layouts.meant(folder, name)}")
    return path
