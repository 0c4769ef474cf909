"""What a stage reads: hashed before the work, and looked at again after it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from segcert.files import changed_since, files_of, hashes, sha256, write_json

Stamp = tuple[int, int, int]


class Inputs:
    """Files and folders as they were before a stage worked with them.

    Attributes:
        hashes: path -> sha256 of those that were there, as a record has them.
    """

    def __init__(self, paths: Iterable[Path | str]) -> None:
        self._paths = [path for path in map(Path, paths) if path.exists()]
        self._stamps = self._look()  # before the hashes: what is written meanwhile shows afterwards
        self.hashes = hashes(self._paths)

    def changed(self) -> str | None:
        """In words, what is not as it was; None where all is.

        Only a file whose size or times differ is read again: one that was touched, or written anew with the
        same content, has not changed.
        """
        now = self._look()
        for path in self._paths:
            before, after = self._stamps[path], now[path]
            other = [file for file in sorted(before.keys() | after.keys()) if before.get(file) != after.get(file)]
            gone = [file for file in other if file not in after]
            if gone or (other and (other := self._other_content(path, other))):
                what = f"{gone[0]} vanished" if gone else f"{other[0]} was changed"
                return f"{what} while it was worked with; run it again"
        return None

    def not_as_made(self, above: Mapping[str, Mapping[str, Any]]) -> str | None:
        """In words, what is not what the stage before, or the unpacking, made; None where all is.

        Of a data set, every file is read by the first stage that uses it, and later only those of another size or
        time. A file's time can be set to any, and moving a file keeps it, but not when that was done (inode(7)).

        Args:
            above: records of what this is made from, by their file.
        """
        for name, told in above.items():
            for path, digest in told.get("outputs", {}).items():
                if self.hashes.get(path, digest) != digest:
                    return changed_since(path, name)
        for path in self._paths:
            manifest = path / "manifest.json"
            listed = _listed(path)
            seen = path.with_name(f".{path.name}.seen.json")
            known = _seen(seen)
            right: dict[str, list[Any]] = {}
            for file, (digest, size) in listed.items():
                found = self._stamps[path].get(file)
                if found is None:
                    return f"{file} is gone, which {manifest} lists; delete {path}, and run again: it is made anew"
                name = file.relative_to(path).as_posix()
                right[name] = [digest, *found]
                if found[0] != size or (known.get(name) != right[name] and sha256(file) != digest):
                    return changed_since(file, manifest, path)
            if right != known:
                with contextlib.suppress(OSError):  # of somebody else: it is read again
                    write_json(seen, right)
        return None

    def _other_content(self, path: Path, files: list[Path]) -> list[Path]:
        """Those of an input's files that do not hold what they held."""
        known = self.hashes.get(path.as_posix())
        if known:
            return [] if sha256(path) == known else files
        told = {file: digest for file, (digest, _) in _listed(path).items()}
        return [file for file in files if sha256(file) != self.hashes.get(file.as_posix(), told.get(file))]

    def _look(self) -> dict[Path, dict[Path, Stamp]]:
        return {path: dict(_stamps(path)) for path in self._paths}


def _stamps(path: Path) -> Iterator[tuple[Path, Stamp]]:
    """(file, what changes when it is written) of a file, or of all files of a folder that count for its hash."""
    for file in files_of(path) if path.is_dir() else [path]:
        with contextlib.suppress(OSError):  # gone: not among what is there
            stat = file.stat()
            yield file, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _seen(path: Path) -> dict[str, list[Any]]:
    """Name -> sha256, size and times of the files of a data set that held what they should; nothing if unknown."""
    try:
        found: dict[str, list[Any]] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _listed(path: Path) -> dict[Path, tuple[str, int]]:
    """File -> sha256 and size of a data set, as its manifest lists them; empty for anything else."""
    try:
        listed = json.loads((path / "manifest.json").read_text(encoding="utf-8")).get("files", [])
        return {path / file["path"]: (file["sha256"], file["bytes"]) for file in listed}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the stage says what is wrong with it
        return {}
