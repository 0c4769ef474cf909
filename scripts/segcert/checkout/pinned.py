"""The import of `paddleseg` held to one folder, and to what its files hold.

Whatever stands on the path, or is found by others' finders, nothing of the package comes from elsewhere. Python takes
compiled code for that of a file if size and time of the file are as they were; edits can keep both. Here code is
kept by what the file holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.util
import marshal
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = "paddleseg"
# Of the code that is kept: where Snakemake keeps things of its own. Elsewhere none is.
KEPT = Path(".snakemake/paddleseg")


class Loader(SourceFileLoader):
    """Loads a file by what it holds."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        content = Path(path).read_bytes()
        parts = (importlib.util.MAGIC_NUMBER, os.fsencode(path), content)
        kept = KEPT / hashlib.sha256(b"\0".join(parts)).hexdigest()
        with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
            code = marshal.loads(kept.read_bytes())  # noqa: S302  (this run's own file)
            if isinstance(code, CodeType):
                return code
        code = self.source_to_code(content, path)
        if KEPT.parent.is_dir():
            with contextlib.suppress(OSError):
                KEPT.mkdir(exist_ok=True)
                partial = kept.with_name(f".{kept.name}.{os.getpid()}")
                partial.write_bytes(marshal.dumps(code))
                partial.replace(kept)
        return code


class Finder(importlib.abc.MetaPathFinder):
    """Finds the package, and all modules in it, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for a module of the package that is not there: no other finder is asked."""
        if fullname != PACKAGE and not fullname.startswith(f"{PACKAGE}."):
            return None
        place = self.folder.joinpath(*fullname.split("."))
        for file, within in ((place / "__init__.py", [str(place)]), (place.with_name(f"{place.name}.py"), None)):
            if file.is_file():
                loader = Loader(fullname, str(file))
                return importlib.util.spec_from_file_location(
                    fullname, file, loader=loader, submodule_search_locations=within
                )
        compiled = PathFinder.find_spec(fullname, [str(place.parent)])
        if compiled and compiled.origin:
            return compiled
        if place.is_dir():  # a package without an __init__.py
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        raise ModuleNotFoundError(f"No module named {fullname!r} in {self.folder}", name=fullname)


def pin(folder: Path) -> None:
    """See to it that `import paddleseg` of this process, and of its forks, imports the one in the folder."""
    sys.meta_path.insert(0, Finder(folder))


def imported() -> list[str]:
    """The folders that the modules of the package were imported from; none where nothing of it was."""
    found: dict[str, None] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] == PACKAGE and file:
            depth = name.count(".") + (Path(file).name == "__init__.py")
            found[str(Path(os.path.abspath(file)).parents[depth])] = None  # noqa: PTH100  (links are kept)
    return list(found)
