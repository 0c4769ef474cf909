"""The history of kept runs as a static folder that opens from disk: index.html, history.json and badge.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from segcert import statuses, steps, trends
from segcert.files import write_json, write_text
from segcert.keeping import Kept
from segcert.show import smallplots, templating
from segcert.show.page import number
from segcert.trends import Series

TEMPLATES = Path(__file__).parent / "templates"
MOST_COLUMNS = 60  # of runs in a grid: the newest


def write(folder: Path, runs: Sequence[Kept], broken: Sequence[str], found: Sequence[Series]) -> None:
    """Write the folder; each file whole or not at all, the page last."""
    write_json(folder / "history.json", trends.as_json(runs, broken, found))
    write_json(folder / "badge.json", trends.badge(runs, broken))
    write_text(folder / "index.html", render(runs, broken, found))


def render(runs: Sequence[Kept], broken: Sequence[str], found: Sequence[Series]) -> str:
    """index.html."""
    environment = templating.environment(TEMPLATES / "history", html=True)
    environment.filters.update(number=number, machine=trends.machine_in_words)
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page/page.css", "history/history.css"))
    return environment.get_template("history.html.j2").render(
        style=Markup(style),  # noqa: S704
        runs=[_run(run) for run in runs],
        broken=broken,
        badge=trends.badge(runs, broken),
        statuses=statuses.ALL,
        grids=_grids(runs),
        steps=_steps(runs, found),
        models=_models(runs, found),
        series=len(found),
        judged=sum(len(series.points) >= steps.FEWEST for series in found),
        size={"width": smallplots.WIDTH, "height": smallplots.HEIGHT, "left": smallplots.LEFT},
        alpha=steps.ALPHA,
        fewest=steps.FEWEST,
    )  # fmt: skip


def _run(run: Kept) -> dict[str, Any]:
    paddles = dict.fromkeys(str(cell.env["paddle"]) for cell in run.cells if cell.env.get("paddle"))
    return {
        "name": run.name,
        "time": run.time,
        "mode": run.mode,
        "commit": run.commit,
        "why": run.told["commit"].get("why"),
        "red": run.told["red"],
        "paddle": ", ".join(paddles),
        "machines": trends.machines(run),
        "counts": _counts(Counter(cell["status"] for cell in run.cells)),
    }


def _steps(runs: Sequence[Kept], found: Sequence[Series]) -> list[dict[str, Any]]:
    """All steps, the newest first."""
    steps = [
        {
            "at": series.points[change.at].run,
            "change": change,
            "run": runs[series.points[change.at].run],
            "shared": trends.beside(change, series, found),
            **_card(series, runs),
        }
        for series in found
        for change in series.changes
    ]
    return sorted(steps, key=lambda step: -step["at"])


def _counts(counts: Mapping[str, int]) -> list[tuple[statuses.Status, int]]:
    return [(status, counts[status.name]) for status in statuses.ALL if counts.get(status.name)]


def _grids(runs: Sequence[Kept]) -> list[dict[str, Any]]:
    """Of each mode a row for each model, and a place for each run: the worst status, and how many cells passed."""
    grids = []
    for mode, rows in trends.grid(runs).items():
        columns = [number for number, run in enumerate(runs) if run.mode == mode]
        shown = columns[-MOST_COLUMNS:]
        grids.append(
            {
                "mode": mode,
                "runs": [_run(runs[place]) for place in shown],
                "left_out": len(columns) - len(shown),
                "rows": [(model, [_place(places.get(place)) for place in shown]) for model, places in rows.items()],
            }
        )
    return grids


def _place(counts: Mapping[str, int] | None) -> dict[str, Any] | None:
    """What a model came to in a run; None where it was not in the run."""
    if counts is None:
        return None
    return {
        "status": statuses.worst(counts),
        "passed": counts.get(statuses.PASSED.name, 0),
        "all": sum(counts.values()),
        "title": ", ".join(f"{count} {status.name}" for status, count in _counts(counts)),
    }


def _models(runs: Sequence[Kept], found: Sequence[Series]) -> list[dict[str, Any]]:
    """The series by mode and model, and in there by figure."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for series in found:
        figures = groups.setdefault((series.mode, series.cell["model"]), {})
        figures.setdefault(series.metric.label, []).append(_card(series, runs))
    return [
        {
            "mode": mode,
            "model": model,
            "figures": figures,
            "series": sum(map(len, figures.values())),
            "steps": sum(len(card["series"].changes) for cards in figures.values() for card in cards),
        }
        for (mode, model), figures in groups.items()
    ]


def _card(series: Series, runs: Sequence[Kept]) -> dict[str, Any]:
    return {"series": series, "plot": smallplots.plot(series, runs)}
