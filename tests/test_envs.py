"""The environments agree with each other, and none of them names a package registry."""

import re
import runpy

import pytest
import yaml
from conftest import ROOT

ENVS = ROOT / "envs"
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", re.M)


def pins(text):
    found = {}
    for name, version in PIN.findall(text):
        found.setdefault(name.lower().replace("_", "-"), set()).add(version)
    return found


def test_the_lock_holds_every_direct_requirement_at_its_version():
    asked, locked = pins((ENVS / "cpu.in").read_text()), pins((ENVS / "cpu.txt").read_text())
    for name, versions in asked.items():
        assert versions <= locked.get(name, set()), name


OTHER_PADDLES = ["paddle-2.6", "paddle-3.3", "paddle-gpu-2.6"]


@pytest.mark.parametrize("lock", ["cpu.txt", "dev.txt", "gpu.txt", *(f"{name}.txt" for name in OTHER_PADDLES)])
def test_locks_have_a_hash_for_every_pin(lock):
    text = (ENVS / lock).read_text()
    for entry in re.split(r"\n(?=\S)", text.strip()):
        if not entry.startswith("#"):
            assert "==" in entry and "--hash=sha256:" in entry, entry[:80]


@pytest.mark.parametrize("name", OTHER_PADDLES)
def test_environments_of_other_paddles_differ_in_paddle_alone(name):
    """What the stages import has the versions of cpu.txt, but for what the generation itself needs."""
    stages, own = pins((ENVS / "stages.in").read_text()), pins((ENVS / f"{name}.in").read_text())
    cpu, locked = pins((ENVS / "cpu.txt").read_text()), pins((ENVS / f"{name}.txt").read_text())
    for package, versions in stages.items():
        assert cpu[package] == locked[package] == versions, package
    for package, versions in own.items():
        assert locked[package] == versions, package
    build = "paddlepaddle-gpu" if "gpu" in name else "paddlepaddle"
    assert own.keys() - {build, "paddle2onnx", "onnx", "scipy", "scikit-learn"} == set()
    assert next(iter(own[build])).startswith(name.rpartition("-")[2])


def test_development_pins_do_not_disagree():
    cpu, dev = pins((ENVS / "cpu.txt").read_text()), pins((ENVS / "dev.txt").read_text())
    for name in cpu.keys() & dev.keys():
        assert dev[name] <= cpu[name], name


def test_what_only_the_benchmark_imports_is_in_no_environment_of_users():
    found = {file.name for file in ENVS.glob("*") if "mlcommons-loadgen" in file.read_text(encoding="utf-8")}
    assert found == {"dev.in", "dev.txt"}


def test_gpu_environment_is_the_cpu_one_with_other_builds_of_paddle_and_onnxruntime():
    cpu, gpu = pins((ENVS / "cpu.txt").read_text()), pins((ENVS / "gpu.txt").read_text())
    paddle = cpu.pop("paddlepaddle")
    assert cpu.pop("onnxruntime") and gpu.pop("onnxruntime-gpu")
    assert gpu == cpu
    assert pins((ENVS / "gpu-paddle.txt").read_text()) == {"paddlepaddle-gpu": paddle}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_what_a_checkout_of_paddleseg_imports_beyond_the_released_one_is_there(kind):
    assert "scikit-image" in pins((ENVS / f"{kind}.txt").read_text())


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_conda_environments_install_the_same_pins(kind):
    env = yaml.safe_load((ENVS / f"{kind}.yaml").read_text())
    assert [d for d in env["dependencies"] if isinstance(d, str) and d.startswith("python")] == ["python=3.11"]
    script = (ENVS / f"{kind}.post-deploy.sh").read_text()
    installed = pins(script)
    locked = pins((ENVS / f"{kind}.txt").read_text())
    assert installed.keys() <= locked.keys() | {"paddlepaddle-gpu"}
    for name, versions in installed.items():
        if name != "paddlepaddle-gpu":
            assert versions <= locked[name], name
    direct = pins((ENVS / "cpu.in").read_text())
    assert direct.keys() - {"paddlepaddle", "onnxruntime"} <= installed.keys() | set(workflow_packages())


def workflow_packages():
    """What derive.py leaves out of a job's environment."""
    return runpy.run_path(str(ENVS / "derive.py"))["WORKFLOW"]


def test_no_file_names_a_registry():
    import subprocess

    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    pattern = re.compile(r"(?:--index-url|--extra-index-url|index-url\s*=|files\.pythonhosted|/simple/?\s|pypi\.org)")
    for name in filter(None, listed.split("\0")):
        if name != "tests/test_envs.py":
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
            assert not pattern.search(text), name
