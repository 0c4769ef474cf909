"""The page of an upgrade in a real browser: readable wide and narrow, without a request and without a script."""

import sys

import pytest
from browsers import NARROW, WIDE
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from test_comparison import WHOLE, run, tolerances

from segcert import upgrading
from segcert.files import write_text
from segcert.show import upgraded
from segcert.upgrading import Ran, Tried

pytest_plugins = ["browsers"]
REASON = "ConvertPirAttribute2RuntimeAttribute not support [pir::ArrayAttribute<pir::DoubleAttribute>] " * 3


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of three sides, one of which could not be made."""
    folder = tmp_path_factory.mktemp("an upgrade é")
    models = [f"a_model_with_a_long_name_{number}" for number in range(12)]
    good = [one | {"model": model} for model in models for one in WHOLE]
    bad = [one | ({"status": "failed", "reason": REASON} if one["stage"] == "infer" else {}) for one in good]

    def ran(name, cells):
        return Ran(f"{folder}/{name}/1", "2026-01-01T00:00:00+00:00", 60.0, run(*cells), None)

    sides = [
        Tried("3.2.2", "3.2.2", "pins of cpu.txt", None, [ran("3.2.2", good)]),
        Tried("3.3.1", "3.3.1", "pins of paddle-3.3.txt", None, [ran("3.3.1", bad)]),
        Tried("3.4.0-of-a-wheel", "wheels/x.whl", None, "pip: exit code 1: <b>No matching</b> distribution"),
    ]
    found = upgrading.judge("u", "smoke", sides, tolerances())
    write_text(folder / "upgrade.html", upgraded.page(found, folder))
    return folder / "upgrade.html"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_reads_at_every_width(tab, pages, width):
    tab.open(pages, width)
    assert tab.js("document.documentElement.scrollWidth") <= tab.js("document.documentElement.clientWidth") <= width
    assert "3.3.1: do not upgrade; 3.4.0-of-a-wheel: no answer" in tab.one("h1").text
    told = [item.text for item in tab.all(".verdicts li")]
    assert "Do not upgrade from 3.2.2 to 3.3.1: passed before, now failed" in told[0]
    assert "<b>No matching</b>" in told[1], "as text"
    assert all(item.is_displayed() for item in tab.all(".verdicts li"))
    rows = tab.all("#model-by-side tbody tr")
    assert len(rows) == 12
    places = [cell.get_attribute("data-worst") for cell in rows[0].find_elements("css selector", "td")]
    assert places == ["passed", "failed", None]
    links = [link.get_attribute("href") for link in tab.all("#sides a")]
    assert len(links) == 4 and all(link.startswith("file://") for link in links)
    assert tab.asked_for() == [pages.as_uri()] and tab.complaints() == []
