"""The conclusions as files: Markdown, CSV, JSON, and PaddleSeg's own Chinese form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Template

from segcert import conclusions as concluded
from segcert import grid, statuses
from segcert.checkout import tree
from segcert.concluded import STATIC, Concluded
from segcert.conclusions import Conclusions
from segcert.files import write_json, write_text
from segcert.show import deployment, junit, logs, overview, shipping, templating

TEMPLATES = Path(__file__).parent / "templates"
# Of `env`, for the head of a document; machines that differ in nothing else are one.
HEAD = ("os", "python", "paddle", "paddle_commit", "paddleseg", "cpu", "cpu_cores", "gpu")
TOPOLOGIES_ZH = {"single": "单机单卡", "multi": "单机多卡", "released": "发布权重"}
WEAK = overview.WEAK
NO_ROWS = "(none)"


def write(conclusions: Conclusions, folder: Path) -> None:
    """Write conclusions.{md,csv,json}, conclusions.zh.md, junit.xml and results_python.log."""
    write_text(folder / "conclusions.md", markdown(conclusions))
    write_text(folder / "conclusions.zh.md", chinese(conclusions))
    write_text(folder / "conclusions.csv", cells_frame(conclusions).to_csv(index=False))
    write_text(folder / "results_python.log", concluded.status_lines(conclusions))
    write_text(folder / "junit.xml", junit.junit(conclusions))
    write_json(folder / "conclusions.json", conclusions.as_json())  # last: its presence says that all is there


# -- tables -----------------------------------------------------------------------------------


def train_frame(conclusions: Conclusions) -> pd.DataFrame:
    """PaddleSeg's training table: algorithm, model, single, multi."""
    topologies = list(dict.fromkeys(cell["topology"] for cell in conclusions.select(stage="train")))
    return pd.DataFrame(
        [
            {
                "algorithm": algorithm,
                "model": model,
                **{t: _train_text(concluded.train_entries(conclusions, model, t)) for t in topologies},
            }
            for algorithm, model in concluded.models(conclusions)
        ]
    )


def _train_text(entries: list[dict[str, Any]]) -> str:
    parts = []
    for entry in entries:
        status: statuses.Status = entry["status"]
        where = f" ({entry['device']} x {entry['ranks']})" if entry["device"] and entry["ranks"] else ""
        parts.append(f"{status.symbol} {entry['label']}: {status.name}{where}")
    return "; ".join(parts)


def infer_frame(conclusions: Conclusions) -> pd.DataFrame:
    """PaddleSeg's inference table: algorithm, model, CPU, GPU, batch size."""
    sizes = concluded.batch_sizes(conclusions)
    return pd.DataFrame(
        [
            {
                "algorithm": algorithm,
                "model": model,
                **{
                    device.upper(): _counts_text(concluded.infer_entries(conclusions, model, device, size))
                    for device in ("cpu", "gpu")
                },
                "batch size": size,
            }
            for algorithm, model in concluded.models(conclusions)
            for size in sizes
        ]
    )


def _counts_text(cells: list[Concluded]) -> str:
    counts = Counter(cell["status"] for cell in cells)
    shown = [f"{s.symbol} {counts[s.name]} {s.name}" for s in statuses.ALL if counts[s.name]]
    if weak := sum(cell.weak for cell in cells):
        shown.append(f"{WEAK} {weak} of them on weak evidence")
    return ", ".join(shown) or "no cells"


