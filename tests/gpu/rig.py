"""The rig: an interpreter whose GPUs are stand-ins, over the GPU build of Paddle of `make env-paddle-gpu-2.6`."""

import json
from pathlib import Path

from conftest import ROOT, interpreter

BASE = ROOT / ".venv-paddle-gpu-2.6"
HERE = Path(__file__).resolve().parent


def make(folder: Path) -> Path:
    """Make the interpreter in a folder; its path.

    It is a virtual environment of its own that takes its packages from the other one, and loads the stand-ins as it
    starts. In place of ONNX Runtime's package it has links to it, with a file that makes it look like the GPU's.
    """
    assert BASE.exists(), f"{BASE} is not there: make env-paddle-gpu-2.6"
    start = f"import sys; sys.path.append({str(HERE)!r}); import stand_in_devices; stand_in_devices.start()\n"
    python = interpreter(folder, start, BASE)
    own, base = (next((venv / "lib").glob("python*/site-packages")) for venv in (folder, BASE))
    link_onnxruntime(base / "onnxruntime", own / "onnxruntime")
    return python


def link_onnxruntime(package: Path, target: Path) -> None:
    for folder in (target, target / "capi"):
        folder.mkdir()
        for path in (package / folder.relative_to(target)).iterdir():
            if path.name not in ("capi", "__pycache__"):
                (folder / path.name).symlink_to(path)
    (target / "capi/libonnxruntime_providers_cuda.so").write_text("a stand-in\n", encoding="utf-8")


def diary(python: Path) -> list[dict]:
    """Every process that computed, or launched ranks, in the order in which they began."""
    lines = (python.parents[1] / "diary.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
