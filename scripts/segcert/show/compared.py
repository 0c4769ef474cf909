"""A comparison of two runs in words: a few lines for a terminal, and compare.md."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tabulate import tabulate

from segcert.comparison import (
    APPEARED,
    BETTER,
    CHANGED,
    OTHER_MACHINE,
    WAITED,
    WORSE,
    Change,
    Comparison,
    Figure,
    overall,
)
from segcert.noise import BY_NAME, METRICS


def summary(comparison: Comparison) -> str:
    """A few lines for a terminal: the verdict, and what got worse."""
    counts = ", ".join(f"{number} {kind}" for kind, number in comparison.counts.items())
    lines = [f"{comparison.cells_compared} cells and {len(comparison.figures)} figures compared: {counts}"]
    lines += [f"  worse: {_where(change)}: {in_words(change)}" for change in comparison.of_kind(WORSE)]
    lines.append("REGRESSED" if comparison.regressed else comparison.no_regression)
    return "\n".join(line if len(line) < 300 else line[:297] + "..." for line in lines)


def markdown(comparison: Comparison) -> str:
    """compare.md."""
    verdict = "regressed" if comparison.regressed else comparison.no_regression
    parts = [f"# Comparison, mode {comparison.mode}: {verdict}"]
    counts = ", ".join(f"{number} {kind}" for kind, number in comparison.counts.items())
    parts.append(f"{comparison.cells_compared} cells and {len(comparison.figures)} figures compared: {counts}.")
    sides = (("baseline", comparison.baseline), ("candidate", comparison.candidate))
    rows = [
        [
            name,
            run["runs"],
            run["paddle"],
            run["cpu"],
            run["core_share"],
            run["started"],
            ", ".join(f"{n} {s}" for s, n in run["counts"].items()),
        ]
        for name, run in sides
    ]
    parts.append(_table(rows, ["", "runs", "Paddle", "CPU", "of a core", "started", "cells"]))
    parts += _environment_text(comparison)
    for kind, title in ((WORSE, "Worse"), (BETTER, "Better"), (CHANGED, "Changed"), (APPEARED, "New")):
        parts += _changes_text(title, comparison.of_kind(kind))
    parts += _figures_text(comparison)
    return "\n\n".join(parts) + "\n"


def _table(rows: list[list[Any]], head: list[str]) -> str:
    escaped = [[cell.replace("|", "\\|") if isinstance(cell, str) else cell for cell in row] for row in rows]
    return tabulate(escaped, head, "pipe", floatfmt=".4g", missingval="")


ASIDES = {
    OTHER_MACHINE: " (times tell of the machine; `compare: {judge_other_machines: true}` judges them all the same)"
}


def _environment_text(comparison: Comparison) -> list[str]:
    parts = ["## What differs between the runs"]
    rows = [[row["field"], row["baseline"], row["candidate"]] for row in comparison.environment]
    if rows or not comparison.inputs:
        parts.append(_table(rows, ["", "baseline", "candidate"]) if rows else "The environments are equal.")
    if comparison.inputs:
        parts.append(
            "Files that both read, with other content: " + ", ".join(f"`{path}`" for path in comparison.inputs)
        )
    for reason, count in Counter(f.judged for f in comparison.figures if f.judged.startswith("not judged")).items():
        parts.append(f"**{count} figures are listed and {reason}**{ASIDES.get(reason, '')}.")
    waited = sum(figure.judged == WAITED for figure in comparison.figures)
    if waited:
        parts.append(
            f"**{waited} times moved beyond their tolerance and are no findings**: the processes' shares of a core "
            "moved with them, by no more than what others were seen to compute on the machine."
        )
    return parts


def _changes_text(title: str, changes: list[Change]) -> list[str]:
    if not changes:
        return []
    of_status = [change for change in changes if change.what not in BY_NAME]
    of_figures = [change for change in changes if change.what in BY_NAME]
    parts = [f"## {title}"]
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in of_status:
        groups.setdefault((in_words(change), change.note), []).append(change)
    lines = []
    for (words, note), group in groups.items():
        lines.append(f"- {words}: {len(group)} cell{'s'[: len(group) > 1]}{': ' + note if note else ''}")
        lines += [f"  - {_where(change)}" for change in group]
    parts += ["\n".join(lines)] if lines else []
    rows = [
        [c.model, f"{c.stage} `{c.cell}`", BY_NAME[c.what].label, c.before, c.after, c.ratio, c.note]
        for c in of_figures
    ]
    head = ["model", "cell", "figure", "baseline", "candidate", "ratio", ""]
    parts += [_table(rows, head)] if rows else []
    return parts


def _figures_text(comparison: Comparison) -> list[str]:
    parts = ["## Figures, candidate / baseline"]
    rows = [
        [BY_NAME[row["metric"]].label, row["cells"], row["min"], row["median"], row["max"]]
        for row in overall(comparison)
    ]
    parts.append(_table(rows, ["", "cells", "smallest", "median", "largest"]) if rows else "No cell passed in both.")
    for metric in METRICS:
        figures = [figure for figure in comparison.figures if figure.metric == metric.name]
        if figures:
            parts += [f"### {metric.label}", _ratios(figures)]
    parts.append("A ratio in **bold** is judged worse, in *italics* better; the others are within tolerance or noise.")
    return parts


def _ratios(figures: list[Figure]) -> str:
    """A row per model and checkpoint, a column per kind of cell."""
    columns = list(dict.fromkeys(_column(figure) for figure in figures))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for figure in figures:
        rows.setdefault((figure.model, figure.train_cell), {})[_column(figure)] = _marked(figure)
    body = [[*row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]
    return tabulate(body, ["model", "checkpoint", *columns], "pipe", disable_numparse=True)


def _column(figure: Figure) -> str:
    return figure.label if figure.stage == "infer" else figure.stage


def _marked(figure: Figure) -> str:
    text = f"{figure.before:.4g} -> {figure.after:.4g}" if figure.ratio is None else f"{figure.ratio:.3g}"
    return {WORSE: f"**{text}**", BETTER: f"*{text}*"}.get(figure.judged, text)


def _where(change: Change) -> str:
    return " ".join(filter(None, (change.model, change.stage, change.train_cell, f"`{change.cell}`")))


def in_words(change: Change) -> str:
    if change.what in BY_NAME:
        ratio = f" (x {change.ratio:.3g})" if change.ratio else ""
        return f"{BY_NAME[change.what].label} {change.before:.4g} -> {change.after:.4g}{ratio}"
    if change.what == "cell":
        return f"new, {change.after}" if change.before is None else f"gone, was {change.before}"
    if change.what == "reason":
        return f"another reason: {change.before} -> {change.after}"
    if change.what == "observed":
        return "observed"
    return f"{change.before} -> {change.after}"
