"""Many models at a glance: what the grid, the pass rates and the causes say, and never say, of the cells."""

import base64
import gzip
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import pages
import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import made_up

from segcert import cells, conclusions, grid, statuses
from segcert.conclusions import Conclusions
from segcert.grid import Column
from segcert.show import overview, page, report

FP32 = Column("infer", "onednn fp32")
TRAIN = Column("train")


def run(*made, **more):
    return Conclusions("smoke", made, **more)


def row_of(found, model):
    (row,) = (row for row in grid.rows(found) if row.model == model)
    return row


def stage(folder, model, name, status, **more):
    return pages.cell(folder, model, name, "single_fp32", status, **more)


# -- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", statuses.ALL, ids=lambda status: status.name)
def test_a_place_is_as_good_as_the_worst_that_stands_there(tmp_path, status):
    made = [
        pages.of_engine(tmp_path, "m", name, threads=n) for n, name in enumerate(("passed", status.name, "passed"), 1)
    ]
    place = row_of(run(*made), "m").places[FP32]
    assert place.status is status and place.all == 3
    assert place.record == made[0 if status is statuses.PASSED else 1]["record"]
    assert overview.number(place) == ("3" if status is statuses.PASSED else "1/3")
    assert overview.number(row_of(run(made[1]), "m").places[FP32]) == ""


def test_columns_are_the_stages_in_their_order_and_what_computes(tmp_path):
    made = [
        pages.of_engine(tmp_path, "m", "unverified", device="gpu"),
        pages.of_engine(tmp_path, "m", "passed", threads=2),
        pages.of_engine(tmp_path, "m", "passed", engine="native"),
        pages.of_engine(tmp_path, "m", "passed", precision="bf16"),
        *(stage(tmp_path, "m", name, "passed") for name in ("quantise", "export", "train", "scripts", "eval")),
        pages.cell(tmp_path, "n", "infer", "asked", "skipped", device="cpu", engine="native", what="serving"),
    ]
    named = [overview._head(column) for column in grid.columns(run(*made))]
    assert named == ["train", "eval", "export", "quantise", "onednn fp32", "native fp32", "onednn bf16", "infer",
                     "GPU onednn fp32", "scripts"]  # fmt: skip


@pytest.mark.parametrize("verdict", [status.name for status in statuses.ALL])
def test_a_training_is_no_better_than_its_certificate(tmp_path, verdict):
    trained = stage(tmp_path, "m", "train", "passed")
    certificate = {"model": "m", "topology": "single", "kind": "amp", "cell": "single_fp32", "verdict": verdict,
                   "reason": "30 % apart"}  # fmt: skip
    found = run(trained, stage(tmp_path, "m", "eval", "passed"), certificates=[certificate])
    row = row_of(found, "m")
    assert row.places[TRAIN].status.name == verdict and row.places[Column("eval")].status is statuses.PASSED
    assert (row.passed, row.all) == (2 if verdict == "passed" else 1, 2)
    assert grid.rates(found)[0].passed == (verdict == "passed")
    told = [(one.status.name, one.text, one.models) for one in grid.causes(found)]
    assert told == ([("accuracy-failed", "N % apart", ["m"])] if verdict == "accuracy-failed" else [])


def test_the_family_is_the_algorithm_where_there_is_one():
    assert grid.family({"algorithm": "OCRNet", "model": "m"}) == "OCRNet"
    assert grid.family({"algorithm": "m", "model": "m"}) is grid.family({"algorithm": None, "model": None}) is None


# -- pass rates -------------------------------------------------------------------------------


def test_what_was_not_exercised_neither_passed_nor_failed_and_is_counted(tmp_path):
    """Each status three times in one column, but two that passed."""
    names = [status.name for status in statuses.ALL for _ in range(2 if status is statuses.PASSED else 3)]
    made = [pages.of_engine(tmp_path, "m", name, threads=n) for n, name in enumerate(names, 1)]
    made[0]["metrics"]["gates"][0]["weak"] = True
    (rate,) = grid.rates(run(*made))
    assert (rate.passed, rate.exercised, rate.weak) == (2, 2 + 3 + 3 + 3, 1), "a known failure was exercised too"
    assert {status.name: count for status, count in rate.others.items()} == dict.fromkeys(
        ("blocked", "unverified", "skipped", "not-run"), 3
    )
    (line,) = report.overview.rates_frame(run(*made)).to_dict("records")
    assert line["passed"] == "2 of 11 exercised" and line["rate"] == "18 %" and line["on weak evidence"] == 1
    assert line["not exercised"] == "3 blocked, 3 unverified, 3 skipped, 3 not-run"


