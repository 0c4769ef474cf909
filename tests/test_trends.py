"""Histories: what is one series, where it steps and why, how seldom it does so by chance, and the page of it all."""

import copy
import json
import sys
from html.parser import HTMLParser

import histories
import numpy as np
import pages
import pytest
from conftest import ROOT
from scipy import stats

sys.path.insert(0, str(ROOT / "bench"))

import false_alarms

from segcert import comparison, keeping, noise, statuses, steps, trends
from segcert.show import smallplots, trendpage

ONEDNN = "python_infer_cpu_onednn"


SECTION = comparison.shipped_section(histories.MODE)


def tolerances(mode=histories.MODE, **of_metric):
    section = SECTION
    return comparison.Tolerances.of({**section, "tolerance": {**section["tolerance"], **of_metric}})


def collected(contents, **of_metric):
    runs = histories.kept(contents)
    return runs, trends.collect(runs, lambda mode: tolerances(mode, **of_metric))


def stepped(found):
    """(cell, figure) -> places of the steps, where there are some."""
    return {
        (series.cell["cell"], series.metric.name): [change.at for change in series.changes]
        for series in found
        if series.changes
    }


def times(found, engine="onednn"):
    """The series of an engine's times."""
    return [one for one in found if one.metric.name == "inference_ms" and one.cell["cell"].endswith(engine)]


# -- steps ------------------------------------------------------------------------------------


def test_a_planted_slowdown_is_found_and_nothing_else():
    """Of five runs the last two, after an upgrade of Paddle and a commit."""
    contents = [histories.run(number) for number in range(3)]
    contents += [histories.run(number, slow={"onednn": 2}, paddle="3.3.1") for number in (3, 4)]
    runs = histories.kept(contents)
    for late in runs[3:]:
        late.told["commit"]["commit"] = "d" * 40
        late.told["inputs"]["config/models/pp_humanseg_lite.yml"] = "b" * 64
    found = trends.collect(runs, tolerances)
    assert stepped(found) == {(ONEDNN, "inference_ms"): [3]}
    (series,) = times(found)
    (change,) = series.changes
    assert change.worse and change.ratio == pytest.approx(2, rel=0.1) and change.p <= steps.ALPHA
    assert change.versions == [
        ("commit of the project", "cccccccc", "dddddddd"),
        ("paddle", "3.2.2", "3.3.1"),
        ("files with other content", "", "config/models/pp_humanseg_lite.yml"),
    ]
    assert trends.beside(change, series, found) == (1, 4), "four engines, of which one stepped"


def test_it_gets_better_too_and_several_times():
    contents = [histories.run(n, slow={"onednn": 1 if 4 <= n < 9 else 2}) for n in range(13)]
    _, found = collected(contents)
    assert stepped(found) == {(ONEDNN, "inference_ms"): [4, 9]}
    down, up = times(found)[0].changes
    assert (down.worse, up.worse) == (False, True)
    assert down.before == pytest.approx(20, rel=0.1) and down.after == pytest.approx(10, rel=0.1) == up.before
    assert down.versions == up.versions == [], "nothing that is known changed"


def test_a_training_that_slows_down_is_worse_although_its_figure_falls():
    contents = [histories.run(number) for number in range(8)]
    for content in contents[4:]:
        content["cells"][0]["metrics"]["ips"] /= 2
    _, found = collected(contents)
    (series,) = [one for one in found if one.metric.name == "train_ips"]
    assert [change.worse for change in series.changes] == [True] and len(stepped(found)) == 1


def test_two_slow_runs_are_no_step_yet_and_three_are():
    contents = [histories.run(number, slow={"onednn": 3 if number > 5 else 1}) for number in range(9)]
    assert stepped(collected(contents[:7])[1]) == stepped(collected(contents[:8])[1]) == {}
    assert stepped(collected(contents)[1]) == {(ONEDNN, "inference_ms"): [6]}


def test_what_is_within_the_tolerance_is_no_step_however_certain():
    contents = [histories.run(n, noise=0.001, slow={"onednn": 1.2 if n > 5 else 1}) for n in range(12)]
    assert stepped(collected(contents)[1]) == {}
    narrow = {"inference_ms": {"relative": 0.1}}
    assert stepped(collected(contents, **narrow)[1]) == {(ONEDNN, "inference_ms"): [6]}
    assert stepped(collected(contents, inference_ms=None)[1]) == {}, "null: never judged"


def test_figures_that_are_the_same_in_every_run():
    contents = [histories.run(number) for number in range(6)]
    assert stepped(collected(contents)[1]) == {}
    for content in contents[3:]:
        content["cells"][2]["metrics"]["model_mb"] = 30.0
    assert stepped(collected(contents)[1]) == {("single_fp32", "model_mb"): [3]}


