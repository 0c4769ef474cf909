"""PaddleSeg's model configurations as files, without importing PaddleSeg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from segcert.errors import ConfigError


def config_chain(path: Path) -> list[Path]:
    """A PaddleSeg model configuration and, after it, every file that its `_base_` keys name.

    Raises:
        ConfigError: a file is missing, is not YAML, or a chain of `_base_` comes back to itself.
    """
    chain: list[Path] = []

    def visit(file: Path, via: Path | None, trail: tuple[Path, ...]) -> None:
        if file in trail:
            raise ConfigError(f"{via}: _base_: {file} comes back to itself; break the circle")
        if file not in chain:
            chain.append(file)
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{via or file}: cannot read {file}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: is not YAML: {error}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: must be a mapping of PaddleSeg's keys (model, train_dataset, ...)")
        bases = content.get("_base_", [])
        for base in [bases] if isinstance(bases, str) else bases:
            visit(file.parent / base, file, (*trail, file))

    visit(path, None, ())
    return chain


def content(path: Path) -> dict[str, Any]:
    """A configuration with what it inherits merged in, as PaddleSeg merges it; ConfigError as `config_chain`."""
    config_chain(path)
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    bases = own.pop("_base_", [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _inherit(merged, content(path.parent / base))
    return _inherit(merged, own)


def _inherit(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` laid over `base`, mappings key by key; one with `_inherited_: false` replaces the base's."""
    merged = dict(base)
    for key, value in own.items():
        if isinstance(value, dict) and value.get("_inherited_", True) and isinstance(merged.get(key), dict):
            merged[key] = _inherit(merged[key], value)
        elif isinstance(value, dict):
            merged[key] = {name: item for name, item in value.items() if name != "_inherited_"}
        else:
            merged[key] = value
    return merged


def inputs(path: str) -> list[str]:
    """The files that a configuration consists of, for a record; the file alone where the chain is broken."""
    try:
        return [str(file) for file in config_chain(Path(path))]
    except ConfigError:
        return [path]
