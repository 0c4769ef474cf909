"""Two runs compared: every kind of change, noise that is none, and the exit code."""

import copy
import itertools
import json
import subprocess
import sys
from types import MappingProxyType

import numpy as np
import pytest
import yaml
from conftest import ROOT, snakemake

from segcert import comparison, noise, sections, statuses
from segcert.compute import stats
from segcert.errors import ConfigError
from segcert.show import compared as in_words

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
ENV = {"paddle": "3.2.2", "paddle_commit": "abc", "cpu": "One", "cpu_cores": 2, "gpu": None, "kernel": "6.1"}
INFER = "python_infer_cpu_usemkldnn_True_threads_1_precision_fp32_batchsize_1"


def tolerances(**section):
    """Those of the shipped configuration outside of mode smoke, with changes."""
    return comparison.Tolerances.of(sections.merge(CONFIG["compare"], section))


def timing(median_ms, spread=0.02):
    return {"p50": median_ms, "p50_ci95": [median_ms * (1 - spread), median_ms * (1 + spread)]}


def cell(stage="infer", name=INFER, status="passed", reason=None, **more):
    ran = statuses.by_name(status).exercised
    asked = {"device": "cpu", "engine": "onednn", "precision": "fp32", "threads": 1, "batch_size": 1}
    metrics = {
        "train": {"ips": 10.0, "last_loss": 0.5},
        "eval": {"miou": 0.7},
        "export": {"model_mb": 20.0, "onnx_mb": 20.0},
        "infer": {
            "inference_ms": timing(10.0), "build_s": 4.0, "pixel_agreement": 1.0, "input_shape": [1, 3, 64, 64],
            "offline": {"ips": 200.0, "ips_ci95": [196.0, 204.0]},
        },
    }[stage]  # fmt: skip
    base = {
        "schema_version": 1, "mode": "lite_train_lite_infer", "stage": stage, "record": "r.json",
        "model": "pp_humanseg_lite", "algorithm": "ConnectNet", "train_cell": "single_fp32", "cell": name,
        "status": status, "reason": reason, "requested": asked,
    }  # fmt: skip
    seen = {"device": "cpu", "engine": "onednn"}
    run = {"env": dict(ENV), "metrics": metrics, "started": "2026-01-01T00:00:00Z", "effective": seen}
    run |= {"peak_rss_mb": 400.0, "inputs": {"config/models/a.yml": "1", "results/x/export": "2"}, "outputs": {}}
    return copy.deepcopy({**base, **(run if ran else {}), **more})


def without_interval(median_ms):
    return {"p50": median_ms, "p50_ci95": None}


def run(*cells, mode="lite_train_lite_infer"):
    names = [item["status"] for item in cells]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    red = statuses.is_red(names)
    return {"schema_version": 1, "mode": mode, "red": red, "counts": counts, "cells": list(cells)}


def compared(before, after, **section):
    return comparison.compare(run(*before), run(*after), tolerances(**section))


def only(found):
    assert len(found.changes) == 1, found.changes
    return found.changes[0]


WHOLE = tuple(
    cell(stage, INFER if stage == "infer" else "single_fp32") for stage in ("train", "eval", "export", "infer")
)


def with_metric(stage, path, value):
    """The whole run with one figure replaced."""
    changed = copy.deepcopy(list(WHOLE))
    target = next(item for item in changed if item["stage"] == stage)
    *keys, last = path.split(".")
    for key in keys:
        target = target[key]
    target[last] = value
    return changed


# -- statuses ---------------------------------------------------------------------------------


def test_a_run_is_as_good_as_itself():
    found = compared(WHOLE, WHOLE)
    assert found.changes == [] and not found.regressed and found.cells_compared == 4
    assert {figure.metric for figure in found.figures} == set(noise.BY_NAME)
    assert all(figure.ratio == 1 for figure in found.figures)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("passed", "failed", "worse"),
        ("passed", "accuracy-failed", "worse"),
        ("passed", "known-failure", "worse"),
        ("passed", "blocked", "worse"),
        ("passed", "unverified", "worse"),
        ("passed", "not-run", "worse"),
        ("known-failure", "failed", "worse"),
        ("accuracy-failed", "failed", "worse"),
        ("failed", "blocked", "changed"),
        ("failed", "known-failure", "better"),
        ("failed", "passed", "better"),
        ("known-failure", "passed", "better"),
        ("unverified", "passed", "better"),
        ("unverified", "failed", "changed"),
        ("failed", "unverified", "changed"),
        ("skipped", "not-run", "changed"),
    ],
)
def test_changes_of_status(before, after, kind):
    found = compared([cell(status=before)], [cell(status=after, reason="because")])
    change = only(found)
    assert (change.kind, change.what, change.before, change.after) == (kind, "status", before, after)
    assert "because" in change.note and found.regressed == (kind == "worse")
    assert found.figures == []