def test_a_rate_is_whole_only_where_all_passed(tmp_path):
    assert overview.percent(1.0) == "100 %" and overview.percent(0.9999) == "99 %" and overview.percent(0) == "0 %"
    (rate,) = grid.rates(run(pages.of_engine(tmp_path, "m", "unverified")))
    assert rate.share is None and overview.percent(rate.share) == "–"


# -- causes -----------------------------------------------------------------------------------


def told(found):
    return [(one.status.name, one.text, one.models, len(one.cells), len(one.held_up)) for one in grid.causes(found)]


def test_what_is_held_up_counts_for_what_held_it_up(tmp_path):
    """However far above that is, and whether its job was started or not."""
    broken = stage(tmp_path, "m", "train", "failed", reason="no memory")
    export = stage(tmp_path, "m", "export", "blocked", reason="made from train single_fp32: failed")
    started = "made from train single_fp32: failed: no memory"
    made = [
        broken,
        stage(tmp_path, "m", "eval", "blocked", reason=started),
        export,
        pages.of_engine(tmp_path, "m", "blocked", reason="made from export single_fp32: blocked"),
        # another model's, of the same name, holds up nothing here
        stage(tmp_path, "n", "export", "failed", reason="no operator"),
        pages.of_engine(tmp_path, "n", "blocked", reason="made from export single_fp32: failed"),
    ]
    assert told(run(*made)) == [("failed", "no memory", ["m"], 1, 3), ("failed", "no operator", ["n"], 1, 1)]
    # conclusions whose cause nobody finds any more
    assert told(run(export)) == [("blocked", export["reason"], ["m"], 1, 0)]
    circle = {**export, "reason": "made from export single_fp32: blocked"}
    assert told(run(circle)) == [("blocked", "made from export single_fp32: blocked", ["m"], 1, 0)]


@pytest.mark.parametrize("status", ["known-failure", "skipped", "unverified", "not-run"])
def test_what_holds_up_without_being_red_is_the_cause_as_well(tmp_path, status):
    held = statuses.by_name(status).holds_up
    made = [
        stage(tmp_path, "m", "export", status, reason="K1: so it is (https://e.org) Seen: node 3"),
        pages.of_engine(tmp_path, "m", held, reason=f"made from export single_fp32: {status}: K1: so it is"),
    ]
    ((name, text, *rest),) = told(run(*made))
    assert (name, rest) == (status, [["m"], 1, 1])
    assert text == ("K1" if status == "known-failure" else "K1: so it is (https://e.org/PATH) Seen: node N")


def test_data_that_broke_cost_the_models_that_needed_them(tmp_path):
    data = {**pages.cell(tmp_path, "d", "data", "set", "failed", reason="cut off"), "model": None, "algorithm": None}
    made = [data, *(stage(tmp_path, model, "train", "blocked", reason="made from data set: failed") for model in "ab")]
    found = run(*made)
    assert told(found) == [("failed", "cut off", ["a", "b"], 1, 2)]
    assert [(row.model, row.family) for row in grid.rows(found)] == [
        ("data", None),
        ("a", "Algorithm"),
        ("b", "Algorithm"),
    ]
    shown = overview.of_page(found, page.anchors_of(found.cells))
    assert [row["causes"] for row in shown["rows"]] == [[0], [0], [0]]


MANY = [f"model_{number}" for number in range(14)]


def test_what_costs_most_models_comes_first_and_what_broke_before_what_was_not_exercised(tmp_path):
    def of(model, status, reason, threads=1):
        return pages.of_engine(tmp_path, model, status, threads=threads, reason=reason)

    made = [
        *(of(model, "unverified", "needs a GPU") for model in MANY[:5]),
        *(of("f", "failed", "one", threads=n) for n in range(1, 9)),
        *(of(model, "failed", f"{model}: node {n}") for n, model in enumerate(MANY[5:7])),
        *(of(model, "accuracy-failed", f"0.{n} is too little") for n, model in enumerate(MANY[7:10])),
        *(of(model, "known-failure", f"K1: why (l) Seen: {n}") for n, model in enumerate(MANY[10:14])),
        of("p", "passed", "passes although listed"),
    ]
    assert told(run(*made)) == [
        ("known-failure", "K1", MANY[10:14], 4, 0),
        ("accuracy-failed", "N is too little", MANY[7:10], 3, 0),
        ("failed", "MODEL: node N", MANY[5:7], 2, 0),
        ("failed", "one", ["f"], 8, 0),
        ("unverified", "needs a GPU", MANY[:5], 5, 0),
    ]


def test_every_cell_that_did_not_pass_is_under_one_cause(tmp_path):
    found = pages.every_status(tmp_path)
    counted = [cell["record"] for one in grid.causes(found) for cell in (*one.cells, *one.held_up)]
    assert sorted(counted) == sorted(cell["record"] for cell in found.cells if cell["status"] != "passed")


