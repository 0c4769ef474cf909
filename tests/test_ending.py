"""How a run begins and ends: what is said, tried again and marked, and what is concluded after a failure."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from gpu import stand_in_driver

from segcert import conclusions, ending, files, gpus, record
from segcert.machine import Hardware
from segcert.run import Start

MODEL = "pp_humanseg_lite"
SMALL = {
    "mode": "smoke",
    "models": [MODEL],
    "hardware": "cpu",
    "train": {"topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {"cpu": [{"engine": "onnxruntime", "precision": "fp32"}], "gpu": [], "cpu_threads": [1]},
}
FOLDER = Path("results/smoke")
RUN_CONFIG, CONCLUSIONS = FOLDER / "run_config.yaml", FOLDER / "conclusions.json"


@pytest.fixture
def plan(plan_run):
    def run(start=Start(), **overrides):  # noqa: B008
        return plan_run({**SMALL, **overrides}, start)

    return run


def cell_of(run, stage):
    return next(cell for cell in run.planned if cell.stage == stage)


def says(cell, status, **more):
    """Write a record's beginning, which is what is read of it here."""
    files.write_json(cell.record, {"schema_version": 1, "stage": cell.stage, "status": status, **more})


# -- the start --------------------------------------------------------------------------------


def test_what_a_person_should_know_at_the_start(plan, tmp_path, monkeypatch):
    (note,) = ending.notes(plan())
    assert note == "paddleseg_scripts: none, the PaddleSeg at hand has no tools/", "the installed one"
    run = plan(paddleseg_scripts=False)
    assert list(ending.notes(run)) == []
    told = {**run.settings, "params": {"notes": ["a", "b"]}}
    run = replace(run, settings=told, cleared=("PADDLE_X", "RANK"))
    run.notes.append("c")
    assert list(ending.notes(run)) == ["a", "b", "c", "set aside for all stages: PADDLE_X, RANK"]
    for name, value in stand_in_driver.install(tmp_path / "driver", misbehaviour="exit 9").items():
        monkeypatch.setenv(name, value)
    gpus.listed.cache_clear()
    monkeypatch.delenv(gpus.ANSWER)
    run = plan(hardware="auto", paddleseg_scripts=False)
    assert [note for note in ending.notes(run) if "no GPU is used: " in note and "exit code 9" in note]
    assert list(ending.notes(plan(hardware="cpu", paddleseg_scripts=False))) == [], "nobody wanted one"
    assert list(ending.notes(replace(run, hardware=Hardware(1, "auto")))) == []


def test_what_could_not_be_exercised_is_tried_again_from_its_root(plan, monkeypatch):
    run = plan()
    assert ending.try_again(run) == []
    train, scored, export, infer = (cell_of(run, stage) for stage in ("train", "eval", "export", "infer"))
    says(train, "passed")
    for cell in (scored, infer):
        says(cell, "unverified")
    says(export, "unverified", try_again=False)
    assert ending.try_again(run) == [scored.record], "inference is made from it, and follows by itself"
    assert Path(scored.record).stat().st_mtime == 1 and Path(infer.record).stat().st_mtime > 1
    says(scored, "passed")
    assert ending.try_again(run) == [infer.record]

    def not_yours(*_):
        raise PermissionError

    says(infer, "unverified")
    monkeypatch.setattr(os, "utime", not_yours)
    assert ending.try_again(run) == [infer.record], "it stays as it is, and stops nothing"
    assert Path(infer.record).stat().st_mtime > 1


def test_of_those_what_this_run_makes_is_told():
    assert ending.told_again(["a", "b", "c"], {"c", "a", "d"}) == "unverified when they last ran, so tried again: a, c"
    assert ending.told_again(["a"], {"b"}) is ending.told_again([], {"b"}) is None


# -- run_config.yaml --------------------------------------------------------------------------


def test_a_draft_is_kept_of_what_is_published(plan):
    run = plan()
    ending.draft(run)
    assert yaml.safe_load((FOLDER / ".run_config.yaml").read_text()) == json.loads(json.dumps(run.config))


def concluded(run, red):
    """Files such as a run leaves: red or green conclusions, younger than their configuration."""
    files.write_text(RUN_CONFIG, yaml.safe_dump(run.config))
    files.write_json(CONCLUSIONS, conclusions.Conclusions("smoke", []).as_json() | {"red": red})
    for path, age in ((RUN_CONFIG, 20), (CONCLUSIONS, 10)):
        os.utime(path, (time.time() - age,) * 2)


def test_kept_conclusions_are_red_or_green_or_not_there(plan):
    run = plan()
    assert not ending.kept_are_red(run)
    concluded(run, red=True)
    assert ending.kept_are_red(run)
    concluded(run, red=False)
    assert not ending.kept_are_red(run)
    CONCLUSIONS.write_text(json.dumps({"x": "y" * record.HEAD, "red": True}))
    assert not ending.kept_are_red(run), "only its beginning is read, where the word stands"
    CONCLUSIONS.write_bytes(b'{"red": true, "\xff\xfe"')
    assert not ending.kept_are_red(run)


