"""Growth: wall time against cores (measured) and against GPUs (sleeping jobs of measured lengths)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import made_up
from harness import ROOT, Bench, row, say, timed
from part_chain import chain_workflow

from segcert import machine

GPUS = (1, 2, 4, 8)
# Seconds of the stages of the eight models in mode smoke on two cores of an AMD EPYC, where no run of part `smoke`
# left its records: train, export, four inference cells.
DEFAULT = {"train": 8.0, "export": 4.0, "infer": [4.0, 4.0, 3.0, 3.0]}
MODELS = 8
TOTAL_S = 36.0  # what all jobs sleep in sum; their lengths are scaled to it


def growth(bench: Bench) -> list[dict]:
    """Rows for one against two cores, for the number of cells, planned and concluded, and for GPUs."""
    return [*_cores(bench), *_cells(bench), *_conclusions(bench), *_gpus(bench)]


def _cores(bench: Bench) -> list[dict]:
    if machine.cores() < 2:
        return []
    workflow = chain_workflow(bench, "growth")
    workflow.prepare()
    say("growth: the chain on one core and on two")
    one, two = workflow.from_nothing(cores=1), workflow.from_nothing(cores=2)
    return [row("growth/chain on 2 cores", [two], [one], "s", "the same on 1 core", note="the ideal ratio is 2")]


def _cells(bench: Bench) -> list[dict]:
    """A dry run of growing matrices: seconds a cell; the original has no planning to compare with."""
    rows = []
    for cells in (10, 100) if bench.quick else (10, 100, 1000):
        say(f"growth: planning {cells} cells")
        done = subprocess.run(
            [bench.python, str(ROOT / "bench/plan_scale.py"), str(cells)], capture_output=True, text=True, check=True
        )
        seconds = float(done.stdout.strip().splitlines()[-1].split("|")[2])
        rows.append(row(f"growth/planning {cells} cells", [seconds], [5.0], "s", "limit of 5 s for nothing to do"))
    return rows


def _conclusions(bench: Bench) -> list[dict]:
    """Conclusions and page of records that are made up."""
    rows = []
    for models in (20,) if bench.quick else (200, 287):
        say(f"growth: conclusions of {models} models")
        folder = bench.work / "growth_conclusions"
        shutil.rmtree(folder, ignore_errors=True)
        told = made_up.conclude(folder, made_up.write(folder, models))
        name = f"growth/{models} models, {told['cells']:.0f} cells"
        rows.append(row(f"{name}: conclusions", [told["conclude s"]], [20.0], "s", "limit of 20 s"))
        rows.append(row(f"{name}: page", [told["html MB"]], [15.0], "MB", "limit of 15 MB"))
    return rows


def jobs(work: Path, total: float) -> dict[str, dict]:
    """Lengths of jobs by model: those of the smoke part's records where there are some, scaled to a sum."""
    found: dict[str, dict] = {}
    for file in sorted((work / "smoke/results").glob("*/*/*/*.json")) + sorted(
        (work / "smoke/results").glob("*/*/*/infer/*.json")
    ):
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.get("stage") in ("train", "export", "infer"):
            job = found.setdefault(content["model"], {"infer": []})
            if content["stage"] == "infer":
                job["infer"].append(content["wall_s"])
            else:
                job[content["stage"]] = content["wall_s"]
    whole = {model: job for model, job in found.items() if {"train", "export"} <= job.keys() and job["infer"]}
    chosen = whole or {f"model{number}": DEFAULT for number in range(MODELS)}
    scale = total / sum(job["train"] + job["export"] + sum(job["infer"]) for job in chosen.values())
    return {
        model: {
            "train": round(job["train"] * scale, 3),
            "export": round(job["export"] * scale, 3),
            "infer": [round(span * scale, 3) for span in job["infer"]],
        }
        for model, job in chosen.items()
    }


def bound(lengths: dict[str, dict], gpus: int) -> float:
    """No schedule is shorter: the work shared evenly, or the longest chain of jobs that wait for each other."""
    work = sum(job["train"] + job["export"] + sum(job["infer"]) for job in lengths.values())
    longest = max(job["train"] + job["export"] + max(job["infer"]) for job in lengths.values())
    return max(work / gpus, longest)


def _gpus(bench: Bench) -> list[dict]:
    folder = bench.work / "growth_gpus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lengths = jobs(bench.work, 4.0 if bench.quick else TOTAL_S)
    (folder / "jobs.json").write_text(json.dumps(lengths), encoding="utf-8")
    count = sum(2 + len(job["infer"]) for job in lengths.values())
    rows, points = [], []
    for gpus in GPUS:
        say(f"growth: {count} sleeping jobs on {gpus} GPUs")
        for made in ("train", "export", "infer"):
            shutil.rmtree(folder / made, ignore_errors=True)
        command = [bench.python, "-m", "snakemake", "--snakefile", str(ROOT / "bench/growth.smk"), "--cores", "64"]
        command += ["--resources", f"gpu={gpus}", "--config", "jobs=jobs.json", "--quiet", "all"]
        wall = timed(command, folder / f"{gpus}.log", folder)
        ideal = bound(lengths, gpus)
        points.append({"gpus": gpus, "wall_s": wall, "bound_s": ideal})
        note = f"{count} jobs that sleep {bound(lengths, 1):.0f} s in sum"
        rows.append(
            row(f"growth/{gpus} GPUs", [wall], [ideal], "s", "bound of any schedule", note=note if gpus == 1 else None)
        )
    _plot(bench, points)
    return rows


def _plot(bench: Bench, points: list[dict]) -> None:
    """results/bench/growth.svg, by matplotlib, which is in the benchmark's own environment."""
    data, target = bench.work / "growth.json", bench.work.parent / "growth.svg"
    data.write_text(json.dumps(points), encoding="utf-8")
    done = subprocess.run(
        [bench.theirs, str(ROOT / "bench/plot_growth.py"), str(data), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        say(f"growth: no plot: {done.stderr.strip().splitlines()[-1]}")
