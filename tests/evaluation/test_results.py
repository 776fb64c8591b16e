"""Results as JSON and back: nothing is lost, and the versions before are read."""

import dataclasses
import json
import pathlib
from typing import Annotated

import numpy as np
import pytest
from jaxtyping import Float, Int

from fsjax.evaluation import evaluation_file, typed_json
from fsjax.evaluation.results import Evaluation
from fsjax.evaluation.typed_json import Between, Length
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from tests.helpers import results

FILES = pathlib.Path(__file__).parent / "files"
# As the version wrote it: 20 steps of configs/dfm_vit.py, searched on 5 images a class.
VERSION_1 = FILES / "evaluation_version_1.json"
# As the version wrote it: configs/dfm_vit.py, with controls at 5 %.
VERSION_2 = FILES / "evaluation_version_2.json"
RATES = ("tpr", "tpr_ci", "fpr", "positions")


def test_the_first_version_is_read():
    old, found = files.read_json(VERSION_1), evaluation_file.read(VERSION_1)
    method, classes = found.methods["removal"], old["classes"]
    assert list(found.classes) == classes and found.images.tolist() == old["images"]
    assert list(found.methods) == ["removal"] and list(method.shares) == ["0.01", "0.05", "0.1", "0.2"]
    assert typed_json.to_json(found.unfiltered) == old["unfiltered"]
    assert typed_json.to_json(found.planted) == old["planted"]
    for name in ("searched_on", "forward_equivalents", "grid", "planted"):
        assert typed_json.to_json(getattr(method, name)) == old["removal"][name]
    for share, rates in method.shares.items():
        assert typed_json.to_json(rates) == {**{name: old["removal"][share][name] for name in RATES}, "kept": None}
        assert not rates.kept_differs
    assert method.grafts is None


def test_the_first_files_had_no_intervals(tmp_path):
    old = files.read_json(VERSION_1)
    old["removal"] = old["removal"] | {
        "0.05": {name: old["removal"]["0.05"][name] for name in ("tpr", "fpr", "positions")}
    }
    files.write_json(tmp_path / "evaluation.json", old)
    rates = evaluation_file.read(tmp_path / "evaluation.json").methods["removal"].at(0.05)
    assert np.isnan(rates.tpr_ci).all()


def test_a_file_with_controls_is_read_without_them():
    old, found = files.read_json(VERSION_2), evaluation_file.read(VERSION_2)
    assert old["version"] == 2 and old["methods"]["removal"]["shares"]["0.05"]["controls"]["margin"]
    expected = {name: value for name, value in old.items() if name != "checksum"} | {"version": 3}
    (method,) = expected["methods"].values()
    method["grafts"] = None
    for rates in method["shares"].values():
        del rates["controls"], rates["shortcut"]
        rates["kept"] = None
    assert found.to_json() == expected


def test_an_evaluation_comes_back_from_its_file_as_it_was(tmp_path):
    names, missing = ("a", "b"), {"psi": [-0.25, None], "psi_ci": [[-0.5, 0.125], [None, None]]}
    grafts = results.grafts(names, ("shortcut by phase", "undecided"), share=0.1, smallest=[0.015625, None], **missing)
    without = dataclasses.replace(grafts.verdicts[1], share=None, psi=None, psi_ci=())
    grafts = dataclasses.replace(grafts, verdicts=(grafts.verdicts[0], without))
    shares = {0.1: results.map_rates([0.5, None], positions=[7, 2], plane=64)}
    methods = {"removal": results.method(shares, grafts=grafts), "other": results.method(shares)}
    found = results.evaluation(names, methods)
    results.write(tmp_path, found)
    written, again = files.read_json(tmp_path / "evaluation.json"), evaluation_file.read(tmp_path / "evaluation.json")
    assert written["version"] == 3
    assert list(written)[1:6] == ["classes", "images", "unfiltered", "methods", "planted"]
    assert again.to_json() == found.to_json()
    assert again.methods["other"].at(0.1).kept.tolist() == [7 / 64, 2 / 64]
    back = again.methods["removal"].grafts
    assert back.verdicts == grafts.verdicts and back.curve_shares == grafts.curve_shares
    assert back.tested_shares == (0.1,) and back.rates.psi[0] == -0.25 and np.isnan(back.rates.psi[1])
    assert np.isnan(back.rates.psi_ci[1]).all() and back.curves["map"].smallest[0] == 0.015625
    assert back.baseline.pairs.dtype.kind == "i" and again.methods["other"].grafts is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdicts": [{"name": "a"}]}, "verdicts: got [{'name': 'a'}]; expected a list of 2"),
        ({"verdicts": [{"name": "a"}] * 2}, "verdicts[0].kind: got None; expected a text"),
        ({"curve_shares": [0.1]}, "curves.map.psi: got [[0.5, 0.5],"),
        ({"curve_shares": [0.1, 2, 0.5]}, "curve_shares[1]: got 2; expected a number in [0, 1]"),
        ({"baseline": None}, "baseline: got None; expected a JSON object"),
        ({"rates": {}}, "rates.share: got None; expected a number in [0, 1], as lists of shape [2]"),
    ],
)
def test_grafts_of_another_form_are_refused_in_one_line(change, said):
    names = ("a", "b")
    method = results.method({0.1: results.map_rates([0.5, 1])}, grafts=results.grafts(names, ["spread"] * 2))
    content = results.evaluation(names, {"removal": method}).to_json()
    content["methods"]["removal"]["grafts"] |= change
    with pytest.raises(InputError) as caught:
        Evaluation.from_json(content)
    assert str(caught.value).startswith(f"methods.removal.grafts.{said}") and "\n" not in str(caught.value)


