"""What the tests share: the package on the path, and a copy of the project that a test may spoil."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/helpers"), str(ROOT / "tests/corpus")]

PARTS = ("Snakefile", "rules", "scripts", "config", "envs", "profiles", "report", "README.md")


# The same examples every time, so that a change is what makes a test fail; `make fuzz` looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """What is remembered between starts (segcert.remembered) begins empty in each run of the suite.

    Otherwise what a machine remembers of earlier ones would decide which lines run.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    before = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = tempfile.TemporaryDirectory(prefix="caches-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ.setdefault("PIP_CACHE_DIR", str(before / "pip"))  # packages need not come over the network twice
    os.environ["XDG_CACHE_HOME"] = folder.name


LONGEST = 900  # seconds of a test with its fixtures; one that waits for ever would end the whole run without a name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    def give_up(_signal: int, _frame: Any) -> None:
        pytest.fail(f"{item.nodeid}: not ended after {LONGEST} s", pytrace=True)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


def copy_project(target: Path) -> Path:
    """The project's files, without results or environment, in a folder of their own."""
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target / part)
    return target


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "project")


def snakemake(folder: Path, *arguments: str, timeout: int = 600) -> subprocess.CompletedProcess[str]:
    """Run snakemake there, as a user would."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)


def finished_run(target: Path, config: dict[str, Any]) -> Path:
    """A copy of the project after a run with the configuration, its mine.yaml; screen.txt is what the run showed."""
    folder = copy_project(target)
    (folder / "mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = snakemake(folder, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "screen.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


def interpreter(folder: Path, at_start: str, base: Path | None = None) -> Path:
    """An interpreter with the packages of an environment (this one's) that runs code of a test's own as it starts.

    Its processes start themselves again as this interpreter, so what is planted reaches workers and ranks too.
    """
    base = base or Path(sys.prefix)
    subprocess.run([base / "bin/python", "-m", "venv", "--without-pip", folder], check=True)
    own, packages = (next((venv / "lib").glob("python*/site-packages")) for venv in (folder, base))
    (own / "at_start.py").write_text(at_start, encoding="utf-8")
    lines = f"{packages}\nimport at_start\n"
    (own / "at_start.pth").write_text(lines, encoding="utf-8")
    subprocess.run([sys.executable, ROOT / "tests/coverage/judge.py", "--follow", folder / "bin/python"], check=True)
    return folder / "bin/python"


@pytest.fixture
def plan_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Plans a run in an empty folder; what it leaves in the environment goes with the test."""
    from segcert import gpus
    from segcert.run import Run

    monkeypatch.chdir(tmp_path)
    for name in (gpus.POOL, gpus.VISIBLE, gpus.ANSWER, "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield lambda config, start: Run.plan(config, {}, "config/config.yaml", ROOT, start)
    gpus.listed.cache_clear()


def planned_jobs(text: str) -> dict[str, int]:
    """Rule -> number of jobs, from the job statistics that snakemake prints; empty where there is nothing to do."""
    counts: dict[str, int] = {}
    lines = iter(text.splitlines())
    for line in lines:
        if line.split() == ["job", "count"]:
            next(lines)
            for row in lines:
                if len(row.split()) != 2:
                    break
                rule, count = row.split()
                counts[rule] = int(count)
            break
    return {rule: count for rule, count in counts.items() if rule not in ("all", "total")}


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker of pytest-xdist who asks makes for all of them; nobody changes it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            make(folder.with_suffix(".partial"))
            folder.with_suffix(".partial").rename(folder)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Generated portraits, unpacked, with the manifest that the stages read."""
    from segcert.data import archives, inspection, synthetic
    from segcert.files import write_json

    def make(folder: Path) -> None:
        folder.mkdir()
        synthetic.write_tar(folder / "d.tar", "mini_supervisely", {"train": 16, "val": 6, "test": 2}, seed=3)
        archives.unpack(folder / "d.tar", folder / "d")
        write_json(folder / "d/manifest.json", inspection.inspect(folder / "d", "mini_supervisely", "d").manifest)

    return made_once(tmp_path_factory, "data", make) / "d"


@pytest.fixture(scope="session")
def trained(tmp_path_factory, dataset) -> Path:
    """A folder with a model that has learned something: checkpoint, history, evaluation, reference label maps.

    Tests may add to it: each worker has a copy.
    """
    import stages

    def make(folder: Path) -> None:
        folder.mkdir()
        done = stages.train(folder, dataset, "--iters", "60", "--batch-size", "4", "--workers", "1", "--threads", "2")
        assert done.returncode == 0, done.stderr
        done = stages.evaluate(folder, dataset)
        assert done.returncode == 0, done.stderr

    return shutil.copytree(made_once(tmp_path_factory, "trained", make), tmp_path_factory.mktemp("trained") / "chain")
