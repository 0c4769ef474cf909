"""Sides: how they are named, what they are run with, what several of them come to, and the command.

Wheels here are stand-ins, named so: a `paddlepaddle` of a few bytes in a folder that takes the place of the package
index. Interpreters are stand-ins where a test says so: this one's, which ends the worker of a stage.
"""

import base64
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, interpreter, snakemake
from packaging.version import Version
from test_comparison import CONFIG, WHOLE, cell, run, tolerances, with_metric

from segcert import machine, processes, sides, upgrading
from segcert.errors import ConfigError, StageError
from segcert.run import Start
from segcert.series import environments, nested, probes, turns
from segcert.series.alone import alone
from segcert.series.environments import Maker
from segcert.series.nested import Plan
from segcert.show import upgraded
from segcert.sides import Side
from segcert.upgrading import Ran, Tried

WHEEL = "paddlepaddle-{}-py3-none-any.whl"
# Ends the worker of every stage but those that make data.
BREAKS = """
import os, sys
if "SEGCERT_WORKER" in os.environ and any(word.endswith("unpack_dataset.py") for word in sys.orig_argv):
    print("the stand-in ends this worker", file=sys.stderr, flush=True)
    os._exit(7)
"""


# -- how they are named -----------------------------------------------------------------------


def test_an_entry_is_read_for_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (WHEEL.format("3.4.0"), "paddlepaddle_gpu-3.2.2-7-cp311-cp311-linux_x86_64.whl"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv-new/bin/python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    asked = ["3.2.2", "*.whl", ".venv-new/bin/python3", "python3", "paddleseg@release/2.9~1",
             {"name": "again", "side": "3.2.2"}]  # fmt: skip
    found = sides.parse(asked, "sides")
    assert found == [
        Side("3.2.2", "version", "3.2.2"),
        Side("3.4.0-wheel", "wheel", WHEEL.format("3.4.0")),
        Side("3.2.2-gpu-7-wheel", "wheel", "paddlepaddle_gpu-3.2.2-7-cp311-cp311-linux_x86_64.whl"),
        Side("venv-new", "python", ".venv-new/bin/python3"),
        Side("python3", "python", "python3"),
        Side("paddleseg-release-2.9-1", "commit", "release/2.9~1"),
        Side("again", "version", "3.2.2"),
    ]
    assert [side.version for side in found[:5]] == [*map(Version, ("3.2.2", "3.4.0", "3.2.2")), None, None]
    assert [side.entry for side in found][::5] == ["3.2.2", "paddleseg@release/2.9~1"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["3.2.2\n"], [r'sides.0: "3.2.2\n" is refused', "a version of Paddle"]),
        ([{"name": "a" * 101, "side": "3.2.2"}], ["the keys name (100 letters, digits"]),
        ([3.2], ["sides.0: 3.2 is refused", "a version is text: '3.2'"]),
        (["3.2.2", ""], ['sides.1: "" is refused']),
        (["3.2.2", "no/such/python"], ['sides.1: "no/such/python" is refused', "a version of Paddle"]),
        (["gone*.whl"], ['sides.0: "gone*.whl" is refused', "a wheel that is there"]),
        (["half.whl"], ['"half.whl" is refused', "this is none"]),
        (["numpy-1.0-py3-none-any.whl"], ["a wheel of paddlepaddle or paddlepaddle-gpu; this is one of numpy"]),
        (["paddleseg@--help"], ['"paddleseg@--help" is refused', "where git knows COMMIT"]),
        ([{"name": "../up", "side": "3.2.2"}], ["the keys name", "and side"]),
        ([{"name": "a", "side": "paddle*.whl"}], ["sides.0.side", "one side; these are 2"]),
        (["3.2.2", "3.2.2"], ['sides: "3.2.2", "3.2.2": 2 sides are called 3.2.2', "{name: ..., side: 3.2.2}"]),
        (
            ["3.2.2", "3.3.1", "03.2.2"],
            ['sides: "3.2.2", "03.2.2": 2 sides are called 3.2.2', "{name: ..., side: 3.2.2}"],
        ),
        (["3.2", "3.2.0"], ['sides: "3.2", "3.2.0": 2 sides are called 3.2;']),
        ([{"name": "3.2.2", "side": "3.3.1"}, "3.2.2"], ['sides: "3.3.1", "3.2.2": 2 sides are called 3.2.2']),
        (
            ["3.2.2", {"name": "Upgrade.md", "side": "3.2.2"}],
            ['sides.1.name: "Upgrade.md" is refused', "a name other than"],
        ),
        (
            ["bisect.json/bin/python"],
            ['sides.0: "bisect.json/bin/python" is refused', "would be called bisect.json: {name"],
        ),
    ],
)
def test_what_is_no_side_is_named(tmp_path, monkeypatch, entries, words):
    monkeypatch.chdir(tmp_path)
    for name in ("half.whl", "numpy-1.0-py3-none-any.whl", WHEEL.format("1"), WHEEL.format("2")):
        (tmp_path / name).touch()
    (tmp_path / "bisect.json/bin").mkdir(parents=True)
    (tmp_path / "bisect.json/bin/python").symlink_to(sys.executable)
    with pytest.raises(ConfigError) as refused:
        sides.parse(entries, "sides")
    assert all(word in str(refused.value) for word in words), refused.value


