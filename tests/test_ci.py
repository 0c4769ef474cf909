"""A comparison as CI systems show it, and the action that certifies: its form, and its steps one after the other.

GitHub is not here: what it does between the steps (values, outputs, the fetched branch) is done by this file, `gh` and
the long run itself are stand-ins that are called so.
"""

import json
import os
import re
import subprocess
import sys
import textwrap

import histories
import pytest
import yaml
from conftest import ROOT, copy_project
from pages import EVIL
from test_keeping import command

from segcert import comparison, keeping
from segcert.show import forge

TOKEN = "t"  # noqa: S105  (it opens nothing)
ACTION = ROOT / ".github/actions/certify/action.yml"
FILLED = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def compared(before, after):
    tolerances = comparison.Tolerances.of(comparison.shipped_section(histories.MODE))
    return comparison.compare(before, after, tolerances)


def many(count, number=0, **more):
    """A run of so many models."""
    cells = histories.run(number, **more)["cells"]
    return histories.concluded([{**cell, "model": f"model_{n:04}"} for n in range(count) for cell in cells])


# -- a summary and a comment ------------------------------------------------------------------


def test_what_got_worse_comes_first_and_the_rest_is_folded():
    after = histories.run(1, slow={"onednn": 2, "native": 0.5}, paddle="3.3.1")
    text = forge.text(compared(histories.run(0), after), forge.COMMENT_BYTES)
    first, *rest = text.split("<details>")
    assert first.startswith(f"{forge.MARK}\n## PaddleSeg certification, mode `{histories.MODE}`: got worse\n")
    assert "### Worse: 1\n\n- `pp_humanseg_lite infer single_fp32 python_infer_cpu_onednn`: `inference ms " in first
    assert [part.partition("</summary>")[0] for part in rest] == [
        "<summary>What differs between the runs: 1", "<summary>Figures: 9", "<summary>Better: 1",
    ]  # fmt: skip
    assert "- `paddle`: `3.2.2` → `3.3.1`" in rest[0] and text.count("</details>") == 3 and "cut" not in text
    same = forge.text(compared(histories.run(0), histories.run(0)), forge.COMMENT_BYTES)
    assert "no regression" in same and "Worse" not in same


@pytest.mark.parametrize("most", [forge.COMMENT_BYTES, 3_000])
def test_it_fits_and_says_how_much_is_cut(most):
    found = compared(many(400), many(400, 1, slow=dict.fromkeys(histories.ENGINES, 2)))
    assert len(found.of_kind("worse")) == 1600
    whole, cut = forge.text(found, 10_000_000), forge.text(found, most)
    assert len(cut.encode()) <= most < len(whole.encode())
    shown = len(re.findall("^- ", cut, re.M))
    (number,) = re.findall(
        r"^\*\*(\d+) lines are cut\*\*, because no more than (?:\d+) bytes fit: compare.md", cut, re.M
    )
    assert int(number) == len(re.findall("^- ", whole, re.M)) - shown > 0
    assert cut.count("<details>") == cut.count("</details>") and "are cut" not in whole
    assert shown > 10 and cut.index("### Worse: 1600") < 400, "how many there are is told"


def test_names_of_what_differs_are_not_either():
    before, after = histories.run(0), histories.run(0)
    for one in (one for one in after["cells"] if "env" in one):
        one["env"] = {**one["env"], "@octocat <img src=x>": "1"}
    said = forge.text(compared(before, after), forge.COMMENT_BYTES)
    assert "- `@octocat <img src=x>`: `–` → `1`" in said and said.count("@octocat") == 1


def test_words_of_a_branch_are_neither_markup_nor_a_mention():
    hostile = f"`` @everybody #1 <!-- {EVIL}\n\n# big\n| a |" + "x" * 1000
    after = histories.run(1)
    for cell in after["cells"]:
        if cell["status"] == "passed":
            cell |= {"status": "failed", "reason": hostile}
    text = forge.text(compared(histories.run(0), histories.concluded(after["cells"])), forge.COMMENT_BYTES)
    outside = re.sub(r"`[^`\n]+`", "", text.replace(forge.MARK, ""))
    assert "@everybody" in text and text.count("`") % 2 == 0
    assert not re.search(r"[@|]|<!--|<(?!/?(?:details|summary)>)", outside)
    assert max(map(len, text.splitlines())) < 1100


