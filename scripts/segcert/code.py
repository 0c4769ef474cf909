"""Which files a stage's script is made of and what they hold, so that a rule can see another version of them."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from segcert import remembered
from segcert.errors import ConfigError

SKEW_S = 60  # by which the clocks of two machines may well differ
ANSWERS = remembered.Answers("imports", __file__)


def modules(script: Path | str) -> list[str]:
    """The script and every module of this project that it imports, directly or through others.

    Imports inside functions count too.
    """
    script = Path(script)
    root = script.parent
    found: list[Path] = []
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.append(file)
        waiting += [module for module in _imported(file, root) if module not in found]
    return sorted(file.as_posix() for file in found)


def versions(script: Path | str, *folders: str) -> dict[str, str]:
    """What the script is made of, by content: file -> first 12 digits of its sha256.

    Args:
        script: its path. Files are named relative to its folder, so that a project that was moved has the same names.
        folders: relative to the script's folder, of files that it reads (templates). Their subfolders do not count.
    """
    root = Path(script).parent
    read = [file for folder in folders for file in (root / folder).iterdir() if file.is_file()]
    files = sorted({*map(Path, modules(script)), *read})
    ANSWERS.keep()
    return {file.relative_to(root).as_posix(): _digest(file) for file in files}


def require_past(files: Iterable[Path]) -> None:
    """Raise ConfigError for files that say they are made later than now.

    What is made from them would be older than they are, and Snakemake refuses it once the work is done.
    """
    now = datetime.now().timestamp()
    for file in files:
        made = file.stat().st_mtime
        if made > now + SKEW_S:
            raise ConfigError(
                f"{file}: its time stamp, {datetime.fromtimestamp(made):%Y-%m-%d %H:%M}, is in the future; set this "
                "machine's clock right, or give such files the present time: find . -newermt now -exec touch {} +"
            )


@cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


@cache
def _imported(file: Path, root: Path) -> list[Path]:
    content = file.read_bytes()
    files = []
    for name in ANSWERS.of(content, lambda: _names(content, file), _words):
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):  # a module's packages are imported before it
            base = root.joinpath(*parts[:depth])
            files += [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    return files


def _names(content: bytes, file: Path) -> list[str]:
    """What its import statements name: modules, and what may be modules of these."""
    names: list[str] = []
    for node in statements(ast.parse(content, str(file)).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _words(said: Any) -> list[str]:
    if isinstance(said, list) and all(isinstance(name, str) for name in said):
        return said
    raise TypeError(f"{said!r}: no list of names")


def statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, in whatever they stand. Expressions, which are most of a tree, hold none."""
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from statements(getattr(node, part, ()))
