"""Which files of a PaddleSeg a model's results follow from, so that an edit makes stale what follows from it alone.

Importing PaddleSeg imports all of it, and a component is found by its name. So most of a tree counts for every model:
what trains, evaluates and exports, transforms, layers, optimizers, each `__init__.py`. Divided by model are only files
of models, backbones, losses and data sets. One of them counts for a model if it defines something of a name that
stands as a `type` in the model's configuration, if a file that counts imports it or a name that it defines, or if it
does more at its import than to define things. Where an import can mean any of them, all count: then too much is
made again, and never too little.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from segcert.code import statements
from segcert.errors import ConfigError

PACKAGE = "paddleseg"
# The packages whose files are divided by model.
DIVIDED = (f"{PACKAGE}.models", f"{PACKAGE}.models.backbones", f"{PACKAGE}.models.losses", f"{PACKAGE}.datasets")
# Looks components up by names that a configuration gives, which are known here.
BUILDERS = (f"{PACKAGE}.cvlibs.",)
DIGITS = 16  # of a hash, as it stands in records
# Written out after `import paddleseg`; and what finds components by names that are not written there.
DOTTED = re.compile(r"(?<!from )(?<!import )\b(paddleseg(?:\.\w+)+)")
LOOKS_UP = re.compile(r"\bmanager\.[A-Z_]+\[|\bcomponents_dict\b|\bimport_module\b|\b__import__\b")
LEFT_OUT = (".pyc", ".pyo", ".DS_Store", "~", ".swp")  # endings of files that are no part of it


@dataclass(frozen=True)
class Source:
    """A Python file of the package.

    Attributes:
        module: its full name.
        defines: names at its top level.
        imports: (module, name) of what it imports from the package; the name is None for a whole module.
        plain: whether its import only defines things.
        looks_up: whether it finds components by names that are not written there.
    """

    module: str
    defines: frozenset[str]
    imports: tuple[tuple[str, str | None], ...]
    plain: bool
    looks_up: bool

    @property
    def divided(self) -> bool:
        return self.module.rpartition(".")[0] in DIVIDED and self.module not in DIVIDED


def types(content: Any) -> set[str]:
    """All names that stand as a `type` in a configuration."""
    if isinstance(content, Mapping):
        own = {content["type"]} if isinstance(content.get("type"), str) else set()
        return own.union(*map(types, content.values()))
    return set().union(*map(types, content)) if isinstance(content, list | tuple) else set()


def files_of(folder: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """Name (`paddleseg/...`) -> first digits of its sha256, of each file that the results of a model follow from.

    Args:
        folder: that holds the package.
        content: the model's configuration, with what it inherits.

    Raises:
        ConfigError, OSError: a file is no Python, or cannot be read.
    """
    sources = _sources(folder)
    counted = {name for name, source in sources.items() if not source.divided or not source.plain}
    named = types(content)
    counted |= {name for name, source in sources.items() if source.divided and source.defines & named}
    waiting = list(counted)
    while waiting:
        for name in _needed(sources[waiting.pop()], sources) - counted:
            counted.add(name)
            waiting.append(name)
    left = {f"{name.replace('.', '/')}.py" for name, source in sources.items() if name not in counted}
    return {name: digest for name, digest in digests(folder).items() if name not in left}


def digest(files: Mapping[str, str]) -> str:
    """One hash of such files."""
    lines = "".join(f"{name} {own}\n" for name, own in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:DIGITS]


def _needed(source: Source, sources: Mapping[str, Source]) -> set[str]:
    """The divided modules that a module imports, or may look up."""
    divided = {name: other for name, other in sources.items() if other.divided}
    if source.looks_up and not source.module.startswith(BUILDERS):
        return set(divided)
    if source.module in (PACKAGE, *DIVIDED):
        return set()  # it hands on names; who imports one of those is looked at for it
    found: set[str] = set()
    for module, name in (_as_imported(*pair, sources) for pair in source.imports):
        whole = f"{module}.{name}" if name else module
        if whole in divided:
            found.add(whole)
        elif module in divided:
            found.add(module)
        elif whole in DIVIDED:
            found |= {other for other in divided if other.startswith(f"{whole}.")}
        elif module in DIVIDED and whole not in sources:
            inside = {other for other in divided if other.startswith(f"{module}.")}
            found |= {other for other in inside if name in divided[other].defines} or inside
    return found


def _as_imported(module: str, name: str | None, sources: Mapping[str, Source]) -> tuple[str, str | None]:
    """(module, name), where both may stand in one, as `paddleseg.models.unet.UNet` in the middle of a line."""
    while name is None and module not in sources and "." in module:
        module, _, last = module.rpartition(".")
        if module in sources:
            return module, last
    return module, name


# -- files ------------------------------------------------------------------------------------


def paths(folder: Path) -> dict[str, Path]:
    """Name, from the folder that holds the package, -> path of each of its files; without what Python leaves there."""
    found = sorted((folder / PACKAGE).rglob("*"))
    return {
        path.relative_to(folder).as_posix(): path
        for path in found
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(LEFT_OUT)
    }


def digests(folder: Path) -> dict[str, str]:
    """Name -> first digits of its sha256, of each file of the package."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS] for name, path in paths(folder).items()}


def _sources(folder: Path) -> dict[str, Source]:
    """Module -> its source, of all Python files of the package."""
    found = {}
    for name, path in paths(folder).items():
        if path.suffix == ".py":
            module = ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
            try:
                found[module] = _read(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
            except (SyntaxError, ValueError) as error:
                raise ConfigError(f"{path}: is no Python, so nothing of PaddleSeg can be imported: {error}") from None
    return found


@cache
def _read(text: str, module: str, is_package: bool) -> Source:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in others' strings
        body = ast.parse(text, module).body
    package = module if is_package else module.rpartition(".")[0]
    imports = tuple(_imports(body, package))
    if any(name is None for _, name in imports):  # `paddleseg.models` may stand anywhere after `import paddleseg`
        imports += tuple((name, None) for name in DOTTED.findall(text))
    return Source(
        module,
        frozenset(_defined(body)),
        imports,
        all(map(_only_defines, body)),
        LOOKS_UP.search(text) is not None,
    )


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
        else:
            yield from _defined(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


def _imports(body: Iterable[ast.AST], package: str) -> Iterator[tuple[str, str | None]]:
    for node in statements(body):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from ((module, alias.name) for alias in node.names)


def _only_defines(node: ast.stmt) -> bool:
    """Whether a statement at the top of a module changes nothing outside of it, as far as one can see."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return all(map(_registers, node.decorator_list))
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all(isinstance(target, ast.Name) for target in targets)
    if isinstance(node, ast.If):
        if ast.unparse(node.test) in ("__name__ == '__main__'",):
            return True
        return all(map(_only_defines, [*node.body, *node.orelse]))
    if isinstance(node, ast.Try):
        handled = [statement for handler in node.handlers for statement in handler.body]
        return all(map(_only_defines, [*node.body, *handled, *node.orelse, *node.finalbody]))
    return False


def _registers(decorator: ast.expr) -> bool:
    """`@manager.MODELS.add_component`, or a decorator that is no call of unknown effect."""
    name = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return name.endswith(".add_component") or name.split(".")[0] in ("paddle", "functools", "dataclass", "dataclasses")