def test_the_command_writes_both_and_keeps_what_was_in_the_summary(tmp_path):
    for number in (0, 1):
        (tmp_path / f"{number}.json").write_text(json.dumps(histories.run(number, slow={"onednn": 1 + number})))
    (tmp_path / "summary").write_text("of another step\n")
    done = command(
        tmp_path,
        "compare",
        "--baseline",
        "0.json",
        "--candidate",
        "1.json",
        "--summary",
        "summary",
        "--comment",
        "c.md",
    )
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "summary").read_text() == "of another step\n" + (tmp_path / "c.md").read_text()
    again = command(tmp_path, "compare", "--baseline", "0.json", "--candidate", "0.json", "--summary", "new")
    assert again.returncode == 0 and (tmp_path / "new").read_text().startswith(forge.MARK)


def test_a_summary_that_is_full_stays_as_it_is(tmp_path):
    (tmp_path / "0.json").write_text(json.dumps(histories.run(0)))
    both = ("--baseline", "0.json", "--candidate", "0.json")
    for left in (10, 500, 1000, 5000):
        full = "x" * (forge.SUMMARY_BYTES - left)
        (tmp_path / "summary").write_text(full)
        done = command(tmp_path, "compare", *both, "--summary", "summary")
        found = (tmp_path / "summary").read_text(encoding="utf-8")
        assert done.returncode == 0 and found.startswith(full) and len(found.encode()) <= forge.SUMMARY_BYTES
        assert (found == full) == ("nothing was added" in done.stderr) == (left < 1000)


# -- the action -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def action():
    return yaml.safe_load(ACTION.read_text(encoding="utf-8"))


def scripts(action):
    return [step for step in action["runs"]["steps"] if "run" in step]


def test_every_script_is_bash_and_no_value_is_put_into_its_text(action):
    assert action["runs"]["using"] == "composite" and len(scripts(action)) >= 7
    for step in action["runs"]["steps"]:
        assert ("run" in step) != ("uses" in step) and step["name"]
        if "uses" in step:
            assert re.search(r"@v\d+\.\d+\.\d+$", step["uses"])
            continue
        assert step["shell"] == "bash" and "${{" not in step["run"], step["name"]
        checked = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and not checked.stderr, step["name"]
        used = set(re.findall(r"\$\{?([A-Z_]+)", step["run"]))
        set_there = set(re.findall(r"^\s*([A-Z_]+)=", step["run"], re.M)) | {
            "MARK",
            "GITHUB_OUTPUT",
            "GITHUB_STEP_SUMMARY",
        }
        assert used - set_there <= set(step.get("env", {})), step["name"]
        assert set(step.get("env", {})) - {"GH_TOKEN"} <= used, f"{step['name']}: not used"


def test_what_is_used_is_declared_and_what_is_declared_is_used(action):
    text = ACTION.read_text(encoding="utf-8")
    used = FILLED.findall(text)
    inputs = {words.removeprefix("inputs.") for words in used if words.startswith("inputs.")}
    assert inputs == set(action["inputs"]) and all(
        set(one) == {"description", "default"} for one in action["inputs"].values()
    )
    made = {
        (step["id"], name)
        for step in scripts(action)
        if "id" in step
        for name in re.findall(r'echo "(\w+)=', step["run"])
    }
    asked = {tuple(words.split(".")[1::2]) for words in used if words.startswith("steps.")}
    assert asked == made, "outputs that no step writes, or that none takes"
    others = {words for words in used if not words.startswith(("inputs.", "steps."))}
    assert others == {"github.event.pull_request.number", "github.repository"}


def test_nothing_is_sent_without_a_token(action):
    """But for the artefacts, which the upload sends to where the workflow runs."""
    assert action["inputs"]["token"]["default"] == ""
    sending = [step["name"] for step in scripts(action) if re.search(r"\b(gh|curl|wget|git push)\b", step["run"])]
    assert sending == ["Comment"]
    assert [step["uses"].partition("@")[0] for step in action["runs"]["steps"] if "uses" in step] == [
        "actions/upload-artifact"
    ]