def test_no_side_takes_the_place_of_a_file_that_is_written_beside_it():
    written = (*turns.FILES, probes.DATA, probes.TEXT)
    assert sorted(written) == sorted(sides.TAKEN)
    for name in written:
        with pytest.raises(ConfigError, match=re.escape(f'good.name: "{name}" is refused')):
            sides.one({"name": name, "side": "3.2.2"}, "good")
    same = [{"name": "a", "side": "3.2.2"}, {"name": "b", "side": "03.2.2"}, "3.2.2"]
    assert [side.name for side in sides.parse(same, "sides")] == ["a", "b", "3.2.2"], "who names them means it"


def test_what_a_run_of_sides_and_a_search_are_told(plan_run):
    config = {**yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")), "mode": "smoke",
              "hardware": "cpu", "models": ["pp_humanseg_lite"]}  # fmt: skip

    planned = plan_run(config, Start())

    def plan(start=None, **changes):
        return replace(planned, settings={**planned.settings, **changes}, start=start or Start())

    record = "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    given = ["--plan", "results/smoke/.series.json", "--folder"]
    assert plan(sides=["3.2.2", "3.3.1"]).upgraded() == [*given, "results/upgrade/smoke-3.2.2-3.3.1"]
    own = {**config["upgrade"], "name": "mine"}
    assert plan(sides=["3.2.2", "3.3.1"], upgrade=own).upgraded()[-1] == "results/upgrade/mine"
    many = [{"name": f"a-long-name-{number}", "side": "3.2.2"} for number in range(9)]
    assert len(Path(plan(sides=many).upgraded()[-1]).name) == 79
    asked = {"cell": record, "good": "3.2.2", "bad": "3.3.1"}
    *options, folder = plan(**asked).bisected()
    assert options == given and folder.startswith("results/bisect/status-3.2.2-3.3.1-")
    assert plan(**{**asked, "cell": record.replace(".json", ".failed.json")}).bisected()[-1] == folder
    data = "results/data/mini_supervisely_synthetic.json"
    among = {**config["bisect"], "among": ["3.2.2", "3.3.1"], "name": "b"}
    assert plan(cell=data, bisect=among).bisected()[-1] == "results/bisect/b"
    for what, words in (
        (lambda: plan(sides=["3.2.2"]).upgraded(), "two sides at least"),
        (lambda: plan(cell=record, good="3.2.2").bisected(), "bad: null: a search needs"),
        (lambda: plan(**{**asked, "cell": None}).bisected(), "cell: null: a search needs"),
        (lambda: plan(**{**asked, "cell": "results/smoke/x/train.json"}).bisected(), "a cell that is planned"),
        (lambda: plan(Start(in_conda=True), sides=["3.2.2", "3.3.1"]).upgraded(), "does not go with --sdm conda"),
    ):
        with pytest.raises(ConfigError, match=words):
            what()


# -- what they are run with -------------------------------------------------------------------


def stand_in_wheel(folder, version, says=None, name="paddlepaddle", module="paddle"):
    """A wheel of a few bytes, and its sha256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    files = {
        f"{module}/__init__.py": f"__version__ = {says or version!r}\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = ""
    for file, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        listed += f"{file},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(path, "w") as packed:
        for file, text in {**files, f"{name}-{version}.dist-info/RECORD": listed}.items():
            packed.writestr(file, text)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """A maker whose locks and package index are made up, and the lines that it told."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("index", "envs", "wheels"):
        (tmp_path / name).mkdir()
    _, friend = stand_in_wheel(tmp_path / "index", "1.0", name="friend", module="friend")
    for file, version in (("cpu.txt", "3.2.2"), ("paddle-2.6.txt", "2.6.2")):
        _, digest = stand_in_wheel(tmp_path / "index", version)
        (tmp_path / "envs" / file).write_text(
            f"# a comment\nfriend==1.0 \\\n    --hash=sha256:{friend}\npaddlepaddle=={version} \\\n"
            f"    --hash=sha256:{digest}\nwinning==2.0 ; sys_platform == 'win32' \\\n    --hash=sha256:0\n"
        )
    told = []
    made = Maker(tmp_path / "sides", tmp_path / "envs", sys.executable, tell=told.append)
    made.told = told
    return made


