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
import importlib.util
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from segcert import code, remembered
from segcert.checkout.pinned import PACKAGE
from segcert.code import statements
from segcert.errors import ConfigError

# The packages whose files are divided by model.
DIVIDED = (f"{PACKAGE}.models", f"{PACKAGE}.models.backbones", f"{PACKAGE}.models.losses", f"{PACKAGE}.datasets")
# Look components up by names that a configuration gives, which are known here, and by those that are written there.
BUILDERS = (f"{PACKAGE}.cvlibs",)
INITIAL = f"{PACKAGE}.cvlibs.param_init"  # there too, and no builder: anybody may use it
# The registry of components; and what it comes to where it knows them by the names of their classes (2.8 and develop).
REGISTRY_MODULE = f"{PACKAGE}.cvlibs.manager"
BY_CLASS = "41e2aa007dcbf7db"
OF_ALL = ("transforms", "optimizer", "lr_scheduler")  # of a configuration: their files count for every model
HARMLESS = ("__version__", "__file__", "__name__")  # of a package, and of no file in it
DIGITS = 16  # of a hash, as it stands in records
# What finds components, or code, by names that are not written as an import, or hears of each class that is made.
# A component's own registration does not, and of transforms and optimizers all files count anyway. As words, which are
# found fast; some stand inside of others.
LOOKING_UP = (
    *("manager", "components_dict", "__import__", "try_import", "importlib", "runpy", "pkgutil", "pydoc", "pickle"),
    *("imp", "inspect", "builtins", "__builtins__", "__globals__", "__spec__", "__loader__", "__path__", "sys", "gc"),
    *("exec", "eval", "compile", "__init_subclass__", "__subclasses__", "metaclass"),
    *(
        "unsafe_load",
        "UnsafeLoader",
        "cvlibs",
        "Builder",
        "SegBuilder",
        "build_component",
        "build_component_impl",
        "load_component_class",
        "core",
    ),
)
LOOKS_UP = re.compile(rf"""\b(?:{"|".join(LOOKING_UP)})\b|["']{PACKAGE}\.(?!\*)""")
# These are sought in code as `ast.unparse` writes it. What is not known to be harmless looks things up.
HARMLESS_LINE = re.compile(
    r"^\s*from paddleseg\.cvlibs import (?:(?:manager|param_init)(?:, |$))+$"
    r"|^\s*from paddleseg\.cvlibs\.param_init import .*$|^\s*from paddleseg\.core\.train import check_logits_losses$"
    r"|\bmanager\.(?:[A-Z_]+\.add_component|TRANSFORMS|OPTIMIZERS)\b|\bmetaclass=(?:abc\.)?ABCMeta\b"
    r"|^\s*import (?:sys|gc)$|\bsys\.(?:stdout|stderr|exit|platform|version)\b|\bgc\.collect\(\)"
    r"|'\w+' in sys\.modules (?:or|and)\b|\btrt\.Builder\b"
    r"|\.eval\(\)|\btype=eval\b|\beval\('(?:layers|nn\.layer\.activation)\.",
    re.M,
)
# Who builds what the configuration names and nothing else, as long as it does it like this: the export, what notes the
# results of a training, and (without a name) the scripts beside the package.
TOLD = ("", f"{PACKAGE}.core.export", f"{PACKAGE}.utils.save_info")
AS_TOLD = re.compile(
    r"^from paddleseg\.cvlibs import (?:(?:manager|Config|SegBuilder)(?:, |$))+$"
    r"|^\s*cfg = Config\(args\.config\b.*\)$|^\s*builder = SegBuilder\(cfg\)$",
    re.M,
)
OTHER_CONFIG = re.compile(
    r"\bConfig\b|\b(?:cfg|args\.config)\b[^\s()]* = (?!(?:args\.data_format|True|\{'use_multilabel': True\})$)", re.M
)
# Names of registries, where what is done with them is written out; and the packages that register there.
REGISTRIES = ("MODELS", "BACKBONES", "LOSSES", "DATASETS")
REGISTRY = re.compile(rf"\bmanager\s*\.\s*({'|'.join(REGISTRIES)})\b")
REGISTERS = re.compile(r"\bmanager\s*\.\s*([A-Z_]+)\s*\.\s*add_component\b")
LITERAL = re.compile(r"""["'](\w+)["']""")
# Calls at the top of a module, or of a class, that make a value and change nothing; by where they come from.
MAKES = {
    *(f"paddle.nn.initializer.{drawn}{kind}" for drawn in ("", "Xavier", "Kaiming") for kind in ("Normal", "Uniform")),
    *(f"paddle.nn.initializer.{name}" for name in ("Constant", "TruncatedNormal", "Assign")),
    *(
        "paddle.ParamAttr",
        "paddle.get_device",
        "functools.partial",
        "collections.namedtuple",
        "collections.OrderedDict",
    ),
    *("dict", "list", "tuple", "set"),
}
DECORATES = {
    *("property", "staticmethod", "classmethod", "functools.wraps", "functools.lru_cache", "functools.cache"),
    *("functools.cached_property", "dataclasses.dataclass", "abc.abstractmethod", "contextlib.contextmanager"),
    *("paddle.no_grad", "paddle.jit.not_to_static"),
}
REGISTRATION = re.compile(r"paddleseg\.cvlibs\.manager\.[A-Z_]+\.add_component")
# Expressions that run no code of what they name. Others may: an operator, a subscript, a loop, an attribute.
RUN_NOTHING = (ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.expr_context)
OWN = "<own>"  # where a function or a class of the file comes from
# The first parts of names in `import a.b as c, d` and `from a.b import c`, and of what stands in quotes.
IMPORTED = re.compile(rb"(?:^|[;:])[ \t]*(?:import[ \t]+([^\n#;]+)|from[ \t]+([\w.]+)[ \t]+import\b)", re.M)
FIRST = re.compile(rb"(?:^|,)\s*([A-Za-z_]\w*)")
QUOTED = re.compile(rb"""["']([A-Za-z_]\w*)(?:\.\w+)*["']""")
FINDS_MODULES = re.compile(
    rb"\b(?:importlib|__import__|runpy|pkgutil|zipimport|addsitedir)\b|\bsys\.path\b|\bfrom sys import\b"
)
# What runs code that is in no module.
RUNS_CODE = re.compile(rb"(?<!\.)\b(?:exec|compile)\b|\bsubprocess\b|\bos\.(?:system|popen|exec|spawn|posix_spawn)")
CODE = (".py", ".pyc", ".so", ".pyd", ".zip", ".egg")  # ends of files that can be imported, or from
PROSE = (".md", ".rst")  # ... and of those beside a script that nothing follows from
MOST_READ = 2**20  # bytes of a file beside a script that is no code: what is larger is somebody's output
# Of files and folders that are no part of it: how their names begin, and how they end.
LEFT_OUT_BEFORE, LEFT_OUT = (".", "#"), "~"