def test_rates_are_found_by_their_share():
    method = results.method({0.05: results.map_rates([0.5]), 0.1: results.map_rates([0.7])})
    assert method.at(0.1).tpr == 0.7 and method.at(0.05).tpr == 0.5
    with pytest.raises(InputError, match=r"^evaluation.json: no rates of the maps at 20 %; run the stage evaluate"):
        method.at(0.2)


def test_without_an_evaluation_the_stage_is_named(tmp_path):
    assert evaluation_file.read(tmp_path / "evaluation.json") is None
    with pytest.raises(InputError, match=r"evaluation.json: no results of removal; run the stage evaluate first"):
        evaluation_file.read_method(tmp_path / "evaluation.json", "removal")


@dataclasses.dataclass(frozen=True)
class Inner:
    rates: Float[np.ndarray, "names 2"]
    changes: Annotated[Float[np.ndarray, " names"], Between(-1, 1)]
    counts: Int[np.ndarray, " places"]
    flags: Annotated[tuple[bool | None, ...], Length("names")]


@dataclasses.dataclass(frozen=True)
class Outer:
    names: tuple[str, ...]
    places: tuple[float, ...]
    inner: dict[str, Inner]
    share: float | None


VALID = {
    "names": ["a", "b"],
    "places": [0.5],
    "inner": {
        "x": {"rates": [[0, 1], [None, 0.5]], "changes": [-1, 0.5], "counts": [3], "flags": [True, None]},
    },
    "share": None,
}


def test_annotations_are_the_schema():
    found = typed_json.from_json(Outer, VALID)
    assert found.names == ("a", "b") and found.inner["x"].flags == (True, None) and found.share is None
    np.testing.assert_array_equal(found.inner["x"].rates, [[0, 1], [np.nan, 0.5]])
    assert found.inner["x"].counts.dtype.kind == "i" and typed_json.to_json(found) == VALID


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rates", [[0, 1]], "inner.x.rates: got [[0, 1]]; expected a number in [0, 1], as lists of shape [2, 2]"),
        ("rates", [[0, 1], [0, 1.5]], "inner.x.rates: got"),
        ("rates", [[0, 1], [0, "1"]], "inner.x.rates: got"),
        ("rates", [[0, 1], [0, True]], "inner.x.rates: got"),
        ("changes", [-1.5, 0], "inner.x.changes: got [-1.5, 0]; expected a number in [-1, 1]"),
        ("counts", [None], "inner.x.counts: got [None]; expected a whole number of at least 0"),
        ("counts", [0.5], "inner.x.counts: got [0.5]"),
        ("counts", [-1], "inner.x.counts: got [-1]; expected a whole number of at least 0"),
        ("counts", [10**300], "inner.x.counts: got"),
        ("flags", [True], "inner.x.flags: got [True]; expected a list of 2"),
        ("flags", [1, None], "inner.x.flags[0]: got 1; expected true or false"),
    ],
)
def test_a_value_of_another_form_is_refused_in_one_line(field, value, said):
    wrong = json.loads(json.dumps(VALID))
    wrong["inner"]["x"][field] = value
    with pytest.raises(InputError) as caught:
        typed_json.from_json(Outer, wrong)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