def test_what_is_lost_may_be_reported_only():
    for lost in ([cell(status="unverified"), cell("train", "t")], [cell("train", "t")]):
        whole = [cell(), cell("train", "t")]
        assert compared(whole, lost).regressed
        change = only(compared(whole, lost, lost="report"))
        assert change.kind == "changed" and change.before == "passed"


def test_new_cells_are_no_regression():
    for status in ("passed", "failed"):
        found = compared([cell("train", "t")], [cell("train", "t"), cell(status=status, reason="moon")])
        assert only(found).kind == "appeared" and not found.regressed
        assert f"new, {status}" in in_words.markdown(found)


def certified(verdict, reason="loss curves 3.0% apart"):
    """The content of a conclusions.json with a certificate."""
    found = {"model": "pp_humanseg_lite", "topology": "single", "kind": "amp", "twin": "single_fp32"}
    found["cell"] = "single_amp_O1_float16"
    return run(*WHOLE) | {"certificates": [{**found, "verdict": verdict, "reason": reason}]}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("passed", "accuracy-failed", "worse"),
        ("passed", "failed", "worse"),
        ("passed", "unverified", "worse"),
        ("accuracy-failed", "passed", "better"),
        ("unverified", "accuracy-failed", "changed"),
    ],
)
def test_certificates_get_worse_and_better_as_cells_do(before, after, kind):
    found = comparison.compare(certified(before), certified(after, "30.0% apart"), tolerances())
    change = only(found)
    assert (change.kind, change.stage, change.before, change.after) == (kind, "certificate", before, after)
    assert "30.0% apart" in change.note and found.regressed == (kind == "worse")
    assert f"{before} -> {after}" in in_words.markdown(found)
    assert "certificate `single_amp_O1_float16`" in in_words.markdown(found)
    # each side as repeats
    one_of_two = comparison.pool([certified(before), certified(after)])
    assert comparison.compare(one_of_two, comparison.pool([certified(before)] * 2), tolerances()).regressed is False
    pooled = comparison.compare(comparison.pool([certified(before)] * 2), one_of_two, tolerances())
    assert pooled.regressed == (kind == "worse" and after != "unverified")  # of those, what was exercised counts
    assert pooled.candidate["counts"] == {"passed": 4}


def test_a_certificate_of_before_is_that_of_the_same_cell():
    """There were those of mixed precision alone."""
    old = certified("passed")
    old["certificates"][0]["amp"] = old["certificates"][0].pop("cell")
    assert comparison.compare(old, certified("passed"), tolerances()).changes == []
    assert only(comparison.compare(old, certified("accuracy-failed"), tolerances())).kind == "worse"


def test_certificates_appear_and_vanish_as_cells_do():
    bare = run(*WHOLE)
    assert only(comparison.compare(bare, certified("accuracy-failed"), tolerances())).kind == "appeared"
    assert only(comparison.compare(certified("passed"), bare, tolerances())).kind == "worse"
    assert comparison.compare(certified("passed"), certified("passed"), tolerances()).changes == []


def test_a_data_set_that_newly_fails_is_shown():
    broken = cell("train", "people.tar", "failed", "no such host", model=None, train_cell=None)
    broken["stage"] = "data"
    found = compared(WHOLE, [*WHOLE, broken])
    assert (only(found).stage, only(found).after) == ("data", "failed")


def test_another_reason_is_told_and_other_numbers_are_not():
    def failing(reason):
        return [cell(status="failed", reason=reason), cell("train", "t")]

    assert compared(failing("killed at 0x7f, 12.5 s"), failing("killed at 0x8a, 3 s")).changes == []
    found = compared(failing("killed"), failing("not supported"))
    assert (only(found).kind, only(found).what) == ("changed", "reason")
    assert "- another reason: killed -> not supported: 1 cell: still failed\n" in in_words.markdown(found)