@dataclass(frozen=True)
class Source:
    """A Python file of the package.

    Attributes:
        module: its full name.
        defines: names at its top level.
        imports: (module, name) of what it imports from the package; the name is None for a whole module.
        plain: whether its import only defines things.
        looks_up: whether it finds components by names that are not written there.
        only_in: the registries in which it looks, where those are written out; nothing: anywhere.
        registers: the registries in which it registers components; all, where it does not write out which.
        only_imports: whether it does nothing but import, under the names that things have, as most `__init__.py`.
        origins: where what is bound at its top comes from, as `_origins`.
        makes_classes: whether it has a class of classes, or calls what may be one.
        literals: words that stand in quotes, of a builder: components may be looked up by them.
    """

    module: str
    defines: frozenset[str]
    imports: tuple[tuple[str, str | None], ...]
    plain: bool
    looks_up: bool
    only_imports: bool
    makes_classes: bool = False
    literals: frozenset[str] = frozenset()
    only_in: frozenset[str] = frozenset()
    registers: frozenset[str] = frozenset()
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def divided(self) -> bool:
        return self.module.rpartition(".")[0] in DIVIDED and self.module not in DIVIDED


SETS = ("defines", "literals", "only_in", "registers")  # of a Source's fields
ANSWERS = remembered.Answers("paddleseg", __file__, code.__file__)


