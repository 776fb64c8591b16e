"""The index over the pages of a workdir."""

import re

from benchmarks.cost import report_workdir
from configs import common
from fsjax.evaluation.results import Evaluation
from fsjax.report import index
from fsjax.runtime import files
from tests.helpers.html_page import Page


def test_one_page_is_led_to_and_several_are_laid_side_by_side(tmp_path, undrawn):
    report_workdir.write(tmp_path, ("ox", "elk", "zebra"), 16, samples=1)
    assert (tmp_path / "report" / "removal" / "figures" / "maps.png").exists()
    led = (tmp_path / "report" / "index.html").read_text()
    assert '<meta http-equiv="refresh" content="0; url=removal/index.html">' in led
    assert Page(led).addresses == ["removal/index.html"] and "side by side" not in led

    content = files.read_json(tmp_path / "evaluation.json")
    content["methods"]["learned"] = content["methods"]["removal"] | {"grafts": None}
    content["methods"]["unseen"] = content["methods"]["removal"]
    files.write_json(tmp_path / "evaluation.json", content)
    files.write_text(tmp_path / "report" / "learned" / "index.html", "a page")
    index.write(common.base(), tmp_path)
    both = (tmp_path / "report" / "index.html").read_text()
    page = Page(both)
    assert set(page.addresses) == {"removal/index.html", "learned/index.html"} and "refresh" not in both
    removal = Evaluation.read(tmp_path / "evaluation.json").methods["removal"]
    text = " ".join(page.text.split())
    for label, name in enumerate(("ox", "elk", "zebra")):
        verdict, rates = removal.grafts.verdicts[label], removal.at(0.05)
        row = rf"{name}\S*\s?– no verdict.*?{rates.tpr[label]:.2f} / .*?{verdict.kind}.*?{rates.tpr[label]:.2f} / "
        assert re.search(row, text), (row, text)
