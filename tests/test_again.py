"""A run that is started again: what was red is red again, and what could not be exercised is tried again."""

import shutil

import pytest
import yaml
from conftest import copy_project, planned_jobs, snakemake

from segcert import gpus, record

NOTHING = {"mode": "whole_infer", "hardware": "cpu", "models": ["pp_humanseg_lite"]}
# One cell of a GPU that is not there: a device is shared out by name, and no driver is asked.
CELL = "results/smoke/pp_humanseg_lite/single_fp32/train.json"
PLANNED = {
    "mode": "smoke",
    "hardware": "gpu",
    "models": ["pp_humanseg_lite"],
    "train": {"topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {"cpu": [{"engine": "native", "precision": "fp32"}], "gpu": []},
    "model_zoo": {"pp_humanseg_lite": {"released_weights": None}},
}


@pytest.fixture
def configured(tmp_path, monkeypatch):
    def configure(config):
        folder = copy_project(tmp_path / "project")
        (folder / "mine.yaml").write_text(yaml.safe_dump(config))
        return folder

    monkeypatch.setenv(gpus.VISIBLE, "")
    return configure


def test_a_run_that_exercised_nothing_is_red_however_often_it_is_started(configured, tmp_path):
    folder = configured({**NOTHING, "model_zoo": PLANNED["model_zoo"]})
    for attempt in range(3):
        done = snakemake(folder, "--configfile", "mine.yaml")
        assert done.returncode != 0, (attempt, done.stdout + done.stderr)
        assert "RED" in done.stderr and "Nothing to be done" not in done.stdout + done.stderr, done.stderr
    # Nor is it where the files are said to be new, or have lost their times and what Snakemake remembers of them.
    touched = snakemake(folder, "--touch", "--configfile", "mine.yaml")
    assert touched.returncode != 0 and "conclusions.json is red" in touched.stdout + touched.stderr
    assert snakemake(folder, "--configfile", "mine.yaml").returncode != 0
    elsewhere = copy_project(tmp_path / "elsewhere")
    shutil.copy(folder / "mine.yaml", elsewhere)
    shutil.copytree(folder / "results", elsewhere / "results", copy_function=shutil.copyfile)
    assert snakemake(elsewhere, "--configfile", "mine.yaml").returncode != 0
    assert planned_jobs(snakemake(elsewhere, "-n", "--configfile", "mine.yaml").stdout)["conclude"] == 1


def test_what_was_planned_and_could_not_be_exercised_is_tried_again(configured):
    folder = configured(PLANNED)
    done = snakemake(folder, CELL, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    content = record.read(folder / CELL)
    assert content["status"] == "unverified"
    again = snakemake(folder, "-n", CELL, "--configfile", "mine.yaml")
    assert planned_jobs(again.stdout + again.stderr) == {"train": 1}
    assert "tried again" not in again.stderr, "nothing is, in a dry run"
    other = snakemake(folder, "-n", "results/data/mini_supervisely_synthetic.json", "--configfile", "mine.yaml")
    assert planned_jobs(other.stdout + other.stderr) == {}, "nothing that the target does not need"
    tried = snakemake(folder, CELL, "--configfile", "mine.yaml")
    assert tried.returncode == 0 and f"note: unverified when they last ran, so tried again: {CELL}" in tried.stderr
    (folder / CELL).write_text((folder / CELL).read_text().replace('"unverified"', '"passed"', 1))
    assert planned_jobs(snakemake(folder, "-n", CELL, "--configfile", "mine.yaml").stdout) == {}


def test_only_the_beginning_of_a_record_is_asked(tmp_path):
    path = tmp_path / "r.json"
    assert not record.is_to_be_tried_again(path)
    path.write_text('{"stage": "train", "status": "unverified"}')
    assert record.is_to_be_tried_again(path)
    path.write_text('{"stage": "train", "status": "unverified", "try_again": false}')
    assert not record.is_to_be_tried_again(path)
    path.write_text('{"status": "passed", "reason": "' + "x" * record.HEAD + '\\"status\\": \\"unverified\\""}')
    assert not record.is_to_be_tried_again(path)