def paddle_of(made):
    done = subprocess.run([made.changes["python"], "-c", "import paddle, friend; print(paddle.__version__)"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_pinned_environment_is_made_once_and_whole(maker):
    side = Side("new", "version", "3.2.2")
    made = maker.make(side)
    assert paddle_of(made) == "3.2.2" and made.how == "pins of cpu.txt"
    place = Path(made.changes["python"]).parent.parent
    assert place.parent == maker.folder and place.name.startswith("paddle-3.2.2-")
    assert list(place.rglob("paddle/__pycache__/*.pyc")), "compiled bytecode"
    assert "making" in maker.told[0] and not list(maker.folder.glob(".*.txt"))
    before = (place / ".complete").stat().st_mtime_ns
    assert maker.make(side) == made and "is there" in maker.told[-1]
    (place / ".complete").unlink()  # as a kill in the middle leaves it
    (place / "half").touch()
    assert maker.make(side) == made and not (place / "half").exists()
    assert (place / ".complete").stat().st_mtime_ns > before
    # an interpreter that has every pin is taken as it is
    maker.beside = ["no-such-python", made.changes["python"]]
    again = maker.make(Side("x", "version", "3.2.2"))
    assert again.changes == made.changes and again.how == f"{place.name} has every pin of cpu.txt"


def test_another_version_takes_the_companions_of_the_nearest_generation(maker, tmp_path, monkeypatch):
    stand_in_wheel(tmp_path / "index", "3.1.1")
    monkeypatch.setattr(environments, "TOLD_S", 0)
    made = maker.make(Side("3.1.1", "version", "3.1.1"))
    assert paddle_of(made) == "3.1.1" and made.how == "pins of cpu.txt, Paddle 3.1.1 in place of 3.2.2"
    found = environments.locks(tmp_path / "envs")
    assert [str(lock.paddle) for lock in found] == ["2.6.2", "3.2.2"]
    nearest = {"1.8": "2.6.2", "2.4.1": "2.6.2", "3.0.0": "3.2.2", "3.9": "3.2.2", "4.0": "3.2.2"}
    assert {v: str(environments.closest(Version(v), found).paddle) for v in nearest} == nearest
    with pytest.raises(StageError, match="no lock"):
        environments.closest(Version("3.0"), [])


def test_a_wheel_is_known_by_what_it_holds(maker, tmp_path):
    path, _ = stand_in_wheel(tmp_path / "wheels", "3.2.2+mine", says="3.2.2")
    side = Side("w", "wheel", str(path))
    made = maker.make(side)
    assert paddle_of(made) == "3.2.2" and "3.2.2+mine in place of 3.2.2" in made.how
    stand_in_wheel(tmp_path / "wheels", "3.2.2+mine", module="other")
    with pytest.raises(StageError, match=r"import paddle: .*exit code 1.*No module named 'paddle'"):
        maker.make(side)  # the same name, and another wheel
    assert paddle_of(made) == "3.2.2", "the former one is as it was"


def test_a_side_is_known_by_content_before_it_is_made(maker, history, tmp_path):
    wheel, digest = stand_in_wheel(tmp_path, "3.3.7")
    named = Side("w", "wheel", str(wheel))
    first = maker.content(named)
    assert first["wheel"] == digest and first == maker.content(named)
    stand_in_wheel(tmp_path, "3.3.7", says="3.3.8")
    other = maker.content(named)
    assert other["wheel"] != digest and other["environment"] != first["environment"]
    assert not maker.folder.exists(), "nothing was made"
    version = maker.content(Side("v", "version", "3.2.2"))
    made = maker.make(Side("v", "version", "3.2.2")).changes["python"]
    assert version == {"environment": Path(made).parent.parent.name, "wheel": None}
    # An interpreter: its file, its Paddle, and what else it has.
    python = Side("p", "python", made)
    before = maker.content(python)["python"]
    assert before["file"][0] == str(Path(made).resolve()) and before["has"]["paddlepaddle"] == "3.2.2"
    own = maker.content(Side("p", "python", sys.executable))["python"]
    build = machine.paddle_build(sys.executable)
    assert own["paddle"] == [build["full_version"], build["commit"]]
    script = tmp_path / "python"
    for text in ("exit 3", "exit 33"):
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        told = maker.content(Side("p", "python", str(script)))["python"]
        assert told["file"][1] == len(script.read_text()) and told["paddle"] == [None, None] and told["has"] == {}
    # A commit: its hash, wherever a branch is by now.
    folder, commits = history
    maker.checkout = folder
    assert maker.content(Side("c", "commit", "main"))["commit"] == commits[-1]
    assert maker.content(Side("c", "commit", "main"))["python"] == own
    assert "has no such commit" in maker.content(Side("c", "commit", "gone"))["why_not"]


def test_an_interpreter_with_all_pins_is_what_a_version_is_by_content(maker):
    made = maker.make(Side("v", "version", "3.2.2")).changes["python"]
    again = replace(maker, python=made)
    assert again.content(Side("v", "version", "3.2.2"))["python"]["file"][0] == str(Path(made).resolve())


def test_what_cannot_be_made_leaves_nothing(maker, tmp_path):
    stand_in_wheel(tmp_path / "index", "3.1.0", says="3.0.9")
    for version, words in (
        ("3.0.0", r"3\.0\.0: Paddle 3\.0\.0: exit code 1: .*No matching distribution.*its log: .*\.log"),
        ("3.1.0", r"it has Paddle 3\.0\.9, and 3\.1\.0 was asked for"),
    ):
        with pytest.raises(StageError, match=words):
            maker.make(Side(version, "version", version))
    assert not [path for path in maker.folder.iterdir() if path.is_dir()]
    with pytest.raises(StageError, match=r"sleeper: not ended after 0 s"):
        environments._run("sleeper", ["sleep", "60"], tmp_path / "x.log", 0, print)
    assert environments._last("a\nb\nc \nd\n") == "b; c; d"


def test_what_takes_long_says_so_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "TOLD_S", 0)
    said = []
    environments._run("sleeper", ["sleep", "1.5"], tmp_path / "x.log", 60, said.append)
    assert said == ["sleeper: 1 s"]


def git(folder, *words):
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def history(tmp_path):
    """A repository with four commits, the third of them a merge; their hashes by first parents."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(2):
        (folder / "number").write_text(str(number))
        git(folder, "add", ".")
        git(folder, "commit", "-qm", str(number))
    git(folder, "checkout", "-qb", "side")
    git(folder, "commit", "-qm", "on a side", "--allow-empty")
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-ff", "-m", "merged", "side")
    git(folder, "commit", "-qm", "last", "--allow-empty")
    return folder, git(folder, "rev-list", "--first-parent", "--reverse", "HEAD").split()


def test_a_commit_is_a_work_tree_of_the_checkout(maker, history, tmp_path):
    folder, commits = history
    with pytest.raises(ConfigError, match="paddleseg: has to name a checkout"):
        maker.make(Side("p", "commit", "HEAD~3"))
    maker.checkout = folder
    made = maker.make(Side("p", "commit", "HEAD~3"))
    place = Path(made.changes["paddleseg"])
    assert (place / "number").read_text() == "0" and place.name == f"paddleseg-{commits[0][:12]}"
    assert made.changes["python"] == sys.executable and made.how == f"commit {commits[0][:12]} of {folder}"
    assert maker.make(Side("q", "commit", commits[0])) == made, "it is there"
    (place / "number").write_text("edited")
    with pytest.raises(StageError, match="it is edited"):
        maker.make(Side("p", "commit", commits[0]))
    git(place, "checkout", "-q", "--", ".")
    git(place, "update-index", "--assume-unchanged", "number")
    (place / "number").write_text("edited, and git is told not to look")
    with pytest.raises(StageError, match="it is edited"):
        maker.make(Side("p", "commit", commits[0]))
    git(place, "update-index", "--no-assume-unchanged", "number")
    git(place, "checkout", "-q", "--", ".")
    git(place, "checkout", "-q", commits[1])
    with pytest.raises(StageError, match="of another commit"):
        maker.make(Side("p", "commit", commits[0]))
    with pytest.raises(StageError, match=r"paddleseg@gone: .*has no such commit"):
        maker.make(Side("p", "commit", "gone"))
    maker.folder = tmp_path / "other"
    git(place, "checkout", "-q", ".")
    made_else = maker.make(Side("p", "commit", commits[0]))
    assert (Path(made_else.changes["paddleseg"]) / "number").read_text() == "0"
    (tmp_path / "number").write_text("a file in the way")
    maker.folder = tmp_path / "third"
    (folder / ".git/worktrees").rename(folder / ".git/kept")
    (folder / ".git/worktrees").write_text("in the way")
    with pytest.raises(StageError, match="git worktree add"):
        maker.make(Side("p", "commit", commits[1]))


def test_the_commits_between_two_are_those_of_first_parents(history):
    folder, commits = history
    assert len(commits) == 4
    assert environments.commits_between(folder, "HEAD~3", "main") == commits
    for good, bad in (("main", "HEAD~3"), ("side", "main")):
        with pytest.raises(StageError, match=f"{good}: no ancestor of {bad} by first parents"):
            environments.commits_between(folder, good, bad)


def test_versions_that_are_published_are_read_from_the_index(maker, tmp_path, monkeypatch):
    stand_in_wheel(tmp_path / "index", "3.10.0")
    assert environments.published() == [*map(Version, ("2.6.2", "3.2.2", "3.10.0"))]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "envs"))
    with pytest.raises(StageError, match=r"pip index versions paddlepaddle: .*No matching distribution"):
        environments.published()


# -- runs that a run starts -------------------------------------------------------------------


def test_relative_paths_of_a_configuration_are_of_the_folder_that_was_started_in(tmp_path):
    (tmp_path / "mine.yml").touch()
    (tmp_path / "data").mkdir()
    tree = {
        "python": "python3", "paddleseg": "data", "params_file": ["mine.yml", "/abs", "gone"], "mode": "data",
        "model_zoo": {"a": {"config": "mine.yml"}, "b": {"config": "config/models/b.yml"}, "c": {}},
        "datasets": {"d": {"path": "data"}, "e": None}, "paddleseg_root": None,
    }  # fmt: skip
    assert nested.resolved(tree, tmp_path) == {
        **tree, "paddleseg": f"{tmp_path}/data", "params_file": [f"{tmp_path}/mine.yml", "/abs", "gone"],
        "model_zoo": {"a": {"config": f"{tmp_path}/mine.yml"}, "b": {"config": "config/models/b.yml"}, "c": {}},
        "datasets": {"d": {"path": f"{tmp_path}/data"}, "e": None},
    }  # fmt: skip


def test_files_that_a_run_reads_are_known_by_content_and_those_that_it_writes_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("root/Snakefile", "root/scripts/a.py", "data/x/1.png", "checkout/a.py", "weights.pdparams"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    config = {
        "datasets": {"d": {"path": "data"}, "generated": None}, "params_file": ["gone.txt"], "python": "python3",
        "weights": {"w": {"path": "weights.pdparams"}},
    }  # fmt: skip
    asked = Plan(tmp_path / "root", config, {}, {}, "python3", str(tmp_path / "checkout"), 1, {})
    seen = [nested.contents(asked)]
    for file in ("root/results/a", "checkout/.git/index", "root/scripts/__pycache__/a.pyc", "else.yml"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert nested.contents(asked) == seen[0]
    for file in ("root/scripts/b.py", "data/x/2.png", "checkout/b.py", "gone.txt"):
        (tmp_path / file).touch()
        seen.append(nested.contents(asked))
    os.utime(tmp_path / "weights.pdparams", (1, 1))
    seen.append(nested.contents(asked))
    (tmp_path / "data/x/1.png").unlink()
    seen.append(nested.contents(asked))
    assert len(set(seen)) == 7


def test_a_plan_that_was_not_written_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.json: cannot be read .*snakemake upgrade"):
        Plan.read(tmp_path / "gone.json")


NO_CONCLUSIONS = """
rule all:
    shell: "{} exit 1"
"""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo no space left;", r"exit code 1: .*; all it said: .*x/1/screen\.log"),
        ("mkdir -p results/smoke; echo [] > results/smoke/conclusions.json;", "not the conclusions of a run"),
    ],
)
def test_a_run_that_concludes_nothing_says_why(tmp_path, monkeypatch, command, words):
    """Real Snakemake, on a stand-in for the workflow that breaks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "no/such/profile")
    (tmp_path / "Snakefile").write_text(NO_CONCLUSIONS.format(command))
    asked = Plan(tmp_path, {"cell": "c", "sides": ["a"]}, {}, {"mode": "smoke"}, "python3", None, 1, {})
    former = tmp_path / "x/1/results/smoke/conclusions.json"
    former.parent.mkdir(parents=True)
    former.write_text(json.dumps(run(*WHOLE, mode="smoke")))  # of a run before, and not of this one
    found = nested.run(asked, Path("x/1"), {"python": "python3"})
    assert found.conclusions is None and re.search(words, found.why_not), found.why_not
    assert yaml.safe_load(Path("x/1/config/config.yaml").read_text()) == {"cell": None, "sides": []}
    assert Path("x/1/results/downloads").resolve() == tmp_path / "results/downloads"