def test_what_others_took_of_a_core_is_no_step():
    contents = [histories.run(n, slow={"onednn": 3 if n > 3 else 1}) for n in range(8)]
    busy = copy.deepcopy(contents)
    for content in busy[4:]:
        for cell in content["cells"]:
            if cell["cell"] == ONEDNN:
                cell["metrics"]["load"] |= {"own_cores": 0.33, "other_cores": 1.7, "noticed": True}
    assert stepped(collected(contents)[1]) == {(ONEDNN, "inference_ms"): [4]}
    assert stepped(collected(busy)[1]) == {}
    training = [histories.run(number) for number in range(8)]
    for number, content in enumerate(training):
        if number > 3:
            content["cells"][0]["metrics"]["ips"] /= 3
            content["cells"][0] |= {"cpu_s": 3.3}
            content["cells"][0]["load"] |= {"other_cores": 1.7, "noticed": True}
    assert stepped(collected(training)[1]) == {}


# -- what is one series -----------------------------------------------------------------------


def test_series_of_two_machines_are_never_joined():
    """Not even where they come in turns, and not the figures that tell of no machine."""
    other = {"cpu": "Two", "slow": dict.fromkeys(histories.ENGINES, 4)}
    contents = [histories.run(number, **(other if number % 2 else {})) for number in range(12)]
    _, found = collected(contents)
    assert stepped(found) == {}
    first, second = times(found)
    assert (first.machine[0], second.machine[0]) == ("One", "Two")
    assert [point.run for point in first.points] == [0, 2, 4, 6, 8, 10]
    assert [point.run for point in second.points] == [1, 3, 5, 7, 9, 11]
    assert {len([s for s in found if s.metric.name == name]) for name in ("miou", "model_mb")} == {2}
    after = [histories.run(number, **(other if number > 5 else {})) for number in range(12)]
    assert stepped(collected(after)[1]) == {}, "nor where one takes the other's place"


def test_gpus_that_a_job_had_make_another_machine():
    contents = [histories.run(number) for number in range(2)]
    for content, model in zip(contents, "AB", strict=True):
        for cell in content["cells"]:
            cell["gpus"] = [{"visible": "0", "key": "GPU-1", "model": model}]
    assert len(times(collected(contents)[1])) == 2


def test_what_was_asked_for_differently_is_another_series_and_goes_on_later():
    contents = [histories.run(number) for number in range(9)]
    for number, content in enumerate(contents):
        for cell in content["cells"]:
            if number in (3, 4, 5) and cell["cell"] == ONEDNN:
                cell["metrics"]["input_shape"] = [1, 3, 512, 512]
                cell["metrics"]["inference_ms"]["p50"] *= 40
    _, found = collected(contents)
    assert [[point.run for point in series.points] for series in times(found)] == [[0, 1, 2, 6, 7, 8], [3, 4, 5]]
    assert stepped(found) == {}


def test_a_measurement_that_is_kept_twice_is_one_point():
    """A rerun of what was red left the other records as they were."""
    first = histories.run(0)
    again = histories.run(1)
    again["cells"] = [again["cells"][0], *first["cells"][1:]]
    _, found = collected([first, histories.concluded(again["cells"])])
    points = {(series.cell["stage"], series.metric.name): len(series.points) for series in found}
    assert points["train", "train_ips"] == points["train", "peak_rss_mb"] == 2
    assert points["eval", "miou"] == points["eval", "peak_rss_mb"] == points["export", "model_mb"] == 1
    assert [len(series.points) for series in times(found)] == [1]


def test_only_what_passed_has_points():
    contents = [histories.run(number) for number in range(3)]
    for cell in contents[1]["cells"]:
        if cell["cell"] == ONEDNN:
            cell |= {"status": "accuracy-failed", "reason": "wrong"}
    _, found = collected(contents)
    assert [[point.run for point in series.points] for series in times(found)] == [[0, 2]]


def test_figures_that_are_shown_are_figures_that_are_compared():
    assert set(trends.FIGURES) <= noise.BY_NAME.keys()
    assert {series.metric.name for series in collected([histories.run(0)])[1]} == set(trends.FIGURES)


# -- false alarms -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "heavy", "rounded"])
def test_where_there_is_noise_alone_few_histories_have_a_step(kind):
    """At most ALPHA of the histories, whatever size counts."""
    share = false_alarms.alarms(false_alarms.NOISES[kind], 10, 10, 200, false_alarms.ANY)
    assert share <= steps.ALPHA
    assert false_alarms.alarms(false_alarms.NOISES[kind], 10, 10, 50, false_alarms.SHIPPED) == 0


