"""A run that never was: records of many models, as stages would have left them, with failures of some causes.

    .venv/bin/python bench/made_up.py FOLDER --models 200

Works out the conclusions and makes the page, and tells how long that took and how large they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from harness import ROOT

from segcert import cells, record, sections, settings, stages
from segcert.cells import Cell
from segcert.files import sha256, write_json

MODE = "smoke"
ENGINES = (("native", "fp32"), ("onednn", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("onednn", "bf16"))
CELLS = 3 + len(ENGINES)  # of a model: training, evaluation, export, and one of each engine
FAMILIES = (
    "PPLiteSeg",
    "SegFormer",
    "OCRNet",
    "DeepLabV3P",
    "BiSeNetV2",
    "UNet",
    "PSPNet",
    "STDCSeg",
    "MobileSeg",
    "FCN",
)
ENV = {
    "os": "Debian GNU/Linux 12", "kernel": "6.1", "host": "made-up", "python": "3.11.2", "paddle": "3.2.2",
    "paddle_commit": "0", "paddleseg": "2.8.0", "onnxruntime": "1.20", "openvino": "2025.0", "cpu": "A CPU",
    "cpu_cores": 2, "gpu": None,
}  # fmt: skip
KNOWN = {"id": "K7", "match": {"engine": "openvino"}, "error": "by the converter", "reason": "it is converted wrongly",
         "link": "https://example.org/7"}  # fmt: skip
SAMPLES = [5.0 + number % 7 / 10 for number in range(100)]
STATISTICS = {"count": 100, "mean": sum(SAMPLES) / 100, "p50": 5.3, "p50_ci95": [5.2, 5.4], "p90": 5.6, "p95": 5.6,
              "p99": 5.6, "min": 5.0, "max": 5.6}  # fmt: skip
PHASES = ("preprocess", "inference", "postprocess")


def name(number: int) -> str:
    family = FAMILIES[number % len(FAMILIES)].lower()
    return f"{family}.{family}_resnet{number:03}_cityscapes_1024x512_160k"


def resolved(models: int) -> dict[str, Any]:
    """Settings of a run of so many models: every 13th file asks for what is not done, every 17th is broken."""
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    own = {key: value for key, value in shipped["model_zoo"]["pp_humanseg_lite"].items() if key != "aliases"}
    zoo: dict[str, Any] = {}
    for number in range(models):
        entry = {**own, "algorithm": FAMILIES[number % len(FAMILIES)]}
        if number % 13 == 12:
            reason = f"model.type: panoptic segmentation is not done here (configs/{name(number)}.yml)"
            entry["not_planned"] = {"status": "skipped", "reason": reason}
        elif number % 17 == 16:
            entry["algorithm"] = name(number)
            reason = f"configs/{name(number)}.yml: is not YAML of plain values: line {number}"
            entry["not_planned"] = {"status": "failed", "reason": reason}
        zoo[name(number)] = entry
    asked = {
        "mode": MODE,
        "models": list(zoo),
        "train": {"topologies": ["single"], "precisions": [{"precision": "fp32"}]},
        "infer": {
            "cpu": [{"engine": engine, "precision": precision} for engine, precision in ENGINES],
            "gpu": [],
            "cpu_threads": [1],
        },
        "known_failures": [KNOWN],
    }
    return settings.resolve(
        {**sections.merge(shipped, asked), "model_zoo": {**shipped["model_zoo"], **zoo}}, asked, "c"
    )


def write(folder: Path, models: int) -> Path:
    """Lay the records of such a run below a folder, and what the page reads beside them; the run's run_config.yaml.

    Paths in records are from the folder, as those of a run are.
    """
    hardware = {"gpus": 0, "setting": "cpu", "bf16": False, "cores": 8}
    run = {"mode": MODE, "settings": resolved(models), "hardware": hardware}
    table = cells.CellTable.of_run(run)
    _pictures(folder)
    broken: set[str] = set()
    for cell in table.planned():
        number = int(cell.model.partition("resnet")[2][:3])
        if cell.model not in broken:
            _leave(folder, cell, number)
        if cell.stage == "export" and number % 9 == 8:
            broken.add(cell.model)  # nothing is made from it
    path = folder / f"results/{MODE}/run_config.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    return path


def _leave(folder: Path, cell: Cell, number: int) -> None:
    """The record and the log of a cell, as its stage would have left them."""
    status, reason = _outcome(cell, number)
    place = Path(cell.record)
    content = {
        "model": cell.model, "algorithm": cell.algorithm, "mode": cell.mode, "stage": cell.stage, "cell": cell.name,
        "status": status, "reason": reason,
        "command": shlex.join(["python", f"scripts/{cell.stage}.py", *cell.options]),
        "log": cell.log, "started": f"2026-11-20T10:{number % 60:02}:00Z", "wall_s": 12.5, "cpu_s": 20.25,
        "peak_rss_mb": 900.5, "env": ENV, "requested": cell.requested,
        "effective": {**cell.requested, **_seen(cell)}, "metrics": _metrics(cell, status), "outputs": {},
        "inputs": {"results/data/made_up/manifest.json": "0" * 64},
    }  # fmt: skip
    (folder / place.parent).mkdir(parents=True, exist_ok=True)
    lines = [
        f"{line:04} of {cell.stage} {cell.name} of {cell.model}: loss 0.{line * 7919 % 10007:05}" for line in range(120)
    ]
    (folder / cell.log).write_text("\n".join([*lines, reason or "done"]) + "\n", encoding="utf-8")
    if cell.stage == "train":
        history = folder / place.with_name("history.csv")
        losses = [f"{step},{0.9 - step / 100:.3f}" for step in range(1, 31)]
        history.write_text("\n".join(["iter,loss", *losses]) + "\n", encoding="utf-8")
        content["outputs"] = {place.with_name("history.csv").as_posix(): sha256(history)}
    if cell.stage == "infer":
        content["samples_ms"] = dict.fromkeys(PHASES, SAMPLES)
        _predict(folder / place.with_suffix("" if status != "accuracy-failed" else ".failed"), number)
        if status == "accuracy-failed":
            content["set_aside"] = {"predictions": f"{place.with_suffix('')}.failed"}
    red = status in ("failed", "accuracy-failed")
    record.write(folder / (record.failure(cell.record) if red else cell.record), content)


def _outcome(cell: Cell, number: int) -> tuple[str, str | None]:
    asked = cell.requested
    if cell.stage == "export" and number % 9 == 8:
        what = (
            "TypeError: bool(Tensor) is not supported in a graph (paddleseg/models/layers/attention.py, line 88)",
            f"ValueError: conv2d_{number}.w_0 has {number} channels (paddle/nn/layer/conv.py, line 700)",
            f"RuntimeError: no converter for grid_sample in results/{cell.model}/export/model.json",
        )
        return "failed", what[number // 9 % 3]
    if cell.stage == "infer" and asked["engine"] == "onednn" and number % 7 == 6:
        return "accuracy-failed", f"label maps agree on 0.9{number:03} of the pixels, at least 0.999 is asked"
    if cell.stage == "infer" and asked["engine"] == "openvino" and number % 11 == 10:
        return (
            "known-failure",
            f"{KNOWN['id']}: {KNOWN['reason']} ({KNOWN['link']}) Seen: by the converter, node {number}",
        )
    return "passed", None


def _seen(cell: Cell) -> dict[str, Any]:
    """What the stage must have observed, besides what it was asked for."""
    return {"precision": "fp32"} if cell.stage == "eval" else {"onnx": True} if cell.stage == "export" else {}


def _gate(metric: str, value: float, bound: str, threshold: float) -> dict[str, Any]:
    holds = value >= threshold if bound == "at least" else value <= threshold
    told = {"name": metric, "value": value, "bound": bound, "threshold": threshold, "holds": holds}
    return {**told, "sentence": f"{metric} is {value}, {bound} {threshold} is asked"}


def _metrics(cell: Cell, status: str) -> dict[str, Any]:
    if status == "failed":
        return {}
    if cell.stage == "train":
        return {"first_loss": 0.9, "last_loss": 0.4, "min_loss": 0.4, "ips": 3.5, "parameters": 4_000_000}
    if cell.stage == "eval":
        told = {"miou": 0.71, "acc": 0.9, "kappa": 0.6, "dice": 0.8, "class_iou": [0.7, 0.72], "classes_present": 2}
        images = {"val_images": 6, "images": cell.requested["images"] or 6}
        predicted = cell.requested["reference_images"] or 2
        return {**told, **images, "reference_images": predicted, "inference_images": predicted}
    if cell.stage == "export":
        return {"exported_agreement": 1.0, "gates": [_gate("exported_agreement", 1.0, "at least", 0.999)]}
    agreement = 0.99 if status == "accuracy-failed" else 0.99996
    far = {"logits_l2": 1e-6, "logits_peak": 2e-6, "logits_gap": 0.0}
    return {
        "pixel_agreement": agreement, **far, "images": 2, "worst_images": [{"image": "a.png", "agreement": agreement}],
        "gates": [_gate("pixel_agreement", agreement, "at least", 0.999),
                  *(_gate(key, value, "at most", 2e-5) for key, value in far.items())],
        "logits": {"effective": {key: cell.requested[key] for key in ("device", "engine", "precision")}},
        **{f"{phase}_ms": STATISTICS for phase in PHASES}, "throughput_ips": 188.7, "build_s": 0.8,
        "worker_rss_mb": 420.0, "miou_drop": 0.0, "load": {"own_cores": 1.0, "other_cores": 0.1, "noticed": False},
    }  # fmt: skip


def _pictures(folder: Path) -> None:
    """A data set of one image."""
    import numpy as np
    from PIL import Image

    place = folder / "results/data/made_up"
    place.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    Image.fromarray(noise).resize((1024, 768)).save(place / "a.jpg")
    _label(0).save(place / "a.png")
    splits = {"train": [], "val": [], "test": [["a.jpg", "a.png"]]}
    write_json(place / "manifest.json", {"layout": "mini_supervisely", "splits": splits})


def _predict(folder: Path, number: int) -> None:
    """A cell's label map, and the checkpoint's."""
    reference = folder.parents[1] / stages.REFERENCE
    for place, shift in ((folder, number), (reference, 0)):
        place.mkdir(exist_ok=True)
        if not (place / "a.png").exists():
            _label(shift).save(place / "a.png")


def _label(shift: int) -> Any:
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:192, :256]
    return Image.fromarray(((np.sin(x / 9 + shift) * np.cos(y / 7) + np.sin((x + y) / 17)) > 0).astype(np.uint8))


def conclude(folder: Path, run_config: Path) -> dict[str, float]:
    """Seconds of the conclusions and of the page, by the rules' scripts, how many cells, MB of what they leave."""
    found: dict[str, float] = {}
    place = run_config.parent
    commands: Mapping[str, list[str]] = {
        "conclude s": ["conclude.py", "--run-config", str(run_config), "--json", str(place / "conclusions.json")],
        "page s": ["make_page.py", "--conclusions", str(place / "conclusions.json"), "--run-config", str(run_config),
                   "--page", str(place / "conclusions.html")],
    }  # fmt: skip
    for key, (script, *arguments) in commands.items():
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / script, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        found[key] = round(time.monotonic() - begun, 2)
        if done.returncode not in (0, 1) or not done.stderr.strip():  # 1: the run is red
            sys.exit(done.stdout + done.stderr)
    found["cells"] = len(json.loads((place / "conclusions.json").read_text(encoding="utf-8"))["cells"])
    for kind in ("html", "md", "json"):
        found[f"{kind} MB"] = round((place / f"conclusions.{kind}").stat().st_size / 1e6, 2)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="an empty folder, or one that is not there")
    options.add_argument("--models", type=int, default=200)
    args = options.parse_args()
    run_config = write(args.folder.resolve(), args.models)
    print(f"{args.models} models:", conclude(args.folder.resolve(), run_config))


if __name__ == "__main__":
    main()
