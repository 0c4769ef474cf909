"""Put what runs of mode `zoo` came to into docs/zoo-results.md.

python docs/zoo_results.py [results/zoo/conclusions.json ...]

What is known is kept in docs/zoo-results.json, so that shards may come from several machines and days: of a cell that
several runs have, the last that exercised it counts. Without a file the page is written anew from what is kept.
docs/zoo-causes.yaml says whose each cause is; a red one that it does not name makes this an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from segcert import grid, statuses  # noqa: E402
from segcert.conclusions import Conclusions, environments  # noqa: E402
from segcert.show import overview  # noqa: E402

PAGE, KEPT, CAUSES = (ROOT / "docs" / name for name in ("zoo-results.md", "zoo-results.json", "zoo-causes.yaml"))
MARKS = "<!-- results: written by docs/zoo_results.py -->", "<!-- end of results -->"
# Of a cell, what the page is made from. `requested` and `env` are cut down as well.
CELL = ("model", "algorithm", "stage", "cell", "train_cell", "record", "status", "reason")
REQUESTED = ("device", "engine", "precision", "threads", "batch_size", "topology", "what")
ENV = (
    "os",
    "python",
    "paddle",
    "paddle_commit",
    "paddleseg",
    "onnxruntime",
    "openvino",
    "paddle2onnx",
    "cpu",
    "cpu_cores",
)
LONGEST = 400  # characters of a reason
WHOSE = ("PaddleSeg", "third party", "this project", "not known")


class ResultsError(Exception):
    """What is given does not make a page."""


def compact(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of conclusions.json, cut down to what the page is made from."""
    kept = {key: cell[key] for key in CELL if cell.get(key) is not None}
    kept["reason"] = (cell.get("reason") or "")[:LONGEST] or None
    kept["model"], kept["algorithm"] = cell["model"], cell["algorithm"]
    kept["requested"] = {key: value for key, value in (cell.get("requested") or {}).items() if key in REQUESTED}
    kept["env"] = {key: value for key, value in (cell.get("env") or {}).items() if key in ENV}
    gates = [gate for gate in (cell.get("metrics") or {}).get("gates") or () if "weak" in gate]
    kept["metrics"] = {"gates": [{"name": gate["name"], "weak": gate["weak"]} for gate in gates]}
    return kept


def merged(known: Iterable[Mapping[str, Any]], news: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Cells by record, in the order of the news; of one that both have, the news where it was exercised there."""
    found = {cell["record"]: dict(cell) for cell in known}
    order: dict[str, None] = {}
    for cell in news:
        order[cell["record"]] = None
        before = found.get(cell["record"])
        exercised = statuses.by_name(cell["status"]).exercised
        if before is None or exercised or not statuses.by_name(before["status"]).exercised:
            found[cell["record"]] = compact(cell)
    return [found[record] for record in dict.fromkeys((*order, *found))]


def sorted_out(causes: Iterable[grid.Cause], named: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """What broke, by cause and what computed, with whose it is.

    Args:
        named: entries of docs/zoo-causes.yaml: the first counts whose patterns `cause`, `engine` and `model` fit.

    Raises:
        ResultsError: a cause that no entry fits.
    """
    rows = []
    for cause in (cause for cause in causes if cause.status.broke):
        text = cause.text or cause.reason or cause.status.meaning
        found: dict[tuple[str, int], list[str]] = {}  # where, and which entry -> models
        for cell in cause.cells:
            engine = cell.label("engine") if cell["stage"] == "infer" else cell["stage"]
            model = cell["model"] or "data"
            found.setdefault((engine, _entry(named, text, engine, model)), []).append(model)
        for (engine, number), models in found.items():
            one = named[number]
            if one["whose"] not in WHOSE:
                raise ResultsError(f"{CAUSES.name}: whose: {one['whose']} is none of {', '.join(WHOSE)}")
            rows.append(
                {
                    "models": len(dict.fromkeys(models)),
                    "where": engine,
                    "": cause.status.symbol,
                    "cause": "`" + text.replace("`", "'").replace("|", "/")[:160] + "`",
                    "whose": one["whose"],
                    "what": one["what"],
                    "of": overview.names(models),
                }
            )
    return pd.DataFrame(rows)


def _entry(named: Sequence[Mapping[str, str]], text: str, engine: str, model: str) -> int:
    """The number of the first entry that fits."""
    told = {"cause": text, "engine": engine, "model": model}
    for number, one in enumerate(named):
        if all(re.search(one.get(key, ""), value) for key, value in told.items()):
            return number
    raise ResultsError(f"{CAUSES.name} names no cause that fits {text!r} in {engine}, of {model}")


def page(kept: Mapping[str, Any], named: Sequence[Mapping[str, str]]) -> str:
    """The results as Markdown."""
    conclusions = Conclusions(kept["mode"], kept["cells"])
    counts = ", ".join(f"{number} {name}" for name, number in conclusions.counts.items())
    models = {cell["model"] for cell in conclusions.cells if cell["model"]}
    ran = {cell["model"] for cell in conclusions.cells if cell["stage"] != "data" and cell.status.exercised}
    lines = [
        f"PaddleSeg {kept['paddleseg']}: {len(models)} configurations, of which {len(ran)} were run. Cells: {counts}.",
        "",
        *(
            f"- {count} cells: " + ", ".join(f"{name} {value}" for name, value in sorted(env.items()))
            for env, count in environments(conclusions, ENV)
        ),
    ]
    broke = sorted_out(grid.causes(conclusions), named)
    parts = [
        "\n".join(lines),
        "## Pass rates",
        _table(overview.rates_frame(conclusions)),
        "## What broke, and whose it is",
        _table(broke) if len(broke) else "Nothing.",
        "## The grid",
        _table(overview.grid_frame(conclusions)),
    ]
    return "\n\n".join(parts)


def _table(frame: pd.DataFrame) -> str:
    return str(frame.to_markdown(index=False, missingval="–", disable_numparse=True))


def inserted(text: str, results: str) -> str:
    """The page with what is between its marks replaced."""
    head, first, rest = text.partition(MARKS[0])
    _, last, tail = rest.partition(MARKS[1])
    if not (first and last):
        raise ResultsError(f"{PAGE.name} has no {' ... '.join(MARKS)}")
    return f"{head}{first}\n\n{results}\n\n{last}{tail}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("files", nargs="*", type=Path, help="conclusions.json of runs, the oldest first")
    args = options.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {"mode": "zoo", "cells": []}
    try:
        for file in args.files:
            found = json.loads(file.read_text(encoding="utf-8"))
            kept["paddleseg"] = (found["scope"]["paddleseg"] or {}).get("paddleseg_commit") or kept.get("paddleseg")
            kept["cells"] = merged(kept["cells"], found["cells"])
        text = inserted(PAGE.read_text(encoding="utf-8"), page(kept, yaml.safe_load(CAUSES.read_text("utf-8"))))
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if args.files:
            KEPT.write_text(json.dumps(kept, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
