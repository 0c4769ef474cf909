"""The page's plots, as specifications that plotly.js draws: plain dictionaries, so that nothing heavy is imported.

A text of a specification is {"en": ..., "zh": ...}; the page takes the one of its language, `in_language`
does the same here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from segcert import history
from segcert.concluded import Concluded
from segcert.show.deployment import Point

# Okabe and Ito's colours, which colour-blind readers can tell apart, each with a symbol of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x")
DASHES = ("solid", "dash", "dot")
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei", sans-serif'


def in_language(value: Any, language: str) -> Any:
    """A specification with each of its texts in one language."""
    if isinstance(value, Mapping):
        if value.keys() == {"en", "zh"}:
            return value[language]
        return {key: in_language(item, language) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [in_language(item, language) for item in value]
    return value


def _layout(height: int, **more: Any) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "font": {"family": FONT, "size": 12, "color": "#1f2933"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        **more,
    }


def _axis(title: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    grid = {"gridcolor": "#e4e7eb", "zerolinecolor": "#9aa5b1", "linecolor": "#9aa5b1", "automargin": True}
    return {**grid, "fixedrange": True, **({"title": {"text": title, "standoff": 8}} if title else {}), **more}


# -- latency ----------------------------------------------------------------------------------


def latency_points(cells: Iterable[Concluded]) -> list[dict[str, Any]]:
    """Of timed inference cells of one stream in the export's size: engine, threads, median and its interval, in ms."""
    points = []
    for cell in cells:
        timing, requested = cell.timing, cell.requested
        if cell.status.exercised and cell.p50 is not None and not {"streams", "size"} & {*requested}:
            points.append(
                {
                    "cell": cell,
                    "status": cell.status,
                    "engine": cell.label("engine"),
                    "threads": requested.get("threads") if requested.get("device") != "gpu" else None,
                    "batch_size": requested.get("batch_size"),
                    "p50": cell.p50,
                    "ci": timing.get("p50_ci95") or [None, None],
                    "p95": timing.get("p95"),
                    "p99": timing.get("p99"),
                    "count": timing.get("count"),
                    "ips": cell.metrics.get("throughput_ips"),
                }
            )
    return points


