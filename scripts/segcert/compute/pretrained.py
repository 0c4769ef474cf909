"""Weights that a training starts from: looked into, loaded by PaddleSeg's classes, and then looked for in the model.

PaddleSeg leaves out every variable that a file lacks or has in another shape, with a warning in the log, and goes on.
So what was loaded is counted here, by what the model holds after it was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddleseg.cvlibs import SegBuilder

from segcert import modelkeys, proof
from segcert.data import checkpoints
from segcert.errors import StageError

UNLIKE = "dtype not match"  # in what Paddle says where types differ
SHOWN = 5  # names that a record holds of those that were not loaded


@dataclass(frozen=True)
class Loaded:
    """What a part of a model took from a file.

    Attributes:
        key: of the model's configuration, such as model.backbone.pretrained.
        kind: the class of that part.
        loaded: how many of its variables hold what the file has under their name.
        of: how many it has.
        absent: those that the file has no variable for.
        unlike: those for which it has one of another shape, with both shapes.
        replaced: those that hold something else all the same: the class did not take them, or gave them up again.
        hint: what the file seems to be.
        numbers: share of its numbers that those variables hold: a few large ones may be most of a model.
    """

    key: str
    file: str
    kind: str
    loaded: int
    of: int
    absent: tuple[str, ...] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()
    hint: str | None = None
    numbers: float = 1.0

    @property
    def share(self) -> float:
        """Of its variables, or of its numbers, whichever is less."""
        return min(self.loaded / self.of, self.numbers) if self.of else 0.0

    def metric(self) -> dict[str, Any]:
        """For the record."""
        left = [*self.absent, *self.unlike, *self.replaced]
        told = {"key": self.key, "file": self.file, "loaded": self.loaded, "of": self.of}
        return {**told, "not_loaded": left[:SHOWN], "not_loaded_more": max(0, len(left) - SHOWN)}

    def sentence(self) -> str:
        """In words, with the numbers."""
        why = [
            f"{len(self.absent)} are not in it ({self.absent[0]}, ...)" if self.absent else "",
            f"{len(self.unlike)} have another shape ({next(iter(self.unlike.items()), ('', ''))[0]}: "
            f"{next(iter(self.unlike.values()), '')})"
            if self.unlike
            else "",
            f"{len(self.replaced)} hold something else ({self.replaced[0]}, ...)" if self.replaced else "",
        ]
        parts = [
            f"{self.key}: {self.loaded} of {self.of} variables of {self.kind} are those of {self.file}",
            *([f"{self.numbers:.2%} of its numbers"] if self.loaded < self.of else []),
            *filter(None, why),
        ]
        return "; ".join([*parts, *([self.hint] if self.hint else [])])

    def lines(self) -> list[str]:
        """For the log: the sentence, and every variable that was not loaded."""
        return [
            f"pretrained: {self.sentence()}",
            *(f"pretrained: not in {self.file}: {name}" for name in self.absent),
            *(f"pretrained: of another shape: {name}: {shapes}" for name, shapes in self.unlike.items()),
            *(f"pretrained: not what {self.file} holds: {name}" for name in self.replaced),
        ]


class Builder(SegBuilder):  # type: ignore[misc]  # Paddle has no types
    """PaddleSeg's builder, which remembers the parts of a model that take weights from a file."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._parts: list[tuple[str, Any]] = []

    def build_component(self, cfg: Mapping[str, Any]) -> Any:
        try:
            made = super().build_component(cfg)
        except RuntimeError as error:
            if isinstance(cfg.get("pretrained"), str) and UNLIKE in str(error):
                raise self._of_other_types(cfg["pretrained"]) from error
            if cfg.get("pretrained") is None or "unexpected keyword argument 'pretrained'" not in str(error):
                raise
            raise StageError(
                f"{cfg['type']} takes no `pretrained`, so {cfg['pretrained']} cannot be loaded into it; take that out "
                "of the model's configuration, or out of its entry in model_zoo"
            ) from error
        if isinstance(cfg.get("pretrained"), str):
            self._parts.append((cfg["pretrained"], made))
        return made

    def _of_other_types(self, file: str) -> StageError:
        """Paddle converts no types: it ends at the first variable, by a name that stands in no file."""
        keys = [key for key, value in modelkeys.pretrained(self.config.dic).items() if value == file]
        types = {name: value.dtype.name for name, value in read(file).items() if isinstance(value, np.ndarray)}
        own = paddle.get_default_dtype()
        other = [name for name, kind in types.items() if kind != own] or list(types)
        called = "bfloat16 (or uint16)" if types[other[0]] == "uint16" else types[other[0]]
        return StageError(
            f"{' and '.join(keys)}: {len(other)} of the {len(types)} arrays in {file} are of other types than the "
            f"variables of the model, such as {other[0]}, which is of {called}; save the weights in those types, which "
            f"are {own} for nearly all"
        )

    def loads(self) -> list[Loaded]:
        """What the model took from files, each as it is now; of a model that was just built.

        Raises:
            StageError: a file is none of weights, or what was loaded of it is no number, or a part of the configuration
            is not built.
        """
        wanted = modelkeys.pretrained(self.config.dic)
        states = {file: read(file) for file in dict.fromkeys(wanted.values())}
        model = self.model
        whole = states.get(wanted.get(modelkeys.WHOLE_MODEL, ""), {})
        # What stands deeper is built first: so two keys with one file are told apart.
        keys = sorted(wanted, key=lambda key: -key.count("."))
        found = []
        for file, part in self._parts:
            key = next(key for key in keys if wanted[key] == file)
            keys.remove(key)
            # Weights of the whole model are loaded last and go over those of its parts.
            over = {} if key == modelkeys.WHOLE_MODEL else _below(whole, _name_in(model, part))
            found.append(_compared(key, file, part, states[file], over))
        if keys:
            raise StageError(
                f"{keys[0]}: {wanted[keys[0]]} is not loaded: PaddleSeg makes nothing of that part; take it out"
            )
        return found


