"""PaddleSeg's own scripts at hand: which of them a checkout has, and what each is made of.

With the checkout as PYTHONPATH, a script may import what lies in its own folder, what lies at the checkout's root,
and the package.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import sys
from collections.abc import Iterable
from pathlib import Path

from segcert import own_scripts
from segcert.checkout import sources
from segcert.errors import ConfigError

DIGITS = 16  # of a hash, as it stands in a request
HEADER = 16  # bytes of a file of compiled code before the code (PEP 552)


def there(folder: Path) -> dict[str, str]:
    """File -> its `digest`, of the scripts that a PaddleSeg has; empty for the installed package.

    Raises:
        ConfigError: a file cannot be read.
    """
    return {file: digest(folder, file) for file in own_scripts.FILES if (folder / file).is_file()}


def digest(folder: Path, script: str) -> str:
    """One hash of a script and of all code beside the package that it may import by its name.

    Of the package, what all models follow from is in their hashes; here are the files divided by model that this
    code imports.

    Raises:
        ConfigError: a file cannot be read.
    """
    beside = sources.beside(folder, _places(folder, script))
    parts = {name: sources.content_of(path) for name, path in beside.items()}
    parts |= {name: own.encode() for name, own in sources.needed_by(folder, beside.values()).items()}
    found = hashlib.sha256(sources.content_of(folder / script))
    for name, content in parts.items():
        found.update(b"\0%d\0%s\0" % (len(content), name.encode()) + content)
    return found.hexdigest()[:DIGITS]


def _places(folder: Path, script: str) -> list[str]:
    """The folders, from the checkout's, in which Python looks for what a script imports: its own, behind a link too."""
    root = folder.resolve()
    behind = (folder / script).resolve().parent
    return [str(Path(script).parent), *([str(behind.relative_to(root))] if behind.is_relative_to(root) else [])]


def drop_other_code(folder: Path, script: str) -> list[Path]:
    """Take away compiled code that Python would take for that of a file which holds other; where it was.

    A script is run by Python as it is, which takes compiled code for that of a file if size and time of the file are
    as they were, or if it was told never to look (PEP 552). Edits can keep both.

    Raises:
        ConfigError: it cannot be taken away, or a file cannot be read.
    """
    files = [*sources.paths(folder).values(), *sources.beside(folder, _places(folder, script)).values()]
    return list(_drop(file for file in files if file.suffix == ".py"))


def _drop(files: Iterable[Path]) -> Iterable[Path]:
    for file in files:
        compiled = Path(importlib.util.cache_from_source(str(file)))
        if not compiled.is_file() or _is_of(file, compiled):
            continue
        try:
            compiled.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{compiled}: holds other code than {file}, and Python would run it; it cannot be taken away: "
                f"{error.strerror}; remove it"
            ) from error
        yield compiled


def _is_of(file: Path, compiled: Path) -> bool:
    """Whether a file of compiled code holds what a file comes to, or what Python does not look at."""
    data = sources.content_of(compiled)
    if not data.startswith(importlib.util.MAGIC_NUMBER):
        return True
    with contextlib.suppress(SyntaxError, ValueError, EOFError, TypeError):
        own = compile(sources.content_of(file), str(file), "exec", dont_inherit=True, optimize=sys.flags.optimize)
        return bool(marshal.loads(data[HEADER:]) == own)  # noqa: S302  (Python itself is about to)
    return False
