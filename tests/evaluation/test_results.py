"""Results as JSON and back: nothing is lost, and the version before is read."""

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

# As the version before wrote it: 20 steps of configs/dfm_vit.py, searched on 5 images a class.
VERSION_1 = pathlib.Path(__file__).parent / "files" / "evaluation_version_1.json"


def test_the_version_before_is_read():
    old, found = files.read_json(VERSION_1), evaluation_file.read(VERSION_1)
    method, classes = found.methods["removal"], old["classes"]
    assert list(found.classes) == classes and found.images.tolist() == old["images"]
    assert list(found.methods) == ["removal"] and list(method.shares) == ["0.01", "0.05", "0.1", "0.2"]
    assert typed_json.to_json(found.unfiltered) == old["unfiltered"]
    assert typed_json.to_json(found.planted) == old["planted"]
    for name in ("searched_on", "forward_equivalents", "grid", "planted"):
        assert typed_json.to_json(getattr(method, name)) == old["removal"][name]
    for share, rates in method.shares.items():
        written = old["removal"][share]
        for name in ("tpr", "tpr_ci", "fpr", "positions"):
            assert typed_json.to_json(getattr(rates, name)) == written[name]
        assert (rates.controls is not None) == (share == "0.05")
    assert not any(method.at(0.1).shortcut)
    controls, written = method.at(0.05).controls, old["removal"]["0.05"]
    assert (
        list(method.at(0.05).shortcut) == written["shortcut"] and list(controls.best_trivial) == written["best_trivial"]
    )
    assert (controls.images.tolist(), controls.tpr.tolist()) == (written["control_images"], written["control_tpr"])
    for name in ("random_masks", "radial_masks", "random_tpr", "radial_tpr", "low_pass_tpr", "highest_energy_tpr"):
        assert typed_json.to_json(getattr(controls, name)) == written[name]
    for name in ("margin", "margin_ci", "p_value", "q_value"):
        assert typed_json.to_json(getattr(controls, name)) == written[name]


def test_the_first_files_had_neither_intervals_nor_controls(tmp_path):
    old = files.read_json(VERSION_1)
    old["removal"] = old["removal"] | {
        "0.05": {name: old["removal"]["0.05"][name] for name in ("tpr", "fpr", "positions")}
    }
    files.write_json(tmp_path / "evaluation.json", old)
    rates = evaluation_file.read(tmp_path / "evaluation.json").methods["removal"].at(0.05)
    assert np.isnan(rates.tpr_ci).all() and rates.controls is None and rates.shortcut == (None,) * 4
    assert np.isnan(rates.control_rates.trivial_tpr).all()


def test_an_evaluation_comes_back_from_its_file_as_it_was(tmp_path):
    found = evaluation_file.read(VERSION_1)
    written = found.to_json()
    assert written["version"] == 2 and list(written)[1:] == ["classes", "images", "unfiltered", "methods", "planted"]
    results.write(tmp_path, found)
    assert evaluation_file.read(tmp_path / "evaluation.json").to_json() == written
    nothing = results.evaluation(("a", "b"), {"removal": results.method({0.1: results.map_rates([0.5, None])})})
    assert Evaluation.from_json(json.loads(json.dumps(nothing.to_json()))).to_json() == nothing.to_json()


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
