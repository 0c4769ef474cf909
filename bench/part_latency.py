"""Inference latency: this project's cells, PaddleSeg's own infer.py, and the engines used plainly."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contender import Contender, start_all
from harness import HIGHER, Bench, row, say, timed
from original import Original, theirs_config
from ours import dataset, export
from part_chain import layout_of

from segcert import machine
from segcert.compute.preprocess import Preprocess, deploy_config

# [width, height]: the configured size or a quarter of its area, so that a model has a fair number of samples
SIZES = {
    "pp_liteseg_stdc1": (512, 256),
    "pp_liteseg_stdc2": (512, 256),
    "pp_humanseg_lite": (398, 224),
    "pp_humanseg_mobile": (192, 192),
    "pp_humanseg_server": (256, 256),
    "fcn_hrnet_w18": (512, 256),
    "ocrnet_hrnetw18": (512, 256),
    "ocrnet_hrnetw48": (256, 128),
}
QUICK = (128, 128)
OURS = [("onednn", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32"), ("onednn", "bf16"), ("openvino", "bf16")]
ORIGINAL, PLAIN = "PaddleSeg's infer.py, best", "ONNX Runtime or OpenVINO plainly, best"


def batch_file(bench: Bench, model: str, folder: Path, count: int = 1) -> Path:
    """The same input for all: the first images, preprocessed."""
    _, data = dataset(bench, layout_of(model))
    images = sorted([*data.rglob("Images/*.jpg"), *data.rglob("leftImg8bit/val/*/*.png")])[:count]
    target = folder.parent / f"batch_{count}.npy"
    np.save(target, Preprocess(deploy_config(folder)["transforms"]).batch(images))
    return target


def original_export(bench: Bench, model: str, size: tuple[int, int], checkpoint: Path) -> Path:
    """The same weights, exported by the original's own script on its own Paddle."""
    target = checkpoint.parent / "original"
    if not (target / "model.pdmodel").is_file():
        shutil.rmtree(target, ignore_errors=True)
        original = Original(bench, bench.work / "original")
        _, data = dataset(bench, layout_of(model))
        config = theirs_config(bench, model, data, size, bench.work / f"configs/latency_{model}.yml")
        command = [bench.theirs, "tools/export.py", "--config", str(config), "--model_path", str(checkpoint)]
        command += ["--save_dir", str(target), "--input_shape", "-1", "3", str(size[1]), str(size[0])]
        timed(command, checkpoint.parent / "original.log", original.folder, original.environment)
    return target


def measure(
    bench: Bench, model: str, threads: int, batch: int = 1, everything: bool = True
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]], dict[str, str]]:
    """Milliseconds of every contender on one model, what each said of itself, and why others could not run."""
    size = QUICK if bench.quick else SIZES[model]
    checkpoint, folder = export(bench, model, size)
    inputs = str(batch_file(bench, model, folder, batch))
    common = {"batch": inputs, "threads": threads, "warm_s": 0.1 if bench.quick else 1.0}
    logs = bench.work / f"logs/latency_{model}"
    low = machine.cpu_has_bf16()
    contenders = [
        Contender(
            f"ours {engine} {precision}",
            bench.python,
            "worker_ours.py",
            {**common, "export": str(folder), "engine": engine, "precision": precision},
            logs / f"ours_{engine}_{precision}.log",
            {"OMP_NUM_THREADS": str(threads)},
        )
        for engine, precision in OURS
        if (everything or precision == "fp32") and (precision == "fp32" or low)
    ]
    theirs = originals(bench, model, size, checkpoint, common, logs)
    contenders += theirs if everything else theirs[:1]
    if everything:
        plain = [("onnxruntime", None), ("openvino", "f32"), *([("openvino", None)] if low else [])]
        contenders += [
            Contender(
                f"plain {library} {hint or 'default'}",
                bench.python,
                "worker_plain.py",
                {**common, "library": library, "precision": hint, "model": str(folder / "model.onnx")},
                logs / f"plain_{library}_{hint}.log",
            )
            for library, hint in plain
        ]
    return turns(bench, contenders)


def turns(
    bench: Bench, contenders: Sequence[Contender]
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]], dict[str, str]]:
    """Milliseconds of contenders that measure in turns, what each said of itself, and why others could not run."""
    with contextlib.ExitStack() as stack:
        for contender in contenders:
            stack.enter_context(contender)
        able, why = start_all(contenders)
        samples: dict[str, list[float]] = {contender.name: [] for contender in able}
        order = list(able)
        how = {"least": 2, "seconds": 0} if bench.quick else {"least": 3, "seconds": 0.4}
        for _ in range(bench.repeats):
            for contender in order:
                samples[contender.name] += contender.measure(**how)
            order.reverse()
    return samples, {contender.name: contender.about for contender in able}, why