def test_red_conclusions_get_older_than_their_configuration_and_green_ones_do_not(plan):
    run = plan()
    ending.mark_again(run)
    assert not FOLDER.exists()
    concluded(run, red=False)
    before, plain = files.stamps([str(RUN_CONFIG)]), RUN_CONFIG.read_text()
    ending.mark_again(run)
    assert files.stamps([str(RUN_CONFIG)]) == before and RUN_CONFIG.read_text() == plain
    concluded(run, red=True)
    ending.mark_again(run)
    assert RUN_CONFIG.stat().st_mtime > CONCLUSIONS.stat().st_mtime
    first = RUN_CONFIG.read_text()
    assert first.startswith(plain) and first.count(ending.MARK) == 1
    ending.mark_again(run)
    second = RUN_CONFIG.read_text()
    assert second != first and second.count(ending.MARK) == 1, "it holds what it never held"
    assert yaml.safe_load(second) == json.loads(json.dumps(run.config))
    RUN_CONFIG.unlink()
    ending.mark_again(run)
    assert not RUN_CONFIG.exists(), "its own rule makes it"


def test_the_mark_goes_when_the_conclusions_are_made_and_makes_nothing_stale(plan):
    run = plan()
    ending.unmark(run)
    concluded(run, red=True)
    plain = RUN_CONFIG.read_text()
    os.utime(RUN_CONFIG, ns=(1_000, 2_000))
    inode = RUN_CONFIG.stat().st_ino
    ending.unmark(run)
    assert RUN_CONFIG.stat().st_ino == inode, "without a mark it is not written at all"
    ending.mark(run, plain)
    os.utime(RUN_CONFIG, ns=(1_000, 3_000))
    ending.unmark(run)
    assert RUN_CONFIG.read_text() == plain and RUN_CONFIG.stat().st_mtime_ns == 3_000


def test_conclusions_are_of_a_run_whatever_it_is_compared_with(plan):
    run = plan()
    kept = json.loads(json.dumps(run.config))
    assert ending.is_of(run, kept)
    for key, value in (("baseline", "b.json"), ("candidate", ["c.json"]), ("compare", {"lost": "report"})):
        assert ending.is_of(run, {**kept, "settings": {**kept["settings"], key: value}}), key
    assert not ending.is_of(run, {**kept, "settings": {**kept["settings"], "seed": 7}})
    assert not ending.is_of(run, {**kept, "hardware": {**kept["hardware"], "gpus": 1}})
    assert not ending.is_of(run, {**kept, "versions": {}})


# -- the end ----------------------------------------------------------------------------------


def test_which_rules_conclude_and_pack():
    assert ending.packs(["all", "pack_evidence"])
    assert not ending.packs(["all", "conclude"]) and not ending.packs([])
    assert ending.certifies(["certificate"])
    assert not ending.certifies(["pack_evidence", "conclude"])
    assert ending.only_compared(["compare"]) and not ending.only_compared([])
    assert ending.only_compared(["keep", "history"]) and ending.only_compared(["repro", "upgrade", "bisect"])
    assert not ending.only_compared(["compare", "train"])


def test_a_job_that_failed_and_left_no_record_of_it_is_lost(plan):
    run = plan()
    train, infer = cell_of(run, "train"), cell_of(run, "infer")
    asked = [train.record, None, infer.record]
    assert ending.lost(asked, {}) == [train.record, infer.record], "no record at all"
    files.write_text(train.failure, "{}")
    before = run.failures()
    assert ending.lost(asked, before) == [train.record, infer.record], "that of an earlier run"
    files.write_text(train.failure, '{"again": 1}')
    assert ending.lost(asked, before) == [infer.record]
    assert ending.lost([], before) == ending.lost([None], before) == []


def test_after_a_failure_there_are_conclusions_and_a_page(plan, capfd):
    run = plan()
    train = cell_of(run, "train")
    ending.after_failure(run, [train.record], evidence=False)
    said = capfd.readouterr().err
    assert "RED" in said and "ended without a record" in said
    found = json.loads(CONCLUSIONS.read_text(encoding="utf-8"))
    assert found["red"] and found["counts"]["failed"] == 1 and found["counts"]["blocked"] == len(run.planned) - 1
    assert "<html" in (FOLDER / "conclusions.html").read_text(encoding="utf-8")
    assert ending.MARK in RUN_CONFIG.read_text() and not (FOLDER / "evidence.zip").exists()


