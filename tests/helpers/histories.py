"""Runs that never were, as conclusions.json holds them, for tests of what is kept and of histories."""

import copy
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np

from segcert import keeping, statuses

MODE = "lite_train_lite_infer"
ENGINES = ("native", "onednn", "onnxruntime", "openvino")
ENV = {
    "os": "Debian GNU/Linux 12", "kernel": "6.1", "host": "a-secret-host", "python": "3.11.2", "paddle": "3.2.2",
    "paddle_commit": "abc", "paddleseg": "2.8.0", "paddleseg_folder": "/home/somebody/paddleseg",
    "paddleseg_hash": "0123456789abcdef", "openvino": "2025.0", "cpu": "One", "cpu_cores": 2, "gpu": None,
    "driver": None,
}  # fmt: skip
LOAD = {"own_cores": 1.0, "other_cores": 0.0, "steal_share": 0.0, "noticed": False, "jobs_beside": "none"}


def moment(number):
    """When the run of that number was: a day later each."""
    return (datetime(2026, 1, 1, 10, tzinfo=UTC) + timedelta(days=number)).isoformat().replace("+00:00", "Z")


def cell(stage, name, number, *, status="passed", reason=None, env=ENV, model="pp_humanseg_lite", **more):
    ran = statuses.by_name(status).exercised
    place = f"results/{MODE}/{model}/single_fp32/{stage}/{name}"
    found = {
        "schema_version": 1, "model": model, "algorithm": "ConnectNet", "mode": MODE, "stage": stage, "cell": name,
        "train_cell": "single_fp32", "topology": "single", "status": status, "reason": reason,
        "requested": {"device": "cpu", "precision": "fp32"}, "record": f"{place}.json",
    }  # fmt: skip
    if ran:
        found |= {
            "command": f"python scripts/{stage}.py --secret-option", "log": f"{place}.log", "started": moment(number),
            "wall_s": 10.0, "cpu_s": 10.0, "peak_rss_mb": 400.0, "env": dict(env), "load": dict(LOAD),
            "effective": {"device": "cpu", "precision": "fp32"}, "metrics": {}, "outputs": {f"{place}.out": "1"},
            "inputs": {f"config/models/{model}.yml": "a" * 64, f"{place}.out": "1"},
        }  # fmt: skip
    return {**found, **more}


def run(number, *, seed=None, slow=None, noise=0.03, **changes):
    """A run of one model: training, evaluation, export, and four engines, whose times vary by a share `noise`.

    Args:
        slow: engine -> how many times as long it takes.
        changes: of `env`.
    """
    generator = np.random.default_rng(number if seed is None else seed)
    env = {**ENV, **changes}

    def vary(value):
        return round(float(value * generator.lognormal(0, noise)), 4)

    cells = [
        cell("train", "single_fp32", number, env=env, metrics={"ips": vary(10), "last_loss": 0.5}),
        cell("eval", "single_fp32", number, env=env, metrics={"miou": 0.7}),
        cell("export", "single_fp32", number, env=env, metrics={"model_mb": 20.0, "onnx_mb": 20.0}),
    ]
    for engine in ENGINES:
        middle = vary(10 * (slow or {}).get(engine, 1))
        asked = {"device": "cpu", "engine": engine, "precision": "fp32", "threads": 1, "batch_size": 1}
        metrics = {
            "inference_ms": {"count": 100, "p50": middle, "p50_ci95": [0.98 * middle, 1.02 * middle]},
            "build_s": 1.0, "pixel_agreement": 1.0, "input_shape": [1, 3, 64, 64], "load": dict(LOAD),
        }  # fmt: skip
        cells.append(
            cell(
                "infer", f"python_infer_cpu_{engine}", number, env=env, metrics=metrics, requested=asked,
                effective=dict(asked), samples_ms={"inference": [middle] * 100}, peak_rss_mb=vary(400),
            )
        )  # fmt: skip
    cells.append(cell("infer", "python_infer_gpu", number, status="unverified", reason="this machine has none"))
    return concluded(cells)


def concluded(cells, **more):
    names = [item["status"] for item in cells]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    base = {"schema_version": 1, "mode": MODE, "red": statuses.is_red(names), "counts": counts}
    return copy.deepcopy({**base, "scope": {"models": ["pp_humanseg_lite"]}, "certificates": [], "cells": cells} | more)


def kept(contents):
    """Runs as they are read from where they were kept, without files."""
    found = []
    for content in contents:
        told = {**keeping.copy_of(content), "commit": {"commit": "c" * 40, "edited": False}}
        found.append(keeping.Kept(keeping.name_of(told), told))
    return found


def git(folder, *arguments, at=None):
    """Git as nobody in particular; `at`: when a commit says it was made."""
    own = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "PATH": "/usr/bin:/bin"}
    own |= {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    if at:
        own |= {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    done = subprocess.run(["git", *arguments], cwd=folder, env=own, capture_output=True, text=True, check=True)
    return done.stdout.strip()
