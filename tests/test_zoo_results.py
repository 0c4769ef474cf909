"""docs/zoo-results.md: what several runs came to, and that every cause of a red row is sorted."""

import json
import sys

import pages
import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import zoo_results

NAMED = [{"cause": "resize", "engine": "onednn", "whose": "third party", "what": "oneDNN's resize"}]
SCOPE = {"paddleseg": {"paddleseg_commit": "d7975e7c"}}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function: write conclusions of these cells and put them into the page; (exit code, page)."""
    places = {name: tmp_path / name for name in ("page.md", "kept.json", "causes.yaml")}
    for name, path in zip(("PAGE", "KEPT", "CAUSES"), places.values(), strict=True):
        monkeypatch.setattr(zoo_results, name, path)
    places["page.md"].write_text(f"before\n{zoo_results.MARKS[0]}\nold\n{zoo_results.MARKS[1]}\nafter\n")
    places["causes.yaml"].write_text(yaml.safe_dump(NAMED))

    def write(*runs):
        files = []
        for number, cells in enumerate(runs):
            files.append(tmp_path / f"{number}.json")
            files[-1].write_text(json.dumps({"mode": "zoo", "scope": SCOPE, "cells": cells}))
        monkeypatch.setattr(sys, "argv", ["zoo_results.py", *map(str, files)])
        return zoo_results.main(), places["page.md"].read_text()

    return write


def test_shards_are_one_page(tmp_path, written, capsys):
    first = [
        pages.of_engine(tmp_path, "a", "passed"),
        pages.of_engine(tmp_path, "b", "accuracy-failed", reason="the resize is wrong"),
        pages.of_engine(tmp_path, "c", "failed", reason="nobody knows"),
    ]
    second = [
        pages.of_engine(tmp_path, "a", "unverified", reason="not of this shard"),
        pages.of_engine(tmp_path, "c", "passed", engine="native"),
    ]
    code, text = written(first)
    assert (
        code == 1
        and "old" in text
        and "names no cause that fits 'nobody knows' in onednn fp32, of c" in capsys.readouterr().err
    )
    third = [{**first[2], "status": "passed", "reason": None}]
    code, text = written(second, third)
    assert code == 0 and text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "PaddleSeg d7975e7c: 3 configurations, of which 3 were run. Cells: 3 passed, 1 accuracy-failed." in text
    (row,) = (line for line in text.splitlines() if "oneDNN's resize" in line)
    assert "`the resize is wrong`" in row and "third party" in row and row.rstrip(" |").endswith("b")
    again, same = written()
    assert again == 0 and same == text, "from what is kept alone"


def test_what_was_not_exercised_takes_no_result_away(tmp_path):
    ran = pages.of_engine(tmp_path, "a", "passed")
    lost = {**ran, "status": "not-run", "reason": "it did not come to it"}
    (kept,) = zoo_results.merged(zoo_results.merged([], [ran]), [lost])
    assert kept["status"] == "passed"
    (kept,) = zoo_results.merged(zoo_results.merged([], [lost]), [ran])
    assert kept["status"] == "passed"


def test_a_page_without_marks_and_an_owner_that_is_none_are_errors(tmp_path, written):
    broken = [pages.of_engine(tmp_path, "b", "accuracy-failed", reason="the resize is wrong")]
    zoo_results.CAUSES.write_text(yaml.safe_dump([{**NAMED[0], "whose": "nobody"}]))
    assert written(broken)[0] == 1
    zoo_results.CAUSES.write_text(yaml.safe_dump(NAMED))
    zoo_results.PAGE.write_text("no marks")
    assert written(broken)[0] == 1
    with pytest.raises(zoo_results.ResultsError, match="has no <!-- results"):
        zoo_results.inserted("no marks", "")


def test_a_cause_is_sorted_by_what_computed_too(tmp_path, written, capsys):
    broken = [pages.of_engine(tmp_path, "b", "accuracy-failed", engine="native", reason="the resize is wrong")]
    assert written(broken)[0] == 1 and "in native fp32, of b" in capsys.readouterr().err


def test_one_cause_may_be_of_several_owners_by_model(tmp_path, written):
    mine = {**NAMED[0], "model": "^b$", "whose": "this project", "what": "a limit of ours"}
    zoo_results.CAUSES.write_text(yaml.safe_dump([mine, *NAMED]))
    broken = [pages.of_engine(tmp_path, name, "accuracy-failed", reason="the resize is wrong") for name in "abc"]
    code, text = written(broken)
    rows = {line.split("|")[-2].strip(): line for line in text.splitlines() if "`the resize is wrong`" in line}
    assert code == 0 and "a limit of ours" in rows["b"] and "oneDNN's resize" in rows["a, c"]


def test_a_run_in_which_nothing_broke_says_so(tmp_path, written):
    code, text = written([pages.of_engine(tmp_path, "a", "passed")])
    assert code == 0 and "whose it is\n\nNothing.\n" in text


def test_the_page_is_made_from_what_is_kept():
    kept = json.loads((ROOT / "docs/zoo-results.json").read_text(encoding="utf-8"))
    named = yaml.safe_load((ROOT / "docs/zoo-causes.yaml").read_text(encoding="utf-8"))
    page = (ROOT / "docs/zoo-results.md").read_text(encoding="utf-8")
    assert zoo_results.inserted(page, zoo_results.page(kept, named)) == page, "run docs/zoo_results.py"
