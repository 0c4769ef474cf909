"""The judge of what the tests run: whatever process runs a line, it is seen; a line that none runs is found."""

import os
import runpy
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

PART = '''
"""A part that the script imports."""
from __future__ import annotations
import os, signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3

class Thing:
    """A thing."""

    size: int = SIZE

    def never(self):
        return 1

def told(what):
    global SIZE
    if what == "killed":
        SIZE = 4
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "exit":
        SIZE = 5
        os._exit(0)
    elif what == "forked":
        child = os.fork()
        if child == 0:
            SIZE = 6
            os._exit(0)
        os.waitpid(child, 0)
    try:
        raise ValueError(what)
    except ValueError:
        SIZE = 7
    match what:
        case "matched":
            SIZE = 8
'''
SCRIPT = '''
"""A script."""
import sys
from segcert import part

def main():
    print(__name__, __file__, sys.path[0])
    return part.told(sys.argv[1])

if __name__ == "__main__":
    sys.exit(main())
'''
EVERYTHING = ("killed", "exit", "forked", "matched")
NEVER = "scripts/segcert/part.py:18: return 1  <- no test runs this"


def project(folder):
    (folder / "scripts/segcert").mkdir(parents=True)
    (folder / "Snakefile").touch()
    (folder / "scripts/segcert/part.py").write_text(PART)
    (folder / "scripts/main.py").write_text(SCRIPT)
    return folder


@pytest.fixture
def judged(tmp_path):
    """A small project with the judge, and an environment whose processes it follows."""
    folder = project(tmp_path / "project")
    (folder / "tests/coverage").mkdir(parents=True)
    for name in ("marks.py", "judge.py"):
        shutil.copy2(ROOT / "tests/coverage" / name, folder / "tests/coverage")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, timeout=60)
    assert judge(folder, "--follow", folder / "env/bin/python").returncode == 0
    return folder


def judge(folder, *arguments, exceptions=""):
    (folder / "tests/coverage/exceptions.toml").write_text(exceptions)
    command = [sys.executable, folder / "tests/coverage/judge.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def run(judged, what, folder=None, **options):
    environment = {**os.environ, "SEGCERT_LINES": str(judged / "tests/coverage/marks.py")}
    command = [judged / "env/bin/python", "-I" if options.get("alone") else "-B", "scripts/main.py", what]
    where = folder or judged
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (
        done.stdout.split() == ["__main__", str(where / "scripts/main.py"), str(where / "scripts")] or not done.stdout
    )
    return done


def test_lines_are_seen_in_every_process_however_it_ends(judged):
    found = judge(judged)
    assert found.returncode == 1 and "0 of " in found.stdout
    for what in EVERYTHING:
        done = run(judged, what)
        assert done.returncode == {"killed": -9}.get(what, 0), done.stderr
    found = judge(judged)
    assert found.returncode == 1
    assert found.stdout.splitlines()[:-1] == [NEVER]


def test_what_ran_in_a_copy_counts_where_the_copy_is_the_same(judged, tmp_path):
    same, edited = project(tmp_path / "same"), project(tmp_path / "edited")
    for what in EVERYTHING[:-1]:
        run(judged, what, folder=same)
    (edited / "scripts/segcert/part.py").write_text(PART.replace("SIZE = 8", "raise SystemExit(8)"))
    assert run(judged, "matched", folder=edited).returncode == 8
    missed = judge(judged).stdout.splitlines()[:-1]
    assert missed == [NEVER, "scripts/segcert/part.py:40: SIZE = 8  <- no test runs this"]


def test_marks_of_other_machines_count(judged):
    for what in EVERYTHING:
        run(judged, what)
    (judged / ".lines").rename(judged / "fetched")
    (judged / ".lines").mkdir()
    (judged / "fetched").rename(judged / ".lines/one job")
    assert judge(judged).stdout.splitlines()[:-1] == [NEVER]


def test_only_what_changed_is_judged_where_that_is_asked_for(judged):
    def git(*words):
        subprocess.run(["git", *words], cwd=judged, check=True, timeout=60)

    git("init", "--quiet")
    git("add", "scripts")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    assert (judge(judged, "--since", "HEAD").returncode, judge(judged).returncode) == (0, 1), "nothing changed"
    part = judged / "scripts/segcert/part.py"
    part.write_text(
        PART.replace("SIZE = 8", "SIZE = (\n                8\n            )") + "\nif SIZE > 99:\n    SIZE = 9\n"
    )
    (judged / "scripts/segcert/fresh.py").write_text("A = 1\n")
    run(judged, "exit")
    found = judge(judged, "--since", "HEAD")
    assert found.returncode == 1
    assert found.stdout.splitlines()[:-1] == [
        "scripts/segcert/fresh.py:1: A = 1  <- no test runs this",
        "scripts/segcert/part.py:40: SIZE = (  <- no test runs this",
        "scripts/segcert/part.py:45: SIZE = 9  <- no test runs this",
    ]
    git("add", "scripts")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "split")
    part.write_text(part.read_text().replace("                8\n", "                9\n"))
    fresh = exception(file="segcert/part.py", line="SIZE = (", reason="r")
    assert "part.py:40" in judge(judged, "--since", "HEAD").stdout, "a line within a statement"
    assert judge(judged, "--since", "HEAD", exceptions=fresh).returncode == 0