def test_what_is_observed_otherwise_is_told():
    changed = with_metric("export", "effective", {"device": "cpu", "engine": "native"})
    assert only(compared(WHOLE, changed)).note == "engine: onednn -> native"
    assert "- observed: 1 cell: engine: onednn -> native\n" in in_words.markdown(compared(WHOLE, changed))
    del changed[2]["metrics"]["onnx_mb"]
    assert "onnx_mb is in the baseline alone" in only(compared(WHOLE, changed)).note


# -- figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "path", "worse", "better"),
    [
        ("infer", "metrics.inference_ms", timing(20), timing(5)),
        ("infer", "metrics.build_s", 12.0, 1.0),
        ("infer", "metrics.pixel_agreement", 0.9, None),
        ("train", "metrics.ips", 5.0, 20.0),
        ("train", "metrics.last_loss", 0.8, 0.2),
        ("eval", "metrics.miou", 0.6, 0.8),
        ("export", "metrics.model_mb", 30.0, 10.0),
        ("export", "metrics.onnx_mb", 30.0, 10.0),
        ("eval", "peak_rss_mb", 900.0, 100.0),
    ],
)
def test_each_metric_knows_which_way_is_worse(stage, path, worse, better):
    for value, kind in ((worse, "worse"), (better, "better")):
        if value is not None:
            found = compared(WHOLE, with_metric(stage, path, value))
            assert only(found).kind == kind and found.regressed == (kind == "worse")
            assert only(found).what in noise.BY_NAME
            name = only(found).what
            assert not compared(WHOLE, with_metric(stage, path, value), tolerance={name: None}).regressed


@pytest.mark.parametrize(
    ("stage", "path", "value"),
    [
        ("infer", "metrics.inference_ms", timing(11.9)),  # less than the smallest effect
        ("infer", "metrics.inference_ms", timing(20, spread=0.6)),  # the intervals overlap
        ("infer", "metrics.build_s", 5.9),  # half as much again, but less than two seconds
        ("eval", "metrics.miou", 0.69),
        ("eval", "peak_rss_mb", 480.0),
    ],
)
def test_small_changes_are_none(stage, path, value):
    assert compared(WHOLE, with_metric(stage, path, value)).changes == []


def test_both_tolerances_have_to_be_passed():
    fast = with_metric("infer", "metrics.inference_ms", timing(0.2))
    slower = with_metric("infer", "metrics.inference_ms", timing(0.5))
    assert not compared(fast, slower).regressed, "three tenths of a millisecond are nothing"
    assert compared(fast, slower, tolerance={"inference_ms": {"absolute": 0.1}}).regressed


def sampled(generator, median_ms):
    """A timing as a run has it: lognormal samples with outliers, summarized by the code of the stages."""
    samples = median_ms * generator.lognormal(0, 0.15, 20)
    samples[generator.integers(20, size=2)] *= 3
    return stats.summarize(samples)


def test_noise_alone_is_no_finding_and_a_slowdown_is_one():
    generator = np.random.default_rng(7)

    def repeats(factor):
        return [
            compared(
                with_metric("infer", "metrics.inference_ms", sampled(generator, 10)),
                with_metric("infer", "metrics.inference_ms", sampled(generator, 10 * factor)),
            ).regressed
            for _ in range(200)
        ]

    assert sum(repeats(1)) == 0
    assert sum(repeats(2)) == 200


def test_the_interval_tells_more_than_the_effect():
    """Without the intervals, wide noise would be taken for a change."""
    generator = np.random.default_rng(7)
    noisy = [stats.summarize(10 * generator.lognormal(0, 0.8, 20)) for _ in range(100)]
    moved = [abs(b["p50"] / a["p50"] - 1) > 0.25 for a, b in zip(noisy[::2], noisy[1::2], strict=True)]
    found = [
        compared(
            with_metric("infer", "metrics.inference_ms", a), with_metric("infer", "metrics.inference_ms", b)
        ).changes
        for a, b in zip(noisy[::2], noisy[1::2], strict=True)
    ]
    assert sum(moved) > 10 > 3 >= sum(map(bool, found))