def types(content: Any) -> set[str]:
    """All names that stand as a `type` in a configuration."""
    if isinstance(content, Mapping):
        own = {content["type"]} if isinstance(content.get("type"), str) else set()
        return own.union(*map(types, content.values()))
    return set().union(*map(types, content)) if isinstance(content, list | tuple) else set()


def _types_of_divided(content: Any) -> set[str]:
    """Those of the types of a configuration that files divided by model define: nobody else's, if nobody does."""
    if isinstance(content, Mapping):
        return types({key: value for key, value in content.items() if key == "type"}).union(
            *(_types_of_divided(value) for key, value in content.items() if key not in OF_ALL)
        )
    return set().union(*map(_types_of_divided, content)) if isinstance(content, list | tuple) else set()


def _is_found_by_class(folder: Path) -> bool:
    """Whether PaddleSeg's registry finds a component by the name of its class, as far as it is one that is known."""
    manager = folder / f"{REGISTRY_MODULE.replace('.', '/')}.py"
    return not manager.is_file() or _without_texts(content_of(manager)) == BY_CLASS


@cache
def _without_texts(content: bytes) -> str:
    """A hash of what Python code does, whatever its comments, texts and line breaks; nothing where it is none."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ""
    for node in statements([tree]):
        if isinstance(own := getattr(node, "body", None), list):
            node.body = [part for part in own if not _is_text(part)]  # type: ignore[attr-defined]
    said = [[type(node).__name__, *_plain_fields(node)] for node in ast.walk(tree)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:DIGITS]


def _plain_fields(node: ast.AST) -> Iterator[str]:
    """Names and values that stand in a node itself; alike in every Python, which lists of its fields are not."""
    yield from (str(value) for _, value in ast.iter_fields(node) if isinstance(value, str | int | float))


def files_of(
    folder: Path, content: Mapping[str, Any], there: tuple[Mapping[str, Source], Mapping[str, str]] | None = None
) -> dict[str, str]:
    """Name (`paddleseg/...`) -> first digits of its sha256, of each file that the results of a model follow from.

    Args:
        folder: that holds the package.
        content: the model's configuration, with what it inherits.
        there: what `read` returns of the folder, where many models are asked about.

    Raises:
        ConfigError: a file cannot be read.
    """
    sources, hashed = there or read(folder)
    defined = frozenset().union(*(source.defines for source in sources.values()))
    if _types_of_divided(content) - defined or not _is_found_by_class(folder):
        return dict(hashed)
    if any(source.makes_classes for source in sources.values()):
        return dict(hashed)  # a class may be heard of by whoever made the class that it is of
    counted = {name for name, source in sources.items() if not source.divided or not _is_plain(source, sources)}
    named = types(content).union(*(source.literals for source in sources.values()))
    counted |= {name for name, source in sources.items() if source.divided and source.defines & named}
    counted |= _followed([sources[name] for name in counted], sources)
    left = {f"{name.replace('.', '/')}.py" for name, source in sources.items() if name not in counted}
    return {name: digest for name, digest in hashed.items() if name not in left}


def read(folder: Path) -> tuple[dict[str, Source], dict[str, str]]:
    """Module -> its source, and file -> first digits of its sha256, of a package as it is now."""
    return _sources(folder), digests(folder)


def needed_by(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Those of the files divided by model that code beside the package imports, or may look up; as `files_of`."""
    sources = _sources(folder)
    found = _followed([_read(content_of(file), "", is_package=False) for file in files], sources)
    names = {f"{name.replace('.', '/')}.py" for name in found}
    return {name: digest for name, digest in digests(folder).items() if name in names}