def latency_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per inference cell of one stream that ran to its end."""
    rows = []
    for cell in conclusions.select(stage="infer"):
        timing, metrics = cell.timing, cell.metrics
        if timing and not {"streams", "size"} & {*cell.requested}:
            load = metrics.get("load") or {}
            rows.append(
                {
                    "model": cell["model"],
                    "checkpoint": cell["train_cell"],
                    **_request_columns(cell),
                    "status": cell["status"],
                    "p50 ms": timing["p50"],
                    "p95 ms": timing["p95"],
                    "images/s": metrics["throughput_ips"],
                    "agreement": metrics["pixel_agreement"],
                    "mIoU drop": metrics.get("miou_drop"),
                    "logits L2": metrics.get("logits_l2"),
                    "logits peak": metrics.get("logits_peak"),
                    "other load": load.get("other_cores") if load.get("noticed") else None,
                    "build s": metrics["build_s"],
                    "RSS MB": metrics["worker_rss_mb"],
                }
            )
    return pd.DataFrame(rows)


def streams_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per inference cell of several streams that ran to its end."""
    rows = []
    for cell in conclusions.select(stage="infer"):
        offline, server = cell.metrics.get("offline"), cell.metrics.get("server") or {}
        if offline:
            rows.append(
                {
                    "model": cell["model"],
                    "checkpoint": cell["train_cell"],
                    **_request_columns(cell),
                    "streams": cell.requested["streams"],
                    "at once": cell.effective.get("streams"),
                    "status": cell["status"],
                    "images/s": offline["ips"],
                    "95 %": _range(offline["ips_ci95"]),
                    "requests/s": server.get("rate"),
                    "searched to": _range(server.get("rate_range")),
                    "p99 ms": server.get("p99_ms"),
                    "p99 95 %": _range(server.get("p99_ci95")),
                    "bound ms": server.get("bound_ms"),
                    "same labels": cell.metrics.get("stream_labels"),
                }
            )
    return pd.DataFrame(rows)


def sizes_frame(conclusions: Conclusions) -> pd.DataFrame:
    """Median latency (ms) by size of images: a row per engine that ran in several, a column per size."""
    rows = []
    for sized in deployment.by_size(conclusions):
        row = {"model": sized.model, "checkpoint": sized.train_cell, "cell": sized.title}
        for size, cell in sized.cells.items():
            timed = cell.status.exercised and cell.p50 is not None
            row[size or "export's size"] = f"{cell.status.symbol} {cell.p50:.4g}" if timed else cell.status.symbol
        rows.append(row)
    return pd.DataFrame(rows)


def throughput_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per way to run a checkpoint, where threads, streams or batches differ."""
    checkpoints = dict.fromkeys((cell["model"], cell["train_cell"]) for cell in conclusions.select(stage="infer"))
    rows = [
        {
            "model": model,
            "checkpoint": train_cell,
            **_request_columns(point.cell),
            "streams": point.cell.requested.get("streams", 1),
            "batch": point.cell.requested.get("batch_size"),
            "cores": point.cores,
            "status": point.cell["status"],
            "images/s": point.ips,
            "95 %": _range(list(point.interval)) if point.interval else None,
            "ship": "ship" if point.ship else None,
        }
        for model, train_cell in checkpoints
        for point in deployment.throughput(conclusions.select(stage="infer", model=model, train_cell=train_cell))
    ]
    return pd.DataFrame(rows)


def long_runs_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per cell whose memory was looked at over a long run."""
    return pd.DataFrame(
        [
            {
                "model": cell["model"],
                "checkpoint": cell["train_cell"],
                "cell": cell.label("short"),
                "status": cell["status"],
                "length": _length(cell.metrics["soak"]),
                "from MiB": cell.metrics["soak"]["from_mb"],
                "to MiB": cell.metrics["soak"]["to_mb"],
                "MiB per 1000": cell.metrics["growth_mb_per_1000"],
                "95 %": _range(cell.metrics["soak"]["growth_ci95"]),
            }
            for cell in deployment.long_runs(conclusions)
        ]
    )


def _length(soak: Mapping[str, Any]) -> str:
    return f"{soak['iterations']} iterations" if "iterations" in soak else f"{soak['batches']} batches"


def _range(bounds: list[float] | None) -> str | None:
    return f"{bounds[0]:.4g} – {bounds[1]:.4g}" if bounds else None


