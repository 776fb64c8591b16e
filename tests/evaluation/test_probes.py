"""psi of given maps, without controls: the same numbers as the whole judgement, and which maps count as in use."""

import dataclasses

import numpy as np
import pytest

from fsjax.evaluation import grafting, probes
from fsjax.evaluation.probes import Measured, ProbeRound, Probes
from fsjax.runtime.errors import InputError
from tests.helpers import graft_problem


def test_psi_is_that_of_the_whole_judgement_and_a_restart_computes_nothing(tmp_path, monkeypatch):
    made = graft_problem.problem()
    candidates, sample = graft_problem.candidates(made), made.sample()
    maps = np.stack([candidates.masks(label)[1] for label in range(made.classes)])
    measured = probes.measure(made.model, maps, sample, directory=tmp_path)
    judged = grafting.judge(made.model, candidates, sample)
    np.testing.assert_array_equal(measured.base, judged.baseline.base)
    np.testing.assert_allclose(measured.psi, judged.curves["map"].psi[1], atol=1e-12)
    np.testing.assert_allclose(measured.psi_ci, judged.curves["map"].psi_ci[1], atol=1e-12)
    alone = {"shares": candidates.shares[1:2], "tested": (True,), "masks": lambda label: maps[[label]]}
    rates = grafting.judge(made.model, dataclasses.replace(candidates, **alone), sample).rates
    np.testing.assert_array_equal(measured.swapped, rates.swapped)
    monkeypatch.setattr("fsjax.engine.engine.Engine.tiles", None)
    again = probes.measure(made.model, maps, sample, directory=tmp_path)
    for repeated, before in zip(again, measured, strict=True):
        np.testing.assert_array_equal(repeated, before)


def test_a_map_is_in_use_where_its_lower_limit_is_above_a_half():
    base = np.array([0.1, 0.1, 0.8, 0.8, np.nan])  # the third and fourth are what the model says of anything
    limits = np.array([[0.51, 0.9], [0.49, 0.9], [0.45, 1.0], [0.53, 1.0], [np.nan, np.nan]])
    swapped = np.array([0.9, 0.9, 0.9, 0.5, np.nan])
    of_classes = Measured(base, swapped, limits.mean(1), limits)
    assert probes.in_use(of_classes).tolist() == [True, False, False, True, False]
    # What the network has not learned it cannot use.
    assert not probes.in_use(of_classes._replace(swapped=0.45 + 0 * swapped)).any()


def test_the_file_is_read_back_and_another_one_is_refused(tmp_path):
    of_classes = np.array([0.9, np.nan])
    limits = np.array([[0.8, 1], [np.nan] * 2])
    one = ProbeRound(0.3, True, 0.25, of_classes / 3, of_classes, of_classes, limits, (True, False), 6, 0.02)
    found = Probes(("a", "b"), (False, True), (one,), 0.02)
    content = found.to_json()
    again = Probes.from_json(content)
    assert again.rounds[0].used == (True, False) and np.isnan(again.rounds[0].psi[1]) and again.to_json() == content
    assert found.cost == 1.3 and content["version"] == 3
    before = {
        **content,
        "version": 2,
        "rounds": [{k: v for k, v in content["rounds"][0].items() if k not in ("end", "own")}],
    }
    assert Probes.from_json(before).cost is None
    content["rounds"][0]["psi"] = [2.0, None]
    with pytest.raises(InputError, match="psi"):
        Probes.from_json(content)
    with pytest.raises(InputError):
        Probes.from_json({"rounds": []})
