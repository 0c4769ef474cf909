"""What the parts of the benchmark share: rows, ratios, repeats that take turns, and the file of results.

A part measures and returns rows; nothing here knows what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from segcert import machine  # noqa: E402
from segcert.files import write_json, write_text  # noqa: E402
from segcert.numbers import finite  # noqa: E402

SCHEMA_VERSION = 1
LOWER, HIGHER = "lower", "higher"
ALIKE = 4  # rows that make a table of their own, in whose head stands what they have in common


class BenchError(Exception):
    """The benchmark cannot measure what it should; the message says what to do."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark.

    Attributes:
        work: folder for everything that is made on the way.
        python: interpreter of this project's environment.
        theirs: interpreter of the environment with the original's Paddle.
        paddleseg: a checkout of PaddleSeg.
        autolog: a checkout of AutoLog; None where there is none to be had.
        repeats: measurements of each side, in turns.
        models: models that the parts with models measure.
        quick: small sizes: to see that it works, not to measure.
    """

    work: Path
    python: str
    theirs: str
    paddleseg: Path
    autolog: Path | None
    repeats: int
    models: tuple[str, ...]
    quick: bool
    versions: Mapping[str, Any] = field(default_factory=dict)


def row(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    against: str,
    *,
    better: str = LOWER,
    target: float | None = None,
    note: str | None = None,
    **further: Any,
) -> dict[str, Any]:
    """A row from the samples of both sides, by their medians.

    Args:
        better: LOWER or HIGHER; the ratio is above 1 where this project is better.
        target: the ratio that is aimed at; `met` says whether it is reached.

    Raises:
        BenchError: a side has no sample, or one that is not above zero.
    """
    for side, samples in (("this project", ours), (against, theirs)):
        if not len(samples) or not all(value > 0 for value in samples):
            raise BenchError(f"{name}: {side} has no usable samples: {list(samples)}")
    own, other = statistics.median(ours), statistics.median(theirs)
    ratio = other / own if better == LOWER else own / other
    content = {
        "name": name,
        "ours": finite(own, 4),
        "theirs": finite(other, 4),
        "unit": unit,
        "ratio": finite(ratio, 4),
        "against": against,
        "better": better,
        "target": target,
        "met": None if target is None else bool(ratio >= target),
        "samples": {"ours": _rounded(ours), "theirs": _rounded(theirs)},
        "spread": {"ours": spread(ours), "theirs": spread(theirs)},
        "note": note,
        **further,
    }
    return {key: value for key, value in content.items() if value is not None}


def _rounded(samples: Sequence[float], most: int = 200) -> list[float | None]:
    """Samples as they are kept: of very many, so many evenly."""
    step = max(1, len(samples) // most)
    return [finite(value, 4) for value in list(samples)[::step]]


def spread(samples: Sequence[float]) -> float | None:
    """Distance of the quartiles as a share of the median: how far to trust a median."""
    if len(samples) < 2:
        return None
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return finite((high - low) / middle, 2)


def in_turns(repeats: int, **contenders: Callable[[], float | Sequence[float]]) -> dict[str, list[float]]:
    """Samples of each contender, one measurement each in turn, so that a noisy minute hits all alike.

    The order is turned round with every repeat: nobody always comes first.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(repeats):
        for name in order:
            got = contenders[name]()
            samples[name] += [got] if isinstance(got, int | float) else list(got)
        order.reverse()
    return samples


def timed(
    command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None, limit_s: float = 900
) -> float:
    """Wall time in s of a command that must succeed; what it prints goes to a file.

    Raises:
        BenchError: it failed, or was ended after `limit_s`; the message has the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | str = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = f"none after {limit_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever is left of it, also when we are interrupted
            process.wait()
    wall = time.monotonic() - begun
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise BenchError(f"{' '.join(map(str, command))[:200]}: exit code {code}; {log} ends:\n{tail}")
    return wall


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


# -- results ----------------------------------------------------------------------------------


def merge(old: Mapping[str, Any] | None, rows: Iterable[Mapping[str, Any]], env: Mapping[str, Any]) -> dict[str, Any]:
    """Results with new rows in place of the old ones of the same name; further new ones at the end."""
    known = {item["name"]: item for item in (old or {}).get("rows", [])}
    known |= {item["name"]: dict(item) for item in rows}
    return {"schema_version": SCHEMA_VERSION, "env": dict(env), "rows": list(known.values())}


def read(path: Path) -> dict[str, Any] | None:
    """Earlier results; None where there are none, or of another schema."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if content.get("schema_version") == SCHEMA_VERSION else None


