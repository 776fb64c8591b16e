"""Results that are loaded, and the page over a workdir's search methods."""

import re

import numpy as np
import pytest

import fsjax
from benchmarks.cost import report_workdir
from configs import common
from fsjax.evaluation.graft_results import MEASURES
from fsjax.evaluation.results import Evaluation, read_evaluation
from fsjax.report import page as page_lib
from fsjax.runtime import files, storage
from tests.helpers import results
from tests.helpers.html_page import Page
from tests.helpers.refused import refused

NAMES = ("cat", "<script>alert(1)</script>", "dog")


def make_run(directory, method="removal"):
    """A workdir as a run leaves it, without its model."""
    scores = np.random.default_rng(len(method)).normal(size=(3, 8, 8)).astype(np.float32)
    maps = results.maps(scores, (0.05, 0.25), NAMES, method=method)
    maps.save(directory / "dfm" / f"{method}.npz")
    rates = {0.05: results.map_rates([0.0] * 3), 0.25: results.map_rates((0.9, 0.5, 0.61), [0.2, None, 0.1])}
    before = read_evaluation(directory / "evaluation.json")
    methods = {**(before.methods if before else {}), method: results.method(rates)}
    results.write(directory, results.evaluation(NAMES, methods))
    fields = {"model": {"name": "resnet20"}, "report": {"share": 0.05}, "evaluate": {"threshold": 0.6}}
    fields["search"] = {"method": method}
    files.write_json(directory / "config.json", fields)
    return maps


def test_a_result_is_what_the_run_left_also_in_a_store(tmp_path):
    maps = make_run(tmp_path)
    result = fsjax.load_result(str(tmp_path))
    assert result.method == "removal" and result.classes == NAMES and result.directory == tmp_path
    np.testing.assert_array_equal(result.maps.masks, maps.masks)
    assert result.rates(0.25).tpr.tolist() == [0.9, 0.5, 0.61]
    assert result.evaluation.methods["removal"].at(0.25) is result.rates(0.25)
    assert result.config["model"] == {"name": "resnet20"} and result.planted is None
    fixed, raised = np.zeros((2, 3, 8, 8), bool)
    fixed[0, 1, 2] = raised[2, 3, 3] = True
    files.write_npz(tmp_path / "planted.npz", fixed=fixed, any=raised)
    assert np.argwhere(fsjax.load_result(tmp_path).planted).tolist() == [[0, 1, 2], [2, 3, 3]]
    with pytest.raises(AttributeError):
        result.method = "other"
    maps = make_run(storage.path("memory://results/far"))
    np.testing.assert_array_equal(fsjax.load_result("memory://results/far").maps.masks, maps.masks)


def test_which_method_is_meant_or_which_stage_is_missing_is_said(tmp_path):
    refused(r"^workdir: got .*, which has no maps; expected a folder where the", fsjax.load_result, tmp_path)
    make_run(tmp_path)
    evaluation = files.read_json(tmp_path / "evaluation.json")
    files.write_json(tmp_path / "evaluation.json", {**evaluation, "classes": ["x", "y", "z"]})
    refused(r"evaluation.json has other classes than dfm/removal.npz", fsjax.load_result, tmp_path)
    (tmp_path / "evaluation.json").unlink()
    refused(r"evaluation.json: no results of removal; run the stage evaluate first", fsjax.load_result, tmp_path)
    make_run(tmp_path), make_run(tmp_path, "learned")
    refused(r"^method: got nothing; expected one of learned, removal, which have", fsjax.load_result, tmp_path)
    assert fsjax.load_result(tmp_path, "learned").maps.method == "learned"
    message = r"^method: got 'greedy'; expected one of learned, removal, which have"
    refused(message, fsjax.load_result, tmp_path, "greedy")


def test_one_page_is_the_index_and_several_are_laid_side_by_side(tmp_path, undrawn):
    report_workdir.write(tmp_path, ("ox", "elk", "zebra"), 16, samples=1)
    assert (tmp_path / "report" / "removal" / "figures" / "maps.png").exists()
    evidence = (tmp_path / "report" / "removal" / "index.html").read_text().partition("<summary>Evidence</summary>")[2]
    measured = read_evaluation(tmp_path / "evaluation.json").methods["removal"].grafts
    for name, measure in MEASURES.items():
        values = measured.baseline.base if name == "base" else getattr(measured.rates, name, None)
        assert not measure.column or all(f"<td>{value:.2f}</td>" in evidence for value in values)
    only, first = ((tmp_path / "report" / name).read_text() for name in ("removal/index.html", "index.html"))
    folder = 'data-folder="{}data/"'.format
    assert only.count(folder("")) == 1 and first == only.replace(folder(""), folder("removal/"))

    content = files.read_json(tmp_path / "evaluation.json")
    content["methods"]["learned"] = content["methods"]["removal"] | {"grafts": None}
    content["methods"]["unseen"] = content["methods"]["removal"]  # without a page
    files.write_json(tmp_path / "evaluation.json", content)
    files.write_text(tmp_path / "report" / "learned" / "index.html", "a page")
    page_lib.write_index(common.base(), tmp_path, read_evaluation(tmp_path / "evaluation.json"), str)
    both = (tmp_path / "report" / "index.html").read_text()
    page = Page(both)
    assert set(page.addresses) == {"removal/index.html", "learned/index.html"} and "refresh" not in both
    removal = Evaluation.read(tmp_path / "evaluation.json").methods["removal"]
    text = " ".join(page.text.split())
    for label, name in enumerate(("ox", "elk", "zebra")):
        verdict, rates = removal.grafts.verdicts[label], removal.at(0.05)
        row = rf"{name}\S*\s?– no verdict.*?{rates.tpr[label]:.2f} / .*?{verdict.kind}.*?{rates.tpr[label]:.2f} / "
        assert re.search(row, text), (row, text)
