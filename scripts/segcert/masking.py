"""Credentials taken out of what is shown: the user and password of a URL, and tokens in its query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
# Each in time that grows with the text and no faster: a log may be one line of megabytes.
_USER = re.compile(r"(?P<scheme>://)[^/?#\s\"'<>]*@")
# Names by which clouds and forges sign or admit a request.
_QUERY = re.compile(
    r"(?P<name>[?&;][^=&?;#\s\"']{0,200}?(?:token|signature|secret|password|passwd|credential|api[-_]?key|access[-_]?key|sig|auth)"
    r"[^=&?;#\s\"']{0,200}=)[^&#\s\"'<>]+",
    re.I,
)


def masked(text: str) -> str:
    """A text in which no URL holds credentials; one without any is unchanged."""
    return _QUERY.sub(rf"\g<name>{HIDDEN}", _USER.sub(rf"\g<scheme>{HIDDEN}@", text))


def masked_tree(tree: Any) -> Any:
    """The same for every text in mappings and lists, keys too."""
    if isinstance(tree, str):
        return masked(tree)
    if isinstance(tree, Mapping):
        return {masked_tree(key): masked_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [masked_tree(item) for item in tree]
    return tree


def bare(url: str) -> str:
    """A URL without credentials, as it names the file to everybody."""
    return masked(url).replace(f"{HIDDEN}@", "", 1)