def test_a_run_ends_with_the_workflow_that_started_it(tmp_path, monkeypatch, capsys):
    quick = [sys.executable, "-c", "print('said'); raise SystemExit(3)"]
    assert nested._follow(quick, tmp_path / "log", "[x] ") == 3
    assert "[x] said\n" in capsys.readouterr().err and (tmp_path / "log").read_text() == "said\n"
    child = subprocess.Popen(["true"])
    dead = processes.identity(child.pid)
    child.wait()
    monkeypatch.setenv("SEGCERT_WORKFLOW", json.dumps(dead))
    with pytest.raises(ConfigError, match="was ended"):
        nested._follow(["sleep", "600"], tmp_path / "log", "")
    assert nested._last_line(tmp_path / "log") == "said"
    (tmp_path / "log").write_text("")
    assert nested._last_line(tmp_path / "log") == "it said nothing"


def test_sides_go_in_turns_there_and_back():
    assert list(turns.order(2, 3)) == [(1, 0), (1, 1), (2, 1), (2, 0), (3, 0), (3, 1)]


# -- what they come to ------------------------------------------------------------------------


def test_what_another_interpreter_of_that_name_made_is_made_anew(tmp_path, monkeypatch, capsys):
    """Stand-in runs; the interpreters and what they have installed are real."""
    given = []

    def run(plan, folder, changes, label, more):
        folder.mkdir(parents=True, exist_ok=True)
        given.append((folder.name, more))
        return ran(None, "a stand-in")

    monkeypatch.setattr(nested, "run", run)
    python = interpreter(tmp_path / "mine", "")
    settings = {"mode": "smoke", "upgrade": {"name": None, "repeats": 2, "environments": str(tmp_path / "sides")}}
    asked = Plan(ROOT, {}, {}, settings, sys.executable, None, 1, {})

    def of_two():
        given.clear()
        turns.run(asked, [Side("mine", "python", str(python))], 2, tmp_path / "u")
        return given

    plain = [("1", []), ("2", [])]
    assert of_two() == plain and of_two() == plain and "made anew" not in capsys.readouterr().err
    folder = next((tmp_path / "mine/lib").glob("python*/site-packages")) / "mine-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", encoding="utf-8")
    assert of_two() == [("1", ["--forceall"]), ("2", ["--forceall"])]
    assert "mine: it is another by now than when" in capsys.readouterr().err
    assert of_two() == plain


