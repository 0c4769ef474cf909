"""Draw wall time against GPUs: python plot_growth.py DATA.json TARGET.svg"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt


def main(source: str, target: str) -> None:
    points = json.loads(Path(source).read_text(encoding="utf-8"))
    gpus = [point["gpus"] for point in points]
    plt.figure(figsize=(6, 3.6))
    plt.plot(gpus, [point["wall_s"] for point in points], "o-", label="snakemake, sleeping jobs")
    plt.plot(gpus, [point["bound_s"] for point in points], "k--", label="bound of any schedule")
    plt.xscale("log", base=2)
    plt.yscale("log")
    plt.xticks(gpus, gpus)
    plt.xlabel("GPUs")
    plt.ylabel("wall time, s")
    plt.legend()
    plt.tight_layout()
    plt.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