def _followed(roots: Sequence[Source], sources: Mapping[str, Source]) -> set[str]:
    """The divided modules that these import, or may look up, and those that these do, and so on."""
    divided = {name: source for name, source in sources.items() if source.divided}
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        for name in _needed(waiting.pop(), sources, divided) - found:
            found.add(name)
            waiting.append(sources[name])
    return found


def digest(files: Mapping[str, str]) -> str:
    """One hash of such files."""
    lines = "".join(f"{name} {own}\n" for name, own in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:DIGITS]


def _needed(source: Source, sources: Mapping[str, Source], divided: Mapping[str, Source]) -> set[str]:
    """The divided modules that a module imports, or may look up."""
    looked_up: set[str] = set()
    if source.looks_up and (not source.module.startswith(BUILDERS) or source.module == INITIAL):
        looked_up = {name for name, other in divided.items() if not source.only_in or other.registers & source.only_in}
        if not source.only_in:
            return looked_up
    if source.module in (PACKAGE, *DIVIDED) and source.only_imports:
        return set()  # it hands on names; who imports one of those is looked at for it
    found = looked_up
    for module, name in (_as_imported(*pair, sources) for pair in source.imports):
        whole = f"{module}.{name}" if name else module
        if whole in divided:
            found.add(whole)
        elif module in divided:
            found.add(module)
        elif whole in DIVIDED:
            found |= {other for other in divided if other.startswith(f"{whole}.")}
        elif module in (PACKAGE, *DIVIDED) and whole not in sources and name not in HARMLESS:
            inside = {other for other in divided if other.startswith(f"{module}.")}
            by_name = {other for other in inside if name in divided[other].defines}
            origins = {other: divided[other].origins.get(name or "", "") for other in inside}
            bound = {other for other, origin in origins.items() if origin and origin.split(".")[-1] not in (OWN, name)}
            doors = [door for door in (PACKAGE, *DIVIDED) if door in sources and f"{door}.".startswith(f"{module}.")]
            handed_on = all(sources[door].only_imports for door in doors)
            found |= by_name | bound if by_name and handed_on else inside
    return found


def _is_plain(source: Source, sources: Mapping[str, Source]) -> bool:
    """Whether its import only defines things, also under the names that it takes over with all of another module."""
    others = [sources.get(module) for module, name in source.imports if name == "*"]
    trusted = {name: source.origins.get(name, name) for name in {*source.origins, *MAKES, *DECORATES} - {"*"}}
    return source.plain and all(
        other is not None
        and "*" not in other.origins
        and all(trusted.get(name, origin) == origin for name, origin in other.origins.items())
        for other in others
    )


def _as_imported(module: str, name: str | None, sources: Mapping[str, Source]) -> tuple[str, str | None]:
    """(module, name), where both may stand in one, as `paddleseg.models.unet.UNet` in the middle of a line."""
    while name is None and module not in sources and "." in module:
        module, _, last = module.rpartition(".")
        if module in sources:
            return module, last
    return module, name


# -- files ------------------------------------------------------------------------------------


def paths(folder: Path) -> dict[str, Path]:
    """Name, from the folder that holds the package, -> path of each of its files; without what Python leaves there.

    With them the code beside the package that it may import. Links are followed, as an import follows them. Hidden
    files, and those that editors leave, are no part of it.
    """
    found = _in_package(folder)
    return dict(sorted({**found, **_imported_from_beside(folder, found.values())}.items()))


def _in_package(folder: Path) -> dict[str, Path]:
    found = {}
    seen: set[str] = set()
    for place, folders, files in os.walk(folder / PACKAGE, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not is_left_out(name))
        if (real := os.path.realpath(place)) in seen:
            folders[:] = []  # a link to what is above it
            continue
        seen.add(real)
        for name in sorted(files):
            path = Path(place, name)
            if not is_left_out(name) and path.is_file():
                found[_text(path.relative_to(folder).as_posix())] = path
    return found