def test_runs_that_are_off_by_far_now_and_then_make_more_alarms_and_how_many_is_known():
    """One run of ten: three of them in a row at an end look like a step. docs/history.md says how often."""
    assert false_alarms.alarms(false_alarms.outliers, 20, 10, 200, false_alarms.SHIPPED) <= 0.08


def test_without_the_allowance_for_what_was_looked_at_there_would_be_many(monkeypatch):
    """So that the test above can fail."""
    monkeypatch.setattr(false_alarms, "found_in", lambda values, together, tolerance: looked_at_alone(values))
    assert false_alarms.alarms(false_alarms.normal, 10, 10, 50, false_alarms.ANY) > 3 * steps.ALPHA


def looked_at_alone(values):
    return steps.find(values, 1, lambda *_: True, ratios=True)


def test_a_step_is_found_where_it_is():
    assert false_alarms.detected(false_alarms.normal, 10, 30, 2, 50) >= 0.9
    assert false_alarms.detected(false_alarms.normal, 10, 30, 1.1, 50) == 0, "less than counts"


def test_runs_in_another_order_have_no_step(tmp_path):
    for number in range(10):
        keeping.keep(histories.run(number, slow={"onednn": 2 if number > 4 else 1}), tmp_path / "h", tmp_path)
    share, series, runs = false_alarms.shuffled(tmp_path / "h", 40)
    assert (runs, series) == (10, 14) and share <= steps.ALPHA


def test_p_is_that_of_a_t_test():
    values = np.random.default_rng(3).normal(size=12)
    first, last, p = steps._tested(values, steps.SIDE)
    places = [*zip(first.tolist(), last.tolist(), strict=True)]
    assert places == [*((0, at) for at in range(3, 10)), (3, 8), (3, 9), (4, 9)], "with a step back, five or more"
    for (i, j), told in zip(places, p, strict=True):
        expected = stats.ttest_ind(values[i:j], np.concatenate([values[:i], values[j:]])).pvalue
        assert told == pytest.approx(expected, rel=1e-6)


def test_values_without_a_logarithm_are_taken_as_they_are():
    values = [0.0, 0.1, 0.0, 0.1, 9.0, 9.1, 9.0, 9.1]
    found = steps.find(values, 1, lambda *_: True, ratios=True)
    assert [step.at for step in found] == [4]
    assert (
        steps.find([], 1, lambda *_: True, ratios=False) == steps.find([1, 1, 1], 1, lambda *_: True, ratios=True) == []
    )


# -- the badge --------------------------------------------------------------------------------


def all_passed(number):
    return histories.concluded([cell for cell in histories.run(number)["cells"] if cell["status"] == "passed"])


def red(number):
    return histories.concluded([*histories.run(number)["cells"], histories.cell("infer", "x", number, status="failed")])


def of_mode(content, mode):
    return {**content, "mode": mode}


@pytest.mark.parametrize(
    ("contents", "broken", "colour", "message"),
    [
        ([all_passed(0)], [], "brightgreen", f"{histories.MODE}: 7 of 7 passed"),
        ([histories.run(0)], [], "yellow", f"{histories.MODE}: 7 of 8 passed"),
        ([all_passed(0), red(1)], [], "red", f"{histories.MODE}: red, 7 of 9 passed"),
        ([red(0), all_passed(1)], [], "brightgreen", f"{histories.MODE}: 7 of 7 passed"),
        ([all_passed(0)], ["x: broken"], "yellow", f"{histories.MODE}: 7 of 7 passed; 1 file not read"),
        (
            [of_mode(red(0), "zoo"), all_passed(1)],
            [],
            "red",
            f"zoo: red, 7 of 9 passed; {histories.MODE}: 7 of 7 passed",
        ),
    ],
)
def test_the_badge(contents, broken, colour, message):
    badge = trends.badge(histories.kept(contents), broken)
    assert badge == {"schemaVersion": 1, "label": "certified", "message": message, "color": colour}


@pytest.mark.parametrize("status", [status.name for status in statuses.ALL if status is not statuses.PASSED])
def test_the_badge_is_never_green_where_something_did_not_pass(status):
    cells = [*all_passed(0)["cells"], histories.cell("infer", "x", 0, status=status)]
    assert trends.badge(histories.kept([histories.concluded(cells)]), [])["color"] != trends.GREEN