def accuracy_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per checkpoint: the end of its training and its evaluation."""
    rows = []
    for train in conclusions.select(stage="train"):
        metrics = train.metrics
        evaluated = conclusions.select(stage="eval", model=train["model"], train_cell=train["train_cell"])
        scores = evaluated[0].metrics if evaluated else {}
        if metrics:
            rows.append(
                {
                    "model": train["model"],
                    "checkpoint": train["train_cell"],
                    "first loss": metrics.get("first_loss"),
                    "last loss": metrics.get("last_loss"),
                    "images/s": metrics.get("ips"),
                    "mIoU": scores.get("miou"),
                    "acc": scores.get("acc"),
                    "kappa": scores.get("kappa"),
                    "dice": scores.get("dice"),
                }
            )
    return pd.DataFrame(rows)


def cost_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per model of which something ran: time of its jobs (s), and the most memory of one (MiB)."""
    rows = []
    for _, model in concluded.models(conclusions):
        ran = [cell for cell in conclusions.select(model=model) if cell.get("wall_s") is not None]
        if ran:
            longest = max(ran, key=lambda cell: cell["wall_s"])
            largest = max(ran, key=lambda cell: cell["peak_rss_mb"])
            rows.append(
                {
                    "model": model,
                    "jobs": len(ran),
                    "all of them": sum(cell["wall_s"] for cell in ran),
                    "the longest": longest["wall_s"],
                    "which": longest.label("column"),
                    "most memory": largest["peak_rss_mb"],
                    "in": largest.label("column"),
                }
            )
    return pd.DataFrame(rows)


def scripts_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per cell of PaddleSeg's own scripts that ran, with what its gates were held against."""
    return pd.DataFrame(
        [
            {
                "model": cell["model"],
                "script": cell["cell"],
                "status": f"{cell.status.symbol} {cell.status.name}",
                "result": ", ".join(f"{gate['name']} {gate['value']}" for gate in cell.gates),
                "exit code": cell.effective.get("exit_code"),
            }
            for cell in conclusions.select(stage="scripts")
            if cell.status.exercised
        ]
    )


def fastest_frame(conclusions: Conclusions, language: str = "en") -> pd.DataFrame:
    """Which cell is the fastest: a row for each checkpoint, device and batch size, over all threads and by them."""
    english = ("model", "on", "threads", "fastest in fp32", "in any precision", "any")
    chinese = ("模型名称", "设备", "线程数", "fp32 最快", "任意精度最快", "不限")
    model, on, threads, fp32, any_precision, all_threads = english if language == "en" else chinese
    return pd.DataFrame(
        [
            {
                model: " ".join(filter(None, (row["model"], row["checkpoint"]))),
                on: row["on"][language],
                threads: row["threads"] or all_threads,
                fp32: row["fp32"][language],
                any_precision: row["any"][language],
            }
            for row in shipping.rows(conclusions)
        ]
    )


