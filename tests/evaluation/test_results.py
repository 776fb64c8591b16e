"""Results as JSON and back: nothing is lost, and damaged or older files are refused in one line."""

import copy
import dataclasses
import json
from typing import Annotated

import numpy as np
import pytest
from jaxtyping import Float, Int

from fsjax.evaluation import judge_maps, typed_json
from fsjax.evaluation.probes import ProbeRound, Probes
from fsjax.evaluation.results import Evaluation, read_evaluation, read_method
from fsjax.evaluation.typed_json import Between, Length
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from tests.helpers import results
from tests.helpers.graft_problem import candidates, problem


def refused(read, content):
    """The message of the error, which is one line."""
    with pytest.raises(InputError) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    return results.evaluation(("a", "b", "c"), methods)


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
    assert content["version"] == 3
    assert list(content)[1:6] == ["classes", "images", "unfiltered", "methods", "planted"]
    assert list(content["methods"]["removal"]["shares"]["0.1"]) == ["tpr", "tpr_ci", "fpr", "positions", "kept"]


@pytest.mark.parametrize("version", [1, 2, 4, None, "3", []])
def test_a_file_of_another_version_is_refused_with_the_stage_to_run(tmp_path, measured, version):
    file = tmp_path / "evaluation.json"
    files.write_json(file, measured.to_json() | {"version": version})
    said = refused(read_evaluation, file)
    assert said == f"{file}: version: got {version!r}; expected 3; delete it and run the stage evaluate again"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rates.psi", [0.5, -1.5, None], "rates.psi: got [0.5, -1.5, None]; expected a number in [-1, 1]"),
        ("rates.grafted", [0.5, -0.5, None], "rates.grafted: got [0.5, -0.5, None]; expected a number in [0, 1]"),
        ("rates.psi", [0.5, 0.5], "rates.psi: got [0.5, 0.5]; expected a number in [-1, 1], as lists of shape [3]"),
        ("rates.psi_ci", [[0, 1]] * 2, "rates.psi_ci: got"),
        ("rates.prominence", [-1, 0, 0], "rates.prominence: got [-1, 0, 0]; expected a number in [0, inf]"),
        ("baseline.pairs", [6, 6, -1], "baseline.pairs: got [6, 6, -1]"),
        ("curves.map.psi", [[0, 0, 0]], "curves.map.psi: got"),
        ("curves.map.smallest", [0.1, 2, None], "curves.map.smallest: got"),
        ("curve_shares", [0.1, 0.2, 1.5], "curve_shares[2]: got 1.5; expected a number in [0, 1]"),
        ("verdicts.0.psi", -1.5, "verdicts[0].psi: got -1.5; expected a number in [-1, 1]"),
        ("verdicts.0.psi_ci", [-0.5, 1.5], "verdicts[0].psi_ci[1]: got 1.5; expected a number in [-1, 1]"),
        ("verdicts.0.share", -0.5, "verdicts[0].share: got -0.5; expected a number in [0, 1]"),
        ("verdicts.0.kind", 3, "verdicts[0].kind: got 3; expected a text"),
        ("verdicts", [{"name": "a"}], "verdicts: got [{'name': 'a'}]; expected a list of 3"),
        ("rates", None, "rates: got None; expected a JSON object"),
        ("rates", {}, "rates.share: got None; expected a number in [0, 1], as lists of shape [3]"),
    ],
)
def test_grafts_of_another_form_are_refused_in_one_line(measured, path, value, said):
    content = copy.deepcopy(measured.to_json())
    *outer, last = path.split(".")
    inner = content["methods"]["removal"]["grafts"]
    for name in outer:
        inner = inner[int(name) if name.isdigit() else name]
    inner[last] = value
    assert refused(Evaluation.from_json, content).startswith(f"methods.removal.grafts.{said}")


def test_rates_are_found_by_their_share():
    method = results.method({0.05: results.map_rates([0.5]), 0.1: results.map_rates([0.7])})
    assert method.at(0.1).tpr == 0.7 and method.at(0.05).tpr == 0.5 and method.nearest(0.09) == 0.1
    with pytest.raises(InputError, match=r"^evaluation.json: no rates of the maps at 20 %; run the stage evaluate"):
        method.at(0.2)


