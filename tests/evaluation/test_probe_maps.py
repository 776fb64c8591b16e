"""psi of given maps, without controls: the same numbers as the whole judgement, and which maps count as in use."""

import dataclasses

import numpy as np
import pytest

from fsjax.evaluation import grafting, probe_maps
from fsjax.evaluation.probe_maps import Measured
from fsjax.fourier import spectrum
from tests.helpers import graft_problem


def test_psi_is_that_of_the_whole_judgement_and_a_restart_computes_nothing(tmp_path, monkeypatch):
    made = graft_problem.problem()
    candidates, sample = graft_problem.candidates(made), made.sample()
    maps = np.stack([candidates.masks(label)[1] for label in range(made.classes)])
    measured = probe_maps.measure(made.model, maps, sample, directory=tmp_path)
    judged = grafting.judge(made.model, candidates, sample)
    np.testing.assert_array_equal(measured.base, judged.baseline.base)
    np.testing.assert_allclose(measured.psi, judged.curves["map"].psi[1], atol=1e-12)
    np.testing.assert_allclose(measured.psi_ci, judged.curves["map"].psi_ci[1], atol=1e-12)
    alone = {"shares": candidates.shares[1:2], "tested": (True,), "masks": lambda label: maps[[label]]}
    rates = grafting.judge(made.model, dataclasses.replace(candidates, **alone), sample).rates
    np.testing.assert_array_equal(measured.swapped, rates.swapped)
    monkeypatch.setattr("fsjax.engine.engine.Engine.tiles", None)
    again = probe_maps.measure(made.model, maps, sample, directory=tmp_path)
    for repeated, before in zip(again, measured, strict=True):
        np.testing.assert_array_equal(repeated, before)


def test_a_map_is_in_use_where_its_lower_limit_is_above_a_half_times_the_square_of_its_size():
    base = np.array([0.1, 0.1, 0.8, 0.8, np.nan])  # the third and fourth are what the model says of anything
    limits = np.array([[0.51, 0.9], [0.49, 0.9], [0.45, 1.0], [0.53, 1.0], [np.nan, np.nan]])
    swapped = np.array([0.9, 0.9, 0.9, 0.5, np.nan])
    of_classes = Measured(base, swapped, limits.mean(1), limits)
    nothing, whole = np.zeros(5), np.ones(5)
    assert probe_maps.in_use(of_classes, whole, nothing).tolist() == [True, False, False, True, False]
    # Sizes of which as much is asked as the limits say.
    sizes = np.sqrt(2 * limits[:, 0])
    assert probe_maps.in_use(of_classes, sizes - 0.01, nothing).tolist() == [True, True, True, True, False]
    assert probe_maps.in_use(of_classes, sizes + 0.01, nothing).tolist() == [True, False, False, True, False]
    # One that is larger than a whole one has to control no more than that.
    assert probe_maps.in_use(of_classes, 7 * whole, nothing).tolist() == [True, False, False, True, False]
    # What it controls comes on top of the energy that it holds.
    held = np.array([0.01, 0.01, 0.03, 0.07, 0.0])
    assert probe_maps.in_use(of_classes, sizes - 0.01, held).tolist() == [True, True, False, False, False]
    # Of much energy, and be the map small: more than as much of what is left.
    held = np.array([0.29, 0.31, 0.25, 0.3, 0.0])  # e + (1 - e) e = 0.4959, 0.5239, 0.4375, 0.51
    assert probe_maps.in_use(of_classes, 0.1 * whole, held).tolist() == [True, False, True, True, False]
    # What the network has not learned it cannot use.
    assert not probe_maps.in_use(of_classes._replace(swapped=0.45 + 0 * swapped), whole, nothing).any()


@pytest.mark.parametrize(("side", "whole"), [(24, 11), (32, 20), (96, 61), (224, 143)])
def test_a_whole_map_grows_with_the_side_beyond_32_pixels_and_with_the_area_below(side, whole):
    maps = np.arange(side * side).reshape(side, side) < np.array([0, 1, whole, 2 * whole])[:, None, None]
    np.testing.assert_allclose(probe_maps.size(maps, 0.02), [0, 1 / whole, 1, 2])
    np.testing.assert_array_equal(probe_maps.size(maps[:2], 1e-4), [0, 1])


def test_what_only_fills_a_map_or_decides_no_more_than_its_energy_is_left_out():
    """Against the shares of every orbit, one by one."""
    rng = np.random.default_rng(0)
    orbits = spectrum.orbits(8, 7)
    count = orbits.max() + 1
    classes, energy = 40, rng.lognormal(size=count)
    scores = rng.lognormal(size=(classes, count)) * rng.normal(0.5, 1, size=(classes, count))
    scores[2] = 0  # a class that nothing raises
    maps = rng.random((classes, count)) < 0.7
    found = probe_maps.decisive(maps[:, orbits], scores[:, orbits], energy[orbits])
    for label in range(classes):
        raising = [max(score, 0) for score in scores[label]]
        shares = [(orbits == orbit).sum() * energy[orbit] for orbit in range(count)]
        shares = [share / sum(shares) for share in shares]
        clear = [one for one in range(count) if maps[label, one] and raising[one] >= 0.05 * max(raising)]
        largest = max(raising[one] / shares[one] for one in clear)
        for orbit in range(count):
            stays = orbit in clear and raising[orbit] > shares[orbit] * sum(raising)
            stays = stays and raising[orbit] / shares[orbit] >= 0.05 * largest
            assert (found[label][orbits == orbit] == stays).all()
    assert found[:2].any((1, 2)).all() and (found != maps[:, orbits])[:2].any((1, 2)).all() and not found[2].any()
    assert not probe_maps.decisive(maps[:, orbits], scores[:, orbits], np.zeros((8, 7)))[2].any()


def test_beside_what_decides_twenty_times_as_much_for_its_energy_the_rest_is_left_out():
    orbits = spectrum.orbits(8, 8)
    scores, energy, maps = np.zeros(34), np.ones(34), np.zeros(34, bool)
    scores[[3, 5, 7, 9]], energy[[3, 5, 7, 9]], maps[[3, 5, 7]] = 1, [0.01, 0.19, 0.21, 0.001], True
    found = probe_maps.decisive(maps[None, orbits], scores[None, orbits], energy[orbits])
    np.testing.assert_array_equal(found[0], np.isin(orbits, (3, 5)))