def _imported_from_beside(folder: Path, package: Iterable[Path]) -> dict[str, Path]:
    """Name -> path of code that lies in the folder, but not in the package, and that the package may import.

    That is what has a name there that is imported; anywhere in the folder, where somebody extends the path or finds
    modules by names of its own.
    """
    if any(folder.glob("*.dist-info")):
        return {}  # what is installed beside it has versions of its own
    found: dict[str, Path] = {}
    names: set[str] = set()
    anywhere: Mapping[str, list[Path]] = {}
    more = [path for path in package if path.suffix == ".py"]
    while more:
        for content in (content_of(file).replace(b"\\\n", b" ") for file in more):
            names |= {name.decode() for words in IMPORTED.findall(content) for name in FIRST.findall(b"".join(words))}
            if FINDS_MODULES.search(content):
                names |= {name.decode() for name in QUOTED.findall(content)}
                anywhere = anywhere or _code_by_name(folder)
        more = []
        for name in sorted(names - {PACKAGE, *sys.stdlib_module_names}):
            for place in [folder / name, folder / f"{name}.py", *anywhere.get(name, ())]:
                for file in _code_in(place) if place.is_dir() else [place] if place.is_file() else []:
                    inner = file.relative_to(folder)
                    key = _text(inner.as_posix())
                    if key not in found and not any(map(is_left_out, inner.parts)):
                        found[key] = file
                        more += [file] if file.suffix == ".py" else []
    return found


def _code_by_name(folder: Path) -> dict[str, list[Path]]:
    """Name -> modules, and folders of code, of that name below a folder, but for the package."""
    found: dict[str, list[Path]] = {}
    for file in _code_in(folder):
        inner = file.relative_to(folder)
        if inner.parts[0] != PACKAGE and not any(map(is_left_out, inner.parts)):
            above = [folder.joinpath(*inner.parts[: depth + 1]) for depth in range(len(inner.parts) - 1)]
            for place in [file, *above]:
                found.setdefault(place.name.partition(".")[0], []).append(place)
    return {name: list(dict.fromkeys(places)) for name, places in found.items()}


def beside(folder: Path, places: Iterable[str]) -> dict[str, Path]:
    """Name -> path of the files of code beside the package that its scripts may import by their names.

    With the folder on the path those are its modules and its packages, and what lies in the scripts' own folders, of
    which other files count as well: a script may read them.
    Folders without an `__init__.py` can be imported too: they count where one of these files names them.

    Args:
        places: the scripts' folders, from the folder that holds the package.
    """
    inner = [path for path in sorted(folder.glob("*")) if path.is_dir() and path.name != PACKAGE]
    packages = [path for path in inner if (path / "__init__.py").exists()]
    others = {path.name: path for path in inner if path not in packages and not is_left_out(path.name)}
    files = [path for path in folder.glob("*") if path.suffix in CODE and path.is_file()]
    for package in packages:
        files += _code_in(package)
    for place in places:  # with what the scripts may read
        files += [file for file in _files_in(folder / place) if file.suffix in CODE or _may_be_read(file)]
    for file in files:  # they become more meanwhile
        content = content_of(file) if others else b""
        for name in [name for name in others if _may_import(content, os.fsencode(name))]:
            files += _code_in(others.pop(name))
    names = {_text(file.relative_to(folder).as_posix()): file for file in files}
    return {name: file for name, file in sorted(names.items()) if not any(map(is_left_out, name.split("/")))}


def _code_in(place: Path) -> list[Path]:
    """All files of code in a folder, also behind links, as an import follows them."""
    return [file for file in _files_in(place) if file.suffix in CODE]