def taken(cores, **more):
    """The load that a record tells of: cores that others had; not noticed below a quarter of one."""
    return {"own_cores": None, "other_cores": cores, "steal_share": 0.0, "noticed": cores >= 0.25, **more}


BUSY = taken(1.7)


def timed(median_ms, cpu_s, device="cpu", load=BUSY):
    cells = with_metric("infer", "metrics.inference_ms", timing(median_ms))
    cells[3] |= {"cpu_s": cpu_s, "wall_s": 10.0, "load": load, "effective": {"device": device, "engine": "onednn"}}
    return cells


def test_a_process_that_waited_for_a_core_is_no_slower_paddle():
    found = compared(timed(10, 9.0), timed(30, 3.0))  # a third of the share, three times the time
    assert found.changes == [] and "1 times moved beyond" in in_words.markdown(found)
    assert found.candidate["core_share"] == 0.3
    assert only(compared(timed(10, 9.0), timed(30, 7.0))).kind == "worse", "the share explains 13 of them"
    assert only(compared(timed(10, 9.0), timed(30, 9.5))).kind == "worse"
    assert only(compared(timed(30, 3.0), timed(9, 3.0))).kind == "better"
    assert compared(timed(10, 3.0), timed(10, 9.0)).changes == [], "what did not move needs no explanation"
    assert compared(timed(30, 3.0), timed(10, 9.0)).changes == [], "nor is it faster for having a core to itself"
    assert only(compared(timed(10, 9.0, "gpu"), timed(30, 3.0, "gpu"))).kind == "worse", "a GPU's times are its own"


def test_a_loop_that_waited_within_a_stage_that_did_not():
    loop, alone = timed(30, 9.0), timed(10, 9.0)
    loop[3]["metrics"]["load"] = taken(1.7, own_cores=0.3)
    alone[3]["metrics"]["load"] = taken(0.0, own_cores=1.0)
    assert compared(alone, loop).changes == []
    pooled = [comparison.pool([run(*cells)] * 2) for cells in (alone, loop)]
    assert comparison.compare(*pooled, tolerances()).changes == []
    loop[3]["metrics"]["load"] = taken(0.1, own_cores=0.3)  # asleep, and nobody else was there
    assert only(compared(alone, loop)).kind == "worse"
    pooled = [comparison.pool([run(*cells)] * 2) for cells in (alone, loop)]
    assert only(comparison.compare(*pooled, tolerances())).kind == "worse"


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (None, "worse"),  # not measured
        (taken(0.0), "worse"),
        (taken(0.2), "worse"),  # seen, and not noticed
        (taken(1.0), "worse"),  # explains that it took twice as long
        (taken(5.0), None),
        (taken(0.0, steal_share=0.9, noticed=True), "worse"),  # of two cores: 1.8
        (taken(4.0, steal_share=0.5, noticed=True), None),
        (taken(5.0, noticed=False), "worse"),
    ],
)
def test_threads_that_were_lost_are_not_explained_by_what_others_did_not_take(load, kind):
    """Six cores' worth of threads became one, and the time six times as long."""
    for before, after, expected in (
        (timed(10, 60.0, load=taken(0.0)), timed(60, 10.0, load=load), kind),
        (timed(60, 10.0, load=load), timed(10, 60.0, load=taken(0.0)), kind and "better"),
    ):
        assert [change.kind for change in compared(before, after).changes] == ([expected] if expected else [])


def test_a_training_that_waited_for_a_core_is_no_slower_paddle():
    slow = copy.deepcopy(list(WHOLE))
    fast = with_metric("train", "metrics.ips", 30.0)
    slow[0] |= {"cpu_s": 3.0, "wall_s": 10.0, "load": BUSY}
    fast[0] |= {"cpu_s": 9.0, "wall_s": 10.0}
    assert compared(fast, slow).changes == [] == compared(slow, fast).changes
    slow[0]["load"] = taken(0.0)
    assert only(compared(fast, slow)).kind == "worse"
    slow[0] |= {"cpu_s": 9.0, "load": BUSY}
    assert only(compared(fast, slow)).kind == "worse"


