"""A real browser for tests of pages: Debian's chromium and its driver, which `make test-browser` installs.

A test module that names this in `pytest_plugins` has the fixtures `driver` and `tab`.
"""

import json
import shutil
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60
WIDE, NARROW = 1280, 400


class Tab:
    """A browser with one file open, and what it said and asked for meanwhile."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, width=WIDE):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < WIDE},
        )
        self.driver.get(path.as_uri())
        return self

    def wait(self, condition):
        return WebDriverWait(self.driver, PATIENCE_S).until(lambda _: condition())

    def js(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def ready(self):
        """Once the table sorts, everything has been set up."""
        self.wait(lambda: self.js("document.documentElement.classList.contains('sortable')"))
        return self

    def shown_rows(self, table="cell-table"):
        return self.js(f"[...document.querySelectorAll('#{table} tbody tr')].map(row => ({{...row.dataset}}))")

    def column(self, index, table="cell-table"):
        cells = f"#{table} tbody td:nth-child({index})"
        return self.js(f"[...document.querySelectorAll('{cells}')].map(cell => Number(cell.dataset.order))")

    def draw_everything(self):
        """Scroll past every plot, so that each is drawn."""
        for plot in self.all(".plot"):
            self.js("arguments[0].scrollIntoView()", plot)
            self.wait(lambda plot=plot: self.js("arguments[0].querySelector('svg.main-svg') !== null", plot))
        return self

    def complaints(self):
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def asked_for(self):
        """Every address that it asked for, other than what is in the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        addresses = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        addresses += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        return [address for address in addresses if urlsplit(address).scheme not in ("data", "blob")]


def browser(*arguments):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    # In a container there is no user to drop to and little shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


@pytest.fixture(scope="module")
def driver():
    driver = browser("--lang=en-US")
    yield driver
    driver.quit()


@pytest.fixture
def tab(driver):
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")
    return Tab(driver)
