"""A comparison as a job summary or a comment of GitHub's: what got worse first, the rest folded, cut to a limit.

Whatever the conclusions say stands in code spans: it may come from a branch of anybody's, and is to be neither markup
nor a mention of a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segcert.comparison import APPEARED, BETTER, CHANGED, WORSE, Change, Comparison, overall
from segcert.noise import BY_NAME
from segcert.show.compared import in_words

# docs.github.com, "Workflow commands": a step's summary has at most 1 MiB. A comment has at most 65,536 characters; its
# bytes are counted here, which are no fewer.
SUMMARY_BYTES = 1 << 20
COMMENT_BYTES = 65_536
MARK = "<!-- paddleseg certification, compared -->"  # by which a later run finds its comment
LONGEST = 300  # characters of what a record says, in one line
RESERVED = 400  # bytes for the ends of a section and the last line


@dataclass(frozen=True)
class Section:
    """Lines under a title.

    Attributes:
        folded: they are shown where somebody asks for them.
    """

    title: str
    lines: list[str]
    folded: bool = True

    @property
    def opening(self) -> str:
        title = f"{self.title}: {len(self.lines)}"
        return f"\n<details><summary>{title}</summary>\n\n" if self.folded else f"\n### {title}\n\n"

    @property
    def closing(self) -> str:
        return "\n</details>\n" if self.folded else ""


def text(comparison: Comparison, most: int) -> str:
    """The comparison in at most so many bytes of Markdown; nothing where not even its first lines fit."""
    verdict = "got worse" if comparison.regressed else comparison.no_regression
    counts = ", ".join(f"{number} {kind}" for kind, number in comparison.counts.items())
    parts = [
        f"{MARK}\n## PaddleSeg certification, mode {_code(comparison.mode)}: {verdict}\n\n"
        f"{comparison.cells_compared} cells and {len(comparison.figures)} figures compared: {counts}.\n"
    ]
    room = most - RESERVED - _size(parts[0])
    if room < 0:
        return ""
    cut = 0
    for section in filter(lambda section: section.lines, _sections(comparison)):
        frame = _size(section.opening) + _size(section.closing)
        fitting = _fitting(section.lines, room - frame)
        cut += len(section.lines) - len(fitting)
        if fitting:
            body = "".join(f"{line}\n" for line in fitting)
            parts.append(f"{section.opening}{body}{section.closing}")
            room -= frame + _size(body)
    if cut:
        parts.append(f"\n**{cut} lines are cut**, because no more than {most} bytes fit: compare.md has them all.\n")
    return "".join(parts)


def _fitting(lines: Iterable[str], room: int) -> list[str]:
    """As many of the first lines as there is room for."""
    found = []
    for line in lines:
        room -= _size(line) + 1
        if room < 0:
            break
        found.append(line)
    return found


def _sections(comparison: Comparison) -> list[Section]:
    environment = [
        f"- {_code(row['field'])}: {_code(row['baseline'])} → {_code(row['candidate'])}"
        for row in comparison.environment
    ]
    files = [f"- other content: {_code(path)}" for path in comparison.inputs]
    figures = [
        f"- {BY_NAME[row['metric']].label}: {row['cells']} cells, candidate / baseline {row['min']:.3g} to "
        f"{row['max']:.3g}, median {row['median']:.3g}"
        for row in overall(comparison)
    ]
    return [
        Section("Worse", _lines(comparison.of_kind(WORSE)), folded=False),
        Section("What differs between the runs", environment + files),
        Section("Figures", figures),
        Section("Better", _lines(comparison.of_kind(BETTER))),
        Section("New", _lines(comparison.of_kind(APPEARED))),
        Section("Changed, neither better nor worse", _lines(comparison.of_kind(CHANGED))),
    ]


def _lines(changes: Iterable[Change]) -> list[str]:
    return [_line(change) for change in changes]


def _line(change: Change) -> str:
    where = " ".join(filter(None, (change.model, change.stage, change.train_cell, change.cell)))
    note = f": {_code(change.note)}" if change.note else ""
    return f"- {_code(where)}: {_code(in_words(change))}{note}"


def _code(value: Any) -> str:
    """A value as a code span on one line, whatever it holds."""
    told = " ".join(str(value).replace("`", "'").split()) or "–"
    return f"`{told if len(told) <= LONGEST else told[: LONGEST - 1] + '…'}`"


def _size(text: str) -> int:
    return len(text.encode())