def ran(conclusions, why_not=None, folder="f"):
    return Ran(folder, "2026-01-01T00:00:00+00:00", 1.0, conclusions, why_not)


def tried(name, *runs, why_not=None):
    return Tried(
        name, name, None if why_not else "pins", why_not, [ran(one) if one else ran(None, "died") for one in runs]
    )


def judged(*asked):
    return upgrading.judge("u", "smoke", asked, tolerances())


def failing(number, reason="ConvertPirAttribute"):
    return [*WHOLE[:-1], *(cell(name=f"c{one}", status="failed", reason=reason) for one in range(number))]


def test_a_side_that_is_as_good_is_one_to_upgrade_to():
    found = judged(
        tried("a", run(*WHOLE)), tried("b", run(*WHOLE, cell(name="gpu", status="unverified", reason="no GPU")))
    )
    assert not found.failed and [side.verdict for side in found.sides] == ["first", "upgrade"]
    assert found.sentences == [
        "Upgrade from a to b: of 4 cells that ran on both and 13 figures none is worse; the two environments are "
        "equal; 1 cell was not exercised, and nothing is known of it."
    ]


def test_a_side_that_is_worse_says_because_of_what(tmp_path):
    base = [*WHOLE[:-1], *(cell(name=f"c{number}") for number in range(3))]
    slow = with_metric("train", "metrics.ips", 4.0)[:1]
    found = judged(tried("a", run(*base)), tried("b", run(*slow, *failing(3)[1:])), tried("c", run(*base)))
    assert found.failed and [side.verdict for side in found.sides] == ["first", "do not upgrade", "upgrade"]
    assert found.sentences[0] == (
        "Do not upgrade from a to b: passed before, now failed (ConvertPirAttribute): pp_humanseg_lite, 3 cells; "
        "training images/s is worse: pp_humanseg_lite train single_fp32, ratio 0.4."
    )
    text = upgraded.markdown(found)
    assert "# Upgrade, mode smoke: b: do not upgrade; c: upgrade" in text and "(**4 worse**)" in text
    assert "### Worse" in text and "| training images/s | 10" in re.sub(r" +", " ", text)
    html = upgraded.page(found, tmp_path)
    assert 'data-worst="failed"' in html and '<section class="verdict is-red"' in html and "src=" not in html
    assert found.as_json()["sides"][1]["models"]["pp_humanseg_lite"] == {"passed": 3, "failed": 3}
    json.dumps(found.as_json(), allow_nan=False)


