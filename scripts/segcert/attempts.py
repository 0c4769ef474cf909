"""Attempts at a record: which folders they left behind, and which are still at work."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert import processes

# In the staging folder of an attempt: what to ask if the attempt never ends as it should.
ATTEMPT = "attempt.json"
HEARTBEAT_S = 20  # between two signs of life of an attempt: the time stamp of that file
SILENT_S = 300  # after so long without one, an attempt on another machine is taken to be dead


def left_behind(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    """Staging folders that attempts at this record left behind, with what each says of itself."""
    return [(folder, said) for folder, said in _all(path) if not _lives(folder, said)]


def running(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    """The same of attempts that are still at work: here, or on another machine not silent for long."""
    return [(folder, said) for folder, said in _all(path) if _lives(folder, said)]


def _all(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    path = Path(path)
    found = []
    name = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.partial")  # not that of a record with a longer name
    for folder in sorted(path.parent.glob(".*.partial")):
        if not (name.fullmatch(folder.name) and folder.is_dir()):
            continue
        try:
            said = json.loads((folder / ATTEMPT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            said = {}
        found.append((folder, said if isinstance(said, dict) else {}))
    return found


def _lives(folder: Path, said: Mapping[str, Any]) -> bool:
    if not said or processes.here(said):
        return processes.runs(said)
    try:
        # By the file system's own clock: those of two machines differ.
        with tempfile.TemporaryFile(dir=folder) as now:
            return os.fstat(now.fileno()).st_mtime - (folder / ATTEMPT).stat().st_mtime < SILENT_S
    except OSError:
        return False
