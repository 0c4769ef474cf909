"""Which files a stage's script is made of, so that a rule can name them as inputs."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


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


@cache
def _imported(file: Path, root: Path) -> list[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = []
    for name in names:
        base = root.joinpath(*name.split("."))
        files += [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    return files
