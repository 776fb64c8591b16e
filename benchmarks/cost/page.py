"""Measure the size of the report's page, and how soon a browser paints it from disk.

  python benchmarks/cost/page.py                                    # 10 classes, then 1,000, at 224 pixels
  python benchmarks/cost/page.py --page_classes=40 --page_size=32

Prints a row for each number of classes. `page_mb` is the size of index.html; `all_mb` adds the per-class files, but not
figures/. `first_paint_ms` is the first contentful paint as the browser reports it: median and range of --loads, each in
a new tab. This needs Selenium and a Chrome or Chromium, as tests/browser does; --noopen_page measures sizes alone.
Maps, rates and images are synthetic. Up to 40 classes, scores are of single frequencies and the slider has 11 shares.
With more classes, scores are of patches of 8 and at 4 shares, as in configs/dfm_resnet.py:imagenet1k.
"""

import json
import pathlib
import shutil
import statistics
import sys
import tempfile

from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.cost import report_workdir
from fsjax.report import explorer, html

CLASSES = flags.DEFINE_list("page_classes", ["10", "1000"], "Numbers of classes, a row each.")
SIZE = flags.DEFINE_integer("page_size", 224, "Side of the images, pixels.")
OPEN = flags.DEFINE_bool("open_page", True, "Open the page in a browser.")
LOADS = flags.DEFINE_integer("loads", 11, "Number of page loads.")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    for classes in map(int, CLASSES.value):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(row(pathlib.Path(folder), classes, SIZE.value)), flush=True)


def row(directory: pathlib.Path, classes: int, size: int) -> dict:
    """Write a page of a number of classes and measure it."""
    few = {} if classes <= explorer.IN_PAGE else {"grid": (), "patch": 8}
    report_workdir.write(directory, tuple(f"class {index}" for index in range(classes)), size, **few)
    report = html.page_folder(directory, "removal")
    files = [report / "index.html", *report.glob("data/*")]
    sizes = {
        "classes": classes,
        "size": size,
        "page_mb": round(files[0].stat().st_size / 1e6, 2),
        "all_mb": round(sum(file.stat().st_size for file in files) / 1e6, 2),
    }
    return sizes | (first_paint(files[0]) if OPEN.value else {})


def first_paint(page: pathlib.Path) -> dict:
    """Measure milliseconds from the start of the navigation to the first paint, in headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    driver = shutil.which("chromedriver")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver) if driver else None)
    times = []
    try:
        for _ in range(LOADS.value):
            browser.switch_to.new_window("tab")
            browser.get(page.as_uri())
            times.append(
                browser.execute_async_script(
                    """const done = arguments[0];
                    const find = () => performance.getEntriesByName("first-contentful-paint")[0];
                    const wait = () => (find() ? done(find().startTime) : setTimeout(wait, 10));
                    wait();"""
                )
            )
    finally:
        browser.quit()
    times.sort()
    return {"first_paint_ms": round(statistics.median(times)), "range_ms": [round(times[0]), round(times[-1])]}


if __name__ == "__main__":
    app.run(main)
