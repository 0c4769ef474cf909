"""Which files a stage's script is made of, so that a rule can name them as inputs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

from segcert.errors import ConfigError

SKEW_S = 60  # by which the clocks of two machines may well differ


def sources(script: Path | str) -> list[str]:
    """The script and every module of this project that it imports, directly or through others.

    Snakemake sees a change to a script but not to what the script imports; these files, declared as
    inputs, close that gap. Imports inside functions count too.
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
def _imported(file: Path, root: Path) -> list[Path]:
    names: list[str] = []
    for node in _statements(ast.parse(file.read_text(encoding="utf-8"), str(file)).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = []
    for name in names:
        base = root.joinpath(*name.split("."))
        files += [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    return files


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, in whatever they stand. Expressions, which are most of a tree, hold none."""
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from _statements(getattr(node, part, ()))