def test_times_of_another_machine_are_listed_and_not_judged():
    other = with_metric("infer", "metrics.inference_ms", timing(50))
    other[1]["metrics"]["miou"] = 0.1  # that tells of no machine
    for item in other:
        item["env"]["cpu"] = "Another"
    found = compared(WHOLE, other)
    assert [change.what for change in found.changes] == ["miou"]
    listed = next(figure for figure in found.figures if figure.metric == "inference_ms")
    assert listed.ratio == 5 and listed.judged == comparison.OTHER_MACHINE
    assert {"field": "cpu", "baseline": "One", "candidate": "Another"} in found.environment
    assert "4 figures are listed and not judged: other machine" in in_words.markdown(found)
    judged = compared(WHOLE, other, judge_other_machines=True)
    assert {change.what for change in judged.changes} == {"miou", "inference_ms"}


def test_of_gpus_those_count_that_the_jobs_had():
    def on(models, listed):
        cells = with_metric("infer", "metrics.inference_ms", timing(10 if "A" in models else 50))
        for item in cells:
            item["env"]["gpu"] = listed
            item |= {"gpus": [{"visible": "0", "key": "GPU-1", "model": model} for model in models]} if models else {}
        return cells

    def judged(before, after):
        return next(f for f in compared(before, after).figures if f.metric == "inference_ms").judged

    mixed = ["A", "B"]
    assert judged(on(["A"], mixed), on(["B"], mixed)) == comparison.OTHER_MACHINE, "one machine, another device of it"
    assert judged(on(["A"], mixed), on(["A"], ["A", "A"])) == "within its tolerance"
    assert judged(on(["A", "B"], mixed), on(["B", "A"], mixed)) == "within its tolerance"
    unknown = on(["A", None], mixed)
    assert judged(unknown, on(["A"], mixed)) == "within its tolerance", "then those that the machine has"
    assert judged(unknown, on(["A"], ["A"])) == comparison.OTHER_MACHINE
    assert judged(on([], ["A"]), on(["B"], ["B"])) == comparison.OTHER_MACHINE


def test_another_kernel_or_paddle_is_listed_and_judged():
    other = with_metric("infer", "metrics.inference_ms", timing(50))
    for item in other:
        item["env"] |= {"paddle": "9.9.9", "kernel": "7.0"}
    found = compared(WHOLE, other)
    assert found.regressed and [row["field"] for row in found.environment] == ["paddle", "kernel"]


def test_other_work_is_not_judged():
    for path, value in (("requested.batch_size", 8), ("metrics.input_shape", [1, 3, 512, 512])):
        slow = with_metric("infer", "metrics.inference_ms", timing(50))
        target, key = slow[3][path.split(".")[0]], path.split(".")[1]
        target[key] = value
        found = compared(WHOLE, slow)
        assert found.changes == []
        assert all(figure.judged.startswith("not judged") for figure in found.figures if figure.stage == "infer")


def test_inputs_from_outside_are_told_apart_from_what_the_run_made():
    changed = with_metric("infer", "inputs", {"config/models/a.yml": "9", "results/x/export": "9"})
    changed[2]["outputs"] = {"results/x/export": "9"}
    found = compared(WHOLE, changed)
    assert found.inputs == ["config/models/a.yml"]
    assert "Files that both read, with other content: `config/models/a.yml`\n" in in_words.markdown(found)


# -- repeats ----------------------------------------------------------------------------------


def test_edits_of_paddlesegs_own_scripts_are_told():
    """Both runs call the same script edited: what it holds tells them apart."""
    sides = [run(*WHOLE), run(*WHOLE)]
    for side, digest in zip(sides, "ab", strict=True):
        files, scripts = {"paddleseg/core/val.py": "1"}, {"tools/val.py": digest, "tools/train.py": "1"}
        side["scope"] = {"paddleseg": {"files": files, "scripts": scripts}}
    found = comparison.compare(*sides, tolerances())
    assert found.inputs == ["tools/val.py"]
    text = in_words.markdown(found)
    assert "with other content: `tools/val.py`" in text and "environments are equal" not in text


def repeats(*medians):
    return comparison.pool([run(*with_metric("infer", "metrics.inference_ms", timing(value))) for value in medians])


