"""What several sides come to: upgrade.md, and upgrade.html, which opens from disk and asks the network for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup
from tabulate import tabulate

from segcert import statuses
from segcert.comparison import BETTER, WORSE, Change, overall
from segcert.noise import BY_NAME
from segcert.show import templating
from segcert.show.page import link_to
from segcert.statuses import Status
from segcert.upgrading import FIRST, NO_MODEL, STAY, UPGRADE, Judged, Upgrade

TEMPLATES = Path(__file__).parent / "templates" / "upgrade"
STYLE = Path(__file__).parent / "templates" / "page" / "page.css"
SIGNS = {FIRST: "·", UPGRADE: "✓", STAY: "✗"}
NO_SIGN = "?"


def markdown(found: Upgrade) -> str:
    """upgrade.md."""
    parts = [f"# Upgrade, mode {found.mode}: {_title(found)}"]
    parts += [f"**{sentence}**" for sentence in found.sentences]
    rows = [
        [_sign(side), side.name, side.tried.entry, side.paddle, side.tried.made or "–", len(side.tried.runs),
         side.verdict, side.because]
        for side in found.sides
    ]  # fmt: skip
    parts.append(
        _table(rows, ["", "side", "as asked", "Paddle, observed", "environment", "runs", "verdict", "because"])
    )
    parts.append("## Model by side")
    grid = [
        [model, *(_counted(side.counts.get(model, {}), side.worse_in.get(model, 0)) for side in found.sides)]
        for model in found.models
    ]
    parts.append(_table(grid, ["model", *(side.name for side in found.sides)]))
    parts.append(f"Cells by status: {', '.join(f'{s.symbol} {s.name}' for s in _shown(found))}.")
    first = found.sides[0].name
    for side in found.sides:
        if side.compared is None:
            continue
        parts.append(f"## {side.name} against {first}")
        for kind in (WORSE, BETTER):
            changes = side.compared.of_kind(kind)
            if changes:
                rows = [[_where(change), *_values(change), change.note] for change in changes]
                parts += [f"### {kind.capitalize()}", _table(rows, ["cell", "", first, side.name, "ratio", ""])]
        parts += ["### Figures, ratios to the first", _table(_ratios(side), HEAD_OF_RATIOS)]
        parts.append(f"All of it: `{side.name}/compare.md`.")
    failed = [(side, run) for side in found.sides for run in side.tried.runs if run.why_not]
    if failed:
        parts.append("## Runs without conclusions")
        parts.append("\n".join(f"- {side.name}, `{run.folder}`: {run.why_not}" for side, run in failed))
    return "\n\n".join(parts) + "\n"


HEAD_OF_RATIOS = ["", "cells", "smallest", "median", "largest"]


def page(found: Upgrade, folder: Path) -> str:
    """upgrade.html.

    Args:
        folder: where the page will stand; links are relative to it.
    """
    environment = templating.environment(TEMPLATES, html=True)
    style = STYLE.read_text(encoding="utf-8") + (TEMPLATES / "upgrade.css").read_text(encoding="utf-8")
    return environment.get_template("upgrade.html.j2").render(
        style=Markup(style),  # noqa: S704
        found=found,
        title=_title(found),
        first=found.sides[0],
        sides=[_on_page(side, found.mode, folder) for side in found.sides],
        grid=[(model, [_place(side, model) for side in found.sides]) for model in found.models],
        shown=_shown(found),
        head_of_ratios=HEAD_OF_RATIOS,
    )


def _on_page(side: Judged, mode: str, folder: Path) -> dict[str, Any]:
    worse, better = (side.compared.of_kind(kind) if side.compared else [] for kind in (WORSE, BETTER))
    return {
        "judged": side,
        "sign": _sign(side),
        "worse": _findings(worse),
        "better": _findings(better),
        "ratios": [[_number(value) for value in row] for row in _ratios(side)] if side.compared else [],
        "compare": link_to(f"{folder}/{side.name}/compare.md", folder) if side.compared else None,
        "runs": [
            {
                "run": run,
                "page": link_to(f"{run.folder}/results/{mode}/conclusions.html", folder) if run.conclusions else None,
                "log": link_to(f"{run.folder}/screen.log", folder),
            }
            for run in side.tried.runs
        ],
    }


def _findings(changes: list[Change]) -> list[dict[str, Any]]:
    """What cells have in common once, with them below it."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for change in changes:
        groups.setdefault((*_values(change), change.note), []).append(_where(change))
    names = ("what", "before", "after", "ratio", "note")
    return [{**dict(zip(names, said, strict=True)), "cells": cells} for said, cells in groups.items()]


def _place(side: Judged, model: str) -> dict[str, Any]:
    counts = side.counts.get(model, {})
    # what was not exercised says nothing against it, and must not hide what was
    told = [status for status in counts if status.badness >= 0] or list(counts)
    worst = statuses.worst(status.name for status in told) if told else None
    return {"counts": counts, "worst": worst, "worse": side.worse_in.get(model, 0)}


# -- words that both have ---------------------------------------------------------------------


def _title(found: Upgrade) -> str:
    others = found.sides[1:]
    return "; ".join(f"{side.name}: {side.verdict}" for side in others)


def _sign(side: Judged) -> str:
    return SIGNS.get(side.verdict, NO_SIGN)


def _shown(found: Upgrade) -> list[Status]:
    seen = {status for side in found.sides for counts in side.counts.values() for status in counts}
    return [status for status in statuses.ALL if status in seen]


def _counted(counts: dict[Status, int], worse: int) -> str:
    text = " ".join(f"{status.symbol} {number}" for status, number in counts.items()) or "not there"
    return f"{text} (**{worse} worse**)" if worse else text


def _where(change: Change) -> str:
    return " ".join(filter(None, (change.model or NO_MODEL, change.stage, change.train_cell, change.cell)))


def _values(change: Change) -> tuple[str, str, str, str]:
    """(what, before, after, ratio) of a change."""
    label = BY_NAME[change.what].label if change.what in BY_NAME else change.what
    before, after = (_number(value) if value is not None else "not there" for value in (change.before, change.after))
    return label, before, after, f"{change.ratio:.3g}" if change.ratio else ""


def _ratios(side: Judged) -> list[list[Any]]:
    rows = overall(side.compared) if side.compared else []
    return [[BY_NAME[row["metric"]].label, row["cells"], row["min"], row["median"], row["max"]] for row in rows]


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(rows: list[list[Any]], head: list[str]) -> str:
    clean = [
        [" ".join(cell.split()).replace("|", "\\|") if isinstance(cell, str) else cell for cell in row] for row in rows
    ]
    return tabulate(clean, head, "pipe", floatfmt=".4g", missingval="")
