"""What deployment asks beside one request in one size: sizes side by side, throughput and what to ship, long runs.

The rows that conclusions.md and the page show of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segcert import fastest, proof, sizes, statuses
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions
from segcert.numbers import is_number

# Of an inference cell's request, what tells cells of one checkpoint apart beside the size of images.
SAME = ("device", "engine", "precision", "threads", "batch_size")
AS_MUCH = 0.9  # of what the most gets through, at least, for fewer cores to count for more


@dataclass(frozen=True)
class Sized:
    """An engine in several sizes.

    Attributes:
        cells: size as a word (None: that of the export) -> the cell.
    """

    model: str
    train_cell: str
    title: str
    cells: dict[str | None, Concluded]


def by_size(conclusions: Conclusions) -> list[Sized]:
    """Inference cells of one stream that differ in the size of images alone, where there are several sizes."""
    groups: dict[tuple[Any, ...], list[Concluded]] = {}
    for cell in conclusions.select(stage="infer"):
        if "streams" not in cell.requested and cell.status is not statuses.SKIPPED:
            key = (cell["model"], cell["train_cell"], *(cell.requested.get(name) for name in SAME))
            groups.setdefault(key, []).append(cell)
    return [
        Sized(model, train_cell, cells[0].label("plain"), {size_of(cell): cell for cell in cells})
        for (model, train_cell, *_), cells in groups.items()
        if any("size" in cell.requested for cell in cells)
    ]


def size_of(cell: Concluded) -> str | None:
    """The size that images are brought to, as a word; None: that of the export."""
    asked = cell.requested.get("size")
    return sizes.written(asked) if asked else None


@dataclass(frozen=True)
class Point:
    """A way to run a model, and what it gets through.

    Attributes:
        cores: CPU cores that compute; None on a GPU.
        interval: 95 %, of images a second; None where there were too few samples.
        ship: whether it gets through the most of its checkpoint, device and size that passed, or nearly as much on
            fewer cores; see `_best`.
    """

    cell: Concluded
    cores: int | None
    ips: float
    interval: tuple[float, float] | None
    ship: bool = False

    @property
    def line(self) -> str:
        """What of it is the same along a curve: engine and precision, and the size of batches."""
        asked = self.cell.requested
        return f"{asked.get('engine')} {self.cell.precision} · batch {asked.get('batch_size')}"


def throughput(cells: Iterable[Concluded]) -> list[Point]:
    """Of cells of a checkpoint in the export's size, what those that ran get through, by device and cores.

    Empty where nothing but the engine differs, so that there is no curve.
    """
    points = [
        _point(cell)
        for cell in cells
        if cell.status.exercised and "size" not in cell.requested and is_number(cell.metrics.get("throughput_ips"))
    ]
    ways = {tuple(point.cell.requested.get(key) for key in ("threads", "streams", "batch_size")) for point in points}
    if len(ways) < 2:
        return []
    best = [shipped for device in ("cpu", "gpu") if (shipped := _best(points, device))]
    return [Point(p.cell, p.cores, p.ips, p.interval, any(p is one for one in best)) for p in points]


def _point(cell: Concluded) -> Point:
    asked, metrics = cell.requested, cell.metrics
    cores = asked.get("threads", 1) * asked.get("streams", 1) if asked.get("device") == "cpu" else None
    interval = (metrics.get("offline") or {}).get("ips_ci95")
    if "streams" not in asked and (timed := cell.timing.get("p50_ci95")) and all(timed):
        interval = [1000 * asked.get("batch_size", 1) / side for side in reversed(timed)]
    sides = [side for side in interval or () if is_number(side)]
    return Point(cell, cores, metrics["throughput_ips"], (sides[0], sides[1]) if len(sides) > 1 else None)


def _best(points: Iterable[Point], device: str) -> Point | None:
    """What to ship: of those whose figures count, what gets through the most, or as much on fewer cores.

    What counts is what counts for the fastest cell (segcert/fastest.py): passed on evidence that is not weak, timed
    alone, on one machine; and of which an interval is known. As much is where the intervals meet, and a tenth less at
    most: an interval may be wide.
    """
    of_device = [point for point in points if point.cell.requested.get("device") == device and _counts(point)]
    machines = Counter(point.cell.machine for point in of_device).most_common(1)
    there = [point for point in of_device if point.cell.machine == machines[0][0]]
    if not there:
        return None
    most = max(there, key=lambda point: point.ips)
    tied = [point for point in there if _overlap(point, most) and point.ips >= AS_MUCH * most.ips]
    return min(tied, key=lambda point: (point.cores or 0, -point.ips))


def _counts(point: Point) -> bool:
    """Whether a figure may be what is shipped for."""
    answered = [gate for gate in point.cell.gates if gate.get("name") == proof.STREAM_LABELS]
    weak = any(gate.get("weak") for gate in answered)
    return fastest.why_not(point.cell) is None and point.interval is not None and not weak


def _overlap(one: Point, other: Point) -> bool:
    """Whether two that have intervals cannot be told apart."""
    (low, high), (others_low, others_high) = one.interval or (one.ips,) * 2, other.interval or (other.ips,) * 2
    return low <= others_high and others_low <= high


def long_runs(conclusions: Conclusions) -> list[Concluded]:
    """Inference cells and trainings whose memory was looked at over a long run."""
    return [cell for cell in conclusions.select() if is_number(cell.metrics.get("growth_mb_per_1000"))]