def read(file: str) -> dict[str, Any]:
    """A weight file's variables by name, as arrays; looked into before Paddle unpickles it.

    Raises:
        StageError: it is none, or holds more than weights.
    """
    if not Path(file).is_file():
        raise StageError(f"{file}: is not there; correct `pretrained` in the model's configuration")
    checkpoints.check(Path(file), file)
    state: dict[str, Any] = paddle.load(file, return_numpy=True)
    return state


def gate(loads: Iterable[Loaded], least: float) -> dict[str, Any]:
    """What is loaded into a model must be most of it, or it was made for another one."""
    worst = min(loads, key=lambda load: load.share)
    return proof.gate(
        "pretrained_share",
        worst.share,
        "at least",
        least,
        f"{worst.sentence()}; a share of at least {least:g} is asked (gates.pretrained_share): name the weights "
        "of this model, or lower it if only so much is meant to fit",
    )


def _name_in(model: Any, part: Any) -> str | None:
    """The name of a part within the model; None where the model does not hold it."""
    return next((name for name, layer in model.named_sublayers(include_self=True) if layer is part), None)


def _below(state: Mapping[str, Any], prefix: str | None) -> dict[str, Any]:
    """The variables of a part, by their names in it, out of a file of the whole model."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if prefix and name.startswith(start)}


def _compared(key: str, file: str, part: Any, state: Mapping[str, Any], over: Mapping[str, Any]) -> Loaded:
    """Each variable of a part against the file's of that name.

    Args:
        over: what was loaded after the file, over some of it.
    """
    own = {name: variable.numpy() for name, variable in part.state_dict().items()}
    absent, unlike, replaced = [], {}, []
    for name, now in own.items():
        value = state.get(name)
        if not isinstance(value, np.ndarray):
            absent.append(name)
        elif value.shape != now.shape:
            unlike[name] = f"{list(value.shape)} in the file, {list(now.shape)} in the model"
        elif not any(_same(now, held[name]) for held in (state, over) if name in held):
            replaced.append(name)
        elif not np.isfinite(now).all():
            raise StageError(f"{key}: {name} in {file} holds values that are not finite; look for another source")
        elif name.endswith("._variance") and bool((now < 0).any()):  # of its root, a ReLU makes 0
            raise StageError(f"{key}: {name} in {file}, of a batch norm, is below 0; look for another source")
    kept = len(own) - len(absent) - len(unlike) - len(replaced)
    hint = _hint(own, state) if kept < len(own) else None
    left = {*absent, *unlike, *replaced}
    sizes = {name: now.size for name, now in own.items()}
    numbers = sum(size for name, size in sizes.items() if name not in left) / max(1, sum(sizes.values()))
    kind = type(part).__name__
    return Loaded(key, file, kind, kept, len(own), tuple(absent), unlike, tuple(replaced), hint, numbers)


def _same(now: Any, value: Any) -> bool:
    """Whether a variable holds a value, in its own type."""
    return value.shape == now.shape and bool(
        np.array_equal(now, value.astype(now.dtype), equal_nan=now.dtype.kind == "f")
    )


def _hint(own: Mapping[str, Any], state: Mapping[str, Any]) -> str | None:
    """What a file seems to be, of whose variables many do not fit; None where nothing is to be seen."""

    def fitting(names: Mapping[str, str]) -> int:
        """How many variables would fit, where the file's had other names (file -> model)."""
        return sum(
            isinstance(state[theirs], np.ndarray) and mine in own and state[theirs].shape == own[mine].shape
            for theirs, mine in names.items()
        )

    now = fitting({name: name for name in state})
    within = [name for name, value in state.items() if isinstance(value, Mapping) and set(value) & set(own)]
    if within:
        return f"the file holds them below {within[0]!r}: save that part of it alone"
    starts = {name.split(".")[0] + "." for name in (*state, *own) if "." in name}
    without = {start: fitting({name: name.removeprefix(start) for name in state}) for start in starts}
    beside = {start: fitting({name: start + name for name in state}) for start in starts}
    for counts, words in (
        (without, "the file's names begin with {start!r}: without it {count} would fit; is it of a whole model?"),
        (beside, "the file's names lack {start!r}: with it {count} would fit; is it of a part of the model?"),
    ):
        start = max(counts, key=counts.__getitem__, default="")
        if start and counts[start] > max(now, len(own) // 2):
            return words.format(start=start, count=counts[start])
    turned = sum(
        name in own and isinstance(value, np.ndarray) and value.ndim > 1 and value.shape == own[name].shape[::-1]
        and value.shape != own[name].shape
        for name, value in state.items()
    )  # fmt: skip
    return f"{turned} are transposed: was it made by another framework?" if turned else None