def originals(
    bench: Bench, model: str, size: tuple[int, int], checkpoint: Path, common: Mapping[str, Any], logs: Path
) -> list[Contender]:
    """PaddleSeg's infer.py on a checkpoint that its own script exported: with oneDNN, and without."""
    original = Original(bench, bench.work / "original")
    folder = str(original_export(bench, model, size, checkpoint))
    return [
        Contender(
            f"original {'onednn' if mkldnn else 'native'}",
            bench.theirs,
            "worker_original.py",
            {**common, "paddleseg": str(original.folder), "export": folder, "mkldnn": mkldnn},
            logs / f"original_{mkldnn}.log",
            original.environment,
        )
        for mkldnn in (True, False)
    ]


def best(samples: dict[str, list[float]], about: dict[str, dict[str, Any]], side: str, precision: str | None) -> str:
    """The contender of a side with the lowest median, of one precision or of any."""

    def kind(name: str) -> str:
        return (
            "bf16"
            if "bf16" in str(about[name].get("precision")) or "bfloat16" in str(about[name].get("precision"))
            else "fp32"
        )

    names = [name for name in samples if name.startswith(side) and precision in (None, kind(name))]
    return min(names, key=lambda name: float(np.median(samples[name])))


def latency(bench: Bench) -> list[dict]:
    """For each model: the best cell in fp32 and in any precision, against the original and the engines."""
    threads = min(2, machine.cores())
    rows = []
    for model in bench.models:
        say(f"latency: {model}, {threads} threads")
        samples, about, why = measure(bench, model, threads)
        medians = ", ".join(f"{name} {np.median(values):.4g}" for name, values in samples.items())
        failed = (
            f" Not built: {'; '.join(f'{name} ({text.splitlines()[0][:120]})' for name, text in why.items())}."
            if why
            else ""
        )
        size = QUICK if bench.quick else SIZES[model]
        for precision, label in (("fp32", "fp32"), (None, "any precision")):
            own = best(samples, about, "ours", precision)
            original = best(samples, about, "original", None)
            plain = best(samples, about, "plain", precision)
            # Which are the best in any precision follows from these too.
            note = f"{size[0]}x{size[1]}, {threads} threads, ms: {medians}.{failed}" if precision else None
            further = {"cell": own}
            rows.append(
                row(
                    f"latency/{model} {label}",
                    samples[own],
                    samples[original],
                    "ms",
                    ORIGINAL,
                    target=1.5,
                    note=note,
                    **further,
                )
            )
            rows.append(
                row(
                    f"latency/{model} {label}, engines",
                    samples[own],
                    samples[plain],
                    "ms",
                    PLAIN,
                    target=0.909,
                    **further,
                )
            )
    return rows


def scaling(bench: Bench) -> list[dict]:
    """Throughput by threads and batch size, of the fastest fp32 cell and of the original's oneDNN."""
    rows = []
    for model in (
        bench.models[:1] if bench.quick else [m for m in ("pp_humanseg_lite", "pp_liteseg_stdc1") if m in bench.models]
    ):
        for threads in range(1, min(2, machine.cores()) + 1):
            for batch in (1, 2, 4):
                say(f"scaling: {model}, {threads} threads, batch {batch}")
                samples, about, _ = measure(bench, model, threads, batch, everything=False)
                own = best(samples, about, "ours", "fp32")
                original = best(samples, about, "original", None)
                speeds = {name: [1000 * batch / span for span in samples[name]] for name in (own, original)}
                rows.append(
                    row(
                        f"scaling/{model} threads {threads} batch {batch}",
                        speeds[own],
                        speeds[original],
                        "images/s",
                        "PaddleSeg's infer.py, oneDNN",
                        better=HIGHER,
                        cell=own,
                    )
                )
    return rows


def limit(bench: Bench) -> list[dict]:
    """How near to what the cores can do the fp32 cells are: the bound of every latency in fp32."""
    rows = []
    code = (
        "import numpy as np, time, sys\n"
        "n = int(sys.argv[1]); a = np.random.rand(n, n).astype('f'); b = a.copy(); a @ b\n"
        "for _ in range(5):\n    t = time.perf_counter(); a @ b; print(2 * n ** 3 / (time.perf_counter() - t) / 1e9)\n"
    )
    threads = min(2, machine.cores())
    n = 512 if bench.quick else 3072
    done = subprocess.run(
        [bench.python, "-c", code, str(n)],
        env={"OPENBLAS_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = [float(line) for line in done.stdout.split()]
    for model in [m for m in ("pp_humanseg_server", "pp_liteseg_stdc1", "fcn_hrnet_w18") if m in bench.models]:
        size = QUICK if bench.quick else SIZES[model]
        _, folder = export(bench, model, size)
        adds = int((folder.parent / "multiply_adds").read_text())
        samples, about, _ = measure(bench, model, threads, 1, everything=False)
        own = best(samples, about, "ours", "fp32")
        reached = [2 * adds / (span / 1000) / 1e9 for span in samples[own]]
        rows.append(
            row(
                f"limit/{model} fp32",
                reached,
                peak,
                "GFLOP/s",
                "matrix product of the same cores (OpenBLAS)",
                better=HIGHER,
                note=f"{2 * adds / 1e9:.1f} GFLOP an image; {own}",
            )
        )
    return rows