def cells_frame(conclusions: Conclusions) -> pd.DataFrame:
    """A row per cell of the matrix, flat: what conclusions.csv holds."""
    rows = []
    for cell in conclusions.cells:
        metrics = cell.metrics
        rows.append(
            {
                "model": cell["model"],
                "algorithm": cell["algorithm"],
                "stage": cell["stage"],
                "train_cell": cell["train_cell"],
                "cell": cell["cell"],
                "status": cell["status"],
                "reason": cell["reason"],
                **_request_columns(cell),
                "batch_size": cell.requested.get("batch_size"),
                "wall_s": cell.get("wall_s"),
                "peak_rss_mb": cell.get("peak_rss_mb"),
                **{name: metrics.get(name) for name in ("miou", "acc", "kappa", "dice", "first_loss", "last_loss")},
                "train_ips": metrics.get("ips"),
                "inference_p50_ms": cell.p50,
                "inference_p95_ms": cell.timing.get("p95"),
                "throughput_ips": metrics.get("throughput_ips"),
                "streams": cell.requested.get("streams"),
                "shapes": cell.requested.get("shapes"),
                "size": deployment.size_of(cell),
                "growth_mb_per_1000": metrics.get("growth_mb_per_1000"),
                "server_rate": (metrics.get("server") or {}).get("rate"),
                "build_s": metrics.get("build_s"),
                "worker_rss_mb": metrics.get("worker_rss_mb"),
                "pixel_agreement": metrics.get("pixel_agreement"),
                "miou_drop": metrics.get("miou_drop"),
                "logits_l2": metrics.get("logits_l2"),
                "logits_peak": metrics.get("logits_peak"),
                "weak_evidence": cell.weak,
                "record": cell.get("record_file"),
                "log": cell.get("log"),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(("threads", "batch_size", "streams"), "Int64")) if rows else frame


def _request_columns(cell: Concluded) -> dict[str, Any]:
    requested = cell.requested
    return {
        "device": requested.get("device"),
        "engine": requested.get("engine"),
        "precision": cell.precision,
        "threads": requested.get("threads"),
    }


# -- documents --------------------------------------------------------------------------------


def _template(name: str) -> Template:
    environment = templating.environment(TEMPLATES, html=False)
    environment.globals.update(
        zh=lambda status: statuses.by_name(status).zh,
        paddleseg=tree.said,
        cells=lambda count: "1 cell" if count == 1 else f"{count} cells",
        names=overview.names,
    )
    return environment.get_template(name)


def _certificates(conclusions: Conclusions) -> dict[str, Any]:
    """By kind, certificates of trainings that ran, each by itself, and the others by the reason why theirs did not."""
    kinds = dict.fromkeys(item["kind"] for item in conclusions.certificates)
    return {"certificates": {kind: _certificates_of(conclusions, kind) for kind in kinds}}


def _certificates_of(conclusions: Conclusions, kind: str) -> dict[str, Any]:
    ran: list[dict[str, Any]] = []
    others: dict[tuple[statuses.Status, str | None], dict[str, list[str]]] = {}
    for item in conclusions.certificates:
        if item["kind"] != kind:
            continue
        status = statuses.by_name(item["verdict"])
        train = next(iter(conclusions.select(stage="train", model=item["model"], cell=item["cell"])), None)
        if train is None or train.status.exercised:
            ran.append({**item, "status": status})
        else:
            trainings = others.setdefault((status, train["reason"]), {})
            trainings.setdefault(item["model"], []).append(item["topology"])
    grouped = [
        {"status": status, "reason": reason, "trainings": trainings, "count": sum(map(len, trainings.values()))}
        for (status, reason), trainings in others.items()
    ]
    return {"ran": ran, "others": grouped}


def markdown(conclusions: Conclusions) -> str:
    """The tables in Markdown; of many models the grid first, and of the long ones what broke or was blocked."""
    many = grid.is_wanted(conclusions)
    if_any = {
        "scripts": scripts_frame,
        "streams": streams_frame,
        "throughput": throughput_frame,
        "sizes": sizes_frame,
        "long_runs": long_runs_frame,
    }
    frames = {
        "train": train_frame(conclusions),
        "infer": infer_frame(conclusions),
        "accuracy": accuracy_frame(conclusions),
        "latency": latency_frame(conclusions),
        "fastest": fastest_frame(conclusions),
    }
    shown = {name: _shortened(frame, _said_by_the_grid(conclusions, name)) if many else frame
             for name, frame in frames.items()}  # fmt: skip
    view = overview.of_markdown(conclusions) if many else {}
    return _template("conclusions.md.j2").render(
        conclusions=conclusions,
        overview={**view, **{name: _table(view[name]) for name in ("grid", "rates")}} if many else None,
        left_out={name: len(frame) - len(shown[name]) for name, frame in frames.items()},
        **{name: _table(frame) if len(frame := made(conclusions)) else None for name, made in if_any.items()},
        environments=concluded.environments(conclusions, HEAD),
        statuses=statuses.ALL,
        **{name: _table(frame) for name, frame in shown.items()},
        cost=_table(cost_frame(conclusions)),
        **_certificates(conclusions),
        **concluded.findings(conclusions),
        weak=concluded.weak_models(conclusions),
        published=_published(conclusions),
        unanswered=shipping.unanswered(conclusions),
    )


def _table(frame: pd.DataFrame) -> str:
    if not len(frame):
        return NO_ROWS
    shown = frame.astype(object).where(frame.notna(), None)
    return str(shown.to_markdown(index=False, floatfmt=".4g", missingval="–"))


def _said_by_the_grid(conclusions: Conclusions, table: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a row of a table tells of nothing that broke or was blocked: of many models only the others are shown."""
    if table == "fastest":  # of what passed, as a whole
        return lambda _: True
    if table == "latency":
        return lambda row: statuses.by_name(row["status"]).badness <= 0
    of = ("infer",) if table == "infer" else ("train", "eval")
    found = [
        (cell["model"], cell["train_cell"], cell["status"]) for cell in conclusions.cells if cell["stage"] in of
    ] + [(item["model"], item["cell"], item["verdict"]) for item in conclusions.certificates if "train" in of]
    bad = {(model, cell) for model, cell, status in found if statuses.by_name(status).badness > 0}
    if table == "accuracy":
        return lambda row: (row["model"], row["checkpoint"]) not in bad
    models = {model for model, _ in bad}
    return lambda row: row["model"] not in models


def _shortened(frame: pd.DataFrame, is_left_out: Callable[[Mapping[str, Any]], bool]) -> pd.DataFrame:
    return frame[[not is_left_out(row) for row in frame.to_dict("records")]] if len(frame) else frame


def _published(conclusions: Conclusions) -> list[dict[str, Any]]:
    return [{**item, "status": statuses.by_name(item["verdict"])} for item in conclusions.published]


def chinese(conclusions: Conclusions) -> str:
    """The two tables in PaddleSeg's own form. An entry reads as PaddleSeg's only where a run proved it."""
    present = list(dict.fromkeys(cell["topology"] for cell in conclusions.select(stage="train")))
    sizes = concluded.batch_sizes(conclusions)
    train = [
        [
            algorithm,
            model,
            *(_chinese_train(concluded.train_entries(conclusions, model, topology)) for topology in present),
        ]
        for algorithm, model in concluded.models(conclusions)
    ]
    infer = [
        [
            algorithm,
            model,
            *(_chinese_infer(concluded.infer_entries(conclusions, model, d, size)) for d in ("cpu", "gpu")),
            size,
        ]
        for algorithm, model in concluded.models(conclusions)
        for size in sizes
    ]
    return _template("conclusions.zh.md.j2").render(
        conclusions=conclusions,
        statuses=statuses.ALL,
        environments=concluded.environments(conclusions, HEAD),
        train_head=["算法名称", "模型名称", *(TOPOLOGIES_ZH[topology] for topology in present)],
        train=train,
        infer_head=["算法名称", "模型名称", "device_CPU", "device_GPU", "batchsize"],
        infer=infer,
        **_certificates(conclusions),
        topologies=TOPOLOGIES_ZH,
        **concluded.findings(conclusions),
        weak=concluded.weak_models(conclusions),
        published=_published(conclusions),
        fastest=fastest_frame(conclusions, "zh"),
        unanswered=shipping.unanswered(conclusions),
    )


def _chinese_train(entries: list[dict[str, Any]]) -> str:
    parts = []
    for entry in entries:
        what = "混合精度训练" if entry["amp"] else entry["label"].replace(STATIC, " 动转静")
        level = f"（{entry['label'].removeprefix('AMP ')}）" if entry["amp"] else ""
        if entry["status"] is statuses.PASSED:
            ranks = f"，{entry['ranks']} 进程" if (entry["ranks"] or 1) > 1 else ""
            parts.append(what + level if entry["amp"] else f"{what} 训练（{str(entry['device']).upper()}{ranks}）")
        else:
            parts.append(f"{what}{level}：{entry['status'].zh}")
    return "；".join(parts)


def _chinese_infer(cells: list[Concluded]) -> str:
    counts = Counter(cell["status"] for cell in cells)
    if not counts:
        return "—"
    weak = sum(cell.weak for cell in cells)
    if set(counts) == {statuses.PASSED.name}:
        return f"支持（{WEAK} {weak} 个）" if weak else "支持"
    rest = "，".join(f"{counts[s.name]} 个{s.zh}" for s in statuses.ALL if counts[s.name])
    rest += f"，其中 {WEAK} {weak} 个" if weak else ""
    return f"部分支持（{rest}）" if counts[statuses.PASSED.name] else rest


# -- the end of a run -------------------------------------------------------------------------

SCREEN_LINES = 24
SCREEN_COLUMNS = 100
SUMMARY_ROWS = SCREEN_LINES - 4  # left over: the path of the page, and what Snakemake says last


def summary(conclusions: Conclusions, folder: Path) -> str:
    """One screen for the end of a run: what is green, what is red with its cause and log, what is open.

    However many cells there are, it takes SUMMARY_ROWS rows of a terminal of SCREEN_COLUMNS columns at
    most. Red cells of one reason stand together, with the log of the first; paths are never cut.
    """
    head = [
        f"{'RED' if conclusions.red else 'green'}, mode {conclusions.mode}: "
        + ", ".join(f"{statuses.by_name(name).symbol} {number} {name}" for name, number in conclusions.counts.items())
    ]
    if left := conclusions.scope["not_asked_for"]:
        asked = len(conclusions.scope["models"])
        verb = "was" if asked == 1 else "were"
        head.append(f"  {asked} of the {asked + len(left)} models of the configuration {verb} asked for")
    foot = [f"conclusions: {folder / 'conclusions.md'}"]
    room = SUMMARY_ROWS - _rows(head) - _rows(foot) - 1
    found = concluded.findings(conclusions)
    red = [_red_lines(group) for group in found["red"]]
    red += [_certificate_lines(item) for item in conclusions.broken_certificates]
    others = [
        [_cut(f"  {group['status'].symbol} {group['count']} {group['status'].name}: {_one_line(group['reason'])}", 2)]
        for group in _one_of_each_first(found["blocked"] + found["known"] + found["unverified"])
    ] + [
        [_cut(f"  ! {cell['model']} {cell['cell']}: {_one_line(cell['reason'])}")]
        for group in found["surprise"]
        for cell in group["cells"]
    ]
    if weak := sum(concluded.weak_models(conclusions).values()):
        others.append([f"  {WEAK} {weak} of those passed rest on weak evidence, see the conclusions"])
    if unheld := sum(item["verdict"] == statuses.UNVERIFIED.name for item in conclusions.published):
        others.append([f"  {statuses.UNVERIFIED.symbol} published accuracy unverified: {unheld}, see the conclusions"])
    # What is red comes first; what else there is to say keeps a few rows where there is much of it.
    kept, left_out = _fitting(red, room - min(4, len(others)))
    more, others_left_out = _fitting(others, room - _rows(kept))
    if left_out or others_left_out:
        parts = [f"{left_out} more causes of red cells"] * bool(left_out) + [f"{others_left_out} more"] * bool(
            others_left_out
        )
        more.append(f"  … and {', '.join(parts)} in the conclusions")
    return "\n".join([*head, *kept, *more, *foot])


def _one_of_each_first(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of cells with the first of each status before the second of any, so that none is crowded out."""
    seen: Counter[str] = Counter()
    places = []
    for group in groups:
        places.append(seen[group["status"].name])
        seen[group["status"].name] += 1
    return [groups[index] for index in sorted(range(len(groups)), key=places.__getitem__)]


def _red_lines(group: dict[str, Any]) -> list[str]:
    first = group["cells"][0]
    which = f"{first['model'] or 'all models:'} {first['stage']} {first.label('full')}"
    count = f"{group['count']} {group['status'].name}, first " if group["count"] > 1 else ""
    return [
        _cut(f"  {group['status'].symbol} {count}{which}:"),
        _cut(f"    {_one_line(group['reason'])}", 2),
        f"    log: {first.get('log', 'none')}",
    ]


def _certificate_lines(item: dict[str, Any]) -> list[str]:
    what = f"certificate of {item['model']} {item['cell']}"
    return [_cut(f"  {statuses.ACCURACY_FAILED.symbol} {what}: {_one_line(item['reason'])}", 2)]


def _one_line(text: str | None) -> str:
    return " ".join(logs.plain(text or "").split())


def _cut(line: str, rows: int = 1) -> str:
    longest = rows * SCREEN_COLUMNS
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _rows(lines: list[str]) -> int:
    """Rows of the terminal that the lines take."""
    return sum(max(1, -(-len(line) // SCREEN_COLUMNS)) for line in lines)


def _fitting(blocks: list[list[str]], rows: int) -> tuple[list[str], int]:
    """The lines of as many blocks as fit, and how many blocks do not; the first one is always there."""
    lines: list[str] = []
    for index, block in enumerate(blocks):
        if lines and _rows(lines) + _rows(block) > rows:
            return lines, len(blocks) - index
        lines += block
    return lines, 0