def test_without_an_evaluation_the_stage_is_named(tmp_path):
    assert read_evaluation(tmp_path / "evaluation.json") is None
    with pytest.raises(InputError, match=r"evaluation.json: no results of removal; run the stage evaluate first"):
        read_method(tmp_path / "evaluation.json", "removal")


def test_probes_come_back_from_their_file_and_cost_what_their_trainings_do():
    rates, limits = np.array([0.9, np.nan]), np.array([[0.8, 1], [np.nan] * 2])
    probe = ProbeRound(0.3, True, 0.25, rates / 3, (6, 2), rates, rates, limits, (True, False), 6, 0.02)
    final = dataclasses.replace(probe, end=0.5, own=False)
    found = Probes(("a", "b"), (False, True), (probe, final), 0.02, {"corruptions": 0.5})
    content = found.to_json()
    again = Probes.from_json(content)
    assert again.to_json() == content and content["version"] == 5 and found.cost == 1.3
    assert again.rounds[0].used == (True, False) and np.isnan(again.rounds[0].psi[1])
    assert refused(Probes.from_json, content | {"version": 4}) == "version: got 4; expected 5"
    content["rounds"][0]["psi"] = [2.0, None]
    assert refused(Probes.from_json, content).startswith("rounds[0].psi: got [2.0, None]; expected a number in [-1, 1]")


@dataclasses.dataclass(frozen=True)
class Inner:
    rates: Float[np.ndarray, "names 2"]
    changes: Annotated[Float[np.ndarray, " names"], Between(-1, 1)]
    counts: Int[np.ndarray, " places"]
    flags: Annotated[tuple[bool | None, ...], Length("names")]
    steps: Annotated[tuple[float | None, ...], Between(-2, 1)]


@dataclasses.dataclass(frozen=True)
class Outer:
    names: tuple[str, ...]
    places: tuple[float, ...]
    inner: Annotated[dict[str, Inner], Between(-1, 1)]
    share: Annotated[float | None, Between(-1, 1)]


VALID = {
    "names": ["a", "b"],
    "places": [0.5],
    "inner": {
        "x": {
            **{"rates": [[0, 1], [None, 0.5]], "changes": [-1, 0.5], "counts": [3]},
            **{"flags": [True, None], "steps": [-1.5, None]},
        },
    },
    "share": None,
}


def test_annotations_are_the_schema():
    found = typed_json.from_json(Outer, VALID)
    assert found.names == ("a", "b") and found.inner["x"].flags == (True, None) and found.share is None
    np.testing.assert_array_equal(found.inner["x"].rates, [[0, 1], [np.nan, 0.5]])
    assert found.inner["x"].counts.dtype.kind == "i" and typed_json.to_json(found) == VALID
    assert refused(lambda content: typed_json.from_json(Outer, content), VALID | {"share": 1.5}) == (
        "share: got 1.5; expected a number in [-1, 1]"
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rates", [[0, 1]], "inner.x.rates: got [[0, 1]]; expected a number in [0, 1], as lists of shape [2, 2]"),
        ("rates", [[0, 1], [0, 1.5]], "inner.x.rates: got"),
        ("rates", [[0, 1], [0, -0.5]], "inner.x.rates: got"),
        ("rates", [[0, 1], [0, "1"]], "inner.x.rates: got"),
        ("rates", [[0, 1], [0, True]], "inner.x.rates: got"),
        ("changes", [-1.5, 0], "inner.x.changes: got [-1.5, 0]; expected a number in [-1, 1]"),
        ("counts", [None], "inner.x.counts: got [None]; expected a whole number of at least 0"),
        ("counts", [0.5], "inner.x.counts: got [0.5]"),
        ("counts", [-1], "inner.x.counts: got [-1]; expected a whole number of at least 0"),
        ("counts", [10**300], "inner.x.counts: got"),
        ("flags", [True], "inner.x.flags: got [True]; expected a list of 2"),
        ("flags", [1, None], "inner.x.flags[0]: got 1; expected true or false"),
        ("steps", [0, -2.5], "inner.x.steps[1]: got -2.5; expected a number in [-2, 1]"),
    ],
)
def test_a_value_of_another_form_is_refused_in_one_line(field, value, said):
    wrong = json.loads(json.dumps(VALID))
    wrong["inner"]["x"][field] = value
    assert refused(lambda content: typed_json.from_json(Outer, content), wrong).startswith(said)