def test_a_process_that_cannot_mark_runs_all_the_same(judged):
    run(judged, "matched")
    for file in (judged / ".lines").glob("*.ran"):
        file.unlink()
        file.mkdir()
    done = run(judged, "matched")
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(judged / ".lines")
    (judged / ".lines").write_text("not a folder")
    done = run(judged, "matched")
    assert (done.returncode, done.stderr) == (0, "")


def exception(**entry):
    return "[[exception]]\n" + "".join(f"{key} = {value!r}\n" for key, value in entry.items())


FITTING = exception(file="segcert/part.py", function="never", line="return 1", reason="only by hand")


@pytest.mark.parametrize(
    ("exceptions", "complaint"),
    [
        (FITTING, None),
        (exception(file="segcert/part.py", function="Thing", line="return 1", reason="r"), None),
        (FITTING + exception(file="segcert/part.py", line="return 2", reason="gone"), "line='return 2': matches no"),
        (FITTING + exception(file="segcert/part.py", line="SIZE = 8", reason="ran"), "a test runs it"),
        (FITTING + exception(file="main.py", function="main", reason="ran"), "a test runs it"),
        (exception(file="segcert/part.py", line="return 1"), "needs a reason"),
        (FITTING + exception(file="segcert/part.py", reason="all of it"), "and a function or a line"),
    ],
)
def test_an_exception_has_a_reason_and_is_true(judged, exceptions, complaint):
    for what in EVERYTHING:
        run(judged, what)
    found = judge(judged, exceptions=exceptions)
    assert found.returncode == (1 if complaint else 0), found.stdout
    if complaint:
        assert complaint in found.stdout
    else:
        assert found.stdout.startswith("32 of 33 statements")


def test_every_command_of_ci_that_tests_marks_what_it_runs():
    """And the judge comes after them."""
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("make ")]
    assert commands[-1] == "make coverage"
    recipes = (ROOT / "Makefile").read_text().split("\n\n")
    targets = [word for command in commands[:-1] for word in command.split()[1:] if not word.startswith("-")]
    assert len(targets) >= 5
    for target in targets:
        (recipe,) = [part for part in recipes if part.startswith(f"{target}: ")]
        assert "$(MARKED) $(BIN)/python -m pytest" in recipe and "$(FOLLOW) $(BIN)/python\n" in recipe, target


def test_only_what_is_imported_for_the_type_checker_is_left_out():
    source = b"""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import left_out
else:
    import taken
if not TYPE_CHECKING:
    taken()
"""
    marked = runpy.run_path(str(ROOT / "tests/coverage/marks.py"))["marked"]
    assert sorted(set(marked(source, "_")[1])) == [2, 3, 6, 7, 8]
