"""The package's types hold, as far as pyproject.toml asks for."""

import subprocess
import sys

from conftest import ROOT


def check(folder):
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)


def test_types_hold():
    checked = check(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_wrong_type_is_found(project):
    stats = project / "scripts/segcert/compute/stats.py"
    stats.write_text(stats.read_text(encoding="utf-8") + "\nMIN_SAMPLES_P99 = str(MIN_SAMPLES_P99)\n", encoding="utf-8")
    checked = check(project)
    assert checked.returncode == 1 and "stats.py" in checked.stdout, checked.stdout + checked.stderr