def write(folder: Path, results: Mapping[str, Any]) -> None:
    write_json(folder / "bench.json", results)
    write_text(folder / "bench.md", markdown(results))


def environment(bench: Bench) -> dict[str, Any]:
    """What was measured on, and the versions of both sides."""
    env = machine.environment()
    keys = ("os", "kernel", "python", "cpu", "cpu_cores", "paddle", "paddleseg", "onnxruntime", "openvino", "snakemake")
    return {
        **{key: env[key] for key in keys},
        "theirs": dict(bench.versions),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "quick": bench.quick,
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The results as a page: a table for each part, and what the numbers were taken on."""
    env = results["env"]
    theirs = ", ".join(f"{key} {value}" for key, value in env["theirs"].items())
    lines = [
        "# Benchmark",
        "",
        f"{env['cpu']}, {env['cpu_cores']} cores, {env['os']}. This project: Paddle {env['paddle']}, paddleseg "
        f"{env['paddleseg']}, ONNX Runtime {env['onnxruntime']}, OpenVINO {env['openvino']}, snakemake "
        f"{env['snakemake']}. The original: {theirs}. Load before: {env['load_before'][0]}. {env['finished']}.",
        "",
        "Medians; the spread (distance of the quartiles as a share of the median) is in brackets. A ratio above 1:"
        " this project is better.",
    ]
    if env["quick"]:
        lines += ["", "**Made with --quick: this shows that it works, and measures nothing.**"]
    for part in dict.fromkeys(item["name"].split("/")[0] for item in results["rows"]):
        lines += ["", *table([item for item in results["rows"] if item["name"].split("/")[0] == part])]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as Markdown tables, and their notes: many of one unit, target and other side are a table of their own."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for item in rows:
        alike.setdefault((item["against"], item["unit"], _target(item)), []).append(item)
    blocks = [_of_alike(items) for items in alike.values() if len(items) >= ALIKE]
    others = [item for items in alike.values() if len(items) < ALIKE for item in items]
    notes = [f"- {item['name']}: {item['note']}" for item in rows if item.get("note")]
    blocks += [block for block in (_of_others(others), notes) if block]
    return [line for block in blocks for line in ("", *block)][1:]


def _of_alike(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table in whose head stands what its rows have in common."""
    first = rows[0]
    target = f", target {_target(first)}" if _target(first) else ""
    lines = [
        f"| against {first['against']}, {first['unit']}{target} | this project | other | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    return lines + [_line(item["name"], *_sides(item), f"{item['ratio']:.2f}{_met(item)}") for item in rows]


def _of_others(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of rows that have little in common; nothing if there are none."""
    lines = [
        "| | this project | other | unit | ratio | target | against |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for item in rows:
        target = f"{_target(item)}{_met(item)}"
        lines.append(_line(item["name"], *_sides(item), item["unit"], f"{item['ratio']:.2f}", target, item["against"]))
    return lines if rows else []


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _target(item: Mapping[str, Any]) -> str:
    return "" if item.get("target") is None else f"{item['target']:g}"


def _met(item: Mapping[str, Any]) -> str:
    """A sign behind the ratio or the target, where there is a target."""
    return "" if item.get("target") is None else f" {'✓' if item['met'] else '✗'}"


def _sides(item: Mapping[str, Any]) -> list[str]:
    return [f"{item[side]:g}{_bracket(item['spread'].get(side))}" for side in ("ours", "theirs")]


def _bracket(share: float | None) -> str:
    return "" if share is None else f" ({share:.0%})"