def test_repeats_tell_a_noisy_machine_from_a_slow_paddle():
    def judge(before, after):
        return comparison.compare(before, after, tolerances())

    assert judge(repeats(10), repeats(20)).regressed
    assert not judge(repeats(10, 19.8, 10), repeats(20, 21, 22)).regressed, "one repeat was as slow"
    assert judge(repeats(10, 12, 11), repeats(20, 21, 22)).regressed
    one_sided = judge(repeats(10, 21, 10), repeats(20))
    assert not one_sided.regressed
    assert one_sided.baseline["runs"] == 3 and one_sided.candidate["runs"] == 1
    assert next(f for f in one_sided.figures if f.metric == "inference_ms").before == 10


def test_repeats_have_the_worst_status_of_all():
    flaky = comparison.pool([run(*WHOLE), run(*WHOLE[:3], cell(status="failed", reason="moon"))])
    change = only(comparison.compare(run(*WHOLE), flaky, tolerances()))
    assert (change.after, change.note) == ("failed", "in 1 of 2 runs: moon")


@pytest.mark.parametrize("status", [*(status.name for status in statuses.ALL if not status.exercised), None])
def test_a_candidate_that_did_not_run_each_time_has_lost_the_cell(status):
    """None: the cell is not in the matrix of the other repeats."""
    other = run(*WHOLE[:3], *([cell(status=status, reason="because")] if status else []))
    flaky = [run(*WHOLE), other, other]
    change = only(comparison.compare(run(*WHOLE), comparison.pool(flaky, candidate=True), tolerances()))
    assert (change.kind, change.before, change.after) == ("worse", "passed", status or "not-run")
    assert change.note == (f"in 2 of 3 runs: {'because'}" if status else "not in the matrix of 2 of 3 runs")
    kept = comparison.compare(run(*WHOLE), comparison.pool(flaky, candidate=True), tolerances(lost="report"))
    assert kept.regressed is (status == "blocked")
    if status != "blocked":
        failed = run(*WHOLE[:3], cell(status="failed", reason="moon"))
        change = only(comparison.compare(comparison.pool(flaky), failed, tolerances()))
        assert (change.kind, change.before, change.after) == ("worse", "passed", "failed"), "it ran in one of them"


# -- what cannot be compared ------------------------------------------------------------------


def test_runs_that_have_nothing_in_common_are_refused():
    with pytest.raises(ConfigError, match="mode lite_train_lite_infer and the candidate of mode other"):
        comparison.compare(run(*WHOLE), run(*WHOLE, mode="other"), tolerances())
    with pytest.raises(ConfigError, match="no cell in common"):
        comparison.compare(run(WHOLE[0]), run(WHOLE[1]), tolerances())
    with pytest.raises(ConfigError, match="repeats of one run"):
        comparison.pool([run(*WHOLE), run(*WHOLE, mode="other")])


def test_every_metric_needs_a_tolerance():
    for tolerance in ({"moons": None}, None):
        section = sections.merge(CONFIG["compare"], {"tolerance": tolerance} if tolerance else {})
        if not tolerance:
            del section["tolerance"]["miou"]
        with pytest.raises(ConfigError, match=r"compare.tolerance.(moons|miou)"):
            comparison.Tolerances.of(section)


def test_mode_smoke_has_its_own_tolerances(tmp_path):
    twice = with_metric("infer", "metrics.inference_ms", timing(20))
    codes = {}
    for mode in ("smoke", "lite_train_lite_infer"):
        for name, content in (("a", WHOLE), ("b", twice)):
            (tmp_path / f"{name}.json").write_text(json.dumps(run(*content, mode=mode)))
        codes[mode] = command(tmp_path, "--baseline", "a.json", "--candidate", "b.json").returncode
    assert codes == {"smoke": 0, "lite_train_lite_infer": 1}


def test_a_relative_tolerance_is_the_same_both_ways():
    for value, kind in ((13.1, "worse"), (7.6, "better")):
        assert only(compared(WHOLE, with_metric("infer", "metrics.inference_ms", timing(value)))).kind == kind
    for value in (12.4, 8.1):
        assert compared(WHOLE, with_metric("infer", "metrics.inference_ms", timing(value, 0))).changes == []


# -- the command ------------------------------------------------------------------------------


