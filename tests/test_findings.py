"""Faults of others that this project found or works around: each script shows that its fault is still there."""

import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / "docs/findings"
SCRIPTS = sorted(FOLDER.glob("*.py"))
PAGES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
KNOWN = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["known_failures"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_fault_is_still_there(script, tmp_path):
    """Once it is mended in what is installed, it is no finding any more."""
    command = [sys.executable, "-I", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    said = f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    ids = [known["id"] for known in KNOWN if known["link"].endswith(f"docs/findings/{script.stem}.md")]
    assert done.returncode != 0, (
        f"the fault of {script.name} is mended in what is installed: say so in {script.stem}.md, and take "
        f"{', '.join(ids) or 'it'} off known_failures, or bound it by `paddle`\n{said}"
    )
    assert done.returncode == 1 and "Traceback" not in said, said
    first = done.stdout.splitlines()[0]
    assert re.search(r"paddle\w* \d", first), "it begins with versions"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_has_a_page_that_can_be_sent(script):
    page = PAGES[f"{script.stem}.md"]
    for title in ("## Run it", "## What is seen", "## What is right", "## A way around"):
        assert f"\n{title}\n" in page, title
    assert re.search(r"^Versions: .*\d", page, re.M) and f"python {script.name}" in page
    assert f"]({script.stem}.md)" in PAGES["README.md"]


def test_every_known_failure_is_told_of():
    for known in KNOWN:
        assert f"`{known['id']}`" in PAGES["README.md"], known["id"]
        if name := re.search(r"docs/findings/(\S+\.md)$", known["link"]):
            assert name[1] in PAGES
