"""Which engine to ship: the fastest cell that may be named, at which loss; never one that did not pass."""

import json
import re

import pages
import pytest

from segcert import fastest, statuses
from segcert.conclusions import Conclusions
from segcert.show import page, report, shipping

MODEL = "m"


def timed(
    folder, engine, p50, precision="fp32", spread=0.1, status="passed", weak=False, noticed=False, alone=True, **more
):
    """An inference cell with the median and an interval of so much around it; None: it has none."""
    made = pages.of_engine(folder, more.pop("model", MODEL), status, engine, precision, **more)
    if "metrics" in made and status != "failed":
        interval = None if spread is None else [p50 - spread, p50 + spread]
        made["metrics"]["inference_ms"] = {**pages.TIMING, "p50": p50, "p50_ci95": interval}
        load = {"noticed": noticed, "jobs_beside": "none" if alone else "any"}
        made["metrics"] |= {"load": load, "miou_drop": 0.0, "pixel_agreement": 1.0}
        made["metrics"]["gates"][0]["weak"] = weak
    return made


def only(*cells):
    (found,) = Conclusions("m", cells).fastest
    return found


def named(choice):
    return choice and (choice["engine"], choice["precision"], choice["threads"])


def tied(choice):
    return [named(item) for item in choice["ties"]]


def test_the_lowest_median_is_named_in_fp32_and_in_any_precision_with_its_loss(tmp_path):
    int8 = timed(tmp_path, "openvino", 3.0, "int8")
    int8["metrics"] |= {"pixel_agreement": 0.9712, "miou_drop": 0.0083}
    int8["metrics"]["gates"].append({"name": "logits_l2", "value": 0.041, "holds": True})
    found = only(
        timed(tmp_path, "native", 20.0),
        timed(tmp_path, "openvino", 9.0),
        timed(tmp_path, "openvino", 5.0, "bf16"),
        int8,
    )
    assert (found["model"], found["train_cell"], found["asked"]) == (
        MODEL,
        "single_fp32",
        {"device": "cpu", "batch_size": 1},
    )
    assert named(found["best"]["fp32"]) == ("openvino", "fp32", 1) and found["best"]["fp32"]["speedup"] is None
    best = found["best"]["any"]
    assert named(best) == ("openvino", "int8", 1) and best["ties"] == [] and best["speedup"] == 3.0
    assert (best["pixel_agreement"], best["miou_drop"], best["logits"]) == (0.9712, 0.0083, {"logits_l2": 0.041})
    assert best["p50_ms"] == 3.0 and best["p50_ci95_ms"] == [2.9, 3.1] and best["record"] == int8["record"]
    assert found["left_out"] == {} and found["by_threads"] == []


def test_intervals_that_overlap_are_a_tie_and_what_is_named_is_the_most_exact(tmp_path):
    found = only(
        timed(tmp_path, "openvino", 8.9, "bf16", 0.3),
        timed(tmp_path, "openvino", 9.0, spread=0.3),
        timed(tmp_path, "onnxruntime", 9.1, spread=0.3),
        timed(tmp_path, "native", 9.7, spread=0.3),
    )["best"]
    assert named(found["fp32"]) == ("openvino", "fp32", 1) and tied(found["fp32"]) == [("onnxruntime", "fp32", 1)]
    assert named(found["any"]) == ("openvino", "fp32", 1), "bfloat16 is not separably faster"
    bf16 = timed(tmp_path, "openvino", 9.1, "bf16", 0.3), timed(tmp_path, "openvino", 9.0, spread=0.3)
    for text, same in zip(texts(tmp_path, *bf16), ("the same; a tie with", "同左；与", "the same; a tie"), strict=True):
        assert f"{same}" in text and "openvino bf16 · 1T" in text, "what is as fast and less exact is told as well"
    assert tied(found["any"]) == [("onnxruntime", "fp32", 1), ("openvino", "bf16", 1)]
    tiny = [timed(tmp_path, "onnxruntime", 9.0 + 0.01 * n, "bf16", threads=n) for n in range(1, 6)]
    text = texts(tmp_path, *tiny)[0]
    assert "a tie with onnxruntime bf16 · 2T 9.02 ms, onnxruntime bf16 · 3T 9.03 ms" in text and " and 1 more |" in text


def test_bounds_that_touch_are_a_tie_and_an_interval_that_is_not_known_separates_nothing(tmp_path):
    touch = timed(tmp_path, "openvino", 9.0, spread=0.5), timed(tmp_path, "native", 10.0, spread=0.5)
    assert tied(only(*touch)["best"]["fp32"]) == [("native", "fp32", 1)]
    apart = timed(tmp_path, "openvino", 9.0, spread=0.5), timed(tmp_path, "native", 10.01, spread=0.5)
    assert tied(only(*apart)["best"]["fp32"]) == []
    few = only(timed(tmp_path, "openvino", 9.0, spread=None), timed(tmp_path, "native", 90.0))["best"]["fp32"]
    assert named(few) == ("openvino", "fp32", 1) and tied(few) == [("native", "fp32", 1)]


