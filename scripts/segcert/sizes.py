"""`input_size` of a run for one model: as it is written, or worked out from the model's own configuration.

A whole number is a shorter side, as elsewhere (torchvision's `Resize(256)`). The model then has the aspect of its own
size, and is small. Own is the size of its exported model, or, where that is open, the one that its training ends in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segcert import modelkeys, transforms
from segcert.errors import ConfigError

STEP = 32  # networks divide sides by that, and most by no more


def of(asked: Sequence[int] | int | None, content: Mapping[str, Any]) -> list[int] | None:
    """[width, height] that is meant; None: what the model's configuration says.

    Args:
        asked: `input_size`, as a run's configuration has it for the model.
        content: the model's configuration, as `modelconfig.content` reads it.

    Raises:
        ConfigError: it is a shorter side, and the configuration has no size to bring down to that.
    """
    if not isinstance(asked, int):
        return list(asked) if asked else None
    size = own(content)
    if size is None:
        raise ConfigError(
            f"input_size: {asked} is a shorter side, and the configuration leaves its size open: neither its "
            "export or validation nor its training has transforms that end in one; allowed: [width, height]"
        )
    return list(shrunk(size, asked))


def own(content: Mapping[str, Any]) -> transforms.Size | None:
    """(width, height) of a model by its own transforms; None where they leave it open."""
    return exported(content) or _ends_in(
        content["train_dataset"].get("transforms"), "train_dataset.transforms", transforms.TRAINING
    )


def exported(content: Mapping[str, Any]) -> transforms.Size | None:
    """The same of the exported model alone."""
    key, items = modelkeys.export_transforms(content)
    return _ends_in(items, key, transforms.EXPORT)


def shrunk(size: transforms.Size, short: int) -> transforms.Size:
    """The size brought down to a shorter side, the longer to a multiple of STEP; a smaller one stays as it is."""
    if min(size) <= short:
        return size
    width, height = (round(side * short / min(size) / STEP) * STEP for side in size)
    return width, height


def written(size: Sequence[int]) -> str:
    """A size [width, height] as a word, 512x256."""
    return "x".join(map(str, size))


def read(word: str) -> transforms.Size:
    """(width, height) of such a word.

    Raises:
        ValueError: it is none.
    """
    width, height = map(int, word.split("x"))
    return width, height


def told(asked: Sequence[int] | int) -> str:
    """`input_size` in words."""
    if isinstance(asked, int):
        return f"the model's own size with a shorter side of {asked}"
    return f"{asked[0]} x {asked[1]} (width x height)"


def _ends_in(items: Any, key: str, purpose: str) -> transforms.Size | None:
    if transforms.problems(items, key, purpose, strict=False):
        return None
    return transforms.final_size(items)
