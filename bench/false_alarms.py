"""How often scripts/segcert/steps.py finds a step where there is none, and where there is one.

    .venv/bin/python bench/false_alarms.py --histories 400
    .venv/bin/python bench/false_alarms.py --kept history --histories 200

Without --kept: made-up series, whose noise is known. With it: those of runs that were kept, in another order each time,
so that no step is where one was. Prints the tables of docs/history.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from segcert import comparison, keeping, steps, trends  # noqa: E402

Noise = Callable[[np.random.Generator, int], np.ndarray]
ANY: Mapping[str, float] = {"relative": 0.0}  # every change is large enough
SHIPPED = comparison.Tolerances.of(comparison.shipped_section("lite_train_lite_infer")).of_metric["inference_ms"] or {}
SPREAD = 0.05  # of the logarithms, where a noise does not say more


def normal(generator: np.random.Generator, length: int) -> np.ndarray:
    return SPREAD * generator.standard_normal(length)


def outliers(generator: np.random.Generator, length: int) -> np.ndarray:
    """One run of ten takes half as long again."""
    return normal(generator, length) + 0.4 * (generator.random(length) < 0.1)


def heavy(generator: np.random.Generator, length: int) -> np.ndarray:
    return SPREAD * generator.standard_t(3, length)


def rounded(generator: np.random.Generator, length: int) -> np.ndarray:
    """Few values, many of them alike."""
    return np.round(normal(generator, length) / SPREAD) * SPREAD


def drifting(generator: np.random.Generator, length: int) -> np.ndarray:
    """Half of what a run is off stays for the next one: a machine that is busy for a while."""
    found = normal(generator, length)
    for index in range(1, length):
        found[index] += 0.5 * found[index - 1]
    return found


def spells(generator: np.random.Generator, length: int) -> np.ndarray:
    """A third of the time is spent in spells of three runs or so that take a fifth as long again."""
    busy = generator.random() < 1 / 3
    found = normal(generator, length)
    for index in range(length):
        found[index] += 0.18 * busy
        busy = generator.random() < (2 / 3 if busy else 1 / 6)
    return found


NOISES: Mapping[str, Noise] = {noise.__name__: noise for noise in (normal, outliers, heavy, rounded, drifting, spells)}


def found_in(values: np.ndarray, together: int, tolerance: Mapping[str, float]) -> list[steps.Step]:
    """Steps of one of so many series, of times."""

    def counts(begin: int, at: int, end: int) -> bool:
        return comparison.beyond(float(np.median(values[begin:at])), float(np.median(values[at:end])), tolerance)

    return steps.find(values, together, counts, ratios=True)


def alarms(
    noise: Noise, length: int, together: int, histories: int, tolerance: Mapping[str, float], seed: int = 1
) -> float:
    """The share of histories, of so many series of so many runs, in which a step is found where there is none."""
    generator = np.random.default_rng(seed)
    hit = sum(
        any(found_in(10 * np.exp(noise(generator, length)), together, tolerance) for _ in range(together))
        for _ in range(histories)
    )
    return hit / histories


def detected(noise: Noise, length: int, together: int, times: float, histories: int, seed: int = 1) -> float:
    """The share of series in which a step in the middle, to so many times the value, is found there, and alone."""
    generator = np.random.default_rng(seed)
    hit = 0
    for _ in range(histories):
        values = 10 * np.exp(noise(generator, length))
        values[length // 2 :] *= times
        hit += [step.at for step in found_in(values, together, SHIPPED)] == [length // 2]
    return hit / histories


def shuffled(folder: Path, orders: int, seed: int = 1) -> tuple[float, int, int]:
    """The share of orders of kept runs in which a step is found; how many series there are, and runs.

    Of each series the points are put into an order of its own, as if runs had nothing to do with one another.
    """
    runs, _ = keeping.read_all(folder)

    of_mode = {mode: comparison.Tolerances.of(comparison.shipped_section(mode)) for mode in {run.mode for run in runs}}
    found = [series for series in trends.collect(runs, of_mode.__getitem__) if len(series.points) >= steps.FEWEST]
    generator = np.random.default_rng(seed)
    hit = 0
    for _ in range(orders):
        any_step = False
        for series in found:
            values = generator.permutation([point.value for point in series.points])
            any_step |= bool(found_in(values, len(found), of_mode[series.mode].of_metric[series.metric.name] or {}))
        hit += any_step
    return hit / orders, len(found), len(runs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--histories", type=int, default=400)
    options.add_argument("--together", type=int, default=30, help="series of a history")
    options.add_argument("--kept", type=Path, help="a folder of kept runs, to shuffle")
    args = options.parse_args()
    if args.kept:
        share, series, runs = shuffled(args.kept, args.histories)
        print(f"{runs} runs, {series} series, {args.histories} orders: a step in {100 * share:.1f} % of them")
        return
    lengths = (5, 10, 20, 40)
    for name, tolerance in (("any change counts", ANY), ("with the shipped tolerance", SHIPPED)):
        print(f"\nA step anywhere in {args.together} series without one, {args.histories} histories, {name}\n")
        print("| noise | " + " | ".join(f"{length} runs" for length in lengths) + " |")
        print("| --- " * (1 + len(lengths)) + "|")
        for kind, noise in NOISES.items():
            shares = [alarms(noise, length, args.together, args.histories, tolerance) for length in lengths]
            print(f"| {kind} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |", flush=True)
    print(f"\nA step in the middle found, at its place and alone, one of {args.together} series\n")
    print("| noise, step | " + " | ".join(f"{length} runs" for length in lengths) + " |")
    print("| --- " * (1 + len(lengths)) + "|")
    for kind in ("normal", "outliers"):
        for times in (1.3, 1.5, 2, 3):
            shares = [detected(NOISES[kind], length, args.together, times, args.histories) for length in lengths]
            print(f"| {kind}, x {times} | " + " | ".join(f"{100 * share:.0f} %" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