# -- the page ---------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.found, self.said = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data)

    def count(self, tag, name):
        return sum(t == tag and name in (a.get("class") or "").split() for t, a in self.found)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def test_the_folder_holds_the_same_in_three_forms(tmp_path):
    contents = [histories.run(number, slow={"onednn": 2 if number > 2 else 1}) for number in range(6)]
    runs, found = collected(contents)
    trendpage.write(tmp_path, runs, ["history/x.json: <b>broken</b>"], found)
    data = json.loads((tmp_path / "history.json").read_text(encoding="utf-8"))
    badge = json.loads((tmp_path / "badge.json").read_text(encoding="utf-8"))
    page = Tags((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert data["history_version"] == 1 and data["not_read"] == ["history/x.json: <b>broken</b>"]
    assert [run["time"] for run in data["runs"]] == [histories.moment(number) for number in range(6)]
    assert badge["message"] in page.text and "history/x.json: <b>broken</b>" in page.text
    assert "1 of the kept files could not be read" in page.text
    (told,) = [step for series in data["series"] for step in series["steps"]]
    assert (told["run"], told["worse"], told["beside"]) == (3, True, {"step": 1, "of": 4})
    assert "▲ worse: pp_humanseg_lite · onednn fp32, 1 thr., batch 1 · single_fp32" in page.text
    assert "No version that is known changed" in page.text
    assert page.count("svg", "trend") == len(data["series"]) + 1, "each series, and the step's once more"
    points = sum(len(series["points"]) for series in data["series"])
    assert page.count("circle", "point") == points + 6
    assert page.count("line", "step") == 2 and page.count("line", "middle") == 4
    assert page.count("span", "sign") == 6, "one model in six runs"
    assert "script" not in {tag for tag, _ in page.found}


def test_what_changed_stands_beside_the_step():
    contents = [histories.run(n, **({"slow": {"onednn": 2}, "driver": "550.1"} if n > 2 else {})) for n in range(6)]
    page = Tags(trendpage.render(*(lambda runs, found: (runs, [], found))(*collected(contents))))
    assert "changed between the two runs before after driver – 550.1" in page.text


def test_a_history_without_steps_says_so():
    runs, found = collected([histories.run(0)])
    page = Tags(trendpage.render(runs, [], found))
    assert "No step was found." in page.text and "0 of 14 series are long enough" in page.text
    assert "Nothing is red, and not everything passed" in page.text and page.count("ul", "findings") == 1


def test_words_of_a_run_are_no_markup():
    cells = [{**cell, "model": pages.EVIL} for cell in histories.run(0)["cells"]]
    runs, found = collected([histories.concluded(cells)])
    text = trendpage.render(runs, [pages.EVIL], found)
    page = Tags(text)
    assert not [1 for tag, attrs in page.found if tag in ("script", "img", "b") and (attrs or tag != "b")]
    assert "evil" not in {attrs.get("id") for _, attrs in page.found} and "{{7*7}}" in page.text


def test_of_many_runs_the_newest_are_drawn():
    contents = [histories.run(number) for number in range(smallplots.MOST_POINTS + 5)]
    for content in contents:
        content["cells"] = content["cells"][:2]
    for content in contents[3:]:
        content["cells"][1]["metrics"]["miou"] = 0.4
    for content in contents[60:]:
        content["cells"][1]["metrics"]["miou"] = 0.7
    runs, found = collected([histories.concluded(content["cells"]) for content in contents])
    (series,) = [one for one in found if one.metric.name == "miou"]
    assert [change.at for change in series.changes] == [3, 60]
    drawn = smallplots.plot(series, runs)
    assert len(drawn["points"]) == smallplots.MOST_POINTS and drawn["not_drawn"] == 5
    assert len(drawn["steps"]) == 1 and len(drawn["stretches"]) == 2, "the other step is not in the picture"
    for point in drawn["points"]:
        assert smallplots.LEFT < point["x"] < smallplots.WIDTH and 0 < point["y"] < smallplots.HEIGHT
    page = Tags(trendpage.render(runs, [], found))
    assert f"{len(runs) - trendpage.MOST_COLUMNS} older runs are in history.json alone" in page.text
    assert f"the newest {smallplots.MOST_POINTS} points" in page.text


def test_a_model_that_is_not_in_every_run_leaves_a_gap():
    other = [{**cell, "model": "another"} for cell in histories.run(1)["cells"]]
    broken = histories.cell("data", "d.tar", 1, status="failed", model=None, train_cell=None)
    runs = histories.kept([histories.run(0), histories.concluded([*other, broken])])
    assert {model: list(places) for model, places in trends.grid(runs)[histories.MODE].items()} == {
        "pp_humanseg_lite": [0], "another": [1], "data": [1],
    }  # fmt: skip
    assert Tags(trendpage.render(runs, [], [])).text.count("not in this run") == 3


def test_a_plot_of_nothing_but_zeros_has_a_place_for_them():
    contents = [histories.run(number) for number in range(2)]
    for content in contents:
        content["cells"][1]["metrics"]["miou"] = 0.0
    runs, found = collected(contents)
    (series,) = [one for one in found if one.metric.name == "miou"]
    assert all(np.isfinite(point["y"]) for point in smallplots.plot(series, runs)["points"])
