"""The documentation site, opened from disk: its search finds a page, and nothing is asked elsewhere."""

import pathlib

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from selenium.webdriver.support.ui import WebDriverWait

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path):
    """A site of two pages, made with the settings of ours."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("style.css", "iframe-worker.js"):
        (docs / name).write_bytes((ROOT / "docs" / name).read_bytes())
    (docs / "index.md").write_text("# Home\n\nNothing to find.\n")
    (docs / "orbits.md").write_text("# Orbits\n\nA frequency and its conjugate.\n")
    build(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(tmp_path / "site"), nav=[], hooks=[]))
    return tmp_path / "site"


def test_the_search_works_from_disk(site, opened):
    page = opened(site / "index.html")
    page.find_element("css selector", "html").send_keys("f")  # the key that opens the search
    page.find_element("css selector", "input.md-search__input").send_keys("conjugate")
    found = WebDriverWait(page, 20).until(lambda _: page.find_elements("css selector", ".md-search-result__link"))
    assert [link.get_attribute("href").partition("?")[0] for link in found] == [(site / "orbits.html").as_uri()]
