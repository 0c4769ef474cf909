"""What is shown of sizes, throughput and long runs: what differs stands side by side, and what to ship is earned."""

import pages
import pytest

from segcert.conclusions import Conclusions
from segcert.show import deployment, plots, report


def cell(folder, engine, ips, interval=None, status="passed", threads=1, **asked):
    """An inference cell that gets through so many images a second; of several streams their passes tell it."""
    made = pages.of_engine(folder, "m", status, engine, threads=threads, **asked)
    made["record"] = f"{engine} {threads} {sorted(asked.items())}"
    if "metrics" not in made:
        return made
    bounds = [1000 / side for side in reversed(interval)] if interval else None
    made["metrics"] |= {"throughput_ips": ips, "inference_ms": {**pages.TIMING, "p50": 1000 / ips, "p50_ci95": bounds}}
    if "streams" in asked:
        load = {"noticed": False}
        made["metrics"]["offline"] = {"ips": ips, "ips_ci95": list(interval) if interval else None, "load": load}
        answered = {"name": "stream_labels", "value": 1, "bound": "at least", "threshold": 1, "holds": True}
        made["metrics"]["gates"].append({**answered, "sentence": "each its own"})
    return made


def shipped(*cells):
    points = deployment.throughput(pages.views(cells))
    return [(point.cell.label("short"), point.cores) for point in points if point.ship]


def test_what_gets_through_most_is_shipped(tmp_path):
    slow = cell(tmp_path, "native", 10, (9, 11))
    fast = cell(tmp_path, "native", 20, (19, 21), threads=2)
    most = cell(tmp_path, "native", 30, (29, 31), threads=1, streams=2)
    assert shipped(slow, fast) == [("native fp32 · 2T", 2)]
    assert shipped(slow, fast, most) == [("native fp32 · 2 streams · 1T", 2)]
    points = deployment.throughput(pages.views([slow, fast, most]))
    assert [(point.ips, tuple(round(side) for side in point.interval)) for point in points] == [
        (10, (9, 11)), (20, (19, 21)), (30, (29, 31)),
    ]  # fmt: skip
    assert {point.line for point in points} == {"native fp32 · batch 1"}


@pytest.mark.parametrize("spoilt", [{"status": "failed"}, {"status": "accuracy-failed"}, {"status": "known-failure"}])
def test_what_did_not_pass_is_never_shipped(tmp_path, spoilt):
    honest = cell(tmp_path, "native", 10, (9, 11))
    assert shipped(honest, cell(tmp_path, "native", 99, (98, 100), threads=2, **spoilt)) == [("native fp32 · 1T", 1)]
    assert shipped(cell(tmp_path, "native", 10, **spoilt), cell(tmp_path, "native", 99, threads=2, **spoilt)) == []


def test_nor_what_passed_on_weak_evidence(tmp_path):
    weak = cell(tmp_path, "native", 99, (98, 99.5), threads=2)
    weak["metrics"]["gates"][0] |= {"weak": True}
    assert shipped(cell(tmp_path, "native", 10, (9, 11)), weak) == [("native fp32 · 1T", 1)]


def test_of_a_tie_that_is_shipped_which_takes_fewer_cores(tmp_path):
    one = cell(tmp_path, "native", 29, (27, 31))
    two = cell(tmp_path, "native", 30, (28, 32), threads=2)
    assert shipped(one, two) == [("native fp32 · 1T", 1)]
    wide = cell(tmp_path, "native", 30, (10, 60), threads=2)
    assert shipped(cell(tmp_path, "native", 26, (25, 27)), wide) == [("native fp32 · 2T", 2)], "more than a tenth less"
    assert shipped(cell(tmp_path, "native", 27, (26, 28)), wide) == [("native fp32 · 1T", 1)]


BUSY = {"noticed": True, "jobs_beside": "any"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made["metrics"]["inference_ms"].update(p50_ci95=None),
        lambda made: made["metrics"].update(load=BUSY),
        lambda made: made.update(env={**made["env"], "cpu": "Another"}),
    ],
    ids=["no interval", "not alone", "elsewhere"],
)
def test_what_cannot_be_compared_is_never_shipped(tmp_path, spoil):
    honest = [cell(tmp_path, "native", 10, (9, 11)), cell(tmp_path, "onednn", 9, (8, 9.5))]
    spoilt = cell(tmp_path, "native", 99, (98, 100), threads=2)
    assert shipped(*honest, spoilt) == [("native fp32 · 2T", 2)]
    spoil(spoilt)
    assert shipped(*honest, spoilt) == [("native fp32 · 1T", 1)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made["metrics"]["offline"].update(ips_ci95=[None, None]),
        lambda made: made["metrics"].update(load=BUSY, offline={**made["metrics"]["offline"], "load": BUSY}),
        lambda made: made["metrics"]["gates"][1].update(weak=True),
    ],
    ids=["no interval", "not alone", "answers that are all alike"],
)
def test_nor_of_several_streams(tmp_path, spoil):
    honest, spoilt = cell(tmp_path, "native", 10, (9, 11)), cell(tmp_path, "native", 99, (98, 100), streams=2)
    assert shipped(honest, spoilt) == [("native fp32 · 2 streams · 1T", 2)]
    spoil(spoilt)
    assert shipped(honest, spoilt) == [("native fp32 · 1T", 1)]


