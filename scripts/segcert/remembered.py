"""What follows from bytes alone and takes a while to find out, kept in the user's cache from one start to the next.

Parsing a PaddleSeg and this project took a third of the time in which a small run is planned. What is kept is lost
without harm: an answer that is not there, or not in the form that it was kept in, is found out again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from segcert import files

T = TypeVar("T")

MOST = 20_000  # answers; with more, only those that this process asked for are kept


class Answers:
    """Answers of one kind, in one file.

    Args:
        kind: part of the file's name.
        code: the files that find them out; with other contents, or another Python, nothing is remembered.
    """

    def __init__(self, kind: str, *code: str) -> None:
        digest = hashlib.sha256(sys.version.encode())
        for file in code:
            digest.update(Path(file).read_bytes())
        self._name = f"{kind}-{digest.hexdigest()[:16]}.json"
        self._known: dict[str, Any] | None = None
        self._asked: set[str] = set()
        self._news = False

    @property
    def file(self) -> Path | None:
        """Where they are kept; None where this user has no home."""
        try:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:
            return None
        return cache / "segcert" / self._name

    def of(self, question: bytes, find_out: Callable[[], Any], form: Callable[[Any], T]) -> T:
        """The answer, found out where it is not known.

        Args:
            question: all that the answer follows from.
            find_out: gives plain values, as JSON has them.
            form: what is made of those; it raises for what `find_out` would not give.
        """
        if self._known is None:
            self._known = self._read()
        key = hashlib.sha256(question).hexdigest()
        self._asked.add(key)
        if key in self._known:
            with contextlib.suppress(TypeError, ValueError, LookupError, AttributeError):
                return form(self._known[key])
        self._known[key] = find_out()
        self._news = True
        return form(self._known[key])

    def keep(self) -> None:
        """Write them, where there is news and a place to write."""
        if not self._news or self.file is None:
            return
        known = self._known or {}
        if len(known) > MOST:
            known = {key: known[key] for key in self._asked}
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, and no run
            files.write_text(self.file, json.dumps(known))
        self._news = False

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.file.read_text(encoding="utf-8")) if self.file else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