@pytest.mark.parametrize("status", [status.name for status in statuses.ALL if status is not statuses.PASSED])
def test_a_cell_that_did_not_pass_is_never_named(tmp_path, status):
    cells = timed(tmp_path, "openvino", 1.0, status=status), timed(tmp_path, "native", 9.0)
    found = only(*cells)
    assert named(found["best"]["any"]) == ("native", "fp32", 1) and found["best"]["any"]["ties"] == []
    assert found["left_out"] == ({} if status == "skipped" else {status: 1})
    for text in texts(tmp_path, *cells):
        assert "openvino fp32 · 1T:" not in text and "native fp32 · 1T" in text


def texts(folder, *cells, **scope):
    """What the three documents say of it."""
    found = Conclusions("m", cells, scope=scope)
    html = page.render(found, "", folder)
    return (
        report.markdown(found).split("## Which engine to ship")[1].split("\n## ")[0],
        report.chinese(found).split("选用哪种引擎")[1].split("\n## ")[0],
        html[html.index('id="fastest"') : html.index("What the symbols mean")],
    )


def test_weak_evidence_and_times_that_cannot_be_compared_are_left_out_and_told(tmp_path):
    def cells_timed(alone):
        cells = [
            timed(tmp_path, "openvino", 1.0, weak=True, alone=alone),
            timed(tmp_path, "onednn", 2.0, noticed=True, alone=alone),
            timed(tmp_path, "onnxruntime", 3.0, alone=alone),
            timed(tmp_path, "native", 9.0),
        ]
        del cells[3]["metrics"]["load"]  # as of a record of before
        return cells

    found = only(*cells_timed(alone=False))
    assert named(found["best"]["any"]) == ("onnxruntime", "fp32", 1)
    assert found["left_out"] == {"on weak evidence": 1, "not timed alone": 2}
    cells = cells_timed(alone=True)
    alone = only(*cells)
    assert named(alone["best"]["any"]) == ("onednn", "fp32", 1)
    assert alone["left_out"] == {"on weak evidence": 1, "not timed alone": 1}
    assert alone["best"]["any"]["other_load"] is True
    for text, words in zip(texts(tmp_path, *cells), ("other load was noticed", "其他负载", "noticed"), strict=True):
        assert words in text
    cells[2]["metrics"]["inference_ms"] = {**pages.TIMING, "p50": None}
    assert only(cells[2])["left_out"] == {"not timed": 1}


def test_load_on_any_that_is_compared_is_told(tmp_path):
    cells = [timed(tmp_path, "openvino", 3.0), timed(tmp_path, "native", 9.0, noticed=True)]
    best = only(*cells)["best"]["any"]
    assert named(best) == ("openvino", "fp32", 1) and best["other_load"] is True
    unknown = timed(tmp_path, "openvino", 1.0, noticed=None, alone=False)  # for too short a time to tell
    assert only(unknown, timed(tmp_path, "native", 9.0))["left_out"] == {"not timed alone": 1}


def test_times_of_other_machines_are_not_compared(tmp_path):
    cells = [timed(tmp_path, engine, 9.0) for engine in ("native", "onnxruntime")]
    for key, value in {"cpu": "Another", "cpu_cores": 64, "gpu": "A"}.items():
        other = timed(tmp_path, "openvino", 1.0)
        other["env"] = {**other["env"], key: value}
        found = only(other, *cells)
        assert named(found["best"]["any"]) == ("native", "fp32", 1)
        assert found["left_out"] == {"timed on another machine": 1}
        for text, words in zip(texts(tmp_path, other, *cells), ("another machine", "其他机器", "machine"), strict=True):
            assert words in text
    alike = [{**cell, "gpus": [{"model": "A"}]} for cell in cells]
    assert only(*alike, {**alike[0], "gpus": [{"model": "B"}], "cell": "x"})["left_out"] == {
        "timed on another machine": 1
    }
    assert only(other, cells[0])["best"]["any"]["cell"] == other["cell"], "as many of both: the first"


def test_where_nothing_may_be_named_that_is_said_with_the_reason(tmp_path):
    cells = [
        timed(tmp_path, "openvino", 1.0, status="accuracy-failed"),
        timed(tmp_path, "onednn", 1.0, weak=True),
        timed(tmp_path, "native", 1.0, device="gpu", status="unverified"),
        timed(tmp_path, "native", 1.0, device="gpu", status="unverified", model="other"),
    ]
    for item in Conclusions("m", cells).fastest:
        assert item["best"] == {"fp32": None, "any": None}
    english, chinese, html = texts(tmp_path, *cells)
    assert "- CPU, batch 1: none can be named, 1 accuracy-failed, 1 on weak evidence (m)" in english
    assert "- GPU, batch 1: none can be named, 1 unverified (m, other)" in english
    assert "1 个精度不达标，1 个证据较弱（m）" in chinese and "（m，other）" in chinese
    assert "none can be named" in html and "<table" not in html and "| model" not in english