# -- documents of many models -----------------------------------------------------------------

MODELS = 28


class Reader(HTMLParser):
    """The elements of a page, and what is packed in it, unpacked."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.packed, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        # those of the records have no name
        self.inside = dict(attributes) == {"type": "application/gzip"}

    def handle_data(self, data):
        if self.inside:
            self.packed.append(gzip.decompress(base64.b64decode(data)).decode())
        self.inside = False

    def all(self, key):
        return [attributes[key] for _, attributes in self.elements if key in attributes]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The folder of a run of many models, with its documents, and its conclusions."""
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        yield made(folder, MODELS, patch)


def made(folder, models, patch):
    run_config = made_up.write(folder, models)
    patch.chdir(folder)
    table = cells.CellTable.of_run(yaml.safe_load(run_config.read_text(encoding="utf-8")))
    found = conclusions.conclude(table)
    report.write(found, run_config.parent)
    page.write(run_config.parent / "conclusions.json", run_config, run_config.parent / "conclusions.html")
    return run_config.parent, found


def test_the_made_up_run_is_one_as_stages_leave_it(many):
    """Each record proves what it says; else the conclusions would say so."""
    _, found = many
    reasons = {cell["reason"] for cell in found.cells if cell["status"] != "passed"}
    assert not [reason for reason in reasons if "does not prove" in reason or "another run" in reason]
    assert len(found.cells) == sum(made_up.CELLS if n % 13 != 12 and n % 17 != 16 else 1 for n in range(MODELS))
    expected = {"passed", "accuracy-failed", "failed", "known-failure", "blocked", "unverified", "skipped"}
    assert found.counts.keys() == expected


