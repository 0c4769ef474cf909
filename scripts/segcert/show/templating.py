"""How templates are read: a name that is not there is an error, and lines that hold tags alone leave nothing behind."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path, *, html: bool) -> Environment:
    """Jinja for the templates of a folder.

    Args:
        html: what is put in is escaped. The others are Markdown, which its readers show as text; they end in a line.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
        autoescape=html,  # noqa: S701
    )