def test_only_a_precision_that_loses_passes(tmp_path):
    """Then none is named in fp32, and the other not as faster than anything."""
    cell = timed(tmp_path, "openvino", 5.0, "bf16")
    found = only(cell)["best"]
    assert found["fp32"] is None and named(found["any"]) == ("openvino", "bf16", 1) and found["any"]["speedup"] is None
    assert re.search(r"\| none +\| openvino bf16 · 1T: 5 ms, no pixel differs", texts(tmp_path, cell)[0])


def test_threads_are_told_apart_and_over_all(tmp_path):
    cells = [
        timed(tmp_path, "openvino", 20.0), timed(tmp_path, "onnxruntime", 24.0),
        timed(tmp_path, "openvino", 11.0, threads=2), timed(tmp_path, "onnxruntime", 9.0, threads=2),
    ]  # fmt: skip
    found = only(*cells)
    assert named(found["best"]["fp32"]) == ("onnxruntime", "fp32", 2)
    by_threads = [(item["threads"], named(item["fp32"]), named(item["any"])) for item in found["by_threads"]]
    one, two = ("openvino", "fp32", 1), ("onnxruntime", "fp32", 2)
    assert by_threads == [(1, one, one), (2, two, two)]
    english, chinese, html = texts(tmp_path, *cells)
    # that of the threads that are the fastest is told once
    assert [line.split("|")[3].strip() for line in english.splitlines() if "| m " in line] == ["any", "1"]
    assert [line.split("|")[3].strip() for line in chinese.splitlines() if "| m " in line] == ["不限", "1"]
    assert html.count('<tr class="part">') == 1 and "threads: 1" in html


def test_what_asks_for_something_else_is_not_compared(tmp_path):
    cells = [
        timed(tmp_path, "openvino", 9.0),
        timed(tmp_path, "openvino", 1.0, train_cell="multi_fp32"),
        timed(tmp_path, "tensorrt", 0.5, device="gpu"),
        {**timed(tmp_path, "native", 0.1), "record": "sizes"},
        {**timed(tmp_path, "native", 0.01), "record": "streams"},
    ]
    cells[3]["requested"] |= {"size": [512, 256]}
    cells[4]["requested"] |= {"streams": 2}  # of which the time of one batch says little
    found = Conclusions("m", cells).fastest
    assert [item["best"]["any"]["p50_ms"] for item in found] == [9.0, 1.0, 0.5, 0.1]
    assert found[3]["asked"] == {"device": "cpu", "batch_size": 1, "size": [512, 256]}
    rows = shipping.rows(Conclusions("m", cells))
    assert [(row["checkpoint"], row["on"]["en"]) for row in rows] == [
        ("single_fp32", "CPU, batch 1"),
        ("multi_fp32", "CPU, batch 1"),
        ("single_fp32", "GPU, batch 1"),
        ("single_fp32", "CPU, batch 1, size [512, 256]"),
    ]
    assert (
        rows[2]["any"]["en"] == "the same" and "tensorrt fp32: 0.5 ms" in rows[2]["fp32"]["en"]
    )  # no threads on a GPU


def test_it_is_said_in_words_and_in_both_languages(tmp_path):
    fast = timed(tmp_path, "openvino", 5.0, "bf16")
    fast["metrics"] |= {"pixel_agreement": 0.999999, "miou_drop": -0.0004}
    fast["metrics"]["gates"].append({"name": "logits_l2", "value": 0.0123456, "holds": True})
    cells = [timed(tmp_path, "onednn", 10.0), timed(tmp_path, "onnxruntime", 10.1), fast]
    english, chinese, html = texts(tmp_path, *cells)
    told = "onednn fp32 · 1T: 10 ms, no pixel differs; a tie with onnxruntime fp32 · 1T 10.1 ms"
    best = "openvino bf16 · 1T: 5 ms, 2 times as fast, agreement 0.99999, mIoU drop -0.0004, L2 error of logits 0.0123"
    assert told in english and best in english and told in html and best in html
    for text in (chinese, html):
        assert "与 onnxruntime fp32 · 1T 10.1 毫秒不分快慢" in text
        assert "openvino bf16 · 1T：5 毫秒，2 倍速度，一致率 0.99999，mIoU 下降 -0.0004" in text


def test_programs_read_it_in_conclusions_json(tmp_path):
    found = Conclusions("m", [timed(tmp_path, "native", 9.0), pages.cell(tmp_path, "m", "eval", "e", "passed")])
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert content["fastest"] == found.fastest and len(found.fastest) == 1
    again = Conclusions.of_json(content)
    assert again.fastest == found.fastest
    old = {key: value for key, value in content.items() if key != "fastest"}
    assert Conclusions.of_json(old).fastest == found.fastest, "it follows from the cells"


def test_nothing_is_said_where_nothing_was_to_be_run(tmp_path):
    found = Conclusions("m", [pages.cell(tmp_path, "m", "eval", "e", "passed")])
    for text in (report.markdown(found), report.chinese(found), page.render(found, "", tmp_path)):
        assert "Which engine to ship" not in text and "选用哪种引擎" not in text


def test_every_reason_has_its_chinese():
    for name in (*statuses.BY_NAME, fastest.WEAK, fastest.NOT_TIMED, fastest.NOT_ALONE):
        assert shipping.LEFT_OUT[name]
