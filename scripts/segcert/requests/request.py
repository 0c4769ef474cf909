"""What a cell is asked to do: one object that the cell table makes, and that the stage's script makes again.

A request is a frozen dataclass. Each of its fields is an option of the stage's script, in their order, as the
field's annotation says: `Annotated[int, Option("ranks, one per device")]`, or a type alone. A field whose value is
None has no option on the command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_args, get_origin, get_type_hints

DEVICES = ("cpu", "gpu")
DYNAMIC = "dynamic"  # of an exported program: its height and width are free; else they are fixed


@dataclass(frozen=True)
class Option:
    """What a field's type does not say of its option.

    Attributes:
        flag: if it is not the field's name.
        choices: the only values.
        metavar: what --help calls the values.
    """

    help: str | None = None
    flag: str | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | tuple[str, ...] | None = None


class _Field(NamedTuple):
    """A field with its option, and what `add_argument` is told of that."""

    name: str
    flag: str
    said: dict[str, Any]

    def value(self, args: argparse.Namespace) -> Any:
        found = getattr(args, self.flag.removeprefix("--").replace("-", "_"))
        return tuple(found) if isinstance(found, list) else found


Size = Annotated[tuple[int, int] | None, Option(metavar=("W", "H"))]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The base of all requests.

    Attributes:
        REQUESTED: the fields that a record holds as `requested`, in its order. Another value of one of them makes a
            record stale; so does another value of one that is not among them, because a record holds its command
            too. A constant of the class may be among them: it has no option.
        IF_ASKED: those of them that a record holds only where they are asked for.
    """

    REQUESTED: ClassVar[tuple[str, ...]] = ()
    IF_ASKED: ClassVar[tuple[str, ...]] = ()
    _known: ClassVar[list[_Field]]

    @property
    def requested(self) -> dict[str, Any]:
        """The same in the form of JSON, as a command line brings it back: 100.0, where a configuration has 100."""
        numbers = {field.name for field in self._fields() if field.said["type"] is float}
        values = {name: getattr(self, name) for name in self.REQUESTED}
        values |= {name: float(value) for name, value in values.items() if name in numbers and value is not None}
        values = {name: value for name, value in values.items() if value is not None or name not in self.IF_ASKED}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def options(self) -> list[str]:
        """The words of a command line that ask for this."""
        words: list[str] = []
        for field in self._fields():
            value = getattr(self, field.name)
            if value is not None:
                words += [field.flag, *map(str, value if isinstance(value, tuple) else (value,))]
        return words

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """Let a command line take the options."""
        for field in cls._fields():
            parser.add_argument(field.flag, **field.said)

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """Field -> the only values that it may have, of those of which that is so."""
        return {field.name: field.said["choices"] for field in cls._fields() if field.said["choices"]}

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """The request that a command line asks for.

        Raises:
            ValueError: there is none such; the message names the options.
        """
        return cls(**{field.name: field.value(args) for field in cls._fields()})

    @classmethod
    def _fields(cls) -> list[_Field]:
        if "_known" not in vars(cls):
            cls._known = list(_fields_of(cls))
        return cls._known


def _fields_of(cls: type[Request]) -> Iterator[_Field]:
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        option, kind = Option(), hints[field.name]
        if get_origin(kind) is Annotated:
            kind, option = get_args(kind)
        if isinstance(kind, types.UnionType):
            kind = next(part for part in get_args(kind) if part is not types.NoneType)
        said: dict[str, Any] = {"help": option.help, "choices": option.choices, "metavar": option.metavar}
        if get_origin(kind) is tuple:
            kind, *others = get_args(kind)
            said["nargs"] = "+" if others == [...] else 1 + len(others)
        needed = field.default is dataclasses.MISSING
        said |= {"type": kind, "required": needed, "default": None if needed else field.default}
        yield _Field(field.name, option.flag or f"--{field.name.replace('_', '-')}", said)
