"""The benchmark's harness: ratios, turns, rows that replace rows, and what it does where something fails."""

import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import harness
import page
import part_growth
from contender import Contender, start_all
from original import MODE, Original

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
