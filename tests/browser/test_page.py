"""The page of a real run in a real browser, from disk.

Run by `make test-browser`, which installs Debian's chromium and its driver.
"""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import pages
import ways
from browsers import NARROW, WIDE, Tab, browser
from conftest import finished_run
from test_chain import CONFIG, INFERRED

from segcert import statuses
from segcert.concluded import Concluded
from segcert.show import page

pytest_plugins = ["browsers"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run of the whole workflow, in a folder with a blank and a non-ASCII name."""
    return finished_run(tmp_path_factory.mktemp("browser") / "a proj é", CONFIG)


@pytest.fixture(scope="module")
def found(run):
    return json.loads((run / "results/smoke/conclusions.json").read_text(encoding="utf-8"))


@pytest.fixture
def opened(tab, run):
    return tab.open(run / "results/smoke/conclusions.html").ready()


def test_it_loads_from_disk_and_asks_the_network_for_nothing(opened, run):
    opened.draw_everything()
    assert opened.complaints() == []
    assert opened.asked_for() == [(run / "results/smoke/conclusions.html").as_uri()]


def test_every_cell_is_there_with_symbol_and_word(opened, found):
    Select(opened.one("#cells select[name], #cells .dt-length select")).select_by_value("-1")
    rows = opened.all("#cell-table tbody tr")
    assert len(rows) == len(found["cells"])
    for row, cell in zip(rows, found["cells"], strict=True):
        status = statuses.by_name(cell["status"])
        badge = row.find_element(By.CSS_SELECTOR, ".badge").text
        assert status.symbol in badge and status.name in badge
    verdict = opened.one("#verdict").text
    assert verdict.startswith("✓") and "nothing is red" in verdict


def test_the_grid_is_ticked_where_cells_passed_and_only_there(opened, found):
    for section, stage in (("training", "train"), ("inference", "infer")):
        chips = opened.js(
            f"[...document.querySelectorAll('#{section} .grid .chip')].map(chip =>"
            " [chip.querySelector('.symbol').textContent, chip.getAttribute('href').slice(1)])"
        )
        anchors = page.anchors_of(map(Concluded, found["cells"]))
        expected = [
            [statuses.by_name(cell["status"]).symbol, anchors[cell["record"]]]
            for cell in found["cells"]
            if cell["stage"] == stage
        ]
        assert sorted(chips) == sorted(expected) and len(chips) >= 4


def test_the_table_filters(opened, found):
    by_status = Select(opened.one("#filter-status"))
    by_status.select_by_value("unverified")
    assert {row["status"] for row in opened.shown_rows()} == {"unverified"}
    by_status.select_by_value("")
    Select(opened.one("#filter-model")).select_by_visible_text("pp_humanseg_lite")
    Select(opened.one("#filter-stage")).select_by_visible_text("infer")
    expected = [c for c in found["cells"] if (c["model"], c["stage"]) == ("pp_humanseg_lite", "infer")]
    assert [row["status"] for row in opened.shown_rows()] == [cell["status"] for cell in expected]
    opened.one("#filter-text").send_keys("openvino")
    named = [cell for cell in expected if "openvino" in cell["cell"]]
    # fp32, also in two streams and in another size, bf16, int8
    assert len(opened.shown_rows()) == len(named) == 3 + bool(ways.STREAMED) + 1
    opened.one("#filter-text").send_keys(" of which there is none")
    assert "No cell matches" in opened.one("#cell-table tbody").text
    opened.js("document.querySelector('.counts a[data-status=unverified]').click()")
    assert opened.one("#filter-status").get_attribute("value") == "unverified"


def test_the_table_sorts_by_mouse_and_by_keyboard(opened):
    Select(opened.one("#cells .dt-length select")).select_by_value("-1")
    heading = opened.one("#cell-table thead th:nth-child(5)")
    before = opened.column(5)
    opened.js("arguments[0].scrollIntoView({block: 'center'})", heading)
    heading.click()
    assert before != sorted(before)
    opened.wait(lambda: opened.column(5) == sorted(before))
    button = "#cell-table thead th:nth-child(5)"
    opened.one(f"{button} [tabindex='0'], {button}[tabindex='0']").send_keys(Keys.ENTER)
    opened.wait(lambda: opened.column(5) == sorted(before, reverse=True))


def test_links_lead_to_places_and_files_that_are_there(opened, run):
    ids = opened.js("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))
    files = 0
    for link in opened.js("[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))"):
        if link.startswith("#"):
            assert link[1:] in ids, link
        else:
            assert not urlsplit(link).scheme
            assert (run / "results/smoke" / unquote(link)).is_file(), link
            files += 1
    assert files > 30


def test_an_entry_leads_to_its_record_command_and_log(opened, found):
    cell = next(c for c in found["cells"] if c["stage"] == "infer" and c["requested"]["engine"] == "onnxruntime")
    anchor = page.anchors_of(map(Concluded, found["cells"]))[cell["record"]]
    opened.one(f'#inference a[href="#{anchor}"]').send_keys(Keys.ENTER)
    place = opened.one(f'[id="{anchor}"]')
    opened.wait(lambda: place.find_element(By.CSS_SELECTOR, "pre.command").is_displayed())
    assert place.find_element(By.CSS_SELECTOR, "pre.command").text.split() == cell["command"].split()
    assert place.find_element(By.CSS_SELECTOR, "pre.log").text
    assert str(cell["metrics"]["gates"][0]["sentence"]) in place.find_element(By.CSS_SELECTOR, ".gates").text
    top = opened.js("arguments[0].getBoundingClientRect().top", place)
    assert opened.js("document.querySelector('.top').getBoundingClientRect().bottom") <= top + 1 < 900


def test_plots_show_medians_with_intervals_and_losses(opened, found):
    opened.draw_everything()
    timed = [c for c in found["cells"] if (c.get("metrics") or {}).get("inference_ms")]
    timed = [c for c in timed if "size" not in c["requested"]]  # other sizes have a table of their own
    alone = [c for c in timed if "streams" not in c["requested"]]
    several = {c["model"] for c in timed if "streams" in c["requested"]}
    with_throughput = [c for c in timed if c["model"] in several]
    for plot, cells in (("latency", alone), ("throughput", with_throughput)):
        points = opened.js(f"document.querySelectorAll('.plot[id^={plot}-] .points path.point').length")
        assert points == len(cells), plot
    assert opened.js("document.querySelectorAll('.plot[id^=latency-] path.xerror').length") == len(alone)
    trained = [c for c in found["cells"] if c["stage"] == "train" and c["status"] == "passed"]
    assert opened.js("document.querySelectorAll('#precision .plot .scatterlayer path.js-line').length") == len(trained)


def test_pictures_are_there_for_every_checkpoint(opened):
    strips = opened.all("#predictions .strip")
    assert len(strips) == len(CONFIG["models"])
    counted = []
    for strip in strips:
        captions = [caption.text for caption in strip.find_elements(By.CSS_SELECTOR, "figcaption")]
        assert [c.strip() for c in captions[:3]] == ["photo", "truth", "checkpoint, fp32"]
        counted.append(len(captions) - 3)
    # Streams are of one model; label maps of another size are not laid beside these.
    assert sorted(counted) == [*[INFERRED] * (len(strips) - 1), INFERRED + ways.STREAMED]
    opened.js("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    opened.wait(lambda: opened.js("[...document.querySelectorAll('img')].every(image => image.complete)"))
    assert opened.js("[...document.querySelectorAll('img')].filter(image => !image.naturalWidth).length") == 0
    opened.js(
        "(() => { const o = document.getElementById('opacity'); o.value = 0; o.dispatchEvent(new Event('input')) })()"
    )
    assert opened.js("getComputedStyle(document.querySelector('.labels')).opacity") == "0"


def test_the_language_switches_and_nothing_remembers_it(opened, run):
    assert opened.js("document.documentElement.lang") == "en"
    assert "Training" in opened.one("#training h2").text
    opened.draw_everything()
    opened.one("[data-language=zh]").click()
    assert opened.js("document.documentElement.lang") == "zh-CN"
    assert opened.one("#training h2").text == "训练"
    assert "PaddleSeg 模型认证" in opened.driver.title
    assert "通过" in opened.one("#cell-table .badge.s-passed").text
    assert "passed" not in opened.one("#cell-table .badge.s-passed").text
    opened.wait(lambda: "毫秒" in opened.one("#latency .plot .xtitle").text)
    assert opened.one("#filter-status option").text == "全部状态"
    opened.open(run / "results/smoke/conclusions.html").ready()
    assert opened.js("document.documentElement.lang") == "en"
    assert opened.js("document.cookie + Object.keys(localStorage).concat(Object.keys(sessionStorage)).join()") == ""


def test_a_chinese_browser_is_met_in_chinese(run):
    driver = browser("--lang=zh-CN", "--accept-lang=zh-CN")
    try:
        tab = Tab(driver).open(run / "results/smoke/conclusions.html").ready()
        assert tab.js("document.documentElement.lang") == "zh-CN" and tab.one("#inference h2").text == "推理"
    finally:
        driver.quit()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_nothing_is_wider_than_the_screen(tab, run, width, language):
    tab.open(run / "results/smoke/conclusions.html", width).ready()
    tab.one(f"[data-language={language}]").click()
    tab.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    tab.draw_everything()
    assert tab.js("innerWidth") == width
    assert tab.js("document.documentElement.scrollWidth") <= tab.js("document.documentElement.clientWidth") <= width
    texts = "[...document.querySelectorAll('main p, main td, main li, main summary, main dd, main pre')]"
    assert tab.js(f"Math.min(...{texts}.map(part => parseFloat(getComputedStyle(part).fontSize)))") >= 12


def test_hostile_text_does_nothing(tab, tmp_path):
    conclusions = pages.every_status(tmp_path, pages.EVIL)
    (tmp_path / "conclusions.html").write_text(page.render(conclusions, pages.EVIL, tmp_path), encoding="utf-8")
    tab.open(tmp_path / "conclusions.html").ready().draw_everything()
    tab.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    tab.one("#filter-text").send_keys("<script>")
    assert len(tab.shown_rows()) == len([cell for cell in conclusions.cells if cell["reason"]])
    assert tab.js("window.pwned") is None and tab.js("document.getElementById('evil')") is None
    logs = tab.js("[...document.querySelectorAll('pre.log')].map(log => log.textContent)")
    assert any(pages.EVIL in log for log in logs)
    assert tab.complaints() == []
    assert len(tab.asked_for()) == 1


def test_the_page_of_a_red_run_says_so_first(tab, tmp_path):
    conclusions = pages.every_status(tmp_path)
    (tmp_path / "conclusions.html").write_text(page.render(conclusions, "", tmp_path), encoding="utf-8")
    tab.open(tmp_path / "conclusions.html").ready()
    assert tab.one("#verdict").text == "✗ Red: 2 cells failed"
    assert tab.one("#findings .finding").text.startswith("≠") or "failed" in tab.one("#findings .finding").text
    for status in statuses.ALL:
        assert status.symbol in tab.one(f".counts .s-{status.name}").text


def test_snakemakes_own_report_opens_without_network(tab, run):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        "--configfile",
        "mine.yaml",
        "--report",
        "report.html",
    ]
    # in a network namespace of its own, where there is none
    done = subprocess.run(
        ["unshare", "-rn", *command], cwd=run, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tab.open(run / "report.html")
    tab.wait(lambda: "Conclusions" in tab.one("body").text)
    assert tab.asked_for() == [(run / "report.html").as_uri()]