def _files_in(place: Path) -> list[Path]:
    found = []
    seen: set[str] = set()
    for above, folders, files in os.walk(place, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not is_left_out(name))
        if (real := os.path.realpath(above)) in seen:
            folders[:] = []  # a link to what is above it
            continue
        seen.add(real)
        found += [Path(above, name) for name in sorted(files)]
    return [path for path in found if not is_left_out(path.name) and path.is_file()]


def _may_be_read(file: Path) -> bool:
    return file.suffix not in PROSE and file.stat().st_size <= MOST_READ


def _may_import(content: bytes, folder: bytes) -> bool:
    """Whether code has a folder's name in an import or as a string's first part, or finds modules by any name."""
    name = re.escape(folder)
    named = rb"\b(?:from|import)\b(?:[^\n#]|\\\n)*(?<![\w.])%b\b|[\"']%b(?:[\"']|\.\w)" % (name, name)
    if folder in content and re.search(named, content):
        return True
    return any(pattern.search(content) for pattern in (FINDS_MODULES, RUNS_CODE))


def is_left_out(name: str) -> bool:
    """Whether a file or folder is an editor's, a system's or git's own, by the last part of its path."""
    return name.startswith(LEFT_OUT_BEFORE) or name.endswith(LEFT_OUT)


def _text(name: str) -> str:
    """A file's name as text, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def digests(folder: Path) -> dict[str, str]:
    """Name -> first digits of its sha256, of each file of the package."""
    return {name: hashlib.sha256(content_of(path)).hexdigest()[:DIGITS] for name, path in paths(folder).items()}


def content_of(path: Path) -> bytes:
    """What a file holds; ConfigError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _sources(folder: Path) -> dict[str, Source]:
    """Module -> its source, of all Python files of the package."""
    found = {}
    for name, path in paths(folder).items():
        if path.suffix == ".py":
            module = ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
            found[module] = _read(content_of(path), module, path.name == "__init__.py")
    ANSWERS.keep()
    return found


@cache
def _read(content: bytes, module: str, is_package: bool) -> Source:
    """What a file says of itself."""
    question = json.dumps([module, is_package]).encode() + content
    return ANSWERS.of(question, lambda: _plain(_parsed(content, module, is_package)), _of_plain)


def _plain(source: Source) -> dict[str, Any]:
    """It in values that JSON has."""
    return {key: sorted(value) if isinstance(value, frozenset) else value for key, value in vars(source).items()}


def _of_plain(said: Mapping[str, Any]) -> Source:
    """The inverse of that, also of what went through JSON."""
    sets = {key: frozenset(said[key]) for key in SETS}
    imports = tuple((module, name) for module, name in said["imports"])
    return Source(**{**said, **sets, "imports": imports, "origins": dict(said["origins"])})


