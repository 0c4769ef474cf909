"""Weight files from elsewhere: looked into before Paddle loads them.

A .pdparams file is a pickle, and unpickling runs whatever functions the file names. Weights need
none but those that build arrays, so a file that names any other is refused; `paddle.load` is then
given only files that were found harmless. Arrays are not even built here: NumPy trusts what a
pickle says of their inside, so stand-ins take it and see whether it holds together.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

from segcert.errors import StageError

NUMBERS = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")  # bfloat16 is kept as u2
PLAIN_DTYPE = (None, None, None, -1, -1, 0)  # no fields, no shape of its own, no flags


class _Refused(Exception):
    pass


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, _align: bool = False, _copy: bool = False) -> None:
        if not isinstance(code, str) or not NUMBERS.fullmatch(code):
            raise _Refused(f"numbers of the kind {code!r}")
        self.itemsize = int(code[1:])

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[:1] != (3,) or state[1] not in ("<", ">", "|", "=") or state[2:] != PLAIN_DTYPE:
            raise _Refused(f"numbers of the kind {state!r}")


class _Array:
    """Stands for numpy.ndarray."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, dtype, _, content = state
        if version != 1 or not isinstance(dtype, _Dtype) or not isinstance(content, bytes | str):
            raise _Refused("an array that is not one of numbers")
        if not all(type(n) is int and n >= 0 for n in shape) or len(content) != math.prod(shape) * dtype.itemsize:
            raise _Refused(f"an array of the shape {shape!r} from {len(content)} bytes")


def _reconstruct(kind: type, shape: tuple[int, ...], _code: Any) -> _Array:
    if kind is not _Array or shape != (0,):
        raise _Refused("an array that is not one of numbers")
    return _Array()


def _scalar(dtype: _Dtype, content: bytes | str) -> float:
    if not isinstance(dtype, _Dtype) or len(content) != dtype.itemsize:
        raise _Refused("a number that is none")
    return 0.0


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


# What Paddle's own checkpoints and those of NumPy 1 and 2 name, and what it is here.
ADMITTED = {
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (tuple, list, dict, set)},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return ADMITTED[module, name]


def check(file: Path, name: str) -> int:
    """The number of arrays in a weight file.

    Args:
        file: the weight file.
        name: what messages call it.

    Raises:
        StageError: it is not a pickle of arrays by name, or it asks for anything else.
    """
    try:
        with file.open("rb") as stream:
            content = _Reader(stream, encoding="latin1").load()
        arrays = _count(content)
    except _Refused as error:
        raise StageError(
            f"{name}: asks for {error}, which weights do not need and which could run code when they are loaded; "
            "it is refused, look for another source"
        ) from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise StageError(
            f"{name}: cannot be read as weights: {type(error).__name__}: {error}; is it whole? Fetch it again"
        ) from error
    if not isinstance(content, dict) or not arrays:
        raise StageError(f"{name}: holds no arrays by name, so it is no weight file; look for another source")
    return arrays


def _count(item: Any) -> int:
    """Arrays in a structure of arrays and plain values."""
    if isinstance(item, dict):
        return sum(_count(part) for pair in item.items() for part in pair)
    if isinstance(item, list | tuple | set):
        return sum(_count(part) for part in item)
    if not isinstance(item, _Array | str | bytes | int | float | None):
        raise _Refused(f"a {type(item).__name__}")
    return int(isinstance(item, _Array))
