"""The benchmark's harness: ratios, turns, rows that replace rows, and what it does where something fails."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import harness
import page
import part_growth
import part_streams
import run as bench_run
from contender import Contender, start_all
from original import MODE, Original

from segcert.compute import streams

ENV = {
    "cpu": "a CPU", "cpu_cores": 2, "os": "an OS", "paddle": "3", "paddleseg": "2", "onnxruntime": "1", "openvino": "1",
    "snakemake": "9", "theirs": {"paddlepaddle": "2.6.2"}, "load_before": [0.1], "finished": "now", "quick": False,
}  # fmt: skip


def test_ratio_is_above_one_where_this_project_is_better():
    shorter = harness.row("a/time", [2.0, 1.0, 9.0], [4.0, 4.0, 5.0], "s", "them", target=2)
    assert (shorter["ours"], shorter["theirs"], shorter["ratio"], shorter["met"]) == (2, 4, 2, True)
    more = harness.row("a/speed", [30.0], [20.0], "images/s", "them", better="higher", target=2)
    assert (more["ratio"], more["met"]) == (1.5, False)
    assert "target" not in harness.row("a/none", [1.0], [1.0], "s", "them")


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [-1.0], [float("nan")]])
def test_a_side_without_usable_samples_is_no_row(samples):
    with pytest.raises(harness.BenchError, match="a/x: them has no usable samples"):
        harness.row("a/x", [1.0], samples, "s", "them")


def test_spread_is_the_distance_of_the_quartiles():
    assert harness.spread([1.0]) is None
    assert harness.spread([5.0, 5.0, 5.0]) == 0
    assert harness.spread([8.0, 9.0, 10.0, 11.0, 12.0]) == 0.2


def test_contenders_take_turns_and_nobody_always_comes_first():
    seen = []
    samples = harness.in_turns(3, a=lambda: seen.append("a") or 1.0, b=lambda: seen.append("b") or [2.0, 3.0])
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert samples == {"a": [1.0] * 3, "b": [2.0, 3.0] * 3}


def test_rows_replace_those_of_the_same_name_and_the_others_stay(tmp_path):
    first = harness.merge(None, [harness.row(name, [1.0], [2.0], "s", "x") for name in ("a/1", "b/1")], ENV)
    harness.write(tmp_path, first)
    second = harness.merge(harness.read(tmp_path / "bench.json"), [harness.row("b/1", [1.0], [8.0], "s", "x")], ENV)
    second = harness.merge(second, [harness.row("c/1", [1.0], [3.0], "s", "x")], ENV)
    assert [(row["name"], row["ratio"]) for row in second["rows"]] == [("a/1", 2), ("b/1", 8), ("c/1", 3)]
    assert set(second) == {"schema_version", "env", "rows"}
    assert {"name", "ours", "theirs", "unit", "ratio", "against"} <= set(second["rows"][0])
    (tmp_path / "bench.json").write_text(json.dumps({"schema_version": 0, "rows": []}))
    assert harness.read(tmp_path / "bench.json") is None
    assert harness.read(tmp_path / "none.json") is None


def test_page_shows_rows_notes_and_missed_targets(tmp_path):
    rows = [harness.row("a/1", [1.0, 1.0], [1.4, 1.4], "ms", "x", target=1.5, note="why")]
    text = harness.markdown(harness.merge(None, rows, ENV))
    assert "| a/1 | 1 (0%) | 1.4 (0%) | ms | 1.40 | 1.5 ✗ | x |" in text and "- a/1: why" in text
    first, last = page.marks()
    made = page.insert(f"before\n{first}\nold\n{last}\nafter\n", text)
    assert "old" not in made and made.startswith("before") and made.endswith("after\n") and "| a/1 |" in made
    assert page.insert(made, text) == made
    assert all(mark in page.PAGE.read_text() for name in (None, "int8") for mark in page.marks(name))
    with pytest.raises(harness.BenchError, match="has no"):
        page.insert("nothing", text)


def test_what_many_rows_have_in_common_stands_in_the_head_of_their_table():
    many = [harness.row(f"a/{number}", [1.0], [2.0], "ms", "them", target=1.5) for number in range(harness.ALIKE)]
    other = harness.row("a/other", [1.0], [2.0], "s", "them", note="why")
    assert harness.table([many[0], other, *many[1:]]) == [
        "| against them, ms, target 1.5 | this project | other | ratio |",
        "| --- | ---: | ---: | ---: |",
        *(f"| a/{number} | 1 | 2 | 2.00 ✓ |" for number in range(harness.ALIKE)),
        "",
        "| | this project | other | unit | ratio | target | against |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- |",
        "| a/other | 1 | 2 | s | 2.00 |  | them |",
        "",
        "- a/other: why",
    ]


def test_a_command_that_fails_or_hangs_says_so(tmp_path):
    with pytest.raises(harness.BenchError, match=r"exit code 3.*\n.*the reason"):
        code = "import sys; print('the reason'); sys.exit(3)"
        harness.timed([sys.executable, "-c", code], tmp_path / "log", tmp_path)
    with pytest.raises(harness.BenchError, match="none after 1 s"):
        harness.timed(["sleep", "600"], tmp_path / "log", tmp_path, limit_s=1)
    assert harness.timed(["true"], tmp_path / "log", tmp_path) > 0


def test_contenders_measure_when_asked_and_the_broken_one_is_named(tmp_path):
    (tmp_path / "good.py").write_text(
        "def build(o):\n print('noise')\n return {'precision': 'fp32'}, lambda times: [o['span']] * times\n"
    )
    (tmp_path / "bad.py").write_text("def build(o):\n raise RuntimeError('cannot be built')\n")

    def contender(name):
        return Contender(name, sys.executable, str(tmp_path / f"{name}.py"), {"span": 2.5}, tmp_path / f"{name}.log")

    with contender("good") as good, contender("bad") as bad:
        able, why = start_all([bad, good])
        assert able == [good] and "cannot be built" in why["bad"]
        assert good.about == {"precision": "fp32"}
        assert good.measure(times=3) == [2.5] * 3 and good.measure(times=1) == [2.5]


def test_bound_of_schedules():
    lengths = {"a": {"train": 4, "export": 1, "infer": [1, 1]}, "b": {"train": 1, "export": 1, "infer": [1, 2]}}
    assert part_growth.bound(lengths, 1) == 12
    assert part_growth.bound(lengths, 2) == 6  # the chain train, export, one cell of `a`
    assert part_growth.bound(lengths, 8) == 6


def test_lengths_of_jobs_are_those_of_the_records_scaled(tmp_path):
    folder = tmp_path / "smoke/results/smoke/m/single_fp32"
    (folder / "infer").mkdir(parents=True)
    for name, stage, wall in (("train", "train", 6.0), ("export", "export", 2.0), ("infer/cell", "infer", 2.0)):
        content = {"model": "m", "stage": stage, "wall_s": wall}
        (folder / f"{name}.json").write_text(json.dumps(content))
    assert part_growth.jobs(tmp_path, 5.0) == {"m": {"train": 3.0, "export": 1.0, "infer": [1.0]}}
    assumed = part_growth.jobs(tmp_path / "nothing", 36.0)
    assert len(assumed) == part_growth.MODELS and part_growth.bound(assumed, 1) == pytest.approx(36, rel=1e-3)


def test_parameters_of_the_original_are_its_own_with_other_values(tmp_path):
    folder = tmp_path / "test_tipc/configs/pphumanseg_lite"
    folder.mkdir(parents=True)
    lines = [
        "===train_params===",
        "model_name:m",
        "python:python3.7",
        "gpu_list:0|0,1",
        "--iters:x=1",
        "--batch_size:x=1",
    ]
    lines += ["##", "eval:null", "===infer_params===", "--batch_size:1|4", "--cpu_threads:6", "other:kept", "extra"]
    (folder / "train_infer_python.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "compiled").touch()
    bench = harness.Bench(tmp_path, "python", "/their/python", tmp_path, None, 1, (), False)
    values = {"iters": "7", "batch_size": "2", "images": "list.txt", "threads": "1|2", "workers": "0"}
    made = Original(bench, tmp_path).write_params("pp_humanseg_lite", values, Path("c.yml"))
    assert (tmp_path / made).read_text().splitlines() == [
        "===train_params===", "model_name:m", "python:/their/python", "gpu_list:-1", f"--iters:{MODE}=7",
        f"--batch_size:{MODE}=2", "##", "eval:null", "===infer_params===", "--batch_size:1", "--cpu_threads:1|2",
        "other:kept", "extra",
    ]  # fmt: skip


# -- part `streams`: MLPerf's load generator ----------------------------------------------------

has_loadgen = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="mlcommons-loadgen has no wheel for this kind of Linux"
)
FED = [
    streams.Fed([f"{number}"], np.full((1, 3, 2, 2), number, np.float32), np.zeros((1, 2, 2), int)) for number in (0, 1)
]


@pytest.fixture
def crew():
    """Two streams that take a moment for each request, and what they were asked: (thread, batch)."""
    asked = []

    def compute(batch):
        time.sleep(0.001)
        asked.append((threading.current_thread().name, int(batch[0, 0, 0, 0])))

    with streams.threads([compute, compute]) as made:
        yield made, asked


# Its library keeps threads in the process that loads it, for good: not beside other tests.
@pytest.mark.long
@has_loadgen
def test_load_generator_has_every_request_of_its_offline_scenario_computed(crew, tmp_path):
    import mlperf

    made, asked = crew
    # As many requests as 0.05 s would take at a rate that no sleep of 1 ms admits, so that it takes longer.
    found = mlperf.offline(made, FED, 0.05, 10000, tmp_path / "many")
    assert found["valid"] and found["rate"] > 0 and found["version"] == importlib.metadata.version("mlcommons-loadgen")
    said = mlperf.read(tmp_path / "many" / mlperf.LOG)
    assert len(asked) == said["effective_samples_per_query"] >= 500
    assert {name for name, _ in asked} == {"stream-0_0", "stream-1_0"} and {number for _, number in asked} == {0, 1}
    few = mlperf.offline(made, FED, 60, 0.1, tmp_path / "few")  # 7 requests, which take no minute
    assert not few["valid"]


# Its library keeps threads in the process that loads it, for good: not beside other tests.
@pytest.mark.long
@has_loadgen
def test_load_generator_judges_the_server_scenario_by_the_bound_and_by_how_sure_it_is(crew, tmp_path):
    import mlperf

    made, asked = crew
    far, near = 60_000, 0.001
    good = mlperf.server(made, FED, 500, 60, 1000, far, tmp_path / "good")
    assert (good["valid"], good["early_stopping"], good["queries"], good["late"]) == (True, True, 500, 0)
    assert 1 <= good["p99_ms"] <= far and len(asked) == 500
    late = mlperf.server(made, FED, 500, 60, 1000, near, tmp_path / "late")
    assert (late["valid"], late["early_stopping"], late["queries"], late["late"]) == (False, False, 500, 500)
    few = mlperf.server(made, FED, 100, 60, 1000, far, tmp_path / "few")
    assert (few["valid"], few["early_stopping"], few["queries"], few["late"]) == (False, False, 100, 0)
    ended = mlperf.server(made, FED, 500, 0.5, 1, far, tmp_path / "ended")  # 500 would take so many seconds
    assert not ended["valid"] and ended["queries"] < 500


# Its library keeps threads in the process that loads it, for good: not beside other tests.
@pytest.mark.long
@has_loadgen
def test_a_stream_that_breaks_under_the_load_generator_says_so_and_nothing_waits(tmp_path):
    import mlperf

    def broken(batch):
        raise RuntimeError("out of order")

    with streams.threads([broken, broken]) as made:
        with pytest.raises(RuntimeError, match="out of order"):
            mlperf.offline(made, FED, 0.05, 1000, tmp_path / "log")
        assert made.each(lambda number, _run: number) == [0, 1]


def test_rows_say_what_the_load_generator_said():
    said = {"valid": True, "version": "6"}
    row = part_streams.offline_row("m", [30.0, 20.0], [20.0, 25.0], [said, said | {"valid": False}])
    assert (row["name"], row["ratio"], row["loadgen"]) == ("streams/m offline", 1.111, "6")
    assert row["note"] == "by turn 0.800 to 1.500; the load generator says: 1 of 2 runs valid"
    no_rate = {"bound_ms": 50.0, "rate": None, "requests": 100, "p99_ms": None, "loadgen": None}
    assert part_streams.server_rows("m", [no_rate]) == []
    sure = {"p99_ms": 44.0, "early_stopping": True, "queries": 1000, "late": 2}
    held = no_rate | {"rate": 12.345, "p99_ms": 48.0, "loadgen": said | sure}
    (row,) = part_streams.server_rows("m", [held])
    assert (row["ours"], row["theirs"], row["unit"], row["ratio"]) == (48, 44, "ms", 0.9167) and "met" not in row
    assert row["note"] == (
        "99th percentile at 12.35 requests/s, found with 100 requests a trial for the bound of 50 ms; the load "
        "generator says: 1 of 1 runs valid, 2 of 1000 above the bound"
    )
    unsure = held | {"loadgen": said | sure | {"valid": False, "early_stopping": False, "queries": 90, "late": 0}}
    (row,) = part_streams.server_rows("m", [held, no_rate, unsure])
    assert row["note"].endswith(
        "1 of 2 runs valid, 2 of 1000, 0 of 90 above the bound, not sure enough of the percentile (early stopping) "
        "in 1; no rate was found in 1 of 3"
    )


def test_without_the_load_generator_the_part_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    bench = harness.Bench(tmp_path, sys.executable, "/their/python", tmp_path, None, 1, ("pp_humanseg_lite",), True)
    with pytest.raises(harness.BenchError, match="mlcommons-loadgen is not there; make env-dev"):
        part_streams.streams(bench)


# Its library keeps threads in the process that loads it, for good: not beside other tests.
@pytest.mark.long
@has_loadgen
def test_part_streams_measures_both_sides_on_one_engine(tmp_path):
    """The command itself, with --quick: a real model, engine and load generator."""
    command = [
        sys.executable,
        str(ROOT / "bench/run.py"),
        "--quick",
        "--parts",
        "streams",
        "--out",
        str(tmp_path / "out"),
    ]
    # The original's checkout and Paddle are asked for their versions alone.
    named = {"PADDLESEG_ROOT": str(tmp_path), "AUTOLOG_ROOT": str(tmp_path)}
    command += ["--theirs", sys.executable]
    done = subprocess.run(
        command, env={**os.environ, **named}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = harness.read(tmp_path / "out/bench.json")
    rows = {row["name"]: row for row in results["rows"]}
    names = [f"streams/pp_humanseg_lite onnxruntime streams {what}" for what in ("1 offline", "2 offline", "2 server")]
    assert list(rows) == names and results["env"]["quick"]
    assert {row["loadgen"] for row in rows.values()} == {importlib.metadata.version("mlcommons-loadgen")}
    assert [row["unit"] for row in rows.values()] == ["images/s", "images/s", "ms"]
    # 100 requests are too few for it to be sure, whatever their latencies.
    assert "0 of 1 runs valid" in rows[names[2]]["note"] and "early stopping" in rows[names[2]]["note"]
    logs = tmp_path / "out/scratch-quick/logs/streams_pp_humanseg_lite"
    assert len([*logs.rglob("mlperf_log_summary.txt")]) == 3


def test_every_part_is_explained():
    text = page.PAGE.read_text(encoding="utf-8")
    assert [part for part in bench_run.PARTS if f"\n| `{part}` | " not in text] == []