def test_many_findings_are_told_by_what_they_have_in_common():
    lost = judged(tried("a", run(*WHOLE)), tried("b", run(*WHOLE[:1]))).sides[1].compared.changes
    assert upgrading.reasons(lost) == "passed before, now not in the matrix: pp_humanseg_lite, 3 cells"
    kinds = [cell(name=f"c{number}") for number in range(5)]
    broken = [cell(name=f"c{number}", status="failed", reason="x" * 10 + "abcde"[number]) for number in range(5)]
    told = judged(tried("a", run(*kinds)), tried("b", run(*broken))).sentences[0]
    assert told.count("passed before") == 3 and "and 2 more findings" in told
    many = [cell(name=f"m{number}", model=f"m{number}") for number in range(6)]
    told = judged(tried("a", run(*many)), tried("b", run(*(c | {"status": "failed", "reason": "r"} for c in many))))
    assert "m0, m1, m2, m3 and 2 more models, 6 cells" in told.sentences[0]
    slow = [c for n in range(2) for c in [cell("train", f"t{n}", metrics={"ips": 1.0 + n, "last_loss": 0.5})]]
    quick = [cell("train", f"t{n}") for n in range(2)]
    assert "2 cells, ratios 0.1 to 0.2" in judged(tried("a", run(*quick)), tried("b", run(*slow))).sentences[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([tried("a", run(*WHOLE)), tried("b", why_not="pip: no")],
         "No answer on b: its environment could not be made: pip: no."),
        ([tried("a", run(*WHOLE)), tried("b", None)], "No answer on b: 1 of 1 runs wrote no conclusions: run 1: died."),
        ([tried("a", run(*WHOLE)), tried("b", run(*WHOLE), None)], "1 of 2 runs wrote no conclusions: run 2: died"),
        ([tried("a", run(*WHOLE)), tried("b")], "it did not run"),
        ([tried("a", None), tried("b", run(*WHOLE))], "No answer: a, which all others are compared with: 1 of 1 runs"),
        ([tried("a", run(*failing(1)[-1:])), tried("b", run(*WHOLE))], "no cell of it passed"),
        ([tried("a", run(cell(name="x"))), tried("b", run(cell(name="y", model="m")))], "no cell in common"),
    ],
)  # fmt: skip
def test_what_did_not_run_is_never_green(asked, words, tmp_path):
    found = judged(*asked)
    assert found.failed and found.sides[-1].red and found.sides[-1].verdict == "no answer"
    assert words in found.sentences[0], found.sentences
    html = upgraded.page(found, tmp_path)
    assert '<section class="verdict is-red"' in html and "✓</span> b" not in html
    assert words.removeprefix("No answer on b: ").split(",")[0] in upgraded.markdown(found)