def test_cores_are_in_their_order_whoever_has_them_first(tmp_path):
    made = [cell(tmp_path, "native", 10, (9, 11), threads=8), cell(tmp_path, "onednn", 9, (8, 9.5), threads=1)]
    drawn = plots.throughput(deployment.throughput(pages.views(made)))
    assert drawn["layout"]["xaxis"]["categoryarray"] == [1, 8, "GPU"]


def test_devices_are_chosen_for_apart(tmp_path):
    cells = [cell(tmp_path, "native", 10, (9, 11)), cell(tmp_path, "native", 20, (19, 21), threads=2),
             cell(tmp_path, "native", 99, (98, 100), device="gpu")]  # fmt: skip
    assert shipped(*cells) == [("native fp32 · 2T", 2), ("native fp32", None)]


def test_without_a_difference_in_how_it_is_run_there_is_no_curve(tmp_path):
    assert deployment.throughput(pages.views([cell(tmp_path, "native", 10), cell(tmp_path, "onednn", 20)])) == []
    sized = cell(tmp_path, "native", 99, threads=2, shapes="dynamic", size=[64, 64])
    assert deployment.throughput(pages.views([cell(tmp_path, "native", 10), sized])) == [], "of another size"


def test_the_curve_has_a_line_for_each_engine_and_a_star(tmp_path):
    cells = [cell(tmp_path, "native", 10, (9, 11)), cell(tmp_path, "native", 18, (17, 19), streams=2),
             cell(tmp_path, "onednn", 30, None), cell(tmp_path, "onednn", 8, (7, 9), device="gpu")]  # fmt: skip
    drawn = plots.throughput(deployment.throughput(pages.views(cells)))
    native, onednn = drawn["data"]
    assert native["x"] == [1, 2] and native["y"] == [10, 18] and native["marker"]["size"] == [8, 16]
    assert onednn["x"] == ["GPU", 1] and [one == "star" for one in onednn["marker"]["symbol"]] == [True, False]
    assert onednn["error_y"]["array"] == [1, 0], "one without an interval has no bar"


def test_sizes_stand_side_by_side(tmp_path):
    own, small = cell(tmp_path, "native", 10), cell(tmp_path, "native", 20, shapes="dynamic", size=[64, 32])
    broken = cell(tmp_path, "native", 5, status="blocked", shapes="dynamic", size=[99, 31])
    other = cell(tmp_path, "onednn", 7)
    frame = report.sizes_frame(Conclusions("m", [own, small, broken, other]))
    assert frame.to_dict("records") == [
        {"model": "m", "checkpoint": "single_fp32", "cell": "native fp32 · 1T", "export's size": "✓ 100",
         "64x32": "✓ 50", "99x31": report.statuses.by_name("blocked").symbol}
    ]  # fmt: skip
    labels = [one.label("short") for one in pages.views([small, cell(tmp_path, "native", 1, shapes="dynamic")])]
    assert labels == ["native fp32 · 64x32 · 1T", "native fp32 · dynamic · 1T"]


def test_the_tables_are_in_the_document_and_the_figures_in_the_csv(tmp_path):
    long = cell(tmp_path, "native", 10, soak=2000)
    long["metrics"] |= {"growth_mb_per_1000": 0.5, "soak": {"batches": 2000, "from_mb": 100.0, "to_mb": 101.0,
                                                            "growth_ci95": [0.25, 0.75]}}  # fmt: skip
    sized = cell(tmp_path, "native", 20, shapes="dynamic", size=[64, 32])
    trained = pages.cell(tmp_path, "m", "train", "single_fp32", "passed", soak=200)
    trained["metrics"] |= {"growth_mb_per_1000": 2.5, "soak": {**long["metrics"]["soak"], "iterations": 200}}
    del trained["metrics"]["soak"]["batches"]
    rows = report.long_runs_frame(Conclusions("m", [trained, long])).to_dict("records")
    assert [(row["cell"], row["length"]) for row in rows] == [
        ("single_fp32", "200 iterations"),
        ("native fp32 · 1T", "2000 batches"),
    ]
    conclusions = Conclusions("m", [long, cell(tmp_path, "native", 15, threads=2), sized])
    text = report.markdown(conclusions)
    for title in ("## Throughput", "## Sizes side by side", "## Long runs"):
        assert title in text
    assert "0.25 – 0.75" in text and "64x32" in text and "ship" in text
    frame = report.cells_frame(conclusions)
    assert frame["size"].tolist() == [None, None, "64x32"] and frame["growth_mb_per_1000"].tolist()[0] == 0.5
    plain = report.markdown(Conclusions("m", [cell(tmp_path, "native", 10)]))
    assert not any(title in plain for title in ("## Throughput", "## Sizes", "## Long runs"))
