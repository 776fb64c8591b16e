"""Graft results in JSON and back: the same numbers, and no others than can be."""

import copy
import dataclasses
import json
from typing import Annotated

import numpy as np
import pytest

from fsjax.evaluation import grafting, typed_json
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.typed_json import Between
from fsjax.runtime.errors import InputError
from tests.helpers.graft_problem import candidates, problem


@pytest.fixture(scope="module")
def measured():
    """Of three classes, of which the last has no images."""
    made = problem(counts=(9, 8, 0))
    return grafting.judge(made.model, candidates(made), made.sample(pairs=6))


def read(content, classes=3):
    return typed_json.from_json(Grafts, content, classes=classes)


def arrays_of(value, where=""):
    """Every number, array and text by where it stands."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {at: part for key, each in pairs for at, part in arrays_of(each, f"{where}.{key}").items()}
    return {where: value}


def test_what_is_measured_is_what_is_read_again(measured):
    text = json.dumps(typed_json.to_json(measured), allow_nan=False)
    written, found = arrays_of(measured), arrays_of(read(json.loads(text)))
    assert set(written) == set(found) and len(written) > 40
    for where, value in written.items():
        np.testing.assert_array_equal(found[where], value, err_msg=where)
        assert np.asarray(found[where]).dtype == np.asarray(value).dtype, where
    assert np.isnan(found[".rates.psi"][2]) and "null" in text


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("rates", "psi"), [0.5, -1.5, None], "rates.psi: got [0.5, -1.5, None]; expected a number in [-1, 1]"),
        (("rates", "grafted"), [0.5, -0.5, None], "rates.grafted: got [0.5, -0.5, None]; expected a number in [0, 1]"),
        (
            ("rates", "psi"),
            [0.5, 0.5],
            "rates.psi: got [0.5, 0.5]; expected a number in [-1, 1], as lists of shape [3]",
        ),
        (("rates", "psi_ci"), [[0, 1]] * 2, "rates.psi_ci: got"),
        (("baseline", "pairs"), [6, 6, -1], "baseline.pairs: got [6, 6, -1]"),
        (("curves", "map", "psi"), [[0, 0, 0]], "curves.map.psi: got"),
        (("curves", "map", "smallest"), [0.1, 2, None], "curves.map.smallest: got"),
        (("curve_shares",), [0.1, 0.2, 1.5], "curve_shares[2]: got 1.5; expected a number in [0, 1]"),
        (("verdicts", 0, "psi"), -1.5, "verdicts[0].psi: got -1.5; expected a number in [-1, 1]"),
        (("verdicts", 0, "psi_ci"), [-0.5, 1.5], "verdicts[0].psi_ci[1]: got 1.5; expected a number in [-1, 1]"),
        (("verdicts", 0, "share"), -0.5, "verdicts[0].share: got -0.5; expected a number in [0, 1]"),
        (("verdicts", 0, "kind"), 3, "verdicts[0].kind: got 3; expected a text"),
        (("verdicts",), [], "verdicts: got []; expected a list of 3"),
        (("rates",), None, "rates: got None; expected a JSON object"),
    ],
)
def test_numbers_that_cannot_be_are_refused(measured, path, value, said):
    content = typed_json.to_json(copy.deepcopy(measured))
    *outer, last = path
    inner = content
    for name in outer:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(InputError) as caught:
        read(content)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@dataclasses.dataclass(frozen=True)
class Inner:
    share: float | None


@dataclasses.dataclass(frozen=True)
class Outer:
    change: Annotated[float | None, Between(-1, 1)]
    changes: Annotated[tuple[float | None, ...], Between(-2, 1)]
    inner: Annotated[Inner | None, Between(-1, 1)]


def test_limits_hold_for_what_may_be_missing_and_in_lists_and_not_for_objects_within():
    valid = {"change": -0.5, "changes": [-1.5, None], "inner": {"share": 0.5}}
    assert typed_json.to_json(typed_json.from_json(Outer, valid)) == valid
    assert typed_json.from_json(Outer, {"change": None, "changes": [], "inner": None}) == Outer(None, (), None)
    for change, said in (
        ({"change": 1.5}, "change: got 1.5; expected a number in [-1, 1]"),
        ({"changes": [0, -2.5]}, "changes[1]: got -2.5; expected a number in [-2, 1]"),
        ({"inner": {"share": -0.5}}, "inner.share: got -0.5; expected a number in [0, 1]"),
    ):
        with pytest.raises(InputError) as caught:
            typed_json.from_json(Outer, valid | change)
        assert str(caught.value) == said
