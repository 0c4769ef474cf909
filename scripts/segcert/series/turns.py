"""Sides that are run in turns, so that what a machine does meanwhile hits all of them alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segcert.errors import ConfigError, StageError
from segcert.files import write_json, write_text
from segcert.series import nested
from segcert.series.nested import Plan, tell
from segcert.show import compared, upgraded
from segcert.sides import Side
from segcert.upgrading import Tried, Upgrade

FILES = ("upgrade.md", "upgrade.html", "upgrade.json")


def order(count: int, repeats: int) -> Iterator[tuple[int, int]]:
    """(repeat from 1, side) in turns, there and back again: a drift that is even hits no side more than another."""
    for repeat in range(1, repeats + 1):
        places = range(count) if repeat % 2 else reversed(range(count))
        yield from ((repeat, place) for place in places)


def run(plan: Plan, sides: Sequence[Side], repeats: int, folder: Path) -> list[Tried]:
    """Every side in turns, whatever becomes of the others.

    Environments are made first: what is made while another side is timed would disturb it.
    """
    maker, changes = plan.maker, {}
    tried = [Tried(side.name, side.entry, paddle=str(side.version) if side.version else None) for side in sides]
    for side, one in zip(sides, tried, strict=True):
        try:
            made = maker.make(side)
        except (StageError, ConfigError, OSError) as error:
            one.why_not = str(error)
            tell(f"{side.name}: its environment could not be made: {error}")
            continue
        one.made, changes[side.name] = made.how, made.changes
        tell(f"{side.name}: {made.how}")
    for repeat, number in order(len(sides), repeats):
        one = tried[number]
        if one.why_not:
            continue
        tell(f"{one.name}, run {repeat} of {repeats}: begins")
        place, content = folder / one.name / str(repeat), nested.content_of(sides[number], maker)
        mark = place / nested.MARK
        # What was made there by something else of that name is made anew: Snakemake would find nothing to do.
        anew = mark.is_file() and mark.read_text(encoding="utf-8") != content
        more = ["--forceall"] if anew else []
        if anew:
            tell(f"{one.name}: it is another by now than when {place} was made: all of that is made anew")
        ran = nested.run(plan, place, changes[one.name], label=f"[{one.name} {repeat}] ", more=more)
        one.runs.append(ran)
        write_text(mark, content)
        tell(f"{one.name}, run {repeat} of {repeats}: {ran.why_not or _told(ran.conclusions)}, {ran.wall_s:.0f} s")
    return tried


def _told(conclusions: Any) -> str:
    counts = ", ".join(f"{number} {status}" for status, number in conclusions["counts"].items())
    return f"{'red' if conclusions['red'] else 'green'}: {counts}"


def forget(folder: Path) -> None:
    """Take away what an earlier call answered: until there is an answer there is none."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def write(found: Upgrade, folder: Path) -> None:
    """The answer, and each comparison, to read and as data; the data last, for they say that all is there."""
    for side in found.sides:
        if side.compared:
            write_text(folder / side.name / "compare.md", compared.markdown(side.compared))
    write_text(folder / "upgrade.md", upgraded.markdown(found))
    write_text(folder / "upgrade.html", upgraded.page(found, folder))
    write_json(folder / "upgrade.json", found.as_json())
