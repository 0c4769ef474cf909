"""Stages run one by one on generated data, as the rules run them, for tests that look at a single stage."""

import csv
import subprocess
import sys

from conftest import ROOT

SIZE = ["--input-size", "128", "96"]
MODEL = ["--mode", "test", "--model", "pp_humanseg_lite", "--algorithm", "ConnectNet", "--cell", "single_fp32"]
# What a stage of a test's own is called, and where it leaves its record.
FILES = ["--cell", "c", "--record", "out/c.json", "--log", "out/c.log"]
CONFIG = str(ROOT / "config/models/pp_humanseg_lite.yml")


def script(name, folder, *arguments):
    """Run a stage's script in a folder; `name` may be the path of a script of the test's own."""
    command = [sys.executable, str(ROOT / "scripts" / name), *MODEL, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def train(folder, dataset, *arguments):
    fixed = ["--config", CONFIG, "--dataset", dataset, "--checkpoint", "model.pdparams", "--history", "history.csv"]
    return script("train.py", folder, *fixed, "--record", "train.json", "--log", "train.log", *SIZE, *arguments)


def evaluate(folder, dataset, *arguments, script_name="evaluate.py"):
    fixed = ["--config", CONFIG, "--dataset", dataset, "--checkpoint", "model.pdparams", "--reference", "reference"]
    return script(script_name, folder, *fixed, "--record", "eval.json", "--log", "eval.log", *SIZE, *arguments)


def export(folder, *arguments, checkpoint="model.pdparams", to="export"):
    fixed = ["--config", CONFIG, "--checkpoint", checkpoint, "--export", to]
    return script("export.py", folder, *fixed, "--record", f"{to}.json", "--log", f"{to}.log", *SIZE, *arguments)


def infer(folder, dataset, name, *arguments, script_name="infer.py", exported="export"):
    """An inference cell whose files are called `name`; gates as for fp32."""
    fixed = ["--export", exported, "--dataset", dataset, "--reference", "reference"]
    fixed += ["--benchmark-log", f"{name}.log", "--predictions", name, "--record", f"{name}.json"]
    fixed += ["--log", f"{name}.process.log", "--warmup", "1", "--max-warmup", "2", "--min-samples", "4"]
    fixed += ["--min-agreement", "0.999", "--max-miou-drop", "0.001"]
    fixed += ["--max-logits-l2", "2e-5", "--max-logits-peak", "5e-5"]
    return script(script_name, folder, *fixed, *arguments)


def losses(folder):
    with (folder / "history.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]
