"""The history of kept runs in a real browser, from disk."""

import histories
import pytest
from browsers import NARROW, WIDE

from segcert import comparison, trends
from segcert.show import trendpage

pytest_plugins = ["browsers"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A history of eight runs of eight models on two machines, one of which became slow."""
    folder = tmp_path_factory.mktemp("a history é")
    contents = []
    for number in range(8):
        content = histories.run(number, slow={"onednn": 2 if number > 4 else 1}, paddle=f"3.2.{number // 5}")
        others = [
            {**cell, "model": f"another_model_with_a_long_name_{n}"} for n in range(7) for cell in content["cells"]
        ]
        contents.append(histories.concluded([*content["cells"], *others]))
    contents.append(histories.run(9, cpu="Another CPU with a name that is as long as they are @ 2.60GHz"))
    runs = histories.kept(contents)
    found = trends.collect(runs, lambda mode: comparison.Tolerances.of(comparison.shipped_section(mode)))
    trendpage.write(folder, runs, ["history/a_file_with_a_very_long_name_" + "x" * 120 + ".json: broken"], found)
    return folder / "index.html"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_it_opens_from_disk_and_fits(tab, site, width):
    opened = tab.open(site, width)
    opened.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert opened.js("document.documentElement.scrollWidth") <= width
    assert opened.complaints() == [] and opened.asked_for() == [site.as_uri()]
    assert len(opened.all("#steps .finding")) == 8
    for plot in opened.all("svg.trend")[:3]:
        size = plot.size
        assert size["width"] > 200 and size["height"] > 60
    assert opened.js("getComputedStyle(document.querySelector('.trend .point')).fill") == "rgb(0, 114, 178)"