def test_what_is_started_after_a_failure(plan, tmp_path, capfd):
    """In place of the scripts are some that tell of themselves, and fail: the next one is started all the same."""
    (tmp_path / "scripts").mkdir()
    for name in ("conclude", "make_page", "pack_evidence", "pack_certificate"):
        (tmp_path / f"scripts/{name}.py").write_text("import sys; print(*sys.argv); sys.exit(1)")
    run = replace(plan(), root=tmp_path)

    def started(run, evidence, certificate=False):
        ending.after_failure(run, ["a/train.json", "b.json"], evidence, certificate)
        return capfd.readouterr().out.splitlines()

    made = started(run, evidence=False)
    assert made == [
        f"scripts/conclude.py --run-config {RUN_CONFIG} --json {CONCLUSIONS} --lost=a/train.json --lost=b.json",
        f"scripts/make_page.py --conclusions {CONCLUSIONS} --run-config {RUN_CONFIG} --page {FOLDER}/conclusions.html",
    ]
    pack = (
        f"scripts/pack_evidence.py --run-config {RUN_CONFIG} --but {FOLDER}/evidence.log --pack {FOLDER}/evidence.zip"
    )
    assert started(run, evidence=True) == [*made, f"{pack} --python {run.python}"]
    in_conda = replace(run, start=Start(in_conda=True))
    assert started(in_conda, evidence=True) == [*made, pack], "its environment is there in a job alone"
    certify = f"scripts/pack_certificate.py --run-config {RUN_CONFIG} --pack {FOLDER}/certificate.zip"
    assert started(run, evidence=False, certificate=True) == [*made, certify]
    signing = replace(run, settings={**run.settings, "certificate": {"sign": "~/my key"}})
    assert started(signing, evidence=False, certificate=True) == [*made, f"{certify} --sign ~/my key"]
    before = replace(run, settings={key: value for key, value in run.settings.items() if key != "certificate"})
    assert ending.signing_key(before) is None


def test_after_a_failure_for_want_of_room_the_reason_is_told_and_what_to_do(plan, capsys):
    run = plan()
    FOLDER.parent.mkdir()
    FOLDER.write_text("a file where the folder is to be")
    ending.after_failure(run, [], evidence=True)
    assert capsys.readouterr().err.startswith("no conclusions: ") and FOLDER.is_file()


def test_the_summary_is_shown_where_the_conclusions_are_this_runs(plan, capsys):
    run = plan()
    every = {"all", "conclude", "page", "train", "pack_evidence"}

    def shown(rules=every, run=run):
        ending.show(run, rules)
        return capsys.readouterr().err

    assert shown() == "", "there are no conclusions"
    concluded(run, red=False)
    for name in ("conclusions", "page", "evidence"):
        files.write_text(FOLDER / f"{name}.log", f"log of {name}\n")
    assert shown() == "log of conclusions\nlog of page\nlog of evidence\n"
    assert shown(every - {"pack_evidence"}) == "log of conclusions\nlog of page\n"
    files.write_text(FOLDER / "certificate.log", "log of certificate\n")
    assert shown({"certificate"}) == "log of conclusions\nlog of page\nlog of certificate\n"
    (FOLDER / "page.log").unlink()
    assert shown(["all"]) == "log of conclusions\n", "those of before are still this run's"
    assert shown({"matrix", "write_run_config"}) == shown(set()) == "", "nothing was exercised"
    other = "results/smoke/conclusions.json is older than this run: run without naming files to renew it\n"
    assert shown(run=plan(seed=7)) == other
    train = cell_of(run, "train")
    says(train, "passed")
    assert shown() == other
    os.utime(train.record, (1, 1))
    assert shown() == "log of conclusions\nlog of evidence\n"
    RUN_CONFIG.write_text("settings: {")
    assert shown() == ""
    CONCLUSIONS.unlink()
    assert shown() == ""


def test_a_run_that_took_red_conclusions_for_made_is_no_good(plan):
    run = plan()
    assert ending.red_all_the_same(run, ["conclude"]) is None
    concluded(run, red=True)
    assert ending.red_all_the_same(run, ["conclude"]) == f"{CONCLUSIONS} is red: start again without --touch"
    assert ending.red_all_the_same(run, ["train"]) is None, "it concluded nothing"
    concluded(run, red=False)
    assert ending.red_all_the_same(run, ["conclude"]) is None


def test_a_run_that_took_those_of_another_run_for_made_is_no_good(plan):
    """As with --touch after an edit: what was concluded is of before it."""
    run = plan()
    concluded(run, red=False)
    assert ending.red_all_the_same(run, ["conclude"]) is None
    kept = yaml.safe_load(RUN_CONFIG.read_text())
    RUN_CONFIG.write_text(yaml.safe_dump({**kept, "paddleseg": {**kept["paddleseg"], "hashes": {}}}))
    os.utime(RUN_CONFIG, (1, 1))
    assert ending.red_all_the_same(run, ["train"]) is None
    assert ending.red_all_the_same(run, ["conclude"]).startswith(f"{CONCLUSIONS} is of another configuration or Padd")
    assert RUN_CONFIG.stat().st_mtime > CONCLUSIONS.stat().st_mtime, "so that the next run makes them again"
    assert ending.is_of(run, yaml.safe_load(RUN_CONFIG.read_text()))
