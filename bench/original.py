"""PaddleSeg's own chain, as it is published: fetched at run time, run by its own script, never kept here.

PADDLESEG_ROOT and AUTOLOG_ROOT name checkouts that are there already; without them they are cloned.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import yaml
from harness import ROOT, Bench, BenchError, say, timed

PADDLESEG = "https://github.com/PaddlePaddle/PaddleSeg"
PADDLESEG_COMMIT = "d7975e7cb3b9102eae4eabcef5afb81b878473aa"
AUTOLOG = "https://github.com/LDOUBLEV/AutoLog"
AUTOLOG_COMMIT = "ba37c37b7d20607e5f675b57a6aa1202c60593e4"
PARTS = ("test_tipc", "tools", "deploy", "paddleseg", "configs")
MODE = "lite_train_lite_infer"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
MODEL_ZOO = CONFIG["model_zoo"]


def checkout(variable: str, url: str, commit: str, target: Path, parts: tuple[str, ...] = ()) -> Path:
    """The folder that an environment variable names, or a clone of one commit.

    Raises:
        BenchError: it cannot be cloned.
    """
    if named := os.environ.get(variable):
        if not Path(named).is_dir():
            raise BenchError(f"{variable}: {named}: is no folder")
        return Path(named).resolve()
    if not (target / ".git").is_dir():
        say(f"cloning {url}")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        steps = [["init", "-q"], ["remote", "add", "origin", url]]
        steps += [["sparse-checkout", "set", *parts]] if parts else []
        steps += [["fetch", "-q", "--depth", "1", "--filter=blob:none", "origin", commit], ["checkout", "-q", commit]]
        for step in steps:
            done = subprocess.run(["git", "-C", str(target), *step], capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(target, ignore_errors=True)
                raise BenchError(
                    f"{url} cannot be cloned: {done.stderr.strip()[-300:]}; set {variable} to a checkout of it"
                )
    return target


def commit_of(folder: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown commit"


def autolog(target: Path) -> Path | None:
    """AutoLog's checkout; None where it cannot be had (then the original measures without it)."""
    try:
        return checkout("AUTOLOG_ROOT", AUTOLOG, AUTOLOG_COMMIT, target)
    except BenchError as error:
        say(f"without AutoLog: {error}")
        return None


class Original:
    """A working copy of the original in which its script runs.

    Args:
        folder: where the copy is made; its bytecode is compiled, as that of the environments is.
    """

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        if not (folder / "compiled").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for part in PARTS:
                shutil.copytree(bench.paddleseg / part, folder / part)
            subprocess.run(
                [bench.theirs, "-m", "compileall", "-q", str(folder)], stdout=subprocess.DEVNULL, check=False
            )
            (folder / "compiled").touch()

    @property
    def environment(self) -> dict[str, str]:
        """Nothing but where its packages are: threads and libraries are as the original leaves them."""
        paths = [str(self.folder), *([str(self.bench.autolog)] if self.bench.autolog else [])]
        return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": ""}

    def write_params(self, model: str, values: dict[str, str], config: Path) -> Path:
        """The model's own parameter file with other values: for a CPU, this interpreter, these sizes.

        Args:
            values: key of a line -> its new value, or `a|b` alternatives; also train, eval, export (commands).
            config: the model configuration that the commands name.
        """
        named = [self.folder / "test_tipc/configs" / name for name in (*MODEL_ZOO[model].get("aliases", []), model)]
        source = next(folder for folder in named if folder.is_dir()) / "train_infer_python.txt"
        train = f"tools/train.py --config {config} --device cpu --save_interval {values['iters']}"
        train += f" --seed 100 --num_workers {values['workers']}"
        lines, section, made = source.read_text(encoding="utf-8").splitlines(), "", []
        for line in lines:
            key, _, value = line.partition(":")
            if line.startswith("==="):
                section = line.strip("=")
            new = {
                "python": self.bench.theirs,
                "gpu_list": "-1",
                "--device": "cpu",
                "trainer": "norm_train",
                "train_model_name": f"iter_{values['iters']}/model.pdparams",
                "--profiler_options": "null",
                "--iters": f"{MODE}={values['iters']}",
                "--batch_size": f"{MODE}={values['batch_size']}" if section == "train_params" else "1",
                "train_infer_img_dir": values["images"],
                "norm_train": train,
                "eval": values.get("eval", "null"),
                "norm_export": f"tools/export.py --config {config} {values.get('export', '')}",
                "--enable_mkldnn": "True|False",
                "--cpu_threads": values["threads"],
                "--benchmark": "True" if self.bench.autolog else "null",
            }.get(key, value)
            made.append(f"{key}:{new}" if ":" in line else line)
        target = self.folder / f"test_tipc/bench_{model}.txt"
        target.write_text("\n".join(made) + "\n", encoding="utf-8")
        return target.relative_to(self.folder)

    def run(self, params: Path, model: str) -> float:
        """Wall time in s of the script on a parameter file, from nothing.

        Raises:
            BenchError: one of its commands failed (the script's own exit code is 0 all the same).
        """
        output = self.folder / "test_tipc/output"
        shutil.rmtree(output, ignore_errors=True)
        log = self.folder / f"bench_{model}.log"
        wall = timed(
            ["bash", "test_tipc/test_train_inference_python.sh", str(params), MODE], log, self.folder, self.environment
        )
        lines = [line for file in output.rglob("results_python.log") for line in file.read_text().splitlines()]
        failed = [line for line in lines if "Run failed" in line]
        if failed or not any("Run successfully" in line for line in lines):
            raise BenchError(
                f"the original's chain on {model} failed, see {log}: {(failed or lines or ['no status'])[0][:400]}"
            )
        return wall


def theirs_config(
    bench: Bench, model: str, dataset: Path, size: tuple[int, int] | None, target: Path, as_exported: bool = True
) -> Path:
    """A model's configuration with sizes and data laid over it, for the original: resolved by this project, then
    with PaddleSeg's own losses put back (those here are corrected for Paddle 3)."""
    options = ["--dataset", str(dataset), "--out", str(target), *(["--size", *map(str, size)] if size else [])]
    if not as_exported:
        options.append("--no-random")
    command = [bench.python, str(ROOT / "bench/resolve_config.py"), str(ROOT / f"config/models/{model}.yml"), *options]
    timed(command, target.with_suffix(".log"), ROOT)
    yaml.safe_load(target.read_text(encoding="utf-8"))
    return target
