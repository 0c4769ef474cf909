"""This project's side: data, configurations and runs of its own workflow in a folder of the benchmark."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from harness import ROOT, Bench, timed

from segcert.data import archives, synthetic

DATA = {
    "mini_supervisely": {"images": {"train": 32, "val": 8, "test": 10}, "seed": 1},
    "cityscapes": {"images": {"train": 16, "val": 6, "test": 0}, "seed": 2, "size": (512, 256)},
}


def dataset(bench: Bench, layout: str) -> tuple[Path, Path]:
    """(tar, folder) of generated images, the same for both sides."""
    tar, folder = bench.work / f"data/{layout}.tar", bench.work / f"data/{layout}"
    if not folder.is_dir():
        tar.parent.mkdir(parents=True, exist_ok=True)
        synthetic.write_tar(tar, layout, **DATA[layout])
        archives.unpack(tar, folder)
    return tar, folder


class Workflow:
    """The workflow with a configuration of its own, in a folder of its own."""

    def __init__(self, bench: Bench, name: str, config: dict[str, Any]) -> None:
        self.bench, self.folder = bench, bench.work / name
        self.mode = config["mode"]
        self.folder.mkdir(parents=True, exist_ok=True)
        sources = {
            f"bench_{layout}": {"layout": layout, "source": "path", "path": str(dataset(bench, layout)[0])}
            for layout in DATA
        }
        common = {"hardware": "cpu", "datasets": sources, "data": {layout: f"bench_{layout}" for layout in DATA}}
        (self.folder / "bench.yaml").write_text(yaml.safe_dump({**common, **config}), encoding="utf-8")

    def run(self, *targets: str, cores: int = 2, log: str = "run.log", force: Sequence[str] = ()) -> float:
        """Wall time in s of one call of snakemake."""
        command = [self.bench.python, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--cores", str(cores), "--configfile", "bench.yaml", *force]
        return timed([*command, "--", *targets] if targets else command, self.folder / log, self.folder)

    def prepare(self) -> None:
        """Unpack the data, which the original's script finds unpacked as well."""
        names = yaml.safe_load((self.folder / "bench.yaml").read_text(encoding="utf-8"))["data"].values()
        self.run(*(f"results/data/{name}" for name in names), log="prepare.log")

    def from_nothing(self, cores: int = 2) -> float:
        shutil.rmtree(self.results, ignore_errors=True)
        return self.run(cores=cores)

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.mode


def export(bench: Bench, model: str, size: tuple[int, int]) -> tuple[Path, Path]:
    """(checkpoint, exported folder) of a model with seeded weights, by this project's own export."""
    folder = bench.work / f"models/{model}_{size[0]}x{size[1]}"
    if not (folder / "export/model.onnx").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [bench.python, str(ROOT / "bench/make_model.py"), str(ROOT / f"config/models/{model}.yml")]
        timed([*command, *map(str, size), str(folder)], folder / "export.log", ROOT)
    return folder / "model.pdparams", folder / "export"


def python_version(python: str, *packages: str) -> dict[str, str]:
    """Versions of packages in an interpreter's environment."""
    code = "import importlib.metadata as m, sys\nfor n in sys.argv[1:]: print(n, m.version(n))"
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())
