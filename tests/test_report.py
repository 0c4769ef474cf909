"""What is shown of a run: the page, junit.xml, the summary. None says more than the records do."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pages
import plotly.graph_objects
import pytest
from conftest import ROOT
from junitparser import Failure, JUnitXml, Skipped
from PIL import Image

from segcert import conclusions as work
from segcert import grid, stages, statuses
from segcert.conclusions import Conclusions
from segcert.show import logs, page, pictures, plots, report

TICK = statuses.PASSED.symbol


class Reader(HTMLParser):
    """The elements of a page with their attributes, and its text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.text.append(data)

    def of(self, tag, css_class=None):
        return [
            a for t, a in self.elements if t == tag and (css_class is None or css_class in a.get("class", "").split())
        ]


def rendered(folder, conclusions, certificates=()):
    conclusions.certificates = list(certificates)
    return page.render(conclusions, "mode: smoke\n", folder)


# -- the page ---------------------------------------------------------------------------------


def test_text_of_records_and_logs_stays_text(tmp_path):
    certificate = {"model": pages.EVIL, "topology": pages.EVIL, "kind": "amp", "cell": pages.EVIL, "twin": None,
                   "verdict": "failed", "reason": pages.EVIL,
                   "bf16_inference": [{"cell": pages.EVIL, "status": "failed", pages.EVIL: pages.EVIL}]}  # fmt: skip
    conclusions = pages.every_status(tmp_path, pages.EVIL)
    conclusions.certificates = [certificate]
    found = Reader(page.render(conclusions, pages.EVIL, tmp_path))
    kinds = [attributes.get("type") for attributes in found.of("script")]
    assert kinds == ["application/json"] * 2 + ["application/gzip"] * 2 + [None]
    assert not [a for _, a in found.elements if a.get("id") == "evil" or a.get("src") == "x" or "onerror" in a]
    shown = "".join(found.text)
    # as the reason of each cell, in its command, in its log, in the configuration, ...
    assert shown.count(pages.EVIL) > 20


def test_only_its_own_scripts_may_run(tmp_path):
    text = rendered(tmp_path, pages.every_status(tmp_path))
    (policy,) = [a["content"] for t, a in Reader(text).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "img-src data:;" in policy
    (scripts,) = re.findall(r"script-src ([^;]*);", policy)
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]+' blob:", scripts)


def test_every_status_has_a_symbol_a_word_in_two_languages_and_a_colour(tmp_path):
    text = rendered(tmp_path, pages.every_status(tmp_path))
    shown = "".join(Reader(text).text)
    for status in statuses.ALL:
        assert f".s-{status.name} {{" in text
        assert all(word in shown for word in (status.symbol, status.name, status.zh, status.zh_meaning))


def test_an_entry_is_ticked_only_where_its_cell_passed(tmp_path):
    conclusions = pages.every_status(tmp_path)
    text = rendered(tmp_path, conclusions)
    anchors = page.anchors_of(conclusions.cells)
    passed = {anchors[cell["record"]] for cell in conclusions.select(status="passed")}
    chips = re.findall(r'<a class="chip s-([a-z-]+)" href="#([^"]+)".*?aria-hidden="true">(.)</span>', text)
    assert len(chips) == 2 + len(statuses.ALL)
    for status, anchor, symbol in chips:
        assert (symbol == TICK) == (status == "passed") == (anchor in passed)


def test_a_tick_on_weak_evidence_is_marked_wherever_it_is_shown(tmp_path):
    cells = [pages.of_engine(tmp_path, "model", "passed", threads=threads) for threads in (1, 2, 3)]
    for cell in cells[:2]:
        cell["metrics"]["gates"][0]["weak"] = True
    other = pages.of_engine(tmp_path, "another", "passed")
    found = Conclusions("smoke", [*cells, other])
    assert work.weak_models(found) == {"model": 2}
    english, chinese = report.markdown(found), report.chinese(found)
    assert "✓ 3 passed, † 2 of them on weak evidence" in english and re.search(r"another +\| ✓ 1 passed +\|", english)
    section = english.split("## † Weak evidence")[1].split("##")[0]
    assert "- model: 2 cells" in section and "another" not in section
    assert "支持（† 2 个）" in chinese and "| 支持 |" in chinese and "model 2 个单元" in chinese
    assert "† 2 of those passed" in report.summary(found, tmp_path)
    assert list(report.cells_frame(found)["weak_evidence"]) == [True, True, False, False]
    shown = rendered(tmp_path, found)
    assert shown.count('<span aria-hidden="true">†</span>') == 2
    assert "Weak evidence" in shown and "证据较弱" in shown and "Nothing: every cell passed" not in shown
    strong = Conclusions("smoke", [other])
    for text in (report.markdown(strong), report.chinese(strong), rendered(tmp_path, strong)):
        assert "†" not in text


def test_a_training_is_no_better_than_its_evaluation_and_leads_to_it(tmp_path):
    conclusions = pages.every_status(tmp_path)
    (evaluated,) = conclusions.select(stage="eval")
    failed = {"status": "failed", "reason": "no such image"}
    cells = [{**cell, **failed} if cell is evaluated else cell for cell in conclusions.cells]
    conclusions = Conclusions("smoke", cells)
    text = rendered(tmp_path, conclusions)
    anchor = page.anchors_of(conclusions.cells)[evaluated["record"]]
    assert f'<a class="chip s-failed" href="#{anchor}" title="failed: no such image">' in text
    assert 'class="chip s-passed" href="#cell-model_-b-single_fp32-train' not in text


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "1.00000"), (0.999999, "0.99999"), (0.985628, "0.98563"), (0.0, "0.00000"), (None, "–")]
)
def test_a_share_reads_as_whole_only_where_it_is(value, shown):
    assert page.share(value) == shown


