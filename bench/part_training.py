"""Training on the CPU: images a second here, and by the original's own trainer as it is and with more threads."""

from __future__ import annotations

import csv
import json
import re
import statistics
from pathlib import Path

import numpy as np
from harness import HIGHER, ROOT, Bench, in_turns, row, say, timed
from original import Original, theirs_config
from ours import dataset
from part_chain import layout_of

from segcert import machine
from segcert.data import inspection
from segcert.files import write_json
from segcert.numbers import finite

SIZES = {
    "pp_liteseg_stdc1": (256, 128),
    "pp_liteseg_stdc2": (256, 128),
    "pp_humanseg_lite": (398, 224),
    "pp_humanseg_mobile": (192, 192),
    "pp_humanseg_server": (128, 128),
    "fcn_hrnet_w18": (256, 128),
    "ocrnet_hrnetw18": (256, 128),
    "ocrnet_hrnetw48": (128, 64),
}
MODELS = ("pp_humanseg_lite", "pp_humanseg_mobile", "pp_liteseg_stdc1")
# What the math library computes; the rest are kernels of Paddle's own, most of them on one thread.
PRODUCTS = ("conv2d", "Global_Conv2dGradNodeFinal", "matmul", "Global_MatmulGradNode")
LINE = re.compile(r"loss: ([\d.]+).*?batch_cost: ([\d.]+), reader_cost: ([\d.]+)")


def training(bench: Bench) -> list[dict]:
    """Images a second without the first iterations, which warm up; the same data without random augmentation."""
    iters = 4 if bench.quick else 12
    threads = min(2, machine.cores())
    original = Original(bench, bench.work / "original")
    rows = []
    for model in [model for model in MODELS if model in bench.models]:
        _, folder = dataset(bench, layout_of(model))
        _manifest(folder, layout_of(model))
        config = theirs_config(
            bench,
            model,
            folder,
            (64, 64) if bench.quick else SIZES[model],
            bench.work / f"configs/train_{model}.yml",
            False,
        )
        work = bench.work / f"training/{model}"
        work.mkdir(parents=True, exist_ok=True)
        losses: dict[str, list[float]] = {}
        readers: dict[str, list[float]] = {}

        def ours(
            config: Path = config, folder: Path = folder, work: Path = work, losses=losses, readers=readers
        ) -> float:
            command = [bench.python, str(ROOT / "scripts/train.py"), "--cell", "bench", "--config", str(config)]
            command += ["--dataset", str(folder), "--iters", str(iters), "--batch-size", "2", "--workers", "2"]
            command += [
                "--threads",
                str(threads),
                "--record",
                str(work / "train.json"),
                "--log",
                str(work / "train.log"),
            ]
            command += ["--checkpoint", str(work / "model.pdparams"), "--history", str(work / "history.csv")]
            timed(command, work / "ours.log", ROOT)
            with (work / "history.csv").open(encoding="utf-8") as stream:
                history = [{key: float(value) for key, value in line.items()} for line in csv.DictReader(stream)]
            losses["ours"] = [line["loss"] for line in history]
            readers["ours"] = [line["reader_cost_s"] / line["batch_cost_s"] for line in history[2:]]
            return 2 / statistics.median(line["batch_cost_s"] for line in history[2:])

        def theirs(threaded: bool, config: Path = config, work: Path = work, losses=losses, readers=readers) -> float:
            log = work / "theirs.log"
            command = [
                bench.theirs,
                "tools/train.py",
                "--config",
                str(config),
                "--device",
                "cpu",
                "--iters",
                str(iters),
            ]
            command += ["--batch_size", "2", "--num_workers", "2", "--seed", "100", "--log_iters", "1"]
            command += ["--save_dir", str(work / "theirs"), "--save_interval", "100000"]
            more = {"OMP_NUM_THREADS": str(threads)} if threaded else {}
            timed(command, log, original.folder, {**original.environment, **more})
            lines = [tuple(map(float, found)) for found in LINE.findall(log.read_text(encoding="utf-8"))]
            losses["theirs"] = [loss for loss, _, _ in lines]
            readers["theirs"] = [reader / cost for _, cost, reader in lines[2:]]
            return 2 / statistics.median(cost for _, cost, _ in lines[2:])

        say(f"training: {model}, {iters} iterations, {bench.repeats} x three")
        samples = in_turns(
            bench.repeats, ours=ours, theirs=lambda run=theirs: run(False), threaded=lambda run=theirs: run(True)
        )
        apart = float(np.mean(np.abs(np.subtract(losses["ours"], losses["theirs"][: len(losses["ours"])]))))
        mean = statistics.mean(losses["theirs"])
        note = (
            f"batch 2, {threads} threads, same data and seed; losses differ by {apart / mean:.2%} on average "
            f"(first {losses['ours'][0]:.4f} and {losses['theirs'][0]:.4f}, last {losses['ours'][-1]:.4f} and "
            f"{losses['theirs'][-1]:.4f}); reading takes {statistics.median(readers['ours']):.1%} of a step here, "
            f"{statistics.median(readers['theirs']):.1%} there"
        )
        further = {
            "loss_distance": finite(apart / mean),
            "reader_share": finite(statistics.median(readers["ours"])),
        }
        name = f"training/{model}"
        rows.append(
            row(
                name,
                samples["ours"],
                samples["theirs"],
                "images/s",
                "PaddleSeg's train.py",
                better=HIGHER,
                target=1.5,
                note=note,
                **further,
            )
        )
        rows.append(
            row(
                f"{name}, threads",
                samples["ours"],
                samples["threaded"],
                "images/s",
                f"PaddleSeg's train.py with OMP_NUM_THREADS={threads}",
                better=HIGHER,
            )
        )
        share = [max(value, 1e-6) for value in readers["ours"]]
        rows.append(row(f"{name}, reader", share, [0.05], "of a step", "limit of 5 %", target=1))
        spent = _operators(bench, config, folder, threads, work / "operators.log")
        products = sum(spent.get(name, 0.0) for name in PRODUCTS)
        slowest = ", ".join(f"{name} {share:.0%}" for name, share in list(spent.items())[:5])
        rows.append(
            row(
                f"{name}, if matrix products took no time",
                [value / (1 - products) for value in samples["ours"]],
                samples["theirs"],
                "images/s",
                "PaddleSeg's train.py",
                better=HIGHER,
                note=f"the most that threads and the math library could give: they make the matrix products, "
                f"{products:.0%} of a step here; its slowest operators: {slowest}",
            )
        )
    return rows


def _operators(bench: Bench, config: Path, folder: Path, threads: int, log: Path) -> dict[str, float]:
    """Operator -> its share of a training step here, the largest first."""
    command = [bench.python, str(ROOT / "bench/worker_operators.py"), str(config), str(folder), "2", "4"]
    timed(command, log, ROOT, {"OMP_NUM_THREADS": str(threads), **machine.math_environment()})
    return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])


def _manifest(folder: Path, layout: str) -> None:
    write_json(folder / "manifest.json", inspection.inspect(folder, layout, folder.name).manifest)