def test_repeats_are_one_side():
    """A figure has changed only where the runs of the two sides lie apart."""

    def quick(ips):
        return run(*with_metric("train", "metrics.ips", ips))

    touching = judged(tried("a", quick(10.0), quick(4.1)), tried("b", quick(4.0), quick(4.2)))
    assert touching.sides[1].verdict == "upgrade" and "1 better" not in touching.sentences[0]
    apart = judged(tried("a", quick(10.0), quick(9.0)), tried("b", quick(4.0), quick(4.2)))
    assert apart.sides[1].verdict == "do not upgrade"
    better = judged(tried("a", quick(4.0), quick(4.2)), tried("b", quick(10.0), quick(9.0)))
    assert better.sentences[0].startswith("Upgrade from a to b: ") and "1 better" in better.sentences[0]
    assert "### Better" in upgraded.markdown(better)


def test_what_they_come_to_is_written_whole(tmp_path):
    found = judged(tried("a", run(*WHOLE)), tried("b", run(*failing(1))))
    folder = tmp_path / "u"
    turns.write(found, folder)
    assert json.loads((folder / "upgrade.json").read_text())["failed"] is True
    assert "# Comparison" in (folder / "b/compare.md").read_text() and not (folder / "a").exists()
    turns.forget(folder)
    assert [path.name for path in folder.iterdir()] == ["b"], "until there is an answer there is none"