def test_the_page_has_a_row_for_each_model_and_none_that_is_red_is_hidden(many):
    folder, found = many
    text = (folder / "conclusions.html").read_text(encoding="utf-8")
    body = text.partition('<table id="model-grid"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr data-model.*?</tr>", body, re.S)
    assert len(rows) == MODELS and not re.search(r"\shidden|style=", body)
    anchors = page.anchors_of(found.cells)
    for row, (_, model) in zip(rows, conclusions.models(found), strict=True):
        own = found.select(model=model)
        assert f'data-model="{model}"' in row
        signs = re.findall(r'<a class="sign s-([a-z-]+)" href="#([^"]+)"', row)
        # here a place has one cell
        assert [(cell["status"], anchors[cell["record"]]) for cell in own] == signs
        assert re.search(r'data-status="([^"]*)"', row)[1].split() == [
            status.name for status in statuses.ALL if status.name in {cell["status"] for cell in own}
        ]
    selected = re.findall(r"<option[^>]*selected", text)
    assert not selected, "a filter is set"


def test_the_pages_causes_lead_to_the_rows_that_they_cost(many):
    folder, found = many
    text = (folder / "conclusions.html").read_text(encoding="utf-8")
    causes = grid.causes(found)
    assert len(causes) == 8
    options = re.findall(r'<option value="(\d+)">', text.partition('id="grid-cause"')[2].partition("</select>")[0])
    assert options == [str(index) for index in range(len(causes))]
    rows = re.findall(r'<tr data-model="([^"]+)"[^>]* data-cause="([^"]*)"', text)
    for index, cause in enumerate(causes):
        assert [model for model, those in rows if str(index) in those.split()] == cause.models
        assert text.count(f'data-cause="{index}">') >= 1
    families = re.findall(r'<option value="([^"]+)">', text.partition('id="grid-family"')[2].partition("</select>")[0])
    assert families == sorted({*made_up.FAMILIES, "–"}, key=str.lower), "a file that names no type is in no family"


def test_what_is_packed_in_the_page_is_what_a_small_page_has(many, monkeypatch):
    folder, found = many
    text = (folder / "conclusions.html").read_text(encoding="utf-8")
    read = Reader(text)
    anchors = page.anchors_of(found.cells)
    named = " ".join(read.all("data-cells")).split()
    assert sorted(named) == sorted(anchors.values()) and len(read.packed) == MODELS
    monkeypatch.setattr(grid, "MANY", MODELS)
    plain = page.render(found, "", folder)
    found_in_plain = [
        name in plain for name in ('id="model-grid"', 'data-cells="', *(part.strip() for part in read.packed))
    ]
    assert found_in_plain == [False, False, *[True] * MODELS]
    assert page.packed(page.Markup("x")) == page.packed(page.Markup("x"))


def test_every_link_on_the_page_leads_somewhere(many):
    folder, _ = many
    read = Reader((folder / "conclusions.html").read_text(encoding="utf-8"))
    inside = [Reader(part) for part in read.packed]
    ids = [*read.all("id"), *(name for part in inside for name in part.all("id"))]
    assert len(ids) == len(set(ids))
    for link in [*read.all("href"), *(href for part in inside for href in part.all("href"))]:
        if link.startswith("#"):
            assert link[1:] in ids, link
        elif not link.startswith(("data:", "https://example.org/")):
            assert (folder / unquote(link)).exists(), link


def test_the_tables_in_markdown_begin_with_the_grid_and_say_what_they_leave_out(many):
    folder, found = many
    text = (folder / "conclusions.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.M)
    assert heads[:5] == ["Pass rates", "Causes, by the models that they cost", "The grid", "What is red", "Training"]
    body = text.partition("## The grid")[2].partition("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("| ")][1:]
    for line, row in zip(lines, grid.rows(found), strict=True):
        entries = [entry.strip() for entry in line.strip("|").split("|")]
        assert entries[0] == row.model
        signs = [row.places[column].status.symbol if column in row.places else "" for column in grid.columns(found)]
        assert entries[2:] == signs
    red = text.partition("## What is red")[2].partition("\n## ")[0]
    for cell in found.cells:
        if cell.status.red:
            assert f"**{cell['model']}** {cell['stage']} {cell.label('full')}: {cell['reason']}" in red
    frames = {
        "Training": report.train_frame(found), "Inference": report.infer_frame(found),
        "Which engine to ship": report.fastest_frame(found), "Checkpoints": report.accuracy_frame(found),
        "Latency": report.latency_frame(found),
    }  # fmt: skip
    for title, frame in frames.items():
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        kept = max(0, len([line for line in section.splitlines() if line.startswith("| ")]) - 1)
        (left,) = re.findall(r"^Left out here, .*: (\d+) rows?; .*conclusions\.(?:csv|json)`", section, re.M)
        assert kept + int(left) == len(frame) and int(left) > 0, title
    for title, stage_ in (("Inference", "infer"), ("Latency", "infer")):
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        for cell in found.select(stage=stage_):
            assert not cell.status.broke or cell["model"] in section, "what broke is never left out"
    every = len((folder / "conclusions.csv").read_text(encoding="utf-8").splitlines())
    assert every == 1 + len(found.cells)


def test_the_sums_of_the_pass_rates_are_all_cells(many):
    _, found = many
    rates = grid.rates(found)
    assert sum(rate.exercised + sum(rate.others.values()) for rate in rates) == len(found.cells)
    assert sum(rate.passed for rate in rates) == found.counts["passed"]


def test_a_page_of_two_hundred_models_is_small(tmp_path, monkeypatch):
    folder, found = made(tmp_path, 200, monkeypatch)
    size = (folder / "conclusions.html").stat().st_size
    assert size < 15_000_000
    assert len(grid.rows(found)) == 200 and len(found.cells) > 1400
    text = (folder / "conclusions.html").read_text(encoding="utf-8")
    assert re.search(r"\d+ checkpoints are not shown, to keep this page small", text)


def test_few_models_have_no_grid(tmp_path):
    made_ = [pages.of_engine(tmp_path, f"m{number}", "passed") for number in range(grid.MANY + 1)]
    few = run(*made_[:-1])
    assert not grid.is_wanted(few) and grid.is_wanted(run(*made_))
    assert 'id="model-grid"' not in page.render(few, "", tmp_path) and "## The grid" not in report.markdown(few)
    assert 'id="model-grid"' in page.render(run(*made_), "", tmp_path) and "## The grid" in report.markdown(run(*made_))


def test_text_of_records_stays_text_among_many_models(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "MANY", 0)
    found = pages.every_status(tmp_path, pages.EVIL)
    read = Reader(page.render(found, pages.EVIL, tmp_path))
    for part in (read, *(Reader(packed) for packed in read.packed)):
        assert not [a for _, a in part.elements if a.get("id") == "evil" or a.get("src") == "x" or "onerror" in a]
    assert len(read.packed) == 1 and read.packed[0].count("&lt;script&gt;window.pwned=1") > 10
    assert "`" not in overview._cause_in_words(grid.Cause(statuses.FAILED, "a `b`", "", [], []))["text"]


def test_a_configuration_that_is_too_large_is_left_to_its_file(tmp_path, monkeypatch):
    found = run(pages.of_engine(tmp_path, "m", "passed"))
    shown, large = "mode: a", "mode: large"
    monkeypatch.setattr(page, "MOST_CONFIGURATION_BYTES", len(shown))
    assert shown in page.render(found, shown, tmp_path)
    text = page.render(found, large, tmp_path)
    assert large not in text and "Not on the page, to keep it small" in text


def test_names_of_many_models_are_the_first_of_them_and_a_number():
    assert overview.names(["a", "b", "a"]) == "a, b"
    assert overview.names(map(str, range(20))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 8 more"