def command(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/compare.py"), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def strict(path):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_exit_codes_and_files(tmp_path):
    slow = with_metric("infer", "metrics.inference_ms", timing(20))
    slow[0]["metrics"]["last_loss"] = 0.0  # no ratio to that, and none of what follows may need one
    for name, content in (("fast", WHOLE), ("slow", slow)):
        (tmp_path / f"{name}.json").write_text(json.dumps(run(*content)))
    files = ("--markdown", "out/compare.md", "--json", "out/compare.json")
    done = command(tmp_path, "--baseline", "fast.json", "--candidate", "slow.json", *files)
    assert done.returncode == 1, done.stderr
    assert "REGRESSED" in done.stdout and "inference ms 10 -> 20 (x 2)" in done.stdout
    content = strict(tmp_path / "out/compare.json")
    assert content["regressed"] is True and content["counts"]["worse"] == 1
    assert [change["ratio"] for change in content["changes"] if change["kind"] == "worse"] == [2]
    text = (tmp_path / "out/compare.md").read_text()
    assert "mode lite_train_lite_infer: regressed" in text and "**2**" in text
    back = command(tmp_path, "--baseline", "slow.json", "--candidate", "fast.json", *files)
    assert "worse: pp_humanseg_lite train" in back.stdout and back.returncode == 1, "0 -> 0.5 is a worse loss"
    assert strict(tmp_path / "out/compare.json")["changes"][0]["ratio"] is None
    same = command(tmp_path, "--baseline", "fast.json", "fast.json", "--candidate", "fast.json")
    assert (same.returncode, same.stdout.splitlines()[-1]) == (0, "no regression")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["gone/smoke/conclusions.json", "--config mode=smoke"]),
        ("{", ["not strict JSON"]),
        ('{"schema_version": 1, "cells": [], "x": NaN}', ["NaN"]),
        ('{"schema_version": 99, "cells": []}', ["schema_version 1"]),
        ("[]", ["not the conclusions"]),
        ('{"schema_version": 1, "cells": [{"status": "passed"}]}', ["'mode' is a required property", "was cut off"]),
        (
            json.dumps({**run(*WHOLE), "cells": [{**cell(), "status": "unheard-of"}]}),
            ["unknown status unheard-of; one of passed"],
        ),
        (
            json.dumps({**run(*WHOLE), "certificates": [{"model": "m", "cell": "a", "verdict": "x", "reason": None}]}),
            ["unknown status x; one of passed"],
        ),
    ],
)
def test_a_file_that_cannot_be_compared_is_named(tmp_path, content, words):
    path = tmp_path / "gone/smoke/conclusions.json"
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_text(content)
    (tmp_path / "base.json").write_text(json.dumps(run(*WHOLE)))
    done = command(tmp_path, "--baseline", "base.json", "--candidate", str(path))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert str(path) in done.stderr and all(word in done.stderr for word in words)


def test_a_cell_that_is_there_twice_is_refused(tmp_path):
    """Of a failed one and a passed one nobody could say which it is."""
    (tmp_path / "base.json").write_text(json.dumps(run(*WHOLE)))
    (tmp_path / "twice.json").write_text(json.dumps(run(cell(status="failed", reason="x"), cell())))
    done = command(tmp_path, "--baseline", "base.json", "--candidate", "twice.json")
    assert (
        done.returncode == 2 and f"a cell is there 2 times: pp_humanseg_lite infer single_fp32 {INFER}" in done.stderr
    )


def test_where_nothing_ran_in_both_nothing_was_compared(tmp_path):
    idle = [cell(status="unverified", reason="no GPU")]
    for name, cells in (("idle", idle), ("ran", [cell()])):
        (tmp_path / f"{name}.json").write_text(json.dumps(run(*cells)))
    for before, after in (("idle", "idle"), ("idle", "ran")):
        done = command(tmp_path, "--baseline", f"{before}.json", "--candidate", f"{after}.json")
        assert done.returncode == 2 and "nothing was compared: no cell ran in both" in done.stdout, done.stdout
        assert "no regression" not in done.stdout
    lost = command(tmp_path, "--baseline", "ran.json", "--candidate", "idle.json")
    assert lost.returncode == 1 and "worse" in lost.stdout


