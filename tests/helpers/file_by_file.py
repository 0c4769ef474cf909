"""A list of CONTRIBUTING.md put to the test: a copy of the project that is changed by it, file by file."""

import contextlib
import os
import re
import shutil
import subprocess
import sys

from conftest import ROOT, copy_project


def copy(target):
    """The project with its documents, its tests and what checks it, in a folder of its own."""
    folder = copy_project(target)
    for part in ("docs", "tests", ".github", "pyproject.toml", "Makefile", *(path.name for path in ROOT.glob("*.md"))):
        put = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        put(ROOT / part, folder / part)
    return folder


def edit(folder, name, old, new):
    """Put text in the place of some that stands in a file once; a file without an old text is a new one."""
    path = folder / name
    assert path.exists() == bool(old), name
    text = path.read_text(encoding="utf-8") if old else ""
    assert not old or text.count(old) == 1, name
    path.write_text(text.replace(old, new) if old else new, encoding="utf-8")


def before(there, put):
    """What is there, and what is there then."""
    return there, put + there


def add(folder, edits):
    """Make every change of a list: file -> (changes, the test that misses them)."""
    for name, (changes, _) in edits.items():
        for old, new in changes:
            edit(folder, name, old, new)


@contextlib.contextmanager
def forgotten(folder, name, changes):
    """The copy as it is without the changes of one file; a new file is not there."""
    file = folder / name
    whole = text = file.read_text(encoding="utf-8")
    for old, new in reversed(changes):
        assert new in text, name
        text = text.replace(new, old)
    file.unlink()
    if text:
        file.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(whole, encoding="utf-8")


def python(folder, *arguments, **variables):
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300, check=False
    )


def failing(folder, *tests):
    """Which of some tests fail in a copy."""
    done = python(folder, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *tests)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return set(re.findall(r"^FAILED tests/(\S+)", done.stdout, re.M))


def make(folder, *pages):
    """Write some of the pages that are made."""
    made = python(folder, "docs/generate.py", *pages)
    assert made.returncode == 0, made.stderr


def named(title):
    """The files that the section of that title names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = text.partition(f"## {title}")[2].partition("\n#")[0]
    assert listed, title
    return set(re.findall(r"`([^` ]+\.\w+)`", listed))