def test_the_documented_workflow_gives_what_the_action_takes(action):
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    blocks = [block for _, block in re.findall(r"^( *)```yaml\n(.*?)^\1```$", page, re.M | re.S)]
    workflows = [yaml.safe_load(textwrap.dedent(block)) for block in blocks]
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    using = [step for step in steps if step.get("uses") == "./.github/actions/certify"]
    assert len(using) >= 2 and all(set(step.get("with", {})) <= set(action["inputs"]) for step in using)
    assert all(re.search(r"@v\d+\.\d+\.\d+$", s["uses"]) for s in steps if s.get("uses", ".")[0] != ".")
    for name in action["inputs"]:
        assert f"| `{name}` |" in page, name


# In place of snakemake, whose run would take minutes: it leaves the conclusions that a test made, and a red one fails.
STAND_IN_RUN = """#!{python}
import json, pathlib, shutil, sys
pathlib.Path("asked.txt").write_text("\\n".join(sys.argv[1:]))
shutil.copytree("made", "results/{mode}", dirs_exist_ok=True)
sys.exit(json.loads(pathlib.Path("results/{mode}/conclusions.json").read_text())["red"])
"""
# In place of gh: it notes what it was called with, and knows the comments that a test laid down.
STAND_IN_GH = """#!{python}
import os, pathlib, sys
with open("gh.txt", "a") as log:
    print(*sys.argv[1:], file=log)
if "--paginate" in sys.argv:
    assert os.environ["MARK"] == {mark!r} and os.environ["GH_TOKEN"]
    print(pathlib.Path("comments.txt").read_text(), end="")
sys.exit(pathlib.Path("gh_fails").exists())
"""