# -- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["upgrade.py", "run_bisect.py"])
def test_a_script_without_its_plan_says_so(tmp_path, script):
    command = [sys.executable, ROOT / "scripts" / script, "--plan", "gone.json", "--folder", "f"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("gone.json: cannot be read")


@pytest.mark.parametrize("script", ["upgrade.py", "run_bisect.py"])
def test_a_second_one_of_the_same_name_writes_nothing(tmp_path, script):
    settings = {
        "mode": "smoke", "compare": CONFIG["compare"], "sides": ["3.1.0", "3.3.1"], "cell": "r.json", "what": "status",
        "upgrade": {"name": None, "repeats": 1, "environments": "sides"}, "good": None, "bad": None,
        "bisect": {"name": None, "among": ["3.1.0", "3.3.1"], "repeats": 1},
    }  # fmt: skip
    plan = Plan(tmp_path, {}, {}, settings, sys.executable, None, 1, {})
    (tmp_path / "plan.json").write_text(plan.as_json())
    folder = tmp_path / "results/series/mine"
    (folder / "3.1.0").mkdir(parents=True)
    (folder / "upgrade.json").write_text("of the first")
    # A process that holds it and is killed: nothing has to be removed by hand.
    hold = (
        "import sys, time; from pathlib import Path; from segcert.series.alone import alone\n"
        "with alone(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(600)"
    )
    first = subprocess.Popen([sys.executable, "-c", hold, folder], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")})  # fmt: skip
    try:
        assert first.stdout.readline() == "held\n"
        before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
        command = [sys.executable, ROOT / "scripts" / script, "--plan", "plan.json", "--folder", folder]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
        lock = folder.parent / ".mine.lock"
        lock.write_text("")
        with pytest.raises(ConfigError, match="mine: another run is at work there"), alone(folder):
            pass
    finally:
        first.kill()
        first.wait()
    assert done.returncode == 2 and f"{folder}: process {first.pid} on {platform.node()} is at work" in done.stderr
    assert "give another name" in done.stderr and "Traceback" not in done.stderr
    with alone(folder):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_where_there_are_no_locks_a_series_runs_all_the_same(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with alone(tmp_path / "results/mine"):
        assert (tmp_path / "results").is_dir()
    with pytest.raises(ConfigError, match="of the series"), alone(tmp_path / "results/mine"):
        raise ConfigError("of the series")


def test_the_command_says_of_sides_that_break_that_there_is_no_answer(project, tmp_path, monkeypatch):
    """Real Snakemake in real Snakemake; the interpreter is a stand-in that ends a worker, the other side is none."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    breaks = interpreter(tmp_path / "breaks", BREAKS)
    (project / "mine.yaml").write_text(
        yaml.safe_dump({
            "mode": "smoke", "hardware": "cpu", "models": ["pp_humanseg_lite"],
            "sides": [{"name": "breaks", "side": str(breaks)}, "3.1.1"],
            "upgrade": {"name": "u"},
            "datasets": {"mini_supervisely_synthetic": {"images": {"train": 2, "val": 1, "test": 1}}},
        })
    )  # fmt: skip
    refused = snakemake(project, "upgrade", "--config", "mode=smoke", "sides=[3.2.2]")
    assert refused.returncode != 0 and "two sides at least" in refused.stdout + refused.stderr
    done = snakemake(project, "upgrade", "--configfile", "mine.yaml", "--resources", "mem_mb=9000")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said, said
    folder = project / "results/upgrade/u"
    found = json.loads((folder / "upgrade.json").read_text(encoding="utf-8"))
    first, none = found["sides"]
    assert found["failed"] and first["red"] and none["red"] and none["runs"] == []
    assert "its environment could not be made" in none["because"] and "no cell of it passed" in first["because"]
    assert "3.1.1: its environment could not be made" in said and "[breaks 1] " in said
    assert (folder / "upgrade.md").is_file() and '<section class="verdict is-red"' in (
        folder / "upgrade.html"
    ).read_text(encoding="utf-8")
    inner = folder / "breaks/1"
    cells = json.loads((inner / "results/smoke/conclusions.json").read_text(encoding="utf-8"))["cells"]
    data = next(one for one in cells if one["stage"] == "data")
    assert data["status"] == "failed" and str(breaks) in data["command"]
    plan = project / "results/smoke/.series.json"
    handed_on = json.loads(plan.read_text(encoding="utf-8"))
    assert (handed_on["cores"], handed_on["resources"]) == (2, {"mem_mb": 9000})
    for secret in (plan, inner / "side.yaml", inner / "config/config.yaml"):
        assert secret.stat().st_mode & 0o77 == 0, "it may hold credentials"
    assert not (project / "results/smoke/conclusions.json").exists(), "the run that starts them has none of its own"


def test_an_environment_that_holds_another_paddle_by_now_is_made_anew(maker, tmp_path, monkeypatch):
    told = []
    maker.tell = told.append

    def other(_maker, _python, version):
        raise StageError(f"it has Paddle 3.2.2, and {version} was asked for")

    monkeypatch.setattr(type(maker), "_require", other)
    assert not maker._is_still(tmp_path, Side("3.3.1", "version", "3.3.1"), Version("3.3.1"))
    assert "it has Paddle 3.2.2, and 3.3.1 was asked for: it is made anew" in told[0]