def _parsed(content: bytes, module: str, is_package: bool) -> Source:
    """The same found out, in the encoding that the file names, as Python reads it.

    One that is no Python may lie there for no import of the package; what it is for, nobody knows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in others' strings
        try:
            body = ast.parse(content, module).body
            text = importlib.util.decode_source(content)
            rest = _that_may_look_up(body, text, module)
        except (SyntaxError, ValueError):
            return Source(module, frozenset(), (), plain=False, looks_up=True, only_imports=False)
    package = module if is_package else module.rpartition(".")[0]
    origins = _origins(body, package)
    registers = REGISTERS.findall(text)
    looks_up = LOOKS_UP.search(rest) is not None
    written_out = looks_up and LOOKS_UP.search(REGISTRY.sub("", rest)) is None  # all that it looks in has a name
    return Source(
        module,
        frozenset(_defined(body)),
        (*_imports(body, package), *_used_of_root(body)),
        all(_only_defines(node, origins) for node in body),
        looks_up,
        all(map(_only_imports, body)),
        _makes_classes(body),
        frozenset(LITERAL.findall(text)) if module.startswith(BUILDERS) else frozenset(),
        frozenset(REGISTRY.findall(rest)) if written_out else frozenset(),
        origins=origins,
        registers=frozenset(registers if len(registers) == text.count("add_component") else REGISTRIES),
    )


def _makes_classes(body: list[ast.stmt]) -> bool:
    """Whether code derives from `type`, or from what it calls, or makes a class of three arguments."""
    for node in (node for top in body for node in ast.walk(top)):
        if isinstance(node, ast.ClassDef):
            bases = [".".join(_dotted(base)) for base in node.bases if not isinstance(base, ast.Subscript)]
            if any(base in ("", "type") or base.endswith(("Meta", "EnumType")) for base in bases):
                return True
        elif isinstance(node, ast.Call):
            called = ".".join(_dotted(node.func))
            if called in ("new_class", "types.new_class") or (called == "type" and len(node.args) > 1):
                return True
    return False


def _that_may_look_up(body: list[ast.stmt], text: str, module: str) -> str:
    """The code of a file without what is known to look nothing up; nothing, where no word of it does.

    Most files are done with after their lines as they stand. The others are written anew, without comments, texts and
    broken lines, as far as they are code.
    """
    lines = "\n".join(line for line in text.splitlines() if LOOKS_UP.search(line))
    if LOOKS_UP.search(HARMLESS_LINE.sub("", lines)) is None:
        return ""
    for node in statements([ast.Module(body, [])]):
        if isinstance(own := getattr(node, "body", None), list):
            node.body = [part for part in own if not _is_text(part)]  # type: ignore[attr-defined]
    rest = HARMLESS_LINE.sub("", ast.unparse(ast.Module(body, [])))
    if not module or module.startswith(f"{PACKAGE}.core"):
        rest = re.sub(r"\bcore\b", "", rest)
    told = AS_TOLD.sub("", rest) if module in TOLD else rest
    return rest if told != rest and OTHER_CONFIG.search(told) else told


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _defined(body: Iterable[ast.AST]) -> Iterator[str]:
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


def _used_of_root(body: list[ast.stmt]) -> Iterator[tuple[str, str | None]]:
    """What is used of the package after `import paddleseg` (as whatever), as if it were imported by name."""
    bound = {
        alias.asname or PACKAGE
        for node in statements(body)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == PACKAGE or (alias.name.startswith(f"{PACKAGE}.") and not alias.asname)
    }
    if not bound:
        return
    inner = set()
    for node in (node for top in body for node in ast.walk(top)):  # outer ones come first
        if isinstance(node, ast.Attribute):
            inner.add(id(node.value))
            if id(node) not in inner and (name := _dotted(node)) and name[0] in bound:
                yield ".".join([PACKAGE, *name[1:]]), None
        elif isinstance(node, ast.Name) and node.id in bound and id(node) not in inner:
            yield PACKAGE, "*"  # handed to somebody: who knows


def _dotted(node: ast.expr) -> list[str]:
    """The parts of a name with dots; nothing where it is none."""
    if isinstance(node, ast.Name):
        return [node.id]
    above = _dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*above, node.attr] if above and isinstance(node, ast.Attribute) else []


def _only_imports(node: ast.stmt) -> bool:
    """Whether a statement hands on things under the names that they have, or says what the package is."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return not any(alias.asname and alias.asname != alias.name for alias in node.names)
    if isinstance(node, ast.Assign):
        return all(isinstance(name, ast.Name) and name.id in ("__all__", "__version__") for name in node.targets)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _origins(body: Iterable[ast.AST], package: str) -> dict[str, str]:
    """Name -> where it comes from, of what is bound as a file is imported; nothing, where that is not known."""
    found: dict[str, str] = {}
    for node in body:
        bound: dict[str, str] = {}
        if isinstance(node, ast.Import):
            whole = {alias.asname or alias.name.split(".")[0]: alias for alias in node.names}
            bound = {name: alias.name if alias.asname else name for name, alias in whole.items()}
        elif isinstance(node, ast.ImportFrom):
            (module, _), *_rest = _imports([node], package)
            bound = {alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bound = {node.name: OWN}
        else:
            bound = dict.fromkeys(_defined([node]), "")
            inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]
            bound |= _origins(inner, package)
            bound |= {node.name: OWN} if isinstance(node, ast.ClassDef) else {}
        found |= {name: origin if found.get(name, origin) == origin else "" for name, origin in bound.items()}
    return found


