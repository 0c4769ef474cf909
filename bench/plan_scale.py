"""How long Snakemake takes to plan a matrix of N inference cells, and how much CPU and memory: a dry run for each N.

    .venv/bin/python bench/plan_scale.py 100 1000 10000

Prints a Markdown table. The matrix is one model with one engine at N batch sizes, so the job graph has N inference
jobs and what they are made from.
"""

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]


def plan(cells: int, timeout: float) -> dict[str, object]:
    """A dry run of a matrix of so many cells: wall and CPU time in s, peak memory in MB, None where it timed out."""
    config = {
        "mode": "smoke",
        "hardware": "cpu",
        "models": ["pp_humanseg_lite"],
        "train": {"topologies": ["single"], "precisions": [{"precision": "fp32"}]},
        "export": {"shapes": "fixed"},
        "infer": {
            "cpu": [{"engine": "onnxruntime", "precision": "fp32"}],
            "gpu": [],
            "cpu_threads": [1],  # more than a job may have are not planned
            "batch_sizes": list(range(1, cells + 1)),
            "streams": [1],
            "sizes": [],
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scale.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "8", "--configfile", str(path)]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        begun = time.monotonic()
        try:
            # A child of a child, so that its peak memory is its own and not that of an earlier, larger one.
            measure = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
            measure += "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
            measure += "print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr); sys.exit(code)"
            done = subprocess.run(
                [sys.executable, "-c", measure, *command], capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return {"cells": cells, "plan s": None, "cpu s": None, "peak MB": None}
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        if not re.search(rf"^infer +{cells}$", done.stdout + done.stderr, re.M):
            sys.exit(f"not {cells} inference jobs are planned:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cpu, peak = map(float, done.stderr.split()[-2:])
        wall = time.monotonic() - begun
        return {"cells": cells, "plan s": round(wall, 1), "cpu s": round(cpu, 1), "peak MB": round(peak / 1024)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("cells", type=int, nargs="+")
    options.add_argument("--timeout", type=float, default=1800, help="seconds for each")
    args = options.parse_args()
    rows = [plan(cells, args.timeout) for cells in args.cells]
    print(f"Python {platform.python_version()}, {platform.processor() or platform.machine()}\n")
    print(tabulate(rows, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