class Runner:
    """What GitHub does with an action, as far as this one needs it."""

    def __init__(self, action, folder):
        self.action, self.folder, self.outputs, self.said = action, folder, {}, ""
        self.event = {"github.event.pull_request.number": "7", "github.repository": "me/it"}

    def filled(self, text, given):
        def value(found):
            words = found[1]
            if words.startswith("inputs."):
                return given.get(words[7:], self.action["inputs"][words[7:]]["default"])
            return self.event.get(words) or self.outputs.get(words.removeprefix("steps."), "")

        return FILLED.sub(value, text)

    def run(self, **given):
        """Its scripts in order, as far as they succeed: the exit code of the last one, and the job summary."""
        for name in ("output", "summary"):
            (self.folder / name).write_text("")
        for step in scripts(self.action):
            own = {name: self.filled(text, given) for name, text in step.get("env", {}).items()}
            environment = {
                **os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", **own,
                "GITHUB_OUTPUT": str(self.folder / "output"), "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            }  # fmt: skip
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            self.said += done.stdout + done.stderr
            for line in (self.folder / "output").read_text().splitlines():
                name, _, value = line.partition("=")
                self.outputs[f"{step.get('id')}.outputs.{name}"] = value
            (self.folder / "output").write_text("")
            if done.returncode:
                break
        return done.returncode, (self.folder / "summary").read_text()


@pytest.fixture
def runner(action, tmp_path):
    """A checkout whose environment is there, on a branch; `main` of its origin has kept two runs."""
    folder = copy_project(tmp_path / "a checkout é")
    (folder / "Makefile").write_text("env:\n\t@echo 'environment by $(PYTHON)'\n")
    for path, text in (
        (".venv/bin/snakemake", STAND_IN_RUN.format(python=sys.executable, mode=histories.MODE)),
        ("bin/gh", STAND_IN_GH.format(python=sys.executable, mark=forge.MARK)),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755)
    (folder / ".venv/bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / ".venv/bin/python").chmod(0o755)
    origin = tmp_path / "origin"
    origin.mkdir()
    histories.git(origin, "init", "-q", "-b", "main")
    for number in (0, 1):
        keeping.keep(histories.run(number), origin / "history", origin)
    newer = {**histories.run(5, slow={"native": 0.1}), "mode": "zoo"}
    keeping.keep(newer, origin / "history", origin)
    histories.git(origin, "add", "history")
    histories.git(origin, "commit", "-q", "-m", "kept", at="2026-01-01T00:00:00Z")
    histories.git(folder, "init", "-q")
    histories.git(folder, "remote", "add", "origin", str(origin))
    (folder / "made").mkdir()
    (folder / "comments.txt").write_text("")
    return Runner(action, folder)


def lay(runner, content):
    (runner.folder / "made/conclusions.json").write_text(json.dumps(content))


def calls(runner):
    log = runner.folder / "gh.txt"
    return log.read_text().splitlines() if log.exists() else []


def test_a_run_that_got_worse_is_compared_told_and_refused(runner):
    lay(runner, histories.run(2, slow={"onednn": 2}))
    code, summary = runner.run(mode=histories.MODE, token=TOKEN, python="python3.11", models="a,b")
    assert code == 1 and runner.outputs["verdict.outputs.verdict"] == "worse", runner.said
    assert "environment by python3.11" in runner.said and "certification: worse" in runner.said
    asked = (runner.folder / "asked.txt").read_text().splitlines()
    assert asked == ["--cores", "all", "--config", f"mode={histories.MODE}", "models=[a,b]"]
    assert "### Worse: 1" in summary and "python_infer_cpu_onednn" in summary
    results = runner.folder / f"results/{histories.MODE}"
    assert (results / "comment.md").read_text() == summary and (results / "compare.md").is_file()
    baseline = runner.folder / runner.outputs["baseline.outputs.file"]
    assert baseline.name.startswith(f"20260102T100000Z_{histories.MODE}_"), "the newest of this mode"
    kept = runner.folder / runner.outputs["keep.outputs.kept"]
    assert kept.is_file() and kept.parent.name == "history"
    assert (runner.folder / "results/history/index.html").is_file()
    listed, sent = calls(runner)
    assert listed.startswith("api --paginate repos/me/it/issues/7/comments --jq ")
    body = f"-F body=@results/{histories.MODE}/comment.md"
    assert sent == f"api --silent --method POST repos/me/it/issues/7/comments {body}"
    (runner.folder / "comments.txt").write_text("41\n42\n")
    runner.run(mode=histories.MODE, token=TOKEN)
    assert calls(runner)[-1] == f"api --silent --method PATCH repos/me/it/issues/comments/41 {body}"
    assert (runner.folder / "asked.txt").read_text().splitlines()[-1] == f"mode={histories.MODE}", "no models named"


def test_without_a_token_nobody_is_told(runner):
    lay(runner, histories.run(2))
    code, summary = runner.run(mode=histories.MODE)
    assert code == 0 and runner.outputs["verdict.outputs.verdict"] == "passed", runner.said
    assert "no regression" in summary and calls(runner) == [] and "no comment: it takes a token" in runner.said


def test_a_comment_that_may_not_be_written_changes_no_verdict(runner):
    lay(runner, histories.run(2))
    (runner.folder / "gh_fails").touch()
    code, _ = runner.run(mode=histories.MODE, token=TOKEN)
    assert code == 0 and "::warning::no comment: the token may not read those" in runner.said


@pytest.mark.parametrize("given", [{"branch": "gone"}, {"history": "elsewhere"}])
def test_without_a_baseline_a_run_is_certified_alone(runner, given):
    lay(runner, histories.concluded([*histories.run(2)["cells"], histories.cell("infer", "x", 2, status="failed")]))
    code, summary = runner.run(mode=histories.MODE, token=TOKEN, **given)
    assert code == 1 and runner.outputs["verdict.outputs.verdict"] == "red", runner.said
    assert summary == "Nothing is kept to compare with: the run is only certified.\n" and calls(runner) == []


def test_what_cannot_be_compared_is_told(runner):
    """Another mode has other cells, and a baseline of the same name."""
    cells = [histories.cell("train", "another", 2, model="other")]
    lay(runner, histories.concluded(cells))
    code, summary = runner.run(mode=histories.MODE)
    assert code == 1 and runner.outputs["verdict.outputs.verdict"] == "not compared", runner.said
    assert summary.startswith("Nothing could be compared:\n    the baseline and the candidate have no cell in common")