def _origin(node: ast.expr, origins: Mapping[str, str]) -> str:
    """Where a name, with dots or without, comes from; nothing, where that is not known. Python's own are unbound."""
    first, *others = _dotted(node) or [""]
    known = origins.get(first, first if "*" not in origins or first in MAKES | DECORATES else "")
    return ".".join([known, *others]) if known else ""


def _only_defines(node: ast.stmt, origins: Mapping[str, str]) -> bool:
    """Whether a statement at the top of a module, or of a class, changes nothing outside: it calls nothing that may.

    What a function does, it does when it is called. What stands in its head, and in a class, is done at the import.
    What is not known to define only, may change anything.
    """
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    head: list[ast.expr] = []
    inside: list[ast.stmt] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        head += [*node.args.defaults, *(value for value in node.args.kw_defaults if value)]
        head += [part.annotation for part in ast.walk(node.args) if isinstance(part, ast.arg) and part.annotation]
        head += [node.returns] if node.returns else []
    elif isinstance(node, ast.ClassDef):
        if not all(_origin(keyword.value, origins) == "abc.ABCMeta" for keyword in node.keywords):
            return False
        head, inside = [base for base in node.bases if not _dotted(base)], node.body
    elif isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not all(map(_is_name, targets)):
            return False
        head += [node.value] if node.value else []
        head += [node.annotation] if isinstance(node, ast.AnnAssign) else []
    elif isinstance(node, ast.If):
        main = ast.unparse(node.test) == "__name__ == '__main__'"
        head, inside = [ast.UnaryOp(ast.Not(), node.test)], [*([] if main else node.body), *node.orelse]
    elif isinstance(node, ast.Try):
        handled = [statement for handler in node.handlers for statement in handler.body]
        inside = [*node.body, *handled, *node.orelse, *node.finalbody]
    else:
        return False
    return (
        all(_decorates(decorator, origins) for decorator in getattr(node, "decorator_list", []))
        and all(_only_makes(part, origins) for part in head)
        and all(_only_defines(part, origins) for part in inside)
    )


def _is_name(target: ast.expr) -> bool:
    """Whether what is assigned to is a name of the module's own, and no part of something else."""
    return isinstance(target, ast.Name) or (isinstance(target, ast.Tuple) and all(map(_is_name, target.elts)))


def _only_makes(node: ast.expr, origins: Mapping[str, str]) -> bool:
    """Whether an expression makes a value and changes nothing: it runs no code of PaddleSeg, and assigns nothing."""
    parts = list(ast.walk(node))
    if any(
        isinstance(part, ast.NamedExpr)
        or (isinstance(getattr(part, "ctx", None), ast.Store | ast.Del) and not isinstance(part, ast.Name | ast.Tuple))
        for part in parts
    ):
        return False
    if not all(_origin(part.func, origins) in MAKES for part in parts if isinstance(part, ast.Call)):
        return False
    if all(isinstance(part, RUN_NOTHING) for part in parts):
        return True
    named = [_origin(part, origins) for part in parts if isinstance(part, ast.Name)]
    return all(origin and origin.split(".")[0] != PACKAGE for origin in named)


def _decorates(decorator: ast.expr, origins: Mapping[str, str]) -> bool:
    """`@manager.MODELS.add_component`, `@property` and the like; with arguments too."""
    arguments: list[ast.expr] = []
    if isinstance(decorator, ast.Call):
        arguments = [*decorator.args, *(keyword.value for keyword in decorator.keywords)]
        decorator = decorator.func
    origin = _origin(decorator, origins)
    known = origin in DECORATES or REGISTRATION.fullmatch(origin) is not None
    return known and all(_only_makes(argument, origins) for argument in arguments)
