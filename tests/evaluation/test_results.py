"""Results as JSON and back: nothing is lost, and damaged or older files are refused in one line."""

import copy
import dataclasses
import json
import re

import numpy as np
import pytest

from fsjax.evaluation import judge_maps
from fsjax.evaluation.graft_results import Triggers
from fsjax.evaluation.probes import ProbeRound, Probes
from fsjax.evaluation.results import read_evaluation, read_method
from fsjax.report import answer
from fsjax.runtime import files
from tests.helpers import results
from tests.helpers.graft_problem import candidates, problem
from tests.helpers.refused import refused


def numbers_by_place(value, where=""):
    """Every number, array and text by where it stands."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {at: part for key, each in pairs for at, part in numbers_by_place(each, f"{where}.{key}").items()}
    return {where: value}


@pytest.fixture(scope="module")
def measured():
    """An evaluation with grafts of three classes; the last has no images."""
    made = problem(counts=(9, 8, 0))
    grafts = judge_maps.judge(made.model, candidates(made), made.sample(pairs=6))
    shares = {0.1: results.map_rates([0.5, 0.25, None], positions=[7, 2, 2])}
    methods = {"removal": results.method(shares, grafts=grafts), "other": results.method(shares)}
    limits = np.array([[0.1, 0.3], [0.2, 0.4], [np.nan, np.nan]])
    rates = dict.fromkeys(("frequency", "triggered", "elsewhere", "others"), limits[:, 0])
    found = Triggers("x", 0.4, np.arange(6).reshape(3, 2), triggered_ci=limits, images=np.arange(3), **rates)
    return results.evaluation(("a", "b", "c"), methods, triggers=found)


def test_an_evaluation_comes_back_from_its_file_as_it_was(tmp_path, measured):
    results.write(tmp_path, measured)
    text = (tmp_path / "evaluation.json").read_text()
    written, found = (numbers_by_place(one) for one in (measured, read_evaluation(tmp_path / "evaluation.json")))
    assert set(written) == set(found) and len(written) > 60 and "NaN" not in text
    for where, value in written.items():
        np.testing.assert_array_equal(found[where], value, err_msg=where)
        assert np.asarray(found[where]).dtype == np.asarray(value).dtype, where
    assert np.isnan(found[".methods.removal.grafts.rates.psi"][2]) and found[".methods.other.grafts"] is None
    content = json.loads(text)
    assert content["version"] == 6
    of_rates = ["tpr", "tpr_ci", "fpr", "fpr_ci", "others", "positions", "kept"]
    assert list(content["methods"]["removal"]["shares"]["0.1"]) == of_rates


@pytest.mark.parametrize("version", [1, 5, 7, None, "6", []])
def test_a_file_of_another_version_is_refused_with_the_stage_to_run(tmp_path, measured, version):
    file = tmp_path / "evaluation.json"
    files.write_json(file, measured.to_json() | {"version": version})
    said = f"{file}: version: got {version!r}; expected 6; delete it and run the stage evaluate again"
    refused(f"^{re.escape(said)}$", read_evaluation, file)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rates.psi", [0.5, 0.5], "psi: got [0.5, 0.5]; expected lists of shape [3]"),
        ("rates.psi", [0.5, "a", 0.5], "could not convert string to float: 'a'"),
        ("baseline.pairs", [6, 6, 10**300], "Python int too large"),
        ("verdicts.0.kind", 3, "kind: got 3; expected str"),
        ("verdicts", [{"name": "a"}], "Verdict: got {'name': 'a'}; expected name, kind, by"),
        ("curve", [], "Curve: got []; expected psi, psi_ci, smallest"),
        ("classes", ["a"], "images: "),
        ("unfiltered.accuracy", "<script>", "accuracy: got '<script>'; expected float"),
        ("planted", {"a": {"fixed": "yes", "tpr_without": 0.5, "tpr_alone": 0.5}}, "fixed: got 'yes'; expected bool"),
    ],
)
def test_results_of_another_form_are_refused_in_one_line(tmp_path, measured, path, value, said):
    content = copy.deepcopy(measured.to_json())
    *outer, last = path.split(".")
    grafts = content["methods"]["removal"]["grafts"]
    inner = grafts if path.split(".")[0] in grafts else content
    for name in outer:
        inner = inner[int(name) if name.isdigit() else name]
    inner[last] = value
    files.write_json(tmp_path / "evaluation.json", content)
    file = tmp_path / "evaluation.json"
    refused(f"^{re.escape(f'{file}: {said}')}", read_evaluation, file)


def test_rates_are_found_by_their_share_and_without_any_the_stage_is_named(tmp_path):
    method = results.method({0.05: results.map_rates([0.5]), 0.1: results.map_rates([0.7])})
    assert method.at(0.1).tpr == 0.7 and method.at(0.05).tpr == 0.5 and method.nearest(0.09) == 0.1
    refused(r"^evaluation.json: no rates of the maps at 20 %; run the stage evaluate", method.at, 0.2)
    assert read_evaluation(tmp_path / "evaluation.json") is None
    message = "evaluation.json: no results of removal; run the stage evaluate first"
    refused(message, read_method, tmp_path / "evaluation.json", "removal")


def test_probes_come_back_from_their_file_and_cost_what_their_trainings_do(tmp_path):
    rates, limits = np.array([0.9, np.nan]), np.array([[0.8, 1], [np.nan] * 2])
    told = (True, False), ("jpeg", ""), rates, 6, 0.02
    probe = ProbeRound(0.3, True, 0.25, rates / 3, (6, 2), rates, rates, limits, *told)
    final = dataclasses.replace(probe, end=0.5, own=False)
    found = Probes(("a", "b"), (False, True), (probe, final), 0.02, ("jpeg",), {"corruptions": 0.5})
    files.write_json(tmp_path / "probes.json", found.to_json())
    again = Probes.read(tmp_path / "probes.json")
    assert again.to_json() == found.to_json() and again.version == 6 and found.cost == 1.3
    assert again.rounds[0].used == (True, False) and np.isnan(again.rounds[0].psi[1])
    on = "few frequencies (psi 0.90) and jpeg, which turns 90 % of others' images into it"
    assert again.left == {"a": on} and not dataclasses.replace(again, rounds=(probe,)).left
    told = answer.probes_text(again, 0.5)
    assert "Kept from the training: 2 % of the plane and the traces of jpeg, found in 2 probes." in told
    assert told.endswith(f"\na still rests on {on}.")
