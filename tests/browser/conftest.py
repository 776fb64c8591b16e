"""A real browser without a screen, and pages for it that the report itself has written.

Needs Debian's chromium and chromium-driver, or any Chrome that Selenium finds; .ci/run installs them.
"""

import json
import pathlib
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.cost import report_workdir
from fsjax.fourier import dfm
from fsjax.report import explorer
from tests.helpers.undrawn import leave_undrawn

SIZE, SHARES, GRID = 16, (0.05, 0.2), (0.01, 0.1, 0.5)
HOSTILE = "<script>document.title='taken'</script>"


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium that keeps its console's messages and the addresses it asks for."""
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1200,1000", "force-color-profile=srgb"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = shutil.which("chromium") or ""
    driver = shutil.which("chromedriver")
    service = webdriver.ChromeService(driver) if driver else None
    started = webdriver.Chrome(options, service)
    yield started
    started.quit()


@pytest.fixture
def opened(browser):
    """Opens a file in the browser and returns it; at the end, no message in its console and no request off the disk."""

    def open_file(file: pathlib.Path, fragment: str = ""):
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(file.resolve().as_uri() + fragment)
        if browser.find_elements("id", "explorer"):
            shown(browser)
        return browser

    yield open_file
    # `rendering` is advice on speed.
    assert [entry for entry in browser.get_log("browser") if entry["source"] != "rendering"] == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert addresses and all(address.startswith(("file://", "data:", "about:")) for address in addresses)


def shown(browser, expected: str | None = None) -> str:
    """Waits until the explorer shows something, or just this: 'class share plane'."""

    def ready(_):
        now = browser.find_element("id", "explorer").get_attribute("data-shown")
        return now if now and expected in (None, now) else False

    return WebDriverWait(browser, 20).until(ready)


def write(directory: pathlib.Path, classes: tuple[str, ...]) -> tuple[pathlib.Path, dfm.DominantFrequencyMaps]:
    """A report on made-up results of these classes: its page, and the maps."""
    maps = report_workdir.write(directory, classes, SIZE, shares=SHARES, grid=GRID, samples=2, attributions=1)
    return directory / "report" / "removal" / "index.html", maps


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """(report/removal/index.html, maps) of four classes, one of which would run if its name were not text."""
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch, but_of_the_page=True)
        return write(tmp_path_factory.mktemp("few"), ("zebra", HOSTILE, "ox", "golden retriever"))


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """The same of six classes, which lie in files beside the page, as if they were more than 40."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "IN_PAGE", 4)
        leave_undrawn(patch)
        return write(tmp_path_factory.mktemp("many"), (HOSTILE, *(f"class {index}" for index in range(1, 6))))
