"""A status: it agrees with itself, is shown everywhere, and follows a list; an unknown one stands for nothing."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import file_by_file
import pages
import pytest
from junitparser import Failure, JUnitXml, Skipped
from test_comparison import cell as compared_cell
from test_comparison import compared, run

from segcert import comparison, conclusions, statuses
from segcert.conclusions import Conclusions
from segcert.show import page, plots, report
from segcert.stage import judging

WHY = "the moon was full"
TITLES = {
    "red": "## What is red",
    "blocked": "## What was blocked by it",
    "known": "## Known failures",
    "surprise": "## Passed with a remark",
    "unverified": "## What could not be verified here",
    "others": "## What did not run",
}
TITLES_ZH = {"red": "失败的单元", "known": "已知问题", "unverified": "未能验证的单元"}


def of_section(text, title):
    """The lines of a document below a title."""
    assert title in text, text
    return text.split(title)[1].split("\n## ")[0]


def shown_everywhere(folder, status):
    """A training, an inference and a certificate of a status, beside an evaluation and an inference that passed."""
    asked = {"device": "cpu", "precision": "amp", "level": "O1", "dtype": "bfloat16"}
    train = pages.cell(folder, "m", "train", "single_amp", status.name, reason=WHY, train_cell="single_amp", **asked)
    Path(train["record"]).parent.mkdir(parents=True, exist_ok=True)
    train.setdefault("outputs", {})
    pages.history(train, [3.0, 2.0])
    scored = pages.cell(folder, "m", "eval", "single_amp", "passed", train_cell="single_amp", device="cpu")
    scored["metrics"] = {"miou": 0.625}
    log = "".join(f"line {number} of its log\n" for number in range(page.OTHER_LOG[0] + 1))
    infer = pages.of_engine(folder, "m", status.name, threads=2, reason=WHY, log=log)
    infer["metrics"] = {**pages.of_engine(folder, "m", "passed")["metrics"]}
    certificate = {"model": "m", "topology": "single", "kind": "amp", "cell": "single_amp", "twin": None,
                   "verdict": status.name, "reason": "as its training"}  # fmt: skip
    found = Conclusions("smoke", [train, scored, pages.of_engine(folder, "m", "passed"), infer], [certificate])
    number = found.counts[status.name]
    assert found.red == (status.red or status is statuses.ACCURACY_FAILED)
    report.write(found, folder)

    text = (folder / "conclusions.md").read_text()
    assert f"{number} {status.name}" in text.splitlines()[2]
    assert f"{status.symbol} AMP O1 bfloat16: {status.name}" in of_section(text, "## Training")
    alone = status is statuses.PASSED
    assert f"{status.symbol} {1 + alone} {status.name}" in of_section(text, "## Inference")
    assert re.search(rf"\| {status.name} +\|", of_section(text, "## Latency"))
    assert f"- {status.symbol} {status.name}: {status.meaning}" in of_section(text, "## What the words mean")
    certified = of_section(text, "## Mixed precision against its fp32 twin")
    assert f"- {status.symbol} " in certified and status.name in certified
    assert (f"- {status.symbol} **m** single `single_amp`" in certified) == status.exercised
    for section, title in TITLES.items():
        assert (title in text and WHY in of_section(text, title)) == (section == status.section), section

    text = (folder / "conclusions.zh.md").read_text()
    assert f"{number} 个{status.zh}" in text.splitlines()[2] and f"{status.symbol} {status.zh}" in text.splitlines()[-1]
    assert alone or (f"混合精度训练（O1 bfloat16）：{status.zh}" in text and f"1 个{status.zh}）" in text)
    for section, title in TITLES_ZH.items():
        assert (f". {title}\n" in text and WHY in of_section(text, f". {title}\n")) == (section == status.section)

    assert (folder / "conclusions.csv").read_text().count(f",{status.name},") == number
    assert json.loads((folder / "conclusions.json").read_text())["counts"][status.name] == number
    assert (folder / "results_python.log").read_text().count(" with command ") == 2 + 2 * status.exercised
    (suite,) = JUnitXml.fromfile(str(folder / "junit.xml"))
    results = next(iter(suite)).result
    assert [type(result) for result in results] == ([] if alone else [Failure if status.red else Skipped])

    text = page.render(found, "mode: smoke\n", folder)
    say = page.words()
    places = {section: text.find(f"<h3>{say(f'what_{section}')}</h3>") for section in statuses.SECTIONS}
    listed = text.find(f'<li class="finding s-{status.name}">\n      <p>')
    assert [section for section, place in places.items() if place >= 0] == [status.section]
    assert 0 < places[status.section] < listed
    assert f'class="count s-{status.name}"' in text and f'<a class="chip s-{status.name}"' in text
    assert (f'class="card certificate s-{status.name}"' in text) == status.exercised
    assert (str(say("precision_none")) in text) == (not status.exercised)
    assert ('id="loss-0"' in text) == status.exercised
    assert ("mIoU 0.625</span>" in text) == status.exercised
    assert (WHY in text[listed:]) and len(plots.latency_points(found.cells)) == 1 + status.exercised
    assert ("line 1 of its log" in text) == status.exercised
    assert ("line 0 of its log" in text) == (status.exercised and not alone)  # of what broke, more is shown

    text = report.summary(found, folder)
    assert f"{status.symbol} {number} {status.name}" in text
    assert (WHY in text) == (status.section != "others")


@pytest.mark.parametrize("name", [status.name for status in statuses.ALL])
def test_every_status_is_in_every_table_section_and_file(tmp_path, name):
    shown_everywhere(tmp_path, statuses.by_name(name))


@pytest.mark.parametrize("section", statuses.SECTIONS)
def test_a_new_status_is_in_every_table_section_and_file(tmp_path, monkeypatch, section):
    """Nobody but its own line and ALL knows of it."""
    pages.admit(monkeypatch, pages.made_up(section))
    shown_everywhere(tmp_path, pages.made_up(section))


def test_a_section_begins_with_what_says_most(tmp_path):
    """The worst of the red ones; what the matrix left out before what nobody asked for."""
    order = {"red": ["failed", "accuracy-failed"], "others": ["skipped", "not-run"]}
    names = [*order["red"], *order["others"]]
    for some in (names, names[::-1]):
        cells = [pages.of_engine(tmp_path, "m", name, threads=index) for index, name in enumerate(some)]
        found = conclusions.findings(Conclusions("smoke", cells))
        assert list(found) == list(statuses.SECTIONS)
        assert {key: [group["status"].name for group in groups] for key, groups in found.items() if groups} == order


def test_a_new_status_gets_better_and_worse_in_a_comparison(monkeypatch):
    pages.admit(monkeypatch, pages.made_up())

    def kinds(before, after):
        found = compared([compared_cell(status=before)], [compared_cell(status=after, reason=WHY)])
        return [change.kind for change in found.changes]

    assert kinds("passed", "flaky") == kinds("accuracy-failed", "flaky") == ["worse"]
    assert kinds("flaky", "passed") == kinds("flaky", "known-failure") == ["better"]
    assert kinds("failed", "flaky") == kinds("flaky", "unverified") == kinds("flaky", "flaky") == ["changed"]
    repeats = [run(compared_cell(status=status)) for status in ("unverified", "passed", "flaky", "accuracy-failed")]
    assert comparison.pool(repeats)["counts"] == {"flaky": 1}


def test_one_that_is_unknown_stands_for_nothing(tmp_path):
    """Never for green."""
    cell = {**pages.of_engine(tmp_path, "m", "passed"), "status": "unheard-of"}
    passed = pages.of_engine(tmp_path, "m", "passed", threads=2)
    found = Conclusions("smoke", [passed, cell])
    for asked in (
        lambda: statuses.worst(["passed", "unheard-of"]),
        lambda: statuses.worst(["unheard-of"]),
        lambda: statuses.is_red(["passed", "unheard-of"]),
        lambda: found.red,
        lambda: conclusions.findings(found),
        lambda: report.write(found, tmp_path),
        lambda: report.summary(found, tmp_path),
        lambda: page.render(found, "", tmp_path),
        lambda: plots.latency_points(found.cells),
        lambda: comparison.compare(run(compared_cell()), run_of("unheard-of"), tolerances=None),
        lambda: comparison.pool([run(compared_cell()), run_of("unheard-of")]),
    ):
        with pytest.raises(ValueError, match="unknown status 'unheard-of'; one of passed, "):
            asked()
    assert not list(tmp_path.glob("conclusions.*"))


def run_of(status):
    return {**run(compared_cell()), "cells": [{**compared_cell(), "status": status}]}


def test_what_a_status_says_of_itself_holds_together():
    order = ["failed", "accuracy-failed", "blocked", "not-run", "unverified", "known-failure", "skipped", "passed"]
    assert [statuses.worst(order[index:]).name for index in range(len(order))] == order
    assert len({status.severity for status in statuses.ALL}) == len(statuses.ALL)
    assert {status.section for status in statuses.ALL} == set(statuses.SECTIONS) == set(TITLES)
    assert list(statuses.BY_NAME.values()) == list(statuses.ALL)
    for status in statuses.ALL:
        assert statuses.worst([status.name, "passed", status.name]) is status
        # one that passed is the only one that says nothing against the cell, and holds nothing up
        assert (status is statuses.PASSED) == (status.badness == 0) == (status.holds_up is None)
        assert status.badness >= 0 or not status.exercised
        assert status.holds_up is None or statuses.by_name(status.holds_up).holds_up == status.holds_up
        # a job of a red one ends with an error, and Snakemake starts nothing that is made from it
        assert not status.red or (status.stops and status.exercised and status.section == "red")


@pytest.mark.parametrize("status", statuses.ALL, ids=lambda status: status.name)
def test_what_is_made_from_a_cell_is_held_up_as_its_status_says(tmp_path, status):
    """In the conclusions, where there may be no record of it; and in its job, if it is started."""
    parent = {"status": status.name, "stage": "train", "cell": "x"}
    planned = SimpleNamespace(planned=True, record=str(tmp_path / "none.json"))
    held, reason, _ = conclusions._status_of(planned, [parent], lost=False, configuration={})
    assert held.name == (status.holds_up if status.stops else "not-run")
    assert reason == (f"made from train x: {status.name}" if status.stops else "not asked for in this run")
    found = judging.held_up({**parent, "reason": WHY})
    assert (found and (found.status.name, found.reason)) == (
        (status.holds_up, f"made from train x: {status.name}: {WHY}") if status.holds_up else None
    )


# -- a new one, file by file ------------------------------------------------------------------

# What the list of CONTRIBUTING.md comes to: file -> what is there, what is there then, the test that misses it.
TOLD = "test_docs.py::test_every_status_is_told_of_with_its_sign"
EDITS = {
    "scripts/segcert/statuses.py": (
        "ALL = (PASSED, ",
        """FLAKY = Status(
    name="flaky", symbol="~", meaning="passes now and then", zh="时好时坏", zh_meaning="有时通过，有时失败",
    red=True, exercised=True, severity=8, badness=4, holds_up="blocked", stops=True, section="red",
)  # fmt: skip
ALL = (PASSED, FLAKY, """,
        None,
    ),
    "scripts/segcert/show/templates/page/page.css": (
        ".s-failed {",
        ".s-flaky { --tint: #fdebee; --edge: #ec9aa8; --text: #8f0f26; --mark: #c81e3a; }\n.s-failed {",
        "test_report.py::test_every_status_has_a_symbol_a_word_in_two_languages_and_a_colour",
    ),
    "scripts/verify.py": (
        "    FAILED: (True, BLOCKED),\n",
        '    "flaky": (True, BLOCKED),\n    FAILED: (True, BLOCKED),\n',
        "test_verify.py::test_it_has_the_packages_statuses",
    ),
    "README.md": ("| ⚠ |", "| ~ | flaky | passes now and then |\n| ⚠ |", f"{TOLD}[README.md]"),
    "README.zh.md": ("| ⚠ |", "| ~ | flaky（时好时坏） | 有时通过，有时失败 |\n| ⚠ |", f"{TOLD}[README.zh.md]"),
    "docs/compare.md": (
        "failed = blocked |",
        "failed = blocked < flaky |",
        "test_docs.py::test_the_order_of_statuses_in_a_comparison_is_as_told",
    ),
    ".github/ISSUE_TEMPLATE/wrong-status.yml": (
        "[passed, ",
        "[passed, flaky, ",
        "test_docs.py::test_every_status_can_be_reported_as_wrong",
    ),
}
MADE = "docs/reference/statuses.md"
WHERE_IT_ARISES = {f"scripts/segcert/{name}.py" for name in ("stage/judging", "conclusions", "cells")}


def edit(folder, name):
    file_by_file.edit(folder, name, *EDITS[name][:2])


def test_the_list_for_a_new_status_names_every_file():
    assert file_by_file.named("A new status, file by file") == EDITS.keys() | WHERE_IT_ARISES | {MADE}


@pytest.mark.long
def test_a_new_status_made_by_the_list_breaks_nothing_and_what_is_forgotten_is_found(tmp_path):
    folder = file_by_file.copy(tmp_path / "project")
    first, *others = EDITS
    edit(folder, first)
    finders = {EDITS[name][2] for name in others} | {f"{TOLD}[{MADE}]"}
    assert file_by_file.failing(folder, *(f"tests/{test}" for test in finders)) == finders
    for name in others:
        edit(folder, name)
    file_by_file.make(folder, MADE)
    # those that concern statuses and add none themselves
    chosen = "(test_statuses or test_report or (test_docs and status)) and not new"
    files = [f"tests/test_{name}.py" for name in ("statuses", "report", "docs")]
    assert file_by_file.failing(folder, "-k", chosen, *files) == set()
