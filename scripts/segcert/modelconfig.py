"""PaddleSeg's model configurations as files, read as PaddleSeg reads them, without importing it.

What PaddleSeg 2.8.0 does with `_base_` and `_inherited_` is odd in places (of several bases the first wins;
`_inherited_: false` counts for the first base alone that has the key). It is done here as it is done there, and
where PaddleSeg breaks, the file and the key are named. Tests hold the two side by side on generated chains.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from segcert.errors import ConfigError

BASE, INHERITED = "_base_", "_inherited_"


class Doubled(NamedTuple):
    """A key that a mapping has twice: the last one counts, and what the others say is lost."""

    file: Path
    line: int
    key: str


class _Loader(yaml.SafeLoader):
    """Plain values, and tuples, which PaddleSeg's own dumps hold; nothing that a tag could run."""


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def config_chain(path: Path) -> list[Path]:
    """A PaddleSeg model configuration and, after it, every file that its `_base_` keys name.

    Raises:
        ConfigError: a file is missing, is not YAML, or a chain of `_base_` comes back to itself.
    """
    return list(dict.fromkeys(file for file, _ in _files(path)))


def content(path: Path) -> dict[str, Any]:
    """A configuration with what it inherits merged in, as PaddleSeg merges it.

    Raises:
        ConfigError: as `config_chain`, or PaddleSeg cannot lay one of the files over another.
    """
    return _content(path, None, ())


def doubled(path: Path) -> list[Doubled]:
    """Every key that a file of the chain has twice in one mapping; ConfigError as `config_chain`."""
    found = (Doubled(file, line, key) for file, twice in _files(path) for line, key in twice)
    return list(dict.fromkeys(found))


def require_single(files: Iterable[Path]) -> None:
    """Raise ConfigError where a file of a run's own configuration has a key twice: the first would be dropped.

    What cannot be read as YAML is for Snakemake to tell, which reads it.
    """
    wrong = []
    for file in files:
        with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
            _, twice = _read(file.read_bytes())
            wrong += [
                f"{file}:{line}: {key} stands there twice, and one would be dropped; merge the two"
                for line, key in twice
            ]
    if wrong:
        raise ConfigError("\n".join(wrong))


def inputs(path: str) -> list[str]:
    """The files that a configuration consists of, for a record; the file alone where the chain is broken."""
    try:
        return [str(file) for file in config_chain(Path(path))]
    except ConfigError:
        return [path]


# -- files ------------------------------------------------------------------------------------


def _files(
    path: Path, via: Path | None = None, trail: tuple[str, ...] = ()
) -> Iterator[tuple[Path, list[tuple[int, str]]]]:
    """Each file of the chain with the (line, key) of what it has twice, in the order in which files are named."""
    own, twice = _parsed(path, via, trail)
    yield path, twice
    for base in _bases(path, own):
        yield from _files(base, path, (*trail, os.path.realpath(path)))


def _content(path: Path, via: Path | None, trail: tuple[str, ...]) -> dict[str, Any]:
    own, _ = _parsed(path, via, trail)
    merged = {key: copy.deepcopy(value) for key, value in own.items() if key != BASE}
    for base in _bases(path, own):
        merged = _laid_over(merged, _content(base, path, (*trail, os.path.realpath(path))), path, base, ())
    return merged


def _parsed(path: Path, via: Path | None, trail: tuple[str, ...]) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """The mapping that a file is, and (line, key) of what it has twice.

    Args:
        via: the file that names it, if one does.
        trail: the files above it.
    """
    if os.path.realpath(path) in trail:
        raise ConfigError(f"{via}: {BASE}: {path} comes back to itself; break the circle")
    if via is None and not path.name.endswith(("yml", "yaml")):
        raise ConfigError(f"{path}: PaddleSeg reads files whose names end in .yml or .yaml; give it such a name")
    try:
        own, twice = _read(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text in UTF-8 ({error.reason} at byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        told = f"{via}: {BASE}: cannot read {path}: {reason}; name a file that can be read"
        raise ConfigError(told if via else f"{path}: cannot read {path}: {reason}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: is not YAML of plain values: {error}") from None
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: must be a mapping of PaddleSeg's keys (model, train_dataset, ...)")
    return own, twice


@lru_cache(maxsize=1024)  # a run looks at each file several times, and a checkout has hundreds
def _read(text: bytes) -> tuple[Any, list[tuple[int, str]]]:
    """What a file's text holds, of which no caller may change anything, and (line, key) of what it has twice."""
    loader = _Loader(text.decode("utf-8"))
    node = loader.get_single_node()
    twice = list(_twice(node)) if node else []  # at once: what is merged into a mapping stands in it later
    return (loader.construct_document(node) if node else None), twice


def _bases(path: Path, own: Mapping[str, Any]) -> list[Path]:
    """The files that a configuration inherits from, in the order in which it names them."""
    named = own.get(BASE, [])
    bases = [named] if isinstance(named, str) else named
    if not isinstance(bases, list | tuple) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {BASE}: {named!r} is refused; allowed: the name of a file, or a list of such names")
    for base in bases:
        if not base or base.endswith("/") or "\0" in base:
            raise ConfigError(f"{path}: {BASE}: {base!r} is refused; allowed: the name of a file")
    return [path.parent / base for base in bases]


def _twice(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """(line, key) of each key of a mapping that an earlier key of it was already."""
    above: list[yaml.Node] = [node]
    visited: set[int] = set()
    while above:
        node = above.pop()
        if id(node) in visited:  # an anchor may be used anywhere
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, value in node.value:
                above.append(value)
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in seen:
                        yield key.start_mark.line + 1, key.value
                    seen.add((key.tag, key.value))
        elif isinstance(node, yaml.SequenceNode):
            above += node.value


# -- merging ----------------------------------------------------------------------------------


def _laid_over(
    own: Mapping[Any, Any], base: Mapping[Any, Any], path: Path, base_path: Path, keys: tuple[str, ...]
) -> dict[Any, Any]:
    """`own` laid over what a base holds, mappings key by key.

    With `_inherited_: false` (or anything that counts as false) it takes the base's place. The mark goes when that
    was done, so that it does not count for a second base; a mark that is true, or meets no base, stays a key.

    Args:
        path, base_path: the files that the two are from, for messages.
        keys: where in the files the two stand.
    """
    if not own.get(INHERITED, True):
        return {key: value for key, value in own.items() if key != INHERITED}
    merged = dict(base)
    for key, value in own.items():
        if isinstance(value, dict) and key in base:
            below = (*keys, str(key))
            if isinstance(base[key], list) and not value.get(INHERITED, True):
                merged[key] = _laid_over(value, {}, path, base_path, below)
                continue
            if not isinstance(base[key], dict):
                raise ConfigError(
                    f"{path}: {'.'.join(below)}: a mapping cannot be laid over {base[key]!r}, which {base_path} has "
                    "there; give both files a mapping, or take the key out of one"
                )
            merged[key] = _laid_over(value, base[key], path, base_path, below)
        else:
            merged[key] = value
    return merged
