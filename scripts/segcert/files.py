"""Files: written whole or not at all, and known by what they hold."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_json(path: Path | str, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file beside its place and rename it there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(stream, fcntl.LOCK_EX)  # for whoever finds the file: its writer lives
            stream.write(text)
            stream.flush()
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), leftover.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)  # not to be had while its writer lives
            leftover.unlink()


def sha256(path: Path | str) -> str:
    """Of a file, or of a folder: then of its files' relative names and contents, in order."""
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in files_of(path):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + sha256(file).encode())
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """All files of a folder, in order, but for the mark that Snakemake leaves in folders that it knows."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".snakemake_timestamp")


def hashes(paths: Iterable[Path | str]) -> dict[str, str]:
    """Path -> sha256. A data set's folder is known by its manifest, which lists every file's hash."""
    found = {}
    for path in map(Path, paths):
        manifest = path / "manifest.json"
        target = manifest if manifest.is_file() else path
        found[target.as_posix()] = sha256(target)
    return found


def stamps(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """What changes when a file is written anew, of those files that are there."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            stat = Path(path).stat()
            found[path] = (stat.st_ino, stat.st_mtime_ns)
    return found


def changed_since(path: Path | str, told: Path | str, whole: Path | str | None = None) -> str:
    """In words, that a file or folder is not what a record or a manifest tells.

    Args:
        whole: what is to be made again, where it is more than the file.
    """
    again = f"delete {whole or path}, and run again: it is made anew"
    return f"{path} is not what {told} says was made: somebody changed it since; {again}"
