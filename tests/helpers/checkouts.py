"""A checkout of PaddleSeg made from the installed package: a git repository of a test's own."""

import shutil
import subprocess
from pathlib import Path

from segcert.checkout import tree

MODEL_FILE = "paddleseg/models/pphumanseg_lite.py"


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *own, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def plain(folder: Path) -> Path:
    """The folder with the package in it, and no repository."""
    shutil.copytree(tree.installed() / "paddleseg", folder / "paddleseg", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def make(folder: Path) -> Path:
    plain(folder)
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "-q", "-b", "develop")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "as it is")
    return folder


def edit(folder: Path, old: str, new: str, name: str = MODEL_FILE) -> None:
    file = folder / name
    text = file.read_text(encoding="utf-8")
    assert old in text, name
    file.write_text(text.replace(old, new), encoding="utf-8")
