"""conclusions.html: the conclusions as one page that opens from disk and asks the network for nothing.

The page shows what conclusions.json and the files of the run say. plotly.js and DataTables come from
the packages plotly and itables that are installed where the page is made. Every value goes through
Jinja's escaping, and the page's own security policy lets no other script run than those put in here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from markupsafe import Markup, escape

from segcert import conclusions as concluded
from segcert import grid, statuses
from segcert.checkout import tree
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions
from segcert.files import write_text
from segcert.show import deployment, logs, overview, pictures, plots, shipping, templating

TEMPLATES = Path(__file__).parent / "templates" / "page"
FILES = ("conclusions.md", "conclusions.zh.md", "conclusions.csv", "conclusions.json", "junit.xml",
         "results_python.log", "run_config.yaml")  # fmt: skip
SERVER = ("rate", "rate_range", "p99_ms", "p99_ci95", "bound_ms")  # what is shown of that scenario
INTERFACE = ("title", "rows_info", "rows_none", "rows_filtered", "rows_length", "grid_info", "grid_none")

# What the page may hold, so that it opens at once whatever the size of the matrix.
RED_LOG = (80, 12_000)  # lines, bytes
OTHER_LOG = (12, 2_000)
MOST_LOG_BYTES = 2_000_000
MOST_RECORD_BYTES = 2_000_000
MOST_CONFIGURATION_BYTES = 400_000
MOST_LINKS = 12  # to cells of one finding


# -- words ------------------------------------------------------------------------------------


class Words:
    """The page's sentences in its two languages."""

    def __init__(self, table: Mapping[str, list[str]]) -> None:
        self._table = table

    @property
    def keys(self) -> list[str]:
        return list(self._table)

    def __call__(self, key: str, **values: Any) -> Markup:
        """Both languages, of which the page shows one."""
        pair = self.pair(key, **values)
        return both(pair["en"], pair["zh"])

    def pair(self, key: str, **values: Any) -> dict[str, str]:
        english, chinese = self._table[key]
        return {"en": english.format(**values), "zh": chinese.format(**values)} if values else {
            "en": english, "zh": chinese
        }  # fmt: skip


def both(english: str, chinese: str) -> Markup:
    if english == chinese:
        return escape(english)
    return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-CN">{}</span>').format(
        english, chinese
    )


def words() -> Words:
    return Words(yaml.safe_load((TEMPLATES / "words.yaml").read_text(encoding="utf-8")))


# -- making the page --------------------------------------------------------------------------


def load(path: Path) -> Conclusions:
    """The conclusions of a conclusions.json."""
    return Conclusions.of_json(json.loads(path.read_text(encoding="utf-8")))


def write(conclusions_json: Path, run_config: Path, page: Path) -> int:
    """Make the page and return its size in bytes."""
    conclusions = load(conclusions_json)
    configuration = run_config.read_text(encoding="utf-8") if run_config.is_file() else ""
    text = render(conclusions, configuration, page.parent)
    write_text(page, text)
    return len(text.encode())


