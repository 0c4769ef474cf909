"""What the machine and its software are: read from the system, without importing Paddle."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from segcert import gpus

# name in a record's env -> distributions that may hold it
PACKAGES = {
    "paddleseg": ("paddleseg",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "paddle2onnx": ("paddle2onnx",),
    "onnx": ("onnx",),
    "nncf": ("nncf",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "snakemake": ("snakemake",),
}
# ... and the module that says its version, where that is called otherwise
MODULES = {"opencv": "cv2"}
# Of an env, what a result may follow from: the stages' packages, and on a GPU the device and its driver.
SOFTWARE = ("paddle", "paddle_commit", "cuda", "cudnn", *(name for name in PACKAGES if name != "snakemake"))
GPU_SOFTWARE = ("gpu", "driver")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")  # those that this process is in
# Of the workflow's own environment, for run_config.yaml.
WORKFLOW = ("snakemake", "pandas", "PyYAML")


@dataclass(frozen=True)
class Hardware:
    """What the machines that run the jobs are taken to have.

    Attributes:
        gpus: GPUs of the best machine that are shared out to jobs; 0 plans no GPU work.
        setting: `hardware` of the configuration, which said so: `auto`, `cpu` or `gpu`.
        bf16: whether the CPU computes in bfloat16 (AVX512-BF16 or AMX); None where that is not known.
        lacks: library (of GPU_LIBRARIES) or type (float16, bfloat16) -> why it does not compute on those GPUs.
        software: what the stages are to run on, by its name in a record's env; nothing where that is not known.
        told: why there are not more GPUs.
        cores: CPU cores that a job may use; None where that is not known.
    """

    gpus: int
    setting: str
    bf16: bool | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, Any] = field(default_factory=dict)
    told: str = "this machine has none"
    cores: int | None = None

    def why_no_gpu(self, *needed: str) -> str | None:
        """Why what is needed (a library, a type) does not compute on a GPU here; None where no reason is known."""
        if not self.gpus:
            return "hardware: cpu plans no GPU work" if self.setting == "cpu" else self.told
        return next((self.lacks[name] for name in needed if name in self.lacks), None)

    def why_not_so_many(self, count: int) -> str | None:
        """Why a job cannot have so many GPUs on one machine; None where it can."""
        if count <= self.gpus:
            return None
        shared = "1 is" if self.gpus == 1 else f"{self.gpus} are"
        return f"needs {count} GPUs on one machine; {shared} shared out: {self.told}"


def hardware(
    setting: str, python: str | None = sys.executable, here: bool = True, at_most: int | None = None
) -> Hardware:
    """What to plan for: `auto` looks at this machine, `cpu` and `gpu` take the user's word.

    Args:
        setting: auto | cpu | gpu.
        python: the interpreter of the stages, whose libraries are looked at; None: it is not there yet.
        here: whether the stages run on this machine, so that its GPUs, their driver and its cores are theirs.
        at_most: GPUs that the run may use at a time (`--resources gpu=N`); None: no limit.

    Raises:
        ConfigError: TIPC_GPU_POOL names a GPU that there is not.
    """
    runs_on = software(python, here) if python else {}
    bf16, has = cpu_has_bf16(), cores() if here else None
    if setting == "cpu":
        return Hardware(0, setting, bf16, software=runs_on, cores=has)
    listing = gpus.listed()
    shared = gpus.pool(os.environ)
    count, told = len(shared.devices), shared.why
    if setting == "gpu" and not (here and gpus.POOL in os.environ):
        count, told = max(count, 8), "hardware: gpu assumes so many"
    if at_most is not None and at_most < count:
        count, told = at_most, f"--resources gpu={at_most} allows no more"
    if setting == "gpu":
        return Hardware(count, setting, software=runs_on, told=told)
    if not count or python is None:
        return Hardware(count, setting, bf16, {}, runs_on, told, has)
    found = listing.behind(shared.devices)
    lacks = {
        **{library: why_not(python, found) for library, why_not in GPU_LIBRARIES.items()},
        **{dtype: gpus.lacks_dtype(found, dtype) for dtype in gpus.LEAST_CAPABILITY},
    }
    lacking = {name: why for name, why in lacks.items() if why}
    return Hardware(count, setting, bf16, lacking, runs_on, told, has)


def software(python: str = sys.executable, here: bool = True) -> dict[str, Any]:
    """SOFTWARE of an interpreter's environment, and with `here` GPU_SOFTWARE of this machine; what is there of it."""
    found = environment() if python == sys.executable else _environment_of(python)
    names = (*SOFTWARE, *(GPU_SOFTWARE if here else ()))
    return {name: found[name] for name in names if found.get(name) is not None}


