"""How long a page takes in a real browser: to open, to filter and to sort. Needs chromium and its driver (Debian).

    .venv/bin/python bench/browse.py FOLDER/results/smoke/conclusions.html --repeats 5 --pictures FOLDER

Prints the medians in milliseconds; each is until the browser has laid the page out anew.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# What is done to a page that is ready; each gives the table that it changes.
ACTS = {
    "filter the grid by status": "choose('grid-status', 'failed')",
    "filter the grid by cause": "choose('grid-cause', '0')",
    "filter the grid by name": "type('grid-model', 'ocr')",
    "sort the grid": "press('#model-grid thead th:nth-child(6)')",
    "filter the cells by status": "choose('filter-status', 'failed')",
    "search the cells": "type('filter-text', 'openvino')",
    "sort the cells": "press('#cell-table thead th:nth-child(5)')",
    "open a record": "open()",
}
HELP = """
const field = (id, value) => { const found = document.getElementById(id); found.value = value;
  found.dispatchEvent(new Event("input")); found.dispatchEvent(new Event("change")); };
const choose = field, type = field;
const press = (selector) => document.querySelector(`${selector} .dt-column-order, ${selector}`).click();
const open = () => { document.querySelector("#records details.model").open = true; };
const done = arguments[arguments.length - 1], begun = performance.now();
ACT;
const laidOut = () => { document.body.getBoundingClientRect(); done(performance.now() - begun); };
requestAnimationFrame(() => requestAnimationFrame(laidOut));
"""
READY = "return document.documentElement.classList.contains('sortable')"
LOADED = "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("page", type=Path)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--pictures", type=Path, help="a folder for pictures of the page at 1280 and 400 pixels")
    args = options.parse_args()
    driver = _browser()
    try:
        found: dict[str, list[float]] = {}
        for _ in range(args.repeats):
            driver.get("about:blank")
            begun = time.monotonic()
            driver.get(args.page.resolve().as_uri())
            while not driver.execute_script(READY):
                time.sleep(0.005)
            found.setdefault("open, until it sorts", []).append(1000 * (time.monotonic() - begun))
            found.setdefault("of that, until it is read", []).append(driver.execute_script(LOADED))
            for name, act in ACTS.items():
                found.setdefault(name, []).append(driver.execute_async_script(HELP.replace("ACT", act)))
        for name, samples in found.items():
            print(f"{name}: {statistics.median(samples):.0f} ms ({min(samples):.0f} to {max(samples):.0f})")
        if args.pictures:
            _pictures(driver, args.page, args.pictures)
    finally:
        driver.quit()


def _browser() -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en-US"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def _pictures(driver: Any, page: Path, folder: Path) -> None:
    for width in (1280, 400):
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 1280}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for place in ("", "overview", "grid", "records"):
            driver.get("about:blank")
            driver.get(f"{page.resolve().as_uri()}#{place}")
            while not driver.execute_script(READY):
                time.sleep(0.05)
            time.sleep(0.5)
            driver.save_screenshot(str(folder / f"{place or 'top'}-{width}.png"))


if __name__ == "__main__":
    main()