def latency(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Median latency by engine, a colour and a symbol for each number of threads, with intervals.

    Args:
        points: as `latency_points` returns them, of one model and checkpoint.
    """
    several_sizes = len({point["batch_size"] for point in points}) > 1
    labels = [_row_label(point, several_sizes) for point in points]
    traces = []
    threads = sorted({point["threads"] for point in points}, key=lambda number: (number is None, number))
    for index, number in enumerate(threads):
        chosen = [(label, p) for label, p in zip(labels, points, strict=True) if p["threads"] == number]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": _threads_name(number),
                "x": [point["p50"] for _, point in chosen],
                "y": [label for label, _ in chosen],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_distance(p["ci"][1], p["p50"]) for _, p in chosen],
                    "arrayminus": [_distance(p["p50"], p["ci"][0]) for _, p in chosen],
                    "thickness": 2,
                    "width": 5,
                },
                "marker": {
                    "size": 10,
                    "color": COLOURS[index % len(COLOURS)],
                    "symbol": SYMBOLS[index % len(SYMBOLS)],
                },
                "text": [_latency_hover(point) for _, point in chosen],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    rows = list(dict.fromkeys(labels))
    return {
        "data": traces,
        "layout": _layout(
            92 + 30 * len(rows) + (24 if len(threads) > 1 else 0),
            showlegend=len(threads) > 1,
            xaxis=_axis({"en": "median latency, ms", "zh": "延迟中位数（毫秒）"}, rangemode="tozero"),
            yaxis=_axis(type="category", categoryorder="array", categoryarray=rows[::-1]),
        ),
    }


def _row_label(point: Mapping[str, Any], several_sizes: bool) -> str:
    size = f" · batch {point['batch_size']}" if several_sizes else ""
    return f"{point['engine']}{size} {point['status'].symbol} "


def _threads_name(number: int | None) -> Any:
    if number is None:
        return "GPU"
    return {"en": f"{number} thread{'s' if number != 1 else ''}", "zh": f"{number} 线程"}


def _distance(high: float | None, low: float | None) -> float:
    return max(0.0, high - low) if high is not None and low is not None else 0.0


def _latency_hover(point: Mapping[str, Any]) -> dict[str, str]:
    low, high = point["ci"]
    interval = f"[{low:.4g}, {high:.4g}]" if low is not None else "-"
    median = f"{point['p50']:.4g}"
    status = point["status"]
    return {
        "en": f"{point['engine']}: {status.symbol} {status.name}<br>median {median} ms, 95 % interval {interval}"
        f"<br>{point['count']} samples",
        "zh": f"{point['engine']}：{status.symbol} {status.zh}<br>中位数 {median} 毫秒，95% 置信区间 {interval}"
        f"<br>{point['count']} 个样本",
    }


def throughput(points: list[Point]) -> dict[str, Any]:
    """Images a second by CPU cores, a line for each engine, precision and size of batches; a star is what to ship.

    Args:
        points: of one model and checkpoint, as `deployment.throughput` returns them.
    """
    traces = []
    for index, name in enumerate(dict.fromkeys(point.line for point in points)):
        drawn = sorted((p for p in points if p.line == name), key=lambda point: (point.cores or 0, point.ips))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [point.cores or "GPU" for point in drawn],
                "y": [point.ips for point in drawn],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_distance(p.interval[1], p.ips) if p.interval else 0 for p in drawn],
                    "arrayminus": [_distance(p.ips, p.interval[0]) if p.interval else 0 for p in drawn],
                },
                "line": {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index // len(COLOURS) % len(DASHES)]},
                "marker": {
                    "size": [16 if point.ship else 8 for point in drawn],
                    "symbol": ["star" if point.ship else SYMBOLS[index % len(SYMBOLS)] for point in drawn],
                },
                "text": [f"{p.cell.status.symbol} {p.cell.label('short')}<br>{p.ips:.4g}" for p in drawn],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return {
        "data": traces,
        "layout": _layout(
            360 + 12 * len(traces),
            showlegend=True,
            # A category that a later line alone has would stand behind all others.
            xaxis=_axis(
                {"en": "CPU cores", "zh": "CPU 核数"},
                type="category",
                categoryorder="array",
                categoryarray=[*sorted({p.cores for p in points if p.cores}), "GPU"],
            ),
            yaxis=_axis({"en": "images/s", "zh": "图/秒"}, rangemode="tozero"),
        ),
    }


# -- loss -------------------------------------------------------------------------------------


def read_history(cell: Concluded) -> tuple[list[int], list[float | None]] | None:
    """Iterations and losses of a training that ran; a loss that is not finite is None, which leaves a gap."""
    return history.read(cell) if cell.status.exercised else None


def loss(curves: list[tuple[Concluded, list[int], list[float | None]]]) -> dict[str, Any]:
    """Loss by iteration: fp32 and mixed precision in different colours, several devices dashed.

    Args:
        curves: (train cell, iterations, losses) of one model.
    """
    precisions = sorted({cell.precision for cell, _, _ in curves}, key=lambda name: (name != "fp32", name))
    traces = []
    for cell, iterations, losses in curves:
        label = cell.precision
        index = precisions.index(label)
        step = history.step(len(losses))
        last = len(losses) - 1
        drawn = [i for i, value in enumerate(losses) if i % step == 0 or i == last or value is None]
        few = len(losses) <= 30
        topology = {"single": {"en": "single", "zh": "单卡"}, "multi": {"en": "multi", "zh": "多卡"}}.get(
            cell["topology"], {"en": cell["topology"], "zh": cell["topology"]}
        )
        name = {language: f"{label}, {topology[language]}" for language in ("en", "zh")}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if few else "lines",
                "name": name,
                "x": [iterations[i] for i in drawn],
                "y": [losses[i] for i in drawn],
                "line": {
                    "color": COLOURS[index % len(COLOURS)],
                    "width": 2,
                    "dash": "dash" if cell["topology"] == "multi" else "solid",
                },
                "marker": {"size": 6, "symbol": SYMBOLS[index % len(SYMBOLS)]},
                "hovertemplate": "%{y:.5g} (%{x})",
            }
        )
    return {
        "data": traces,
        "layout": _layout(
            260,
            showlegend=True,
            hovermode="x unified",
            xaxis=_axis({"en": "iteration", "zh": "迭代"}, rangemode="tozero"),
            yaxis=_axis({"en": "loss", "zh": "损失"}),
        ),
    }
