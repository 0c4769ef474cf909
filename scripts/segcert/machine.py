"""What the machine and its software are: read from the system, without importing Paddle."""

from __future__ import annotations

import ast
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

PACKAGES = {
    "paddleseg": "paddleseg",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "paddle2onnx": "paddle2onnx",
    "numpy": "numpy",
    "opencv": "opencv-python-headless",
    "snakemake": "snakemake",
}
# Packages whose versions run_config.yaml states.
PINNED = (
    "snakemake",
    "paddlepaddle",
    "paddlepaddle-gpu",
    "paddleseg",
    "paddle2onnx",
    "onnxruntime",
    "openvino",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "PyYAML",
)


@dataclass(frozen=True)
class Hardware:
    """What the machines that run the jobs are taken to have.

    Attributes:
        gpus: GPUs of the best machine; 0 plans no GPU work.
        source: the setting that said so: `auto`, `cpu` or `gpu`.
        bf16: whether the CPU computes in bfloat16 (AVX512-BF16 or AMX); None where that is not known.
    """

    gpus: int
    source: str
    bf16: bool | None = None

    @property
    def why_no_gpu(self) -> str:
        return "hardware: cpu plans no GPU work" if self.source == "cpu" else "this machine has none"


def hardware(setting: str) -> Hardware:
    """What to plan for: `auto` looks at this machine, `cpu` and `gpu` take the user's word."""
    if setting == "cpu":
        return Hardware(0, setting, cpu_has_bf16())
    if setting == "gpu":
        return Hardware(max(len(gpus()), 8), setting)
    return Hardware(len(gpus()), setting, cpu_has_bf16())


@cache
def gpus() -> tuple[dict[str, str], ...]:
    """NVIDIA GPUs of this machine as its driver lists them: name, driver, uuid, memory (MiB)."""
    if not shutil.which("nvidia-smi"):
        return ()
    fields = ("index", "name", "driver_version", "uuid", "memory.total")
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(
        dict(zip(fields, (part.strip() for part in line.split(",")), strict=False))
        for line in answer.splitlines()
        if line.strip()
    )


def compute_processes(uuid: str) -> list[int]:
    """Processes that compute on a GPU, as its driver lists them; none where there is no driver to ask."""
    rows = _compute_apps("gpu_uuid", "pid")
    return [int(pid) for gpu, pid in rows if gpu == uuid and pid.isdigit()]


def gpu_memory_mb(pid: int) -> float | None:
    """MiB of GPU memory that a process holds, as the driver counts it; None where it does not say."""
    held = [float(used) for owner, used in _compute_apps("pid", "used_memory") if owner == str(pid) and used.isdigit()]
    return sum(held) if held else None


def _compute_apps(*fields: str) -> list[list[str]]:
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", f"--query-compute-apps={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines()]
    return [row for row in rows if len(row) == len(fields)]


@cache
def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def cpu_model() -> str:
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    return set(_cpuinfo().get("flags", "").split())


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware, which oneDNN's bfloat16 needs."""
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def math_environment() -> dict[str, str]:
    """Variables that make the math library of Paddle's CPU build use what an AMD CPU can do.

    The bundled MKL of 2019 takes its slow path on every CPU that is not Intel's; the variable makes it
    take the AVX2 path (a training step took about 0.6 of the time). Whatever the user has set stays.
    """
    name = "MKL_DEBUG_CPU_TYPE"
    slow = _cpuinfo().get("vendor_id") == "AuthenticAMD" and "avx2" in cpu_flags()
    return {name: "5"} if slow and name not in os.environ else {}


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def paddle_build() -> dict[str, str]:
    """Constants of Paddle's version module: full_version, commit, cuda_version, cudnn_version, ...

    Read from its source, because importing Paddle takes a second that most stages need not spend.
    """
    spec = util.find_spec("paddle")
    if spec is None or not spec.submodule_search_locations:
        return {}
    source = Path(next(iter(spec.submodule_search_locations))) / "version" / "__init__.py"
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return {}
    return {
        target.id: str(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def package_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@cache
def os_version() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.platform()
    return release.get("PRETTY_NAME") or platform.platform()


def environment() -> dict[str, Any]:
    """The `env` of a record."""
    build = paddle_build()
    found = gpus()

    def named(key: str) -> str | None:
        value = build.get(key)
        return None if value in (None, "None", "False", "") else value

    return {
        "os": os_version(),
        "kernel": platform.release(),
        "host": platform.node(),
        "python": platform.python_version(),
        "paddle": build.get("full_version"),
        "paddle_commit": build.get("commit"),
        **{key: package_version(name) for key, name in PACKAGES.items()},
        "cpu": cpu_model(),
        "cpu_cores": cores(),
        "gpu": [gpu["name"] for gpu in found] or None,
        "driver": found[0]["driver_version"] if found else None,
        "cuda": named("cuda_version"),
        "cudnn": named("cudnn_version"),
    }