@cache
def _environment_of(python: str) -> dict[str, Any]:
    """What `environment` says in another interpreter; nothing where that does not run."""
    try:
        answer = said_by(python, "import json; from segcert import machine; print(json.dumps(machine.environment()))")
        found: dict[str, Any] = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return found


def said_by(python: str, code: str, seconds: float = 60, without: Sequence[str] = ()) -> str:
    """What another interpreter prints, with the packages that a stage in it would import, within so many seconds.

    Args:
        without: variables that it is not to have.

    Raises:
        OSError, subprocess.SubprocessError: it does not run.
    """
    before = "import sys; sys.path.insert(0, sys.argv[1]); import segcert; "
    command = [python, "-c", before + code, str(Path(__file__).parents[1])]
    environment = {name: value for name, value in os.environ.items() if name not in without}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=True)
    return done.stdout


def why_paddle_has_no_gpu(build: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a build of Paddle cannot compute on these GPUs, as its version module says; None where it can.

    Machine code for a compute capability runs on devices of the same major and no lower minor number
    (CUDA C++ programming guide, "Binary compatibility"). A build that does not list its capabilities is
    taken at its word; the stages try a convolution before they start.
    """
    if not build:
        return "there is no Paddle in the Python of the stages"
    name = f"Paddle {build.get('full_version')}"
    if build.get("cuda_version") in (None, "", "False"):
        return f"{name} is a build for the CPU"
    listed = [
        int(digits) for arch in build.get("compiled_cuda_archs") or () if (digits := re.sub(r"\D", "", str(arch)))
    ]
    for gpu in found:
        capability = gpus.capability(gpu)
        if not listed or not capability:
            continue
        major, minor = capability
        if not any(arch // 10 == major and arch % 10 <= minor for arch in listed):
            has = ", ".join(f"{arch // 10}.{arch % 10}" for arch in sorted(listed))
            return f"{name} has no machine code for {gpu['name']} (compute capability {major}.{minor}), only for {has}"
    return None


def why_onnxruntime_has_no_gpu(folder: Path | None) -> str | None:
    """Why an installed onnxruntime has no CUDA provider, from its files; None where it has one."""
    if folder is None:
        return "there is no onnxruntime in the Python of the stages"
    if not list((folder / "capi").glob("*onnxruntime_providers_cuda*")):
        return "this onnxruntime is the package for the CPU; install onnxruntime-gpu in its place"
    return None


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


def float32_environment(device: str, precision: str) -> dict[str, str]:
    """Variables that make a stage which is to compute in fp32 on a GPU do so.

    TF32, which CUDA's libraries may use for float32 otherwise, keeps 10 bits of its 23.
    """
    return {"NVIDIA_TF32_OVERRIDE": "0"} if device == "gpu" and precision == "fp32" else {}


def oom_kills() -> int | None:
    """How often the kernel ended a process of this one's control group for its memory; None where it does not say."""
    try:
        groups = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for _, controllers, path in (line.split(":", 2) for line in groups):
        # cgroups(7): version 1 has a hierarchy for memory, version 2 one for everything.
        version_1 = "memory" in controllers.split(",")
        file = f"/sys/fs/cgroup/memory{path}/memory.oom_control" if version_1 else f"/sys/fs/cgroup{path}/memory.events"
        if version_1 or not controllers:
            with contextlib.suppress(OSError):
                found = re.search(r"^oom_kill (\d+)$", Path(file).read_text(encoding="utf-8"), re.M)
                if found:
                    return int(found[1])
    return None


def cores() -> int:
    """CPU cores that this process may use: those that it may run on, or its control group's share if that is less."""
    may_run_on = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([may_run_on, *_core_quotas()])


def _core_quotas() -> list[int]:
    """Cores that this process's control group, and those above it, may use at a time (cgroups(7), version 2)."""
    try:
        groups = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in groups if line.startswith("0::/")), None)
    found = []
    for folder in [] if own is None else [CGROUPS / own, *(CGROUPS / own).parents]:
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            if quota != "max":
                found.append(max(1, -(-int(quota) // int(period))))
    return found


@cache
def package_folder(name: str, python: str = sys.executable) -> Path | None:
    """The folder of an installed package in an interpreter's environment, found without importing it."""
    if python == sys.executable:
        spec = util.find_spec(name)
        return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    code = f"import importlib.util as u; s = u.find_spec({name!r}); print(*(s and s.submodule_search_locations or ()))"
    try:
        answer = said_by(python, code)
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(answer.strip()) if answer.strip() else None


@cache
def paddle_build(python: str = sys.executable) -> dict[str, Any]:
    """Constants of Paddle's version module: full_version, commit, cuda_version, compiled_cuda_archs, ...

    Read from its source, because importing Paddle takes a second that most stages need not spend.
    """
    folder = package_folder("paddle", python)
    if folder is None:
        return {}
    try:
        tree = ast.parse((folder / "version" / "__init__.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return {}
    constants: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            with contextlib.suppress(ValueError):  # not a constant
                value = ast.literal_eval(node.value)
                constants |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
    return constants


# Library -> why its build in an interpreter's environment does not compute on these GPUs; None where it does.
GPU_LIBRARIES: dict[str, Callable[[str, Sequence[Mapping[str, Any]]], str | None]] = {
    "paddle": lambda python, found: why_paddle_has_no_gpu(paddle_build(python), found),
    "onnxruntime": lambda python, _: why_onnxruntime_has_no_gpu(package_folder("onnxruntime", python)),
}


def paddle_is(specifier: str, version: str | None = None) -> bool:
    """Whether a Paddle is one of the versions that a specifier names (`==3.2.*,!=3.2.1`).

    An empty specifier names every version, and is the only one that an unknown version fits. A candidate of a release
    (3.3.0rc1) counts as the release: `>=3.3` would not name it.

    Args:
        version: None: that of this interpreter.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    if not specifier:
        return True
    try:
        own = paddle_build().get("full_version", "") if version is None else version
        asked, found = SpecifierSet(specifier), Version(own)
        left_out = any(one.operator == "!=" and not one.contains(found, prereleases=True) for one in asked)
        as_release = found.is_prerelease and not left_out and asked.contains(found.base_version)
        return asked.contains(found, prereleases=True) or as_release
    except InvalidVersion:
        return False


def package_version(*distributions: str) -> str | None:
    """The version of the first of these distributions that is installed in this interpreter's environment."""
    for distribution in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


def imported_versions() -> dict[str, str]:
    """Name in a record's env -> version, of what this process imported, as the modules say it themselves.

    Of a distribution that says it more exactly (`4.11.0.86` of a module that says 4.11.0), in its words; not of
    PaddleSeg, which may be another than the one that is installed.
    """
    found = {}
    for name, distributions in PACKAGES.items():
        own = getattr(sys.modules.get(MODULES.get(name, name)), "__version__", None)
        if isinstance(own, str):
            of = () if name == "paddleseg" else distributions
            listed = [version for distribution in of if (version := package_version(distribution))]
            found[name] = next((version for version in listed if _is_same(version, own)), own)
    return found


def _is_same(listed: str, own: str) -> bool:
    """Whether a distribution's version is that of a module, which may leave out its end or add where it was built."""
    return listed == own or listed.startswith(f"{own}.") or own.startswith((f"{listed}-", f"{listed}+"))


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
    found = gpus.listed().gpus

    def named(key: str) -> str | None:
        value = build.get(key)
        return None if value in (None, "None", "False", "") else str(value)

    return {
        "os": os_version(),
        "kernel": platform.release(),
        "host": platform.node(),
        "python": platform.python_version(),
        "paddle": build.get("full_version"),
        "paddle_commit": build.get("commit"),
        **{key: package_version(*names) for key, names in PACKAGES.items()},
        "cpu": cpu_model(),
        "cpu_cores": cores(),
        "gpu": [gpu.get("name") for gpu in found] or None,
        "driver": found[0].get("driver_version") if found else None,
        "cuda": named("cuda_version"),
        "cudnn": named("cudnn_version"),
    }
