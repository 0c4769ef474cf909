"""Put the tables of results/bench/bench.json between the marks in docs/bench.md.

python bench/page.py [--name int8] [bench.json ...]

Several files are runs of some models each on one machine; --name: between the marks of that name.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import ROOT, BenchError, markdown

PAGE = ROOT / "docs/bench.md"


def marks(name: str | None = None) -> tuple[str, str]:
    """What stands before and behind the tables of that name."""
    which = f"results {name}" if name else "results"
    return f"<!-- {which}: written by bench/page.py -->", f"<!-- end of {which} -->"


def joined(files: list[Path]) -> dict:
    """The rows of several runs as those of one.

    Raises:
        BenchError: they are of different machines or versions.
    """
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    alike = [{**run["env"], "load_before": None, "finished": None} for run in runs]
    if any(env != alike[0] for env in alike):
        raise BenchError(f"{', '.join(map(str, files))}: of different machines or versions")
    return {**runs[-1], "rows": [row for run in runs for row in run["rows"]]}


def insert(page: str, tables: str, name: str | None = None) -> str:
    """The page with what is between the marks replaced.

    Raises:
        BenchError: the page has no marks.
    """
    first, last = marks(name)
    pattern = re.compile(f"({re.escape(first)}\n).*?({re.escape(last)})", re.DOTALL)
    if not pattern.search(page):
        raise BenchError(f"the page has no {first} ... {last}")
    return pattern.sub(lambda found: f"{found[1]}{tables}{found[2]}", page)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("files", nargs="*", type=Path, default=[ROOT / "results/bench/bench.json"])
    options.add_argument("--name")
    args = options.parse_args()
    tables = markdown(joined(args.files)).split("\n", 1)[1].lstrip("\n")
    PAGE.write_text(insert(PAGE.read_text(encoding="utf-8"), f"\n{tables}\n", args.name), encoding="utf-8")


if __name__ == "__main__":
    main()