def test_numbers_have_few_digits_but_nearly_one_is_not_one():
    shown = [page.number(value) for value in (0.1234567, 1, 1.0, 0.99998, None, "cpu", True, 12)]
    assert shown == ["0.1235", "1", "1", "0.99998", "–", "cpu", "True", "12"]


def test_every_link_on_the_page_leads_somewhere(tmp_path):
    found = Reader(rendered(tmp_path, pages.every_status(tmp_path, "see https://example.org/a?b=1&c=2")))
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in found.of("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    for link in links:
        if not link.startswith(("#", "https://example.org/")):
            from urllib.parse import unquote

            assert (tmp_path / unquote(link)).is_file(), link


def test_what_did_not_run_has_no_command_and_no_log(tmp_path):
    conclusions = Conclusions("smoke", [pages.of_engine(tmp_path, "m", "unverified", reason="needs a GPU")])
    text = rendered(tmp_path, conclusions)
    assert 'class="command"' not in text and 'class="log"' not in text and "Red: nothing passed" in text
    assert "No inference cell was timed" in text and "no environment was seen" in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_plots_are_what_plotly_takes(tmp_path, language):
    conclusions = pages.every_status(tmp_path)
    text = rendered(tmp_path, conclusions)
    specifications = json.loads(re.search(r'id="plots">(.*?)</script>', text, re.DOTALL)[1])
    assert {name.split("-")[0] for name in specifications} == {"loss", "latency", "throughput"}
    for specification in specifications.values():
        plotly.graph_objects.Figure(plots.in_language(specification, language))


def test_latency_is_drawn_with_the_interval_of_its_median(tmp_path):
    cells = [
        pages.of_engine(tmp_path, "m", "passed", threads=1),
        pages.of_engine(tmp_path, "m", "accuracy-failed", threads=2),
        pages.of_engine(tmp_path, "m", "unverified", device="gpu"),
        pages.of_engine(tmp_path, "m", "failed", threads=4),
    ]
    points = plots.latency_points(pages.views(cells))
    assert [point["threads"] for point in points] == [1, 2]
    one, two = plots.latency(points)["data"]
    assert (one["x"], one["error_x"]["arrayminus"], one["error_x"]["array"]) == ([4.5], [0.5], [1.5])
    assert one["y"][0].strip().endswith(TICK) and two["y"][0].strip().endswith(statuses.ACCURACY_FAILED.symbol)
    on_gpu = pages.of_engine(tmp_path, "m", "passed", device="gpu", threads=None)
    drawn = plots.latency(plots.latency_points(pages.views([on_gpu, *cells])))["data"]
    assert [trace["name"] for trace in drawn] == [one["name"], two["name"], "GPU"], "last, whatever comes first"


def test_amp_and_fp32_curves_differ_in_colour_and_a_foreign_history_is_not_shown(tmp_path):
    def train(name, **requested):
        return pages.cell(tmp_path, "m", "train", name, "passed", train_cell=name, device="gpu", **requested)

    fp32 = train("single_fp32", precision="fp32")
    amp = train("single_amp_O1_float16", precision="amp", level="O1", dtype="float16")
    pages.history(fp32, [3.0, 2.0])
    path = pages.history(amp, [3.1, float("nan")])
    curves = [(cell, *plots.read_history(cell)) for cell in pages.views([amp, fp32])]
    one, two = plots.loss(curves)["data"]
    assert one["name"]["en"] == "AMP O1 float16, single" and two["name"]["zh"] == "fp32, 单卡"
    assert one["line"]["color"] != two["line"]["color"] and one["marker"]["symbol"] != two["marker"]["symbol"]
    path.write_text("iter,loss\n1,0.1\n")
    lost, other = pages.views([amp, {**fp32, "status": "not-run"}])
    assert plots.read_history(lost) is None and plots.read_history(other) is None


def test_a_loss_that_is_not_finite_leaves_a_gap(tmp_path):
    train = pages.cell(tmp_path, "m", "train", "single_fp32", "failed", precision="fp32")
    pages.history(train, [3.0, float("nan"), float("inf"), 1.0])
    text = rendered(tmp_path, Conclusions("smoke", [train]))
    data = re.search(r'id="plots">(.*?)</script>', text, re.DOTALL)[1]
    (curve,) = json.loads(data, parse_constant=lambda name: pytest.fail(name))["loss-0"]["data"]
    assert curve["y"] == [3.0, None, None, 1.0]


def test_certificates_are_shown_where_there_are_some(tmp_path):
    conclusions = pages.every_status(tmp_path)
    assert "Certificates" not in rendered(tmp_path, conclusions)
    certificate = {
        "model": pages.MODEL, "topology": "single", "kind": "amp", "cell": "single_amp_O1_float16",
        "twin": "single_fp32",
        "verdict": "passed", "reason": "follows its twin", "loss": {"iter": [1], "cell": [1.0], "twin": [1.0]},
        "loss_distance": 0.0123, "nonfinite": 0, "loss_scale": {"first": 32768.0, "last": 65536.0, "min": 16384.0,
        "decreases": 1}, "skipped_steps": 2, "ips_ratio": 1.75, "memory_ratio": 0.61, "miou": 0.71,
        "miou_twin": 0.72, "miou_difference": -0.01, "bf16_inference": [{
        "cell": "cpu_onednn_fp32_1", "train_cell": "single_fp32", "status": "passed",
        "pixel_agreement": 0.99, "miou_drop": None, "speedup": 1.5}],
    }  # fmt: skip
    shown = "".join(Reader(rendered(tmp_path, conclusions, [certificate])).text)
    for part in (
        "0.0123",
        "32768 → 65536, least 16384, lowered 1 times",
        "1.75",
        "0.61",
        "0.71 / 0.72",
        "pixel_agreement 0.99, speedup 1.5",
    ):
        assert part in shown, part


def test_colours_are_dark_enough_to_read():
    """WCAG 2.2, 1.4.3: text has 4.5 times the luminance of its ground, or the other way round."""
    css = (page.TEMPLATES / "page.css").read_text()

    def luminance(colour):
        parts = colour[1:] if len(colour) == 7 else "".join(part * 2 for part in colour[1:])
        channels = [int(parts[index : index + 2], 16) / 255 for index in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(one, other):
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    colours = dict(re.findall(r"--(ink|quiet|paper|ground|accent): (#\w+)", css))
    pairs = [(colours[text], colours[ground]) for text in ("ink", "quiet", "accent") for ground in ("paper", "ground")]
    statuses_css = re.findall(r"\.s-[a-z-]+ \{ --tint: (#\w+); --edge: #\w+; --text: (#\w+);", css)
    assert len(statuses_css) == len(statuses.ALL)
    for text, ground in [*pairs, *((text, tint) for tint, text in statuses_css)]:
        assert contrast(text, ground) >= 4.5, (text, ground)


@pytest.mark.parametrize("noticed", [True, False])
def test_other_load_is_told_where_it_counts(tmp_path, noticed):
    cell = pages.of_engine(tmp_path, "m", "passed")
    cell["metrics"]["load"] = {"other_cores": 1.25, "steal_share": 0.0, "noticed": noticed}
    text = rendered(tmp_path, Conclusions("smoke", [cell]))
    assert ("other_cores 1.25, steal_share 0" in text) == noticed
    assert ("1.25" in report.markdown(Conclusions("smoke", [cell]))) == noticed


def test_a_static_graph_is_told_apart_from_its_twin_everywhere(tmp_path):
    """In the table, in a section of its own, on the page; and it is no better than its certificate."""
    asked = {"device": "cpu", "precision": "fp32", "graph": "to_static"}
    cells = [
        pages.cell(tmp_path, "m", "train", name, "passed", train_cell=name, **more)
        for name, more in (("single_fp32", {**asked, "graph": "dynamic"}), ("single_fp32_static", asked))
    ]
    certificate = {"model": "m", "topology": "single", "kind": "to_static", "cell": "single_fp32_static",
                   "twin": "single_fp32", "verdict": "accuracy-failed",
                   "reason": "first losses 2.0e-03 apart", "first_loss_difference": 0.002}  # fmt: skip
    conclusions = Conclusions("smoke", cells, [certificate])
    assert conclusions.red
    (entry,) = report.train_frame(conclusions)["single"]
    assert "✓ fp32: passed" in entry and "≠ fp32 as static graph: accuracy-failed" in entry
    english, chinese = report.markdown(conclusions), report.chinese(conclusions)
    assert "## Static graphs against their dynamic twins\n\n- ≠ **m** single `single_fp32_static`: " in english
    assert "Mixed precision against" not in english
    assert "动转静训练与动态图训练对比" in chinese and "fp32 动转静：" in chinese
    shown = "".join(Reader(rendered(tmp_path, conclusions, [certificate])).text)
    for part in (
        "Red: a training does not follow its twin",
        "Static graph",
        "Dynamic twin",
        "First losses apart",
        "0.002",
    ):
        assert part in shown, part


def test_certificates_that_nothing_proves_stand_apart(tmp_path):
    certificate = {"model": pages.MODEL, "topology": "single", "kind": "amp", "cell": "single_amp_O1_float16",
                   "twin": None,
                   "verdict": "unverified", "reason": "needs a GPU", "loss_distance": None}  # fmt: skip
    text = rendered(tmp_path, pages.every_status(tmp_path), [certificate])
    assert "Certificates" in text and 'class="card certificate' not in text


def test_a_certificate_that_does_not_hold_is_told_of_everywhere(tmp_path):
    """It alone makes the run red."""
    train = {"device": "gpu", "precision": "amp", "level": "O1", "dtype": "float16"}
    amp = pages.cell(tmp_path, "m", "train", "single_amp_O1_float16", "passed", train_cell="single_amp_O1_float16",
                     **train)  # fmt: skip
    certificate = {"model": "m", "topology": "single", "kind": "amp", "cell": "single_amp_O1_float16",
                   "twin": "single_fp32",
                   "verdict": "accuracy-failed", "reason": "loss curves 30.0% apart"}  # fmt: skip
    conclusions = Conclusions("smoke", [amp], [certificate])
    assert conclusions.red
    found = "".join(Reader(rendered(tmp_path, conclusions, [certificate])).text)
    assert "Red: a training does not follow its twin" in found and "Certificates that do not hold" in found
    report.write(conclusions, tmp_path)
    (_, case) = next(iter(JUnitXml.fromfile(str(tmp_path / "junit.xml"))))
    assert isinstance(case.result[0], Failure) and "30.0%" in case.result[0].message
    assert "certificate of m single_amp_O1_float16: loss curves 30.0% apart" in report.summary(conclusions, tmp_path)
    line = "**m** single `single_amp_O1_float16`: accuracy-failed: loss curves 30.0% apart"
    assert line in (tmp_path / "conclusions.md").read_text()
    line = "- ≠ m，单机单卡，`single_amp_O1_float16`：精度不达标：loss curves 30.0% apart"
    assert line in (tmp_path / "conclusions.zh.md").read_text().splitlines()


@pytest.mark.parametrize("verdict", [status.name for status in statuses.ALL])
def test_mixed_precision_is_no_better_than_its_certificate(tmp_path, verdict):
    """In every table; the training and its evaluation have passed."""
    status, name = statuses.by_name(verdict), "single_amp_O1_float16"
    asked = {"device": "gpu", "precision": "amp", "level": "O1", "dtype": "float16"}
    cells = [
        pages.cell(tmp_path, "m", "train", name, "passed", train_cell=name, **asked),
        pages.cell(tmp_path, "m", "eval", name, "passed", train_cell=name, device="gpu"),
        pages.cell(tmp_path, "m", "train", "single_fp32", "passed", device="gpu", precision="fp32"),
    ]
    certificate = {"model": "m", "topology": "single", "kind": "amp", "cell": name, "twin": "single_fp32",
                   "verdict": verdict,
                   "reason": "as it came out"}  # fmt: skip
    conclusions = Conclusions("smoke", cells, [certificate])
    assert report.train_frame(conclusions)["single"][0] == f"{status.symbol} AMP O1 float16: {verdict}; ✓ fp32: passed"
    shown = report.chinese(conclusions)
    assert ("混合精度训练（O1 float16）；" in shown) == (verdict == "passed")
    assert (f"混合精度训练（O1 float16）：{status.zh}；" in shown) == (verdict != "passed")
    chip = f'<a class="chip s-{verdict}" href="#{{}}" title="{verdict}{{}}">'
    passed = chip.format(page.anchors_of(conclusions.cells)[cells[0]["record"]], "")
    text = rendered(tmp_path, conclusions, [certificate])
    assert (passed if verdict == "passed" else chip.format("precision", ": as it came out")) in text
    other = {**certificate, "topology": "multi"}
    assert "✓ AMP" in report.train_frame(Conclusions("smoke", cells, [other]))["single"][0]


def test_notes_of_the_data_are_told_in_every_document(tmp_path):
    notes = [
        {"data": "set", "note": f"4 pictures of val are in train {pages.EVIL}", "models": []},
        {"data": "set", "note": "train: class 1 of 0 to 1 has no pixel", "models": ["a", "b"]},
    ]
    conclusions = Conclusions("smoke", [pages.of_engine(tmp_path, "m", "passed")], notes=notes)
    assert conclusions.as_json()["notes"] == notes
    shown = "".join(Reader(rendered(tmp_path, conclusions)).text)
    assert f"set: 4 pictures of val are in train {pages.EVIL}" in shown and "set (a, b): train: class 1" in shown
    assert "## About the data\n\n- `set`: 4 pictures of val" in report.markdown(conclusions)
    assert "- `set` (a, b): train: class 1 of" in report.markdown(conclusions)
    assert "关于数据" in report.chinese(conclusions) and "- `set`（a，b）：train: class 1" in report.chinese(
        conclusions
    )
    without = Conclusions("smoke", conclusions.cells)
    assert "About the data" not in report.markdown(without) and "关于数据" not in report.chinese(without)


def test_the_page_stays_small_with_a_large_matrix(tmp_path):
    log = "x" * 300 + "\n"
    cells = [
        pages.of_engine(tmp_path, "m", "failed", threads=number, reason=f"reason {number}", log=log * 100)
        for number in range(1, 801)
    ]
    text = rendered(tmp_path, Conclusions("smoke", cells))
    assert len(text) < 15_000_000
    assert "Not on the page, to keep it small" in text and text.count('class="log"') > 100


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"plotly.*envs/cpu\.in"):
        rendered(tmp_path, pages.every_status(tmp_path))


def test_the_libraries_in_a_page_are_those_that_are_installed(tmp_path):
    """Packed, so that nothing in them ends the place where they stand; the page's own script has nothing that would."""
    text = rendered(tmp_path, pages.every_status(tmp_path))
    for name, source in (("plotly", "package_data/plotly.min.js"), ("itables", "html/dt_bundle.js")):
        (packed,) = re.findall(
            rf'<script type="application/gzip" id="{name.replace("itables", "tables")}">(.*?)<', text
        )
        assert gzip.decompress(base64.b64decode(packed)).decode() == page._package_file(name, source)
    own = (page.TEMPLATES / "page.js").read_text()
    assert own in text and not re.search(r"</script|<!--", own, re.IGNORECASE)


def test_a_gate_and_a_list_of_another_form_are_shown_as_they_are(tmp_path):
    one = pages.of_engine(tmp_path, "m", "passed")
    one["metrics"]["gates"] = [{"name": "g", "bound": "equal to", "holds": True, "sentence": pages.EVIL}]
    one["metrics"]["worst_images"] = ["a.png", {"image": "b.png", "agreement": 0.5}]
    text = rendered(tmp_path, Conclusions("smoke", [one]))
    read = "".join(Reader(text).text)
    assert pages.EVIL in read and pages.EVIL not in text
    assert "<li>a.png</li>" in text and "<li>image b.png, agreement 0.5</li>" in text


def test_every_sentence_has_two_languages():
    say = page.words()
    for key in say.keys:
        pair = say.pair(key)
        assert pair["en"].strip() and pair["zh"].strip(), key
        filled = {language: sorted(re.findall(r"\{\w+\}", text)) for language, text in pair.items()}
        assert filled["en"] == filled["zh"], key


# -- pictures ---------------------------------------------------------------------------------


@pytest.fixture
def predicted(tmp_path):
    """Two engines on a data set of two images; the second differs on one of them in two pixels."""
    data = tmp_path / "data/set"
    (data / "images").mkdir(parents=True)
    labels = np.zeros((600, 800), np.uint8)
    labels[100:300, 200:500] = 1
    for name in ("a", "b"):
        Image.new("RGB", (800, 600), "orange").save(data / f"images/{name}.jpg")
        Image.fromarray(labels).save(data / f"images/{name}.png")
    pairs = [[f"images/{name}.jpg", f"images/{name}.png"] for name in ("a", "b")]
    splits = {"train": [], "val": [], "test": pairs}
    (data / "manifest.json").write_text(json.dumps({"layout": "mini_supervisely", "splits": splits}))
    cells = []
    small = labels[::2, ::2].copy()
    for engine, worst in (("native", 1.0), ("onednn", 0.99)):
        one = pages.of_engine(tmp_path, "m", "passed", engine=engine)
        one["metrics"] |= {"images": 2, "worst_images": [{"image": "b.png", "agreement": worst}]}
        one["inputs"] = {(data / "manifest.json").as_posix(): "0"}
        folder = tmp_path / one["record"].removesuffix(".json")
        reference = folder.parent.parent / "reference"
        for target in (folder, reference):
            target.mkdir(exist_ok=True)
            for name in ("a", "b"):
                Image.fromarray(small).save(target / f"{name}.png")
        if engine == "onednn":
            other = small.copy()
            other[5, 5] = other[200, 300] = 1
            Image.fromarray(other).save(folder / "b.png")
        cells.append(one)
    return cells


def opened(url):
    import base64
    import io

    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_predictions_lie_over_the_photo_on_the_worst_image(predicted):
    strip = pictures.strip(pages.views(predicted))
    assert strip.image == "b.jpg" and max(strip.width, strip.height) <= pictures.WIDTH
    assert [tile.what for tile in strip.tiles] == ["photo", "truth", "checkpoint", "engine", "engine"]
    photo, truth, _, native, onednn = strip.tiles
    assert opened(strip.photo).size == opened(truth.labels).size == (strip.width, strip.height)
    assert photo.labels is None and native.differences is None
    # each of the two pixels is still to be seen when the map is made smaller
    assert np.count_nonzero(np.asarray(opened(onednn.differences))) >= 2
    assert set(np.unique(np.asarray(opened(onednn.labels)))) <= {0, 1}


def test_label_maps_of_another_size_are_not_laid_over_those_of_the_export(predicted):
    *_, onednn = predicted
    sized = {**onednn, "requested": {**onednn["requested"], "size": [250, 190]}, "metrics": {**onednn["metrics"]}}
    sized["metrics"]["worst_images"] = [{"image": "a.png", "agreement": 0.1}]
    strip = pictures.strip(pages.views([*predicted, sized]))
    assert strip.image == "b.jpg" and len(strip.tiles) == 5
    assert pictures.strip(pages.views([sized])) is None


def test_what_is_no_longer_there_is_not_drawn(predicted, tmp_path):
    (tmp_path / "data/set/images/b.jpg").unlink()
    assert pictures.strip(pages.views(predicted)) is None
    (tmp_path / "data/set/manifest.json").unlink()
    assert pictures.strip(pages.views(predicted)) is None
    assert pictures.strip(pages.views([{**cell, "inputs": {}} for cell in predicted])) is None
    assert pictures.strip(pages.views([{**cell, "status": "not-run"} for cell in predicted])) is None


@pytest.mark.parametrize("other", ["none", "of another size"])
def test_differences_from_a_reference_that_does_not_fit_are_not_drawn(predicted, tmp_path, other):
    reference = Path(predicted[0]["record"]).parent.parent / "reference/b.png"
    if other == "none":
        reference.unlink()
    else:
        Image.open(reference).resize((40, 30)).save(reference)
    strip = pictures.strip(pages.views(predicted))
    assert [tile.differences for tile in strip.tiles if tile.what == "engine"] == [None, None]
    assert ("checkpoint" in [tile.what for tile in strip.tiles]) == (other != "none")


def test_label_maps_whose_gate_does_not_hold_are_shown(predicted):
    kept = Path(predicted[1]["record"]).with_suffix("")
    wrong = predicted[1] | {"status": "accuracy-failed", "set_aside": {"predictions": f"{kept}.failed"}}
    kept.rename(f"{kept}.failed")
    assert pictures.strip(pages.views([predicted[0], wrong])).tiles[-1].differences is not None


def test_of_what_ran_the_label_maps_are_drawn(predicted, monkeypatch):
    pages.admit(monkeypatch, pages.made_up())
    for status in statuses.ALL:
        assert bool(pictures.strip(pages.views([{**predicted[0], "status": status.name}]))) == status.exercised


def test_pictures_stop_where_the_page_has_no_more_room(predicted, tmp_path, monkeypatch):
    other = [{**cell, "model": "n"} for cell in predicted]
    conclusions = Conclusions("smoke", predicted + other)
    assert len(page._strips(conclusions)[0]) == 2
    monkeypatch.setattr(pictures, "MOST_BYTES", 1)
    shown, left_out = page._strips(conclusions)
    assert (len(shown), left_out) == (1, 1)


def test_reasons_that_differ_in_the_model_alone_are_told_of_once(tmp_path):
    cells = [
        pages.of_engine(tmp_path, model, "known-failure", reason=f"an id: why. Seen: results/{model}/export: {what}")
        for model, what in (("first_model", "no"), ("second_model", "no"), ("third_model", "another"))
    ]
    groups = work.findings(Conclusions("smoke", cells))["known"]
    assert [group["count"] for group in groups] == [2, 1]
    assert groups[0]["reason"] == cells[0]["reason"]


def test_trainings_that_did_not_run_are_told_of_once(tmp_path):
    topologies, why = ("single", "multi"), {"unverified": "needs a GPU", "passed": None, "blocked": "made from data"}
    cells = [
        pages.cell(
            tmp_path, model, "train", f"{topology}_amp", status, reason=why[status], train_cell=f"{topology}_amp"
        )
        for model, status in (("m", "unverified"), ("n", "unverified"), ("o", "passed"), ("p", "blocked"))
        for topology in topologies
    ]
    verdicts = [
        {"model": cell["model"], "topology": cell["cell"].removesuffix("_amp"), "kind": "amp", "cell": cell["cell"],
         "verdict": cell["status"], "reason": "its own"}
        for cell in cells
    ]  # fmt: skip
    found = Conclusions("smoke", cells, verdicts)
    english, chinese = report.markdown(found), report.chinese(found)
    assert "- ? 4 unverified (m single and multi, n single and multi): needs a GPU" in english
    assert "- ⛔ 2 blocked (p single and multi): made from data" in english
    assert english.count("**o**") == english.count("passed: its own") == 2
    assert "- ? 4 份未验证（m 单机单卡、单机多卡，n 单机单卡、单机多卡）：needs a GPU" in chinese


def test_how_much_was_asked_for_is_told_first(tmp_path):
    scope = {"models": ["m"], "not_asked_for": ["n", "o"], "generated_data": True, "iterations": [5, 30]}
    scope |= {"timed_alone": False}
    found = Conclusions("smoke", [pages.of_engine(tmp_path, "m", "passed")], scope=scope)
    english, chinese = report.markdown(found), report.chinese(found)
    assert "1 of the 3 models of the configuration; not asked for: n, o." in english
    assert "Generated data, 5-30 iterations of training: this shows that the chain runs" in english
    assert "3 个模型里的 1 个，未包括：n，o。" in chinese and "训练 5-30 次迭代" in chinese
    assert "1 of the 3 models of the configuration was asked for" in report.summary(found, tmp_path)
    assert found.as_json()["scope"] == {**scope, "paddleseg": None, "replaced_losses": []}
    assert "these times are for orientation only" in english
    assert "orientation" not in report.markdown(Conclusions("smoke", found.cells))
    real = Conclusions("m", found.cells, scope={**scope, "not_asked_for": [], "generated_data": False})
    assert "of the configuration" not in report.markdown(real) and "Generated" not in report.markdown(real)


def test_every_sentence_is_used(predicted, tmp_path, monkeypatch):
    """Pages that together have everything to say that a page can say."""
    asked = set()
    pair = page.Words.pair
    monkeypatch.setattr(page.Words, "pair", lambda say, key, **values: asked.add(key) or pair(say, key, **values))

    def certificate(verdict, kind="amp"):
        told = dict.fromkeys(("loss_distance", "nonfinite", "skipped_steps", "ips_ratio", "memory_ratio"), 1)
        told |= dict.fromkeys(("first_loss_difference", "miou", "miou_twin", "miou_difference"), 0.5)
        return {"model": pages.MODEL, "topology": "single", "kind": kind, "cell": "single_amp_O1_float16",
                "twin": None, "verdict": verdict, "reason": "because", "loss_scale": {"first": 2, "last": 1}, **told,
                "bf16_inference": [{"cell": "c", "status": "passed"}]}  # fmt: skip

    verdicts = [certificate(verdict) for verdict in ("passed", "accuracy-failed", "unverified")]
    verdicts.append(certificate("passed", "to_static"))
    cells = [dict(cell) for cell in pages.every_status(tmp_path).cells]
    cells.append({**pages.cell(tmp_path, "d", "data", "d", "failed"), "model": None, "train_cell": None})
    for train_cell in ("multi_fp32", "released"):
        cells.append(pages.cell(tmp_path, "m", "train", train_cell, "passed", train_cell=train_cell))
    for name in (name for name in stages.OF_CELLS if name != stages.INFER.name):
        cells.append(pages.cell(tmp_path, "m", name, "single_fp32", "passed"))
    cells += [pages.of_engine(tmp_path, "m", "blocked", threads=number, reason="r") for number in range(20)]
    cells[3]["metrics"] |= {"load": {"noticed": True, "other_cores": 1}, "worst_images": [{"image": "a"}]}
    cells[3]["metrics"] |= {"logits": {"worst_images": [{"image": "far.png", "l2": 0.125, "peak": 0.25}]}}
    cells[3] |= {"record_file": cells[3]["record"], "set_aside": {"predictions": str(tmp_path)}}
    Path(cells[3]["log"]).write_text("")
    every = Conclusions("smoke", cells)
    report.write(every, tmp_path)
    assert "<li>image far.png, l2 0.125, peak 0.25</li>" in rendered(tmp_path, every, verdicts)
    one = pages.of_engine(tmp_path, "one", "passed")
    rendered(tmp_path, Conclusions("smoke", [one]))  # green
    weak = pages.of_engine(tmp_path, "weak", "passed")
    weak["metrics"]["gates"][0] |= {"weak": True, "bound": "at most"}
    rendered(tmp_path, Conclusions("smoke", [weak]))
    rendered(tmp_path, Conclusions("smoke", [one, pages.of_engine(tmp_path, "one", "passed", threads=2)]))
    rendered(tmp_path, Conclusions("smoke", [one]), verdicts)  # red for a certificate
    several = pages.of_engine(tmp_path, "one", "passed", streams=2)
    several["metrics"] |= {"offline": {"ips": 9.0, "ips_ci95": [8.0, 10.0]}}
    sized = pages.of_engine(tmp_path, "one", "passed", shapes="dynamic", size=[64, 32])
    sized["metrics"] |= {"growth_mb_per_1000": 1.0}
    sized["metrics"] |= {"soak": {"batches": 2000, "from_mb": 1.0, "to_mb": 2.0, "growth_ci95": [0.5, 1.5]}}
    trained = pages.cell(tmp_path, "one", "train", "single_fp32", "passed", soak=200)
    trained["metrics"] |= {"growth_mb_per_1000": 1.0}
    trained["metrics"] |= {"soak": {"iterations": 200, "from_mb": 1.0, "to_mb": 2.0, "growth_ci95": [0.5, 1.5]}}
    long = rendered(tmp_path, Conclusions("smoke", [trained, one, several, {**sized, "record": "sized"}]))
    assert re.search(r"<td>.*200 iterations.*</td>", long) and re.search(r"<td>.*2000 batches.*</td>", long)
    rendered(tmp_path, Conclusions("smoke", [one, {**one, "status": "failed", "record": "r"}]))
    rendered(tmp_path, Conclusions("smoke", [pages.of_engine(tmp_path, "m", "unverified", device="gpu")]))
    other = {**one, "train_cell": "other", "record": "r", "reason": "passes although listed"}
    rendered(tmp_path, Conclusions("smoke", [one, other]))
    told = {"miou": 0.7, "weights": "w", "tolerance": 0.005, "from": "f"}
    held = pages.cell(tmp_path, "m", "eval", "released", "accuracy-failed", published=told)
    rendered(tmp_path, Conclusions("smoke", [held]))
    scope = {"models": ["m"], "not_asked_for": ["n", "o"], "generated_data": True, "iterations": [5, 30]}
    rendered(tmp_path, Conclusions("smoke", [one], scope=scope, notes=[{"data": "d", "note": "n", "models": ["m"]}]))
    rendered(tmp_path, Conclusions("smoke", [one], scope={**scope, "iterations": None, "timed_alone": False}))
    seg = {"paddleseg": "2.8.0", "paddleseg_folder": "seg", "paddleseg_edited": []}
    rendered(tmp_path, Conclusions("smoke", [one], scope={**scope, "paddleseg": seg, "replaced_losses": ["Loss"]}))
    with monkeypatch.context() as patch:
        patch.setattr(grid, "MANY", 0)
        held = pages.of_engine(tmp_path, "m", "blocked", threads=30, reason="made from export single_fp32: failed")
        broken = pages.cell(tmp_path, "m", "export", "single_fp32", "failed", reason="why")
        rendered(tmp_path, Conclusions("smoke", [*predicted, *cells, weak, broken, held]), verdicts)
    monkeypatch.setattr(pictures, "MOST_ENGINES", 1)
    rendered(tmp_path, Conclusions("smoke", predicted[::-1]))
    monkeypatch.setattr(pictures, "MOST_BYTES", 1)
    monkeypatch.setattr(page, "MOST_LOG_BYTES", 0)
    rendered(tmp_path, Conclusions("smoke", predicted + [{**cell, "model": "n"} for cell in predicted]))
    assert set(page.words().keys) == asked


# -- logs -------------------------------------------------------------------------------------


def test_the_end_of_a_log_is_in_whole_lines_without_escapes(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\n\x1b[33mtwo\x1b[0m\r\nthree \xff \x00 \x1b]0;title\x07end\n")
    assert logs.tail(path, 2, 1000) == "two\nthree \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} end"
    path.write_text("a" * 50 + "\n" + "b" * 10 + "\n")
    assert logs.tail(path, 5, 20) == "b" * 10
    assert logs.tail(tmp_path / "none.log", 5, 20) is None


# -- junit.xml --------------------------------------------------------------------------------


def test_junit_reads_back_with_a_case_per_cell(tmp_path):
    conclusions = pages.every_status(tmp_path, pages.EVIL + "\x1b[31m\x00\x0b")
    report.write(conclusions, tmp_path)
    found = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    cases = [case for suite in found for case in suite]
    assert len(cases) == len(conclusions.cells) == found.tests
    assert len({(case.classname, case.name) for case in cases}) == len(cases)
    for case, cell in zip(cases, conclusions.cells, strict=True):
        kinds = [type(result) for result in case.result]
        assert kinds == ([] if cell["status"] == "passed" else [Failure if work_red(cell) else Skipped])
        if kinds:
            assert case.result[0].message.startswith(f"{cell['status']}: ") and pages.EVIL in case.result[0].message
            assert case.result[0].type == cell["status"]
        if work_red(cell):
            assert "command: python scripts/infer.py" in case.result[0].text and "first" in case.result[0].text
    red = sum(status.red for status in statuses.ALL)  # one of the others passed, and a training is unverified
    assert (found.failures, found.skipped, found.errors) == (red, len(statuses.ALL) - red, 0)
    assert found.time == pytest.approx(sum(cell.get("wall_s", 0) for cell in conclusions.cells))


def test_junit_tells_what_a_pass_has_to_say(tmp_path):
    said = "passes now, take it out of known_failures"
    report.write(Conclusions("smoke", [pages.of_engine(tmp_path, "m", "passed", reason=said)]), tmp_path)
    ((case,),) = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert case.result == [] and case.system_out == said


def work_red(cell):
    return statuses.by_name(cell["status"]).red


def test_junit_of_a_run_that_proved_nothing_fails(tmp_path):
    conclusions = Conclusions("smoke", [pages.of_engine(tmp_path, "m", "unverified", reason="needs a GPU")])
    assert conclusions.red
    report.write(conclusions, tmp_path)
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).failures == 1


# -- the summary ------------------------------------------------------------------------------


def rows(text):
    return sum(max(1, -(-len(line) // report.SCREEN_COLUMNS)) for line in text.splitlines())


def test_summary_says_what_is_green_red_and_open(tmp_path):
    conclusions = pages.every_status(tmp_path)
    text = report.summary(conclusions, tmp_path)
    assert text.startswith("RED, mode smoke: ")
    for cell in conclusions.cells:
        status = statuses.by_name(cell["status"])
        assert status.name in text
        if status.red:
            assert f"{cell['model']} infer {cell.label('full')}" in text and f"log: {cell['log']}" in text
    assert text.splitlines()[-1] == f"conclusions: {tmp_path / 'conclusions.md'}"


@pytest.mark.parametrize("reasons", [1, 300])
def test_summary_fits_on_one_screen(tmp_path, reasons):
    long = "it broke " * 60
    cells = [
        pages.of_engine(tmp_path, "pp_liteseg_stdc1", status, threads=number, reason=f"{number % reasons} {long}")
        for number, status in enumerate(["failed", "blocked", "unverified"] * 100, 1)
    ]
    text = report.summary(Conclusions("smoke", cells), tmp_path / "results")
    assert rows(text) <= report.SCREEN_LINES - 4
    assert f"log: {cells[0]['log']}" in text and "unverified: " in text
    assert ("more causes of red cells" in text) == (reasons > 1)
    assert ("100 failed, first " in text) == (reasons == 1)


def test_the_conclusions_keep_every_common_field_of_a_record():
    page_ = (ROOT / "docs/reference/records.md").read_text(encoding="utf-8")
    table = page_.partition("## Common fields")[2].partition("A gate is")[0]
    fields = {name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall("`([a-z_]+)`", row)}
    # those that the conclusions work out themselves
    own = {"schema_version", "model", "algorithm", "mode", "stage", "cell", "status", "reason", "requested"}
    assert fields - own == set(work.RUN_FIELDS) - {"samples_ms", "record_file"}


def test_the_heads_tell_of_every_environment(tmp_path):
    cells = [pages.of_engine(tmp_path, "m", "passed", threads=number) for number in range(1, 5)]
    cells[3] |= {"env": {**pages.ENV, "paddle": "9.9.9", "cpu": "Another", "cpu_cores": 64, "gpu": ["H1", "H1"]}}
    cells[2] |= {"env": {**pages.ENV, "host": "elsewhere"}}
    conclusions = Conclusions("smoke", cells)
    lines = report.markdown(conclusions).splitlines()
    assert [line[: len("- 3 cells: ")] for line in lines if "PaddleSeg " in line] == ["- 3 cells: ", "- 1 cell: D"]
    other = next(line for line in lines if line.startswith("- 1 cell: "))
    assert "Paddle 9.9.9" in other and "; Another, 64 cores; GPU: H1, H1." in other
    shown = report.chinese(conclusions)
    assert "- 环境（3 个单元）：" in shown and "Another，64 核，GPU：H1，H1。" in shown
    assert [part["count"] for part in page._environments(conclusions)] == [2, 1, 1]
    one = report.markdown(Conclusions("smoke", cells[:2])).splitlines()
    assert [line for line in one if "PaddleSeg " in line] == [one[4]] and one[4].startswith(pages.ENV["os"])
    nowhere = Conclusions("smoke", [pages.of_engine(tmp_path, "m", "unverified", reason="needs a GPU")])
    assert "PaddleSeg " not in report.markdown(nowhere) and "环境" not in report.chinese(nowhere)


def test_conclusions_written_and_loaded_are_the_same(tmp_path):
    conclusions = pages.every_status(tmp_path)
    report.write(conclusions, tmp_path)
    loaded = page.load(tmp_path / "conclusions.json")
    assert loaded == conclusions
    assert work.models(loaded) == [("Algorithm", pages.MODEL)]
