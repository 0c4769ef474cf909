"""What is read of a machine and its software, where there is less of it than elsewhere."""

import platform
import subprocess
from pathlib import Path

import pytest

from segcert import machine


@pytest.fixture(autouse=True)
def afresh():
    cached = (
        machine._cpuinfo,
        machine._environment_of,
        machine.package_folder,
        machine.paddle_build,
        machine.os_version,
    )
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_an_interpreter_that_does_not_run_tells_nothing(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert machine.software(str(broken)) == {}
    assert machine.package_folder("paddle", str(broken)) is None and machine.paddle_build(str(broken)) == {}
    assert (
        machine.why_paddle_has_no_gpu(machine.paddle_build(str(broken)), ())
        == "there is no Paddle in the Python of the stages"
    )


def test_a_paddle_whose_version_cannot_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "package_folder", lambda *_: tmp_path)
    assert machine.paddle_build("a") == {}
    (tmp_path / "version").mkdir()
    (tmp_path / "version/__init__.py").write_text("full_version = ")
    assert machine.paddle_build("b") == {}
    (tmp_path / "version/__init__.py").write_text("full_version = 'not a version'\nx = f()\n")
    assert machine.paddle_build("c") == {"full_version": "not a version"}


def test_a_version_that_is_none_fits_the_empty_specifier_alone(monkeypatch):
    monkeypatch.setattr(machine, "paddle_build", lambda: {"full_version": "nightly"})
    assert machine.paddle_is("") and not machine.paddle_is(">=2")
    for version in ("3.3.0", "3.3.0rc1", "3.3.0b1", "3.3.0.post1", "3.3.1.dev20260101", "3.3.0+cpu"):
        assert machine.paddle_is(">=3.3,<3.4", version) and not machine.paddle_is("<3.3", version), version
    assert not machine.paddle_is(">=3.3", "3.2.2rc1") and machine.paddle_is("==3.3.0rc1", "3.3.0rc1")
    assert not machine.paddle_is(">=3.3,!=3.3.0rc1", "3.3.0rc1") and machine.paddle_is(">=3.3,!=3.3.0rc1", "3.3.0")
    assert not machine.paddle_is("==3.3.0", "3.3.0.post1"), "what comes after a release is not the release"


def test_a_system_without_a_proc(monkeypatch, tmp_path):
    def nothing(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "none")
    assert machine.oom_kills() is None
    monkeypatch.setattr(Path, "read_text", nothing)
    assert machine.cpu_model() and machine.cpu_flags() == set()


def test_a_control_group_that_counts_no_kills(monkeypatch, tmp_path):
    (tmp_path / "own").write_text("0::/no/such/group\n")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    assert machine.oom_kills() is None


def test_a_system_that_does_not_name_itself(monkeypatch):
    def nothing():
        raise OSError

    monkeypatch.setattr(platform, "freedesktop_os_release", nothing)
    assert machine.os_version() == platform.platform()


def test_an_interpreter_that_hangs_tells_nothing(monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(subprocess, "run", hang)
    assert machine.software("/other/python") == {} and machine.package_folder("paddle", "/other/python") is None
