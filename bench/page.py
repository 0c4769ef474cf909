"""Put the tables of results/bench/bench.json between the marks in docs/bench.md.

python bench/page.py [bench.json] [page]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import ROOT, BenchError, markdown

MARKS = ("<!-- results: written by bench/page.py -->", "<!-- end of results -->")


def insert(page: str, tables: str) -> str:
    """The page with what is between the marks replaced.

    Raises:
        BenchError: the page has no marks.
    """
    pattern = re.compile(f"({re.escape(MARKS[0])}\n).*?({re.escape(MARKS[1])})", re.DOTALL)
    if not pattern.search(page):
        raise BenchError(f"the page has no {MARKS[0]} ... {MARKS[1]}")
    return pattern.sub(lambda found: f"{found[1]}{tables}{found[2]}", page)


def main(results: str = "results/bench/bench.json", page: str = "docs/bench.md") -> None:
    source, target = ROOT / results, ROOT / page
    tables = markdown(json.loads(source.read_text(encoding="utf-8"))).split("\n", 1)[1].lstrip("\n")
    target.write_text(insert(target.read_text(encoding="utf-8"), f"\n{tables}\n"), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
