"""The page of a run of many models in a real browser: the grid, its filters, and records that are packed."""

import sys

import pytest
import yaml
from browsers import NARROW, WIDE
from conftest import ROOT
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

sys.path.insert(0, str(ROOT / "bench"))

import made_up

from segcert import cells, conclusions, grid, statuses
from segcert.show import page, report

pytest_plugins = ["browsers"]
MODELS = 28


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """(the page, its conclusions)."""
    folder = tmp_path_factory.mktemp("many models é")
    with pytest.MonkeyPatch.context() as patch:
        run_config = made_up.write(folder, MODELS)
        patch.chdir(folder)
        found = conclusions.conclude(cells.CellTable.of_run(yaml.safe_load(run_config.read_text(encoding="utf-8"))))
        report.write(found, run_config.parent)
        shown = run_config.with_name("conclusions.html")
        page.write(run_config.with_name("conclusions.json"), run_config, shown)
        yield shown, found


@pytest.fixture
def opened(tab, many):
    return tab.open(many[0]).ready()


def models(tab):
    return [row.get("model") for row in tab.shown_rows("model-grid")]


def having(found, admits):
    """Models with a cell that a test admits, in their order."""
    return list(dict.fromkeys(cell["model"] for cell in found.cells if admits(cell)))


def test_it_loads_from_disk_and_asks_the_network_for_nothing(opened, many):
    opened.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    opened.wait(lambda: not opened.all("details script[type='application/gzip']"))
    opened.draw_everything()
    assert opened.complaints() == []
    assert opened.asked_for() == [many[0].as_uri()]


def test_every_model_is_shown_before_anything_is_chosen(opened, many):
    assert models(opened) == [model for _, model in conclusions.models(many[1])]
    assert opened.one("#grid .dt-info").text == f"{MODELS} models"
    assert all(not Select(field).first_selected_option.get_attribute("value") for field in opened.all("#grid select"))


def test_the_grid_filters_by_status_family_cause_and_name(opened, many):
    _, found = many
    by = {name: Select(opened.one(f"#grid-{name}")) for name in ("status", "family", "cause")}
    for status in (status for status in statuses.ALL if found.counts.get(status.name)):
        by["status"].select_by_value(status.name)
        assert models(opened) == having(found, lambda cell, name=status.name: cell["status"] == name)
    by["status"].select_by_value("")
    for number, cause in enumerate(grid.causes(found)):
        by["cause"].select_by_value(str(number))
        assert models(opened) == cause.models
    by["cause"].select_by_value("")
    by["family"].select_by_value("OCRNet")
    family = having(found, lambda cell: cell["algorithm"] == "OCRNet")
    assert models(opened) == family
    by["status"].select_by_value("passed")
    assert models(opened) == [name for name in family if found.select(model=name, status="passed")]
    opened.one("#grid-model").send_keys(family[0][-30:])
    assert len(models(opened)) <= 1
    opened.one("#grid-model").send_keys(" of which there is none")
    assert "No model matches" in opened.one("#model-grid tbody").text


def test_a_cause_leads_to_the_models_that_it_costs_whatever_was_chosen_before(opened, many):
    causes = grid.causes(many[1])
    Select(opened.one("#grid-family")).select_by_value("OCRNet")
    opened.js("document.querySelectorAll('#overview details').forEach(part => { part.open = true })")
    for number, cause in enumerate(causes):
        opened.js(f"document.querySelector('#overview a[data-cause=\"{number}\"]').click()")
        assert models(opened) == cause.models
        assert opened.one("#grid-family").get_attribute("value") == ""


def test_the_grid_sorts_by_mouse_and_by_keyboard(opened):
    column = 3  # of the heads: models, families, and training first
    for at in (column, column + 4):
        before = opened.column(at, "model-grid")
        heading = f"#model-grid thead th:nth-child({at})"
        opened.js("arguments[0].scrollIntoView({block: 'center'})", opened.one(heading))
        opened.one(heading).click()
        opened.wait(lambda at=at, before=before: opened.column(at, "model-grid") == sorted(before))
        opened.one(f"{heading} [tabindex='0'], {heading}[tabindex='0']").send_keys(Keys.ENTER)
        opened.wait(lambda at=at, before=before: opened.column(at, "model-grid") == sorted(before, reverse=True))
        assert len(set(before)) > 1


def test_a_sign_leads_to_the_record_which_is_unpacked(opened, many):
    shown, found = many
    anchors = page.anchors_of(found.cells)
    for cell in (found.select(status="accuracy-failed")[0], found.select(stage="export", status="passed")[-1]):
        anchor = anchors[cell["record"]]
        assert not opened.all(f'[id="{anchor}"]')
        opened.one(f'#model-grid a[href="#{anchor}"]').send_keys(Keys.ENTER)
        opened.wait(lambda anchor=anchor: opened.all(f'[id="{anchor}"] pre.command'))
        place = opened.one(f'[id="{anchor}"]')
        opened.wait(lambda place=place: place.find_element(By.CSS_SELECTOR, "pre.command").is_displayed())
        assert place.find_element(By.CSS_SELECTOR, "pre.command").text.split() == cell["command"].split()
        opened.wait(lambda place=place: 0 < opened.js("arguments[0].getBoundingClientRect().top", place) < 900)
    # and so does the address itself
    opened.driver.get("about:blank")
    opened.driver.get(f"{shown.as_uri()}#{anchor}")
    opened.wait(lambda: opened.all(f'[id="{anchor}"] pre.command'))


def test_the_records_of_a_model_are_unpacked_once(opened, many):
    model = opened.one("#records details.model")
    for _ in range(3):
        opened.js("arguments[0].open = !arguments[0].open", model)
    opened.wait(lambda: model.find_elements(By.CSS_SELECTOR, "details.record"))
    own = many[1].select(model=conclusions.models(many[1])[0][1])
    assert len(model.find_elements(By.CSS_SELECTOR, "details.record")) == len(own)


def test_the_language_switches(opened):
    opened.one("[data-language=zh]").click()
    assert opened.one("#grid h2").text == "网格"
    assert opened.one("#grid .dt-info").text == f"{MODELS} 个模型"
    assert opened.one("#grid-status option").text == "全部状态"
    opened.js("document.querySelector('#records details.model').open = true")
    opened.wait(lambda: opened.all("#records .record .badge"))
    assert "通过" in opened.one("#records .record .badge").text


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_is_wider_than_the_screen(tab, many, width, language):
    tab.open(many[0], width).ready()
    tab.one(f"[data-language={language}]").click()
    tab.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    tab.wait(lambda: not tab.all("details script[type='application/gzip']"))
    assert tab.js("innerWidth") == width
    assert tab.js("document.documentElement.scrollWidth") <= tab.js("document.documentElement.clientWidth") <= width
    texts = "[...document.querySelectorAll('main p, main td, main li, main summary, main dd, main pre, main .sign')]"
    assert tab.js(f"Math.min(...{texts}.map(part => parseFloat(getComputedStyle(part).fontSize)))") >= 12
