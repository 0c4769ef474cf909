"""The figures of a record and their noise: intervals of medians, and the cores that others took from the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from segcert.concluded import Concluded
from segcert.numbers import is_number

STAGE_LOAD = "load"  # path of the load on the machine during a whole stage


@dataclass(frozen=True)
class Metric:
    """A figure of a record.

    Attributes:
        name: its key under `compare.tolerance` in the configuration.
        label: with its unit, for tables.
        path: of its value in a record, keys by dots.
        lower_is_better: which way is worse.
        of_machine: whether it tells as much of the machine as of the code, as every time does.
        interval: path of the value's 95 % interval, where it has one.
        load: path of what the process and others computed while this was measured, where that is known apart
            from the whole stage.
    """

    name: str
    label: str
    path: str
    lower_is_better: bool
    of_machine: bool = False
    interval: str | None = None
    load: str | None = None


METRICS = (
    Metric(
        "inference_ms",
        "inference ms",
        "metrics.inference_ms.p50",
        True,
        True,
        "metrics.inference_ms.p50_ci95",
        "metrics.load",
    ),
    Metric(
        "offline_ips",
        "images/s of several streams",
        "metrics.offline.ips",
        False,
        True,
        "metrics.offline.ips_ci95",
        "metrics.offline.load",
    ),
    Metric("build_s", "build s", "metrics.build_s", True, True),
    Metric("train_ips", "training images/s", "metrics.ips", False, True),
    Metric("last_loss", "last loss", "metrics.last_loss", True),
    Metric("miou", "mIoU", "metrics.miou", False),
    Metric("pixel_agreement", "pixel agreement", "metrics.pixel_agreement", False),
    Metric("model_mb", "model MB", "metrics.model_mb", True),
    Metric("onnx_mb", "ONNX MB", "metrics.onnx_mb", True),
    Metric("peak_rss_mb", "peak RSS MB", "peak_rss_mb", True),
)
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True)
class Cores:
    """Cores that a process computed on, and those that others were seen to take from the machine meanwhile."""

    own: float
    others: float


def value_of(cell: Concluded, path: str) -> Any:
    """What stands in a record at a path of keys by dots; None where nothing does."""
    value: Any = cell
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def figure_of(cell: Concluded, metric: Metric) -> Any:
    """The value of a metric, over the repeats where there are some."""
    pooled = cell.get("ranges", {}).get(metric.name)
    return pooled["median"] if pooled else value_of(cell, metric.path)


def interval_of(cell: Concluded, metric: Metric) -> tuple[float, float]:
    """(low, high) of a metric: of the repeats, else of the samples within the run, else the value alone."""
    pooled = cell.get("ranges", {}).get(metric.name)
    within = metric.interval and value_of(cell, metric.interval)
    low, high = pooled["range"] if pooled else within or [figure_of(cell, metric)] * 2
    return low, high


def has_interval(cell: Concluded, metric: Metric) -> bool:
    """Whether the noise of a metric that has an interval is known: not from fewer than six samples of one run."""
    return metric.interval is None or metric.name in cell.get("ranges", {}) or bool(value_of(cell, metric.interval))


def of_repeats(repeats: Sequence[Concluded]) -> dict[str, Any]:
    """What a cell that stands for repeats of it holds: `ranges` of its metrics, and `cores` by path of the load.

    The range of a metric spans the values of all repeats and the intervals that they have.
    """
    ranges = {}
    for metric in METRICS:
        values = [value for cell in repeats if is_number(value := value_of(cell, metric.path))]
        bounds = [bound for cell in repeats for bound in (metric.interval and value_of(cell, metric.interval)) or ()]
        if len(values) > 1:
            ranges[metric.name] = {"median": median(values), "range": [min(values + bounds), max(values + bounds)]}
    cores = {}
    for path in (STAGE_LOAD, *(metric.load for metric in METRICS if metric.load)):
        known = [found for cell in repeats if (found := cores_of(cell, path))]
        if known:
            cores[path] = Cores(median(one.own for one in known), median(one.others for one in known))
    return {"ranges": ranges, "cores": cores}


def had_more_of_a_core(metric: Metric, before: Concluded, after: Concluded) -> float:
    """How many times as much the first cell could compute, for what others took; 1 where they took nothing.

    A process that shares its cores with others waits for them: its times grow as its share shrinks, whatever
    Paddle does. Of two runs of one Paddle, one on a machine with eight times as much to do as it had cores, the
    ratios of medians (0.7 to 4.9) and those of the shares (0.7 to 4.4) went together. But a process also has
    fewer cores where it lost its threads or sleeps on a lock, so it is allowed for no more than others had.
    """
    for path in filter(None, (metric.load, STAGE_LOAD)):
        first, second = cores_of(before, path), cores_of(after, path)
        if first and second:
            if first.own >= second.own:
                return min(first.own, second.own + second.others) / second.own
            return first.own / min(second.own, first.own + first.others)
    return 1.0


def cores_of(cell: Concluded, path: str = STAGE_LOAD) -> Cores | None:
    """Of a load in a record; None on a GPU, where the CPU tells nothing, or where it is not recorded."""
    if "cores" in cell:
        pooled: Cores | None = cell["cores"].get(path)
        return pooled
    if cell.effective.get("device") != "cpu":
        return None
    load = value_of(cell, path)
    own = load.get("own_cores") if isinstance(load, Mapping) else None
    if path == STAGE_LOAD:
        measured = is_number(cell.get("cpu_s")) and is_number(cell.get("wall_s")) and cell["wall_s"] > 0
        own = cell["cpu_s"] / cell["wall_s"] if measured else None
    return Cores(own, _taken(cell, load)) if own else None


def _taken(cell: Concluded, load: Any) -> float:
    """Cores that others had of the machine, or the hypervisor; 0 where that was not measured or did not count."""
    if not isinstance(load, Mapping) or not load.get("noticed"):
        return 0.0
    stolen = (load.get("steal_share") or 0.0) * (cell.env.get("cpu_cores") or 1)
    return float((load.get("other_cores") or 0.0) + stolen)
