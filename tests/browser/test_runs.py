"""The page over several runs in a browser: its table sorts, and a run's name leads to its report."""

from conftest import HOSTILE, shown

from benchmarks.cost import report_workdir
from configs import common
from fsjax.report import indexes
from fsjax.runtime import files


def test_runs_sort_by_a_column_and_lead_to_their_reports(opened, tmp_path):
    for name, classes in (("b 50%#", ("x", HOSTILE, "z")), ("a", ("x", "y"))):
        directory = tmp_path / "runs" / name
        report_workdir.write(directory, classes, 8, samples=1).save(directory / "dfm" / "removal.npz")
        files.write_json(directory / "config.json", common.base().to_dict())
    indexes.write_runs(tmp_path / "index", str(tmp_path / "runs"))
    browser = opened(tmp_path / "index" / "report" / "runs.html")

    def names():
        return [link.text for link in browser.find_elements("css selector", "tbody td:first-child a")]

    assert names() == ["a", "b 50%#"]
    (heading,) = [one for one in browser.find_elements("css selector", "th button") if one.text == "classes"]
    heading.click()
    assert names() == ["a", "b 50%#"]
    heading.click()
    assert names() == ["b 50%#", "a"]
    assert len(browser.find_elements("css selector", "tbody tr:first-child img")) == 3
    browser.find_element("link text", "b 50%#").click()
    shown(browser)
    assert [one.text for one in browser.find_elements("css selector", "#explorer option")][:3] == ["x", HOSTILE, "z"]
