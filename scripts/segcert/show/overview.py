"""Many models as the page and the tables show them: pass rates, causes, and the grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from segcert import grid, statuses
from segcert.conclusions import Conclusions
from segcert.grid import Cause, Column, Place, Rate
from segcert.show import logs

WEAK = "†"
NO_FAMILY = "–"
MOST_NAMES = 12  # of models, and links to cells, in one place
MOST_OPTION = 90  # characters of a cause where one is chosen


# -- words that both have ---------------------------------------------------------------------


def names(models: Iterable[str]) -> str:
    """Names of models: the first of them, and how many more there are."""
    listed = list(dict.fromkeys(models))
    more = len(listed) - MOST_NAMES
    return ", ".join(listed if more <= 0 else [*listed[:MOST_NAMES], f"and {more} more"])


def number(place: Place) -> str:
    """How many cells have the worst status, of how many; empty where there is one cell alone."""
    worst = place.counts[place.status]
    if place.all == 1:
        return ""
    return str(worst) if worst == place.all else f"{worst}/{place.all}"


def counted(counts: Mapping[statuses.Status, int], language: str = "en") -> str:
    """How many cells have each status."""
    if language == "en":
        return ", ".join(f"{count} {status.name}" for status, count in counts.items())
    return "，".join(f"{count} 个{status.zh}" for status, count in counts.items())


def percent(share: float | None) -> str:
    """A share in whole per cent, rounded down: 100 only where it is whole."""
    return NO_FAMILY if share is None else f"{int(share * 100)} %"


# -- the page ---------------------------------------------------------------------------------


def of_page(conclusions: Conclusions, anchors: Mapping[str, str]) -> dict[str, Any]:
    """What the page shows of many models: `columns`, `rows`, `families`, `rates`, `causes`, and these by kind."""
    columns, rows, causes = grid.columns(conclusions), grid.rows(conclusions), grid.causes(conclusions)
    of_model: dict[str, list[int]] = {}
    for index, cause in enumerate(causes):
        for model in dict.fromkeys(cell["model"] or "data" for cell in (*cause.cells, *cause.held_up)):
            of_model.setdefault(model, []).append(index)
    families = [row.family or NO_FAMILY for row in rows]
    found = [_cause(cause, index, anchors) for index, cause in enumerate(causes)]
    return {
        "columns": columns,
        "rows": [
            {
                "model": row.model,
                "family": name,
                "statuses": [status.name for status in row.statuses],
                "causes": of_model.get(row.model, []),
                "places": [_place(row.places.get(column), anchors) for column in columns],
                "passed": row.passed,
                "all": row.all,
            }
            for row, name in zip(rows, families, strict=True)
        ],
        "families": [(name, families.count(name)) for name in sorted(set(families), key=str.lower)],
        "rates": [_rate(rate) for rate in grid.rates(conclusions)],
        "causes": found,
        "broke": [item for item in found if item["status"].broke],
        "not_exercised": [item for item in found if not item["status"].broke],
    }


def _place(place: Place | None, anchors: Mapping[str, str]) -> dict[str, Any] | None:
    if place is None:
        return None
    return {
        "status": place.status,
        "number": number(place),
        "said": counted(place.counts),
        "weak": place.weak,
        "anchor": anchors[place.record],
        # What says more against a model sorts behind, and of that what more cells have.
        "order": place.status.severity * 1_000_000 + place.counts[place.status],
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "column": rate.column,
        "passed": rate.passed,
        "exercised": rate.exercised,
        "percent": percent(rate.share),
        "weak": rate.weak,
        "others": {language: counted(rate.others, language) for language in ("en", "zh")},
    }


def _cause(cause: Cause, index: int, anchors: Mapping[str, str]) -> dict[str, Any]:
    text = logs.plain(cause.text) or cause.status.meaning
    short = text if len(text) <= MOST_OPTION else f"{text[:MOST_OPTION]}…"
    return {
        "index": index,
        "status": cause.status,
        "text": text,
        "short": f"{cause.status.symbol} {len(cause.models)} · {short}",
        "reason": logs.plain(cause.reason),
        "models": len(cause.models),
        "cells": len(cause.cells),
        "held_up": len(cause.held_up),
        "links": [
            {
                "text": f"{cell['model'] or 'data'}: {cell['stage']} {cell.label('full')}",
                "anchor": anchors[cell["record"]],
            }
            for cell in (cause.cells or cause.held_up)[:MOST_NAMES]
        ],
    }


# -- Markdown ---------------------------------------------------------------------------------


def of_markdown(conclusions: Conclusions) -> dict[str, Any]:
    """The same in Markdown: frames `grid` and `rates`, and `causes` by whether they broke."""
    found = [_cause_in_words(cause) for cause in grid.causes(conclusions)]
    return {
        "grid": grid_frame(conclusions),
        "rates": rates_frame(conclusions),
        "broke": [item for item in found if item["status"].broke],
        "not_exercised": [item for item in found if not item["status"].broke],
    }


def grid_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row for each model, a column for each stage and engine: the sign of the worst status, and how many have it."""
    columns = grid.columns(conclusions)
    return pd.DataFrame(
        [
            {
                "model": row.model,
                "family": row.family or NO_FAMILY,
                **{_head(column): _sign(row.places.get(column)) for column in columns},
            }
            for row in grid.rows(conclusions)
        ]
    )


def _head(column: Column) -> str:
    return column.engine or column.stage


def _sign(place: Place | None) -> str:
    return " ".join(filter(None, (place.status.symbol, number(place), WEAK if place.weak else ""))) if place else ""


def rates_frame(conclusions: Conclusions) -> pd.DataFrame:
    """How many cells of each column passed, of those that were exercised; and how many were not, by status."""
    return pd.DataFrame(
        [
            {
                "stage or engine": _head(rate.column),
                "passed": f"{rate.passed} of {rate.exercised} exercised",
                "rate": percent(rate.share),
                "on weak evidence": rate.weak or None,
                "not exercised": counted(rate.others) or None,
            }
            for rate in grid.rates(conclusions)
        ]
    )


def _cause_in_words(cause: Cause) -> dict[str, Any]:
    parts = [_of("model", len(cause.models)), _of("cell", len(cause.cells))]
    if cause.held_up:
        parts.append(f"{len(cause.held_up)} more held up by it")
    return {
        "status": cause.status,
        "cost": ", ".join(parts),
        "models": names(cause.models),
        # In a span of code, which ends at the next backtick, and in which nothing is Markdown.
        "text": (cause.text or cause.status.meaning).replace("`", "'"),
        "reason": " ".join(cause.reason.split()),
    }


def _of(word: str, count: int) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
