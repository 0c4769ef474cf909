"""What is nobody else's, taken out of texts that are sent away: credentials, and where somebody's home is."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert.masking import HIDDEN, masked

SENSITIVE = r"token|secret|passw(?:or)?d|credential|api[-_]?key|access[-_]?key|private[-_]?key"
SHORTEST = 6  # a shorter value is found in any text
# In plain text: `Authorization: Bearer abc`, `password=abc`, `"token": "abc"`.
_TOLD = re.compile(
    rf"(?P<name>\bauthorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:\w+[ \t]+)?|(?:{SENSITIVE})[\"']?[ \t]*[:=][ \t]*[\"']?)"
    r"(?P<value>[^\s\"'&,;<>]+)",
    re.I,
)


class Veil:
    """Takes out of a text what is nobody else's: credentials, and where somebody's home is."""

    def __init__(self, environment: Mapping[str, str], home: str, here: str) -> None:
        """
        Args:
            environment: values of variables whose names say that they are secret are masked wherever they stand.
            home, here: absolute paths of the home folder and of the working folder.
        """
        secret = (value for name, value in environment.items() if re.search(SENSITIVE, name, re.I))
        self._secrets = sorted({value for value in secret if len(value) >= SHORTEST}, key=len, reverse=True)
        folders = {os.path.realpath(here): ".", here: ".", os.path.realpath(home): "~", home: "~"}
        self._folders = [
            (re.compile(rf"{re.escape(path)}(?![\w-]|\.\w)"), short)  # /home/ann is no part of /home/anna
            for path, short in sorted(folders.items(), key=lambda item: len(item[0]), reverse=True)
            if len(Path(path).parts) > 1
        ]

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _TOLD.sub(rf"\g<name>{HIDDEN}", masked(text))
        return self._without_folders(text)

    def tree(self, tree: Any) -> Any:
        """The same for every text in a record."""
        if isinstance(tree, str):
            return self.text(tree)
        if isinstance(tree, Mapping):
            return {self.text(key): self.tree(value) for key, value in tree.items()}
        return [self.tree(item) for item in tree] if isinstance(tree, list) else tree

    def _without_folders(self, text: str) -> str:
        for pattern, short in self._folders:
            text = pattern.sub(short, text)
        return text

    def content(self, name: str, content: bytes) -> bytes:
        """A file's bytes; those of one that holds nothing to mask are unchanged."""
        text = content.decode("utf-8", "surrogateescape")
        if name.endswith(".json"):
            with contextlib.suppress(ValueError, RecursionError):  # half a record is text
                tree = json.loads(text)
                veiled = self.tree(tree)
                same = veiled == tree
                return content if same else (json.dumps(veiled, indent=1, ensure_ascii=False) + "\n").encode()
        return self.text(text).encode("utf-8", "surrogateescape")