def render(conclusions: Conclusions, configuration: str, folder: Path) -> str:
    """The page as HTML.

    Args:
        folder: where the page will stand; links to files are relative to it.
    """
    say = words()
    many = grid.is_wanted(conclusions)
    anchors = anchors_of(conclusions.cells)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    code = {
        "plotly": _package_file("plotly", "package_data/plotly.min.js"),
        "tables": _package_file("itables", "html/dt_bundle.js"),
    }
    environment = templating.environment(TEMPLATES, html=True)
    environment.globals.update(t=say, both=both, gate_words=lambda gate: _gate_words(gate, say), paddleseg=tree.said)
    environment.globals.update(packed=packed, names=overview.names)
    environment.filters.update(number=number, share=share, file_link=lambda path: link_to(path, folder))
    curves, drawn_loss = _loss_plots(conclusions, say)
    timed, drawn_latency = _latency_plots(conclusions, say)
    throughput, drawn_throughput = _throughput_plots(conclusions, anchors, say)
    strips, strips_left_out = _strips(conclusions)
    rows = [_row(cell, anchors) for cell in conclusions.cells]
    return environment.get_template("page.html.j2").render(
        style=Markup(_package_file("itables", "html/dt_bundle.css") + (TEMPLATES / "page.css").read_text("utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        allowed=_digest(script),
        code=code,
        conclusions=conclusions,
        statuses=statuses.ALL,
        overview=overview.of_page(conclusions, anchors) if many else None,
        shown=[status for status in statuses.ALL if conclusions.counts.get(status.name)],
        reds=sum(cell.status.red for cell in conclusions.cells),
        broken=[_certificate(item, conclusions, anchors) for item in conclusions.broken_certificates],
        period=_period(conclusions),
        findings=_findings(conclusions, anchors),
        weak=concluded.weak_models(conclusions),
        topologies=_topologies(conclusions),
        training=_training(conclusions, anchors),
        published=_published(conclusions, anchors),
        inference=_inference(conclusions, anchors),
        fastest=[
            {**row, "anchor": anchors[row["record"]], "fp32_anchor": anchors[row["fp32_record"]]}
            for row in shipping.rows(conclusions)
        ],
        unanswered=shipping.unanswered(conclusions),
        certificates=[_certificate(item, conclusions, anchors) for item in conclusions.certificates],
        amp_ran=any(
            cell.requested.get("precision") == "amp" and cell.status.exercised
            for cell in conclusions.select(stage="train")
        ),
        curves=curves,
        timed=timed,
        throughput=throughput,
        streams=_streams(conclusions, anchors),
        sizes=_sizes(conclusions, anchors),
        long_runs=[_long_run(cell, anchors) for cell in deployment.long_runs(conclusions)],
        strips=strips,
        strips_left_out=strips_left_out,
        rows=rows,
        packed_rows=packed(json.dumps([{**row, "status": row["status"].name} for row in rows])) if many else None,
        stage_names={cell["stage"]: say.pair(cell["stage"]) for cell in conclusions.cells},
        stages=list(dict.fromkeys(cell["stage"] for cell in conclusions.cells)),
        models=[model for _, model in concluded.models(conclusions)],
        details=_details(conclusions, anchors),
        environments=_environments(conclusions),
        configuration=configuration if len(configuration) <= MOST_CONFIGURATION_BYTES else None,
        files=[name for name in FILES if (folder / name).is_file()],
        plots=drawn_loss | drawn_latency | drawn_throughput,
        interface={key: say.pair(key) for key in INTERFACE},
    )  # fmt: skip


def packed(part: str) -> Markup:
    """What the page unpacks when it is needed, as text that is no HTML: the same for the same."""
    return Markup(base64.b64encode(gzip.compress(part.encode(), mtime=0)).decode())  # noqa: S704


def _package_file(package: str, name: str) -> str:
    """A file that an installed package carries, without importing the package."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"the page needs the Python package {package}, which is not installed: see envs/cpu.in")
    return (Path(found.submodule_search_locations[0]) / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """The script's name in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def number(value: Any, digits: int = 4) -> str:
    """A number as it is shown: few digits, and a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    text = str(value) if isinstance(value, int) else f"{value:.{digits}g}"
    return f"{value:.8g}" if text == "1" and value != 1 else text  # nearly all is not all


def share(value: float | None) -> str:
    """A share as it is shown: 1.00000 only where it is whole."""
    return "–" if value is None else f"{value if value >= 1 else min(value, 0.99999):.5f}"


def link_to(path: str, folder: Path) -> str:
    """A file's address as seen from the page."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def anchors_of(cells: Iterable[Concluded]) -> dict[str, str]:
    """Record path -> the name of the cell's place on the page; each name once."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for cell in cells:
        words = dict.fromkeys((cell["model"] or "data", *cell.place))
        base = name = "cell-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(words))
        counter = 2
        while name in taken:
            name, counter = f"{base}-{counter}", counter + 1
        taken.add(name)
        found[cell["record"]] = name
    return found


# -- parts of the page ------------------------------------------------------------------------


def _period(conclusions: Conclusions) -> tuple[str, str] | None:
    started = sorted(cell["started"] for cell in conclusions.cells if cell.get("started"))
    return (started[0], started[-1]) if started else None


def _findings(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Groups of cells that need a look: by section, then by reason."""
    return [
        {"key": f"what_{section}", "groups": [_finding(group, anchors) for group in groups]}
        for section, groups in concluded.findings(conclusions).items()
        if groups
    ]


def _finding(group: Mapping[str, Any], anchors: Mapping[str, str]) -> dict[str, Any]:
    """A group of cells with links to the first of them."""
    return {
        **group,
        "reason": logs.plain(group["reason"] or ""),
        "cells": [
            {
                "text": f"{cell['model'] or 'data'}: {cell['stage']} {cell.label('full')}",
                "anchor": anchors[cell["record"]],
            }
            for cell in group["cells"][:MOST_LINKS]
        ],
        "more": max(0, group["count"] - MOST_LINKS),
    }


def _topologies(conclusions: Conclusions) -> list[str]:
    return list(dict.fromkeys(cell["topology"] for cell in conclusions.select(stage="train")))


def _training(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """PaddleSeg's training table, each entry with the place that its status comes from."""
    by_record = {cell["record"]: cell for cell in conclusions.cells}
    topologies = _topologies(conclusions)
    rows = []
    for algorithm, model in concluded.models(conclusions):
        places = {}
        for topology in topologies:
            entries = []
            for entry in concluded.train_entries(conclusions, model, topology):
                train = by_record[entry["record"]]
                evaluated = conclusions.select(stage="eval", model=model, train_cell=train["train_cell"])
                miou = next((cell.metrics.get("miou") for cell in evaluated), None)
                entries.append(
                    {
                        **entry,
                        "anchor": anchors[entry["cause"]] if entry["cause"] else "precision",
                        "miou": miou if entry["status"].exercised else None,
                    }
                )
            places[topology] = entries
        rows.append({"algorithm": algorithm, "model": model, "places": places})
    return rows


def _published(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """What released weights come to against what is published of them, with the place of the evaluation."""
    return [
        {**item, "status": statuses.by_name(item["verdict"]), "anchor": anchors[item["record"]],
         "reason": logs.plain(item["reason"])}
        for item in conclusions.published
    ]  # fmt: skip


def _inference(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """PaddleSeg's inference table: by device, the cells of each checkpoint."""
    sizes = concluded.batch_sizes(conclusions)
    rows = []
    for algorithm, model in concluded.models(conclusions):
        for size in sizes:
            devices = {}
            for device in ("cpu", "gpu"):
                cells = concluded.infer_entries(conclusions, model, device, size)
                checkpoints: dict[str, list[dict[str, Any]]] = {}
                for cell in cells:
                    checkpoints.setdefault(cell["train_cell"], []).append(
                        {
                            "title": cell.label("short"),
                            "status": cell.status,
                            "weak": cell.weak,
                            "reason": logs.plain(cell["reason"] or ""),
                            "anchor": anchors[cell["record"]],
                        }
                    )
                devices[device] = {
                    "checkpoints": checkpoints,
                    "passed": sum(cell["status"] == statuses.PASSED.name for cell in cells),
                    "all": len(cells),
                }
            rows.append({"algorithm": algorithm, "model": model, "batch_size": size, "devices": devices})
    return rows


def _certificate(item: Mapping[str, Any], conclusions: Conclusions, anchors: Mapping[str, str]) -> dict[str, Any]:
    def anchor(name: str | None) -> str | None:
        cells = conclusions.select(stage="train", model=item.get("model"), train_cell=name) if name else []
        return anchors[cells[0]["record"]] if cells else None

    return {
        "model": item.get("model"),
        "topology": item.get("topology"),
        "kind": item["kind"],
        "cell": item.get("cell"),
        "anchor": anchor(item.get("cell")),
        "twin": item.get("twin"),
        "twin_anchor": anchor(item.get("twin")),
        "verdict": statuses.by_name(item["verdict"]),
        "exercised": statuses.by_name(item["verdict"]).exercised,
        "reason": logs.plain(item.get("reason") or ""),
        "scale": item.get("loss_scale"),
        **{
            key: item.get(key)
            for key in ("first_loss_difference", "loss_distance", "nonfinite", "skipped_steps", "ips_ratio",
                        "memory_ratio", "miou", "miou_twin", "miou_difference")
        },
        "bf16_inference": [
            _bf16(part, item.get("model"), conclusions, anchors) for part in item.get("bf16_inference") or []
        ],
    }  # fmt: skip


def _bf16(
    part: Mapping[str, Any], model: str | None, conclusions: Conclusions, anchors: Mapping[str, str]
) -> dict[str, Any]:
    """An inference cell in bfloat16 that a certificate names."""
    cells = conclusions.select(stage="infer", model=model, train_cell=part.get("train_cell"), cell=part.get("cell"))
    return {
        "title": cells[0].label("short") if cells else str(part.get("cell")),
        "anchor": anchors[cells[0]["record"]] if cells else None,
        "status": statuses.by_name(part["status"]),
        "facts": _plain_item({k: v for k, v in part.items() if k not in ("cell", "train_cell", "status")}),
    }


def _gate_words(gate: Mapping[str, Any], say: Words) -> Markup:
    """A gate's own sentence; in Chinese its numbers, because the sentence is English."""
    sentence = str(gate.get("sentence"))
    key = f"gate_{str(gate.get('bound')).replace(' ', '_')}"
    if key not in say.keys:
        return escape(sentence)
    numbers = {name: number(gate.get(name), 6) for name in ("value", "threshold")}
    return both(sentence, say.pair(key, **numbers)["zh"])


def _plain_item(part: Any) -> str:
    """An item of a list whose form is the list's own, in words."""
    if isinstance(part, Mapping):
        return ", ".join(f"{key} {number(value)}" for key, value in part.items() if value is not None)
    return number(part)


def _loss_plots(conclusions: Conclusions, say: Words) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Places for the loss plots, and what is drawn in them; the same for `_latency_plots`."""
    places, drawn = [], {}
    for index, (_, model) in enumerate(concluded.models(conclusions)):
        curves = []
        for cell in conclusions.select(stage="train", model=model):
            history = plots.read_history(cell)
            if history and history[0]:
                curves.append((cell, *history))
        if curves:
            name = f"loss-{index}"
            places.append({"id": name, "model": model, "label": say.pair("loss_of", model=model)})
            drawn[name] = plots.loss(curves)
    return places, drawn


def _latency_plots(conclusions: Conclusions, say: Words) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    places: list[dict[str, Any]] = []
    drawn: dict[str, Any] = {}
    for model, train_cell, cells in _by_checkpoint(conclusions):
        points = plots.latency_points(cells)
        if points:
            name = f"latency-{len(places)}"
            places.append(
                {
                    "id": name,
                    "model": model,
                    "train_cell": train_cell,
                    "points": points,
                    "label": say.pair("latency_of", model=model),
                }
            )
            drawn[name] = plots.latency(points)
    return places, drawn


def _throughput_plots(
    conclusions: Conclusions, anchors: Mapping[str, str], say: Words
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    places: list[dict[str, Any]] = []
    drawn: dict[str, Any] = {}
    for model, train_cell, cells in _by_checkpoint(conclusions):
        points = deployment.throughput(cells)
        if points:
            name = f"throughput-{len(places)}"
            label = say.pair("throughput_of", model=model)
            rows = [{"point": point, "anchor": anchors[point.cell["record"]]} for point in points]
            places.append({"id": name, "model": model, "train_cell": train_cell, "rows": rows, "label": label})
            drawn[name] = plots.throughput(points)
    return places, drawn


def _sizes(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """A table for each checkpoint that was run in several sizes: columns are sizes, rows engines."""
    tables: dict[tuple[str, str], list[deployment.Sized]] = {}
    for sized in deployment.by_size(conclusions):
        tables.setdefault((sized.model, sized.train_cell), []).append(sized)
    found = []
    for (model, train_cell), rows in tables.items():
        columns = list(dict.fromkeys(size for sized in rows for size in sized.cells))
        shown = [
            (
                sized.title,
                [
                    (cell, anchors[cell["record"]]) if (cell := sized.cells.get(size)) is not None else None
                    for size in columns
                ],
            )
            for sized in rows
        ]
        found.append({"model": model, "train_cell": train_cell, "columns": columns, "rows": shown})
    return found


def _long_run(cell: Concluded, anchors: Mapping[str, str]) -> dict[str, Any]:
    return {
        "model": cell["model"],
        "train_cell": cell["train_cell"],
        "title": cell.label("short"),
        "status": cell.status,
        "anchor": anchors[cell["record"]],
        "growth": cell.metrics["growth_mb_per_1000"],
        **cell.metrics["soak"],
    }


def _streams(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Cells of several streams that ran to their end, with both scenarios."""
    return [
        {
            "model": cell["model"],
            "train_cell": cell["train_cell"],
            "title": cell.label("short"),
            "status": cell.status,
            "anchor": anchors[cell["record"]],
            "at_once": cell.effective.get("streams"),
            "offline": cell.metrics["offline"],
            "server": {**dict.fromkeys(SERVER), **(cell.metrics.get("server") or {})},
            "same": cell.metrics.get("stream_labels"),
        }
        for cell in conclusions.select(stage="infer")
        if "offline" in cell.metrics
    ]


def _by_checkpoint(conclusions: Conclusions) -> list[tuple[str, str, list[Concluded]]]:
    """(model, train cell, its inference cells), in the order of the matrix."""
    groups: dict[tuple[str, str], list[Concluded]] = {}
    for cell in conclusions.select(stage="infer"):
        groups.setdefault((cell["model"], cell["train_cell"]), []).append(cell)
    return [(model, train_cell, cells) for (model, train_cell), cells in groups.items()]


def _strips(conclusions: Conclusions) -> tuple[list[dict[str, Any]], int]:
    """Pictures of the checkpoints, as many as the page has room for, and how many it has not."""
    shown: list[dict[str, Any]] = []
    room, left_out = pictures.MOST_BYTES, 0
    for _, _, cells in _by_checkpoint(conclusions):
        strip = pictures.strip(cells) if room > 0 else None
        if strip is None:
            left_out += room <= 0 and any(cell.status.exercised for cell in cells)
            continue
        room -= strip.size
        tiles = [_tile(tile) for tile in strip.tiles]
        shown.append({"strip": strip, "tiles": tiles})
    return shown, left_out


def _tile(tile: pictures.Tile) -> dict[str, Any]:
    """A picture with what is said of the cell that predicted it, if one did."""
    cell = tile.cell
    if cell is None:
        return {"tile": tile, "title": None, "status": None, "agreement": None}
    told = {"title": cell.label("engine"), "status": cell.status, "agreement": cell.metrics.get("pixel_agreement")}
    return {"tile": tile, **told}


def _row(cell: Concluded, anchors: Mapping[str, str]) -> dict[str, Any]:
    """A row of the table of cells; its numbers as (name, what it sorts by, text or None)."""
    metrics = cell.metrics
    ips = metrics.get("throughput_ips") or metrics.get("ips")
    result = metrics.get("pixel_agreement", metrics.get("miou"))
    return {
        "anchor": anchors[cell["record"]],
        "status": cell.status,
        "model": cell["model"] or "data",
        "stage": cell["stage"],
        "title": cell.label("full"),
        "train_cell": cell["train_cell"] if cell["stage"] == "infer" else None,
        "reason": logs.plain(cell["reason"] or ""),
        "numbers": [
            (name, value if value is not None else -1, None if value is None else text)
            for name, value, text in (
                ("median_ms", cell.p50, number(cell.p50)),
                ("ips", ips, number(ips)),
                ("result", result, share(result)),
                ("wall", cell.get("wall_s"), number(cell.get("wall_s"), 3)),
            )
        ],
    }


# -- records ----------------------------------------------------------------------------------


def _details(conclusions: Conclusions, anchors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every cell with its evidence, by model. Logs and records of red cells come first where room is short."""
    order = sorted(conclusions.cells, key=lambda cell: (not cell.status.red, not cell.status.broke))
    tails: dict[str, str | None] = {}
    texts: dict[str, str | None] = {}
    log_room, record_room = MOST_LOG_BYTES, MOST_RECORD_BYTES
    for cell in order:
        path = cell["record"]
        lines, size = RED_LOG if cell.status.broke else OTHER_LOG
        tails[path] = logs.tail(cell["log"], lines, size) if cell.get("log") and log_room > 0 else None
        log_room -= len(tails[path] or "")
        texts[path] = _record_text(cell) if record_room > 0 and "command" in cell else None
        record_room -= len(texts[path] or "")
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in conclusions.cells:
        groups.setdefault(cell["model"] or "data", []).append(
            {
                **_detail(cell),
                "anchor": anchors[cell["record"]],
                "tail": tails[cell["record"]],
                "text": texts[cell["record"]],
                "record": cell.get("record_file"),
                "set_aside": [path for path in (cell.get("set_aside") or {}).values() if Path(path).is_dir()],
                "log": cell.get("log"),
                "log_is_there": bool(cell.get("log")) and Path(cell["log"]).is_file(),
            }
        )
    return [
        {"model": model, "cells": cells, "counts": Counter(cell["status"].name for cell in cells)}
        for model, cells in groups.items()
    ]


def _record_text(cell: Concluded) -> str:
    """The record as JSON, without what stands elsewhere on the page or only in the file."""
    kept = {key: value for key, value in cell.items() if key not in ("env", "samples_ms", "command")}
    return logs.plain(json.dumps(kept, indent=1, ensure_ascii=False))


def _detail(cell: Concluded) -> dict[str, Any]:
    requested, effective, metrics = cell.requested, cell.effective, cell.metrics
    fields = [
        {
            "name": name,
            "asked": number(requested[name]) if requested.get(name) is not None else "–",
            "seen": number(effective[name]) if effective.get(name) is not None else "–",
            "differs": requested.get(name) is not None and name in effective and effective[name] != requested[name],
        }
        for name in dict.fromkeys([*requested, *effective])
        if requested.get(name) is not None or effective.get(name) is not None
    ]
    phases = [
        {"name": key.removesuffix("_ms"), **value}
        for key, value in metrics.items()
        if key.endswith("_ms") and isinstance(value, Mapping) and "p50" in value
    ]
    return {
        "status": cell.status,
        "stage": cell["stage"],
        "title": cell.label("full"),
        "checkpoint": cell["train_cell"] if cell["stage"] == "infer" else None,
        "reason": logs.plain(cell["reason"] or ""),
        "command": logs.plain(cell["command"]) if cell.get("command") else None,
        "started": cell.get("started"),
        "wall": cell.get("wall_s"),
        "peak": cell.get("peak_rss_mb"),
        "fields": fields,
        "gates": cell.gates,
        "phases": phases,
        "measured": [
            (key, number(value))
            for key, value in metrics.items()
            if isinstance(value, int | float | str) and not isinstance(value, bool)
        ],
        "worst_images": [_plain_item(part) for part in metrics.get("worst_images") or []],
        "worst_logits": [_plain_item(part) for part in (metrics.get("logits") or {}).get("worst_images") or []],
        "load": _other_load(metrics.get("load")),
    }


def _other_load(load: Any) -> str | None:
    """What else the machine did while the cell was timed, where that counts."""
    if not isinstance(load, Mapping) or not load.get("noticed"):
        return None
    return _plain_item({key: value for key, value in load.items() if key != "noticed"})


def _environments(conclusions: Conclusions) -> list[dict[str, Any]]:
    """The environments that the cells saw, as the page shows them."""
    return [
        {
            "count": count,
            "facts": [
                (name, ", ".join(map(str, value)) if isinstance(value, list) else value) for name, value in env.items()
            ],
        }
        for env, count in concluded.environments(conclusions)
    ]