@pytest.mark.parametrize(
    "more",
    [
        ["--summary", "gone/summary.md"],
        ["--summary", "folder"],
        ["--json", "folder"],
        ["--settings", "5"],
        ["--settings", '{"tolerance": 5}'],
        ["--settings", '{"lost": "report", "judge_other_machines": false, "tolerance": []}'],
    ],
)
def test_what_cannot_be_written_or_is_no_section_is_no_regression_and_no_success(tmp_path, more):
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.json").write_text(json.dumps(run(*WHOLE)))
    done = command(tmp_path, "--baseline", "a.json", "--candidate", "a.json", *more)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.strip(), done.stderr


def test_half_a_character_is_refused_where_it_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(run(*WHOLE)))
    (tmp_path / "whole.json").write_text(json.dumps(run(cell(reason="\U0001f600"))))
    (tmp_path / "half.json").write_text(json.dumps(run(cell(reason="\ud800"))))
    done = command(tmp_path, "--baseline", "a.json", "--candidate", "half.json")
    assert done.returncode == 2 and "half.json: not strict JSON" in done.stderr and "Traceback" not in done.stderr
    assert command(tmp_path, "--baseline", "a.json", "--candidate", "whole.json").returncode != 2


@pytest.mark.parametrize("order", list(itertools.permutations(["slow", "other", "other"]))[:3])
@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"env": {**ENV, "cpu": "Another"}}, "other machine"),
        ({"requested": {**cell()["requested"], "threads": 2}}, "not judged: repeats differ: asked for differently"),
        ({"metrics": {"input_shape": [1, 3, 9, 9]}}, "not judged: repeats differ: input shape"),
    ],
)
def test_repeats_that_did_other_work_or_ran_elsewhere_are_not_judged(other, words, order):
    """In whichever order they are named."""

    def took(median_ms, metrics=MappingProxyType({}), **more):
        return run(cell(metrics={**cell()["metrics"], "inference_ms": timing(median_ms), **metrics}, **more))

    made = {"slow": took(25.0), "other": took(200.0, **other)}
    pooled = comparison.pool([made[name] for name in order], candidate=True)
    wide = tolerances(tolerance={"inference_ms": {"relative": 2.0}})
    for before, after in ((run(cell()), pooled), (pooled, run(cell()))):
        found = comparison.compare(before, after, wide)
        assert not found.regressed
        (figure,) = [figure for figure in found.figures if figure.metric == "inference_ms"]
        assert words in figure.judged


def test_as_a_target_of_the_workflow(project):
    """The candidate is compared as it is: not made, not changed, and a regression is the exit code."""
    refused = snakemake(project, "compare")
    assert refused.returncode != 0 and "--config baseline=" in refused.stdout + refused.stderr
    (project / "old é.json").write_text(json.dumps(run(*WHOLE)))
    asked = ("compare", "--config", "baseline=old é.json")
    folder = project / "results/lite_train_lite_infer"
    missing = snakemake(project, *asked)
    assert missing.returncode != 0
    assert "results/lite_train_lite_infer/conclusions.json: cannot be read" in missing.stdout + missing.stderr
    assert not (project / "results/data").exists() and not (folder / "conclusions.json").exists()

    slow = json.dumps(run(*with_metric("infer", "metrics.inference_ms", timing(20))))
    (folder / "conclusions.json").write_text(slow)
    worse = snakemake(project, *asked)
    assert worse.returncode != 0 and "REGRESSED" in worse.stdout + worse.stderr
    assert strict(folder / "compare.json")["regressed"] is True and (folder / "compare.md").is_file()
    assert (folder / "conclusions.json").read_text() == slow and not (folder / "run_config.yaml").exists()

    lenient = snakemake(project, *asked, "compare={tolerance: {inference_ms: {relative: 2}}}")
    assert lenient.returncode == 0, lenient.stdout + lenient.stderr
    assert strict(folder / "compare.json")["regressed"] is False


@pytest.mark.parametrize("old", [without_interval(10.0), timing(10.0)])
def test_a_median_of_too_few_samples_is_not_judged(old):
    after = run(*with_metric("infer", "metrics.inference_ms", without_interval(100.0)))
    before = run(*with_metric("infer", "metrics.inference_ms", old))
    result = comparison.compare(before, after, tolerances())
    assert result.changes == []
    (figure,) = [item for item in result.figures if item.metric == "inference_ms"]
    assert "too few samples" in figure.judged
