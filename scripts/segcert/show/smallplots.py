"""Small plots of a history: where each point, label and step of a series stands in a picture of WIDTH by HEIGHT.

The template draws them as SVG in the page, so that hundreds of them need no script and print as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from segcert.keeping import Kept
from segcert.show.page import number
from segcert.trends import Series

WIDTH, HEIGHT = 300, 110
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 18
MOST_POINTS = 120  # that are drawn: the newest
ROOM = 0.12  # of the span, above and below what is drawn


def plot(series: Series, runs: Sequence[Kept]) -> dict[str, Any]:
    """What the template draws of a series: points by their order, not by time, in the order of the runs."""
    first = max(0, len(series.points) - MOST_POINTS)
    points = series.points[first:]
    # A time that doubles is to look like it, so what is in proportion begins at nothing; shares would all look alike.
    low = min(point.low for point in points)
    high = max(point.high for point in points)
    span = (high - low) or abs(high) or 1.0
    bottom = min(0.0, low) if series.metric.name not in ("miou",) else low - ROOM * span
    top = high + ROOM * (high - bottom or 1.0)

    def x(index: int) -> float:
        return round(LEFT + (index + 0.5) * (WIDTH - LEFT - RIGHT) / len(points), 1)

    def y(value: float) -> float:
        return round(TOP + (top - value) * (HEIGHT - TOP - BOTTOM) / (top - bottom), 1)

    places = [change.at for change in series.changes if change.at > first]
    bounds = [first, *places, len(series.points)]
    stretches = []
    for begin, end in pairwise(bounds):
        part = sorted(point.value for point in series.points[begin:end])
        middle = y((part[(len(part) - 1) // 2] + part[len(part) // 2]) / 2)
        stretches.append({"from": x(begin - first), "to": x(end - 1 - first), "y": middle})
    return {
        "points": [
            {
                "x": x(index),
                "y": y(point.value),
                "low": y(point.low),
                "high": y(point.high),
                "whisker": point.low < point.high,
                "title": f"{runs[point.run].time} · {number(point.value)} · {runs[point.run].commit}",
            }
            for index, point in enumerate(points)
        ],
        "line": " ".join(f"{x(index)},{y(point.value)}" for index, point in enumerate(points)),
        "stretches": stretches if places else [],
        "steps": [
            {"x": round((x(change.at - 1 - first) + x(change.at - first)) / 2, 1), "worse": change.worse}
            for change in series.changes
            if change.at > first
        ],
        "labels": [{"y": y(value), "text": number(value, 3)} for value in dict.fromkeys((low, high))],
        "dates": list(dict.fromkeys((runs[points[0].run].time[:10], runs[points[-1].run].time[:10]))),
        "not_drawn": first,
    }
