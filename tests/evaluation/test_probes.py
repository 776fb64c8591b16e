"""The prefix of a map that is in use, against the whole judgement of each prefix, and the decisive part of a map."""

import numpy as np
import pytest

from fsjax.evaluation import judge_maps, probes
from fsjax.evaluation.judge_maps import Candidates
from fsjax.fourier import spectrum
from tests.helpers import graft_problem


def test_in_use_is_the_prefix_that_most_exceeds_what_its_size_needs(tmp_path, monkeypatch):
    """Against the whole judgement of every prefix: the class's wave is the first orbit, the third, or none."""
    made, rng = graft_problem.problem(), np.random.default_rng(2)
    orbits, sample = spectrum.orbits(*made.plane), made.sample(pairs=60)
    energy, waves = rng.lognormal(size=orbits.max() + 1)[orbits], [orbits[4 + u, 3 + v] for u, v in made.waves]
    ranked = [[one for one in rng.permutation(orbits.max() + 1) if one not in waves][:8] for _ in waves]
    ranked[0][0], ranked[1][2] = waves[:2]
    scores = np.zeros((3, *made.plane))
    for label, rank in np.ndindex(3, 8):
        scores[label][orbits == ranked[label][rank]] = 8 - rank
    maps = scores > 0
    options = {"scores": scores, "energy": energy, "share": 0.3, "directory": tmp_path}
    measured = probes.measure(made.model, maps, sample, **options)

    judgements = {}
    for first in (1, 2, 3, 4, 6, 8):
        prefixes = [np.isin(orbits, rank[:first]) for rank in ranked]
        alone = Candidates(("a", "b", "c"), (0.3,), 1, lambda label, made=prefixes: made[label][None])
        judgements[first] = judge_maps.judge(made.model, alone, sample)
    for label, count in enumerate((1, 3, None)):
        above = {}
        for first, judged in judgements.items():
            mask = np.isin(orbits, ranked[label][:first])
            (low, high), w = judged.curve.psi_ci[0, label], judged.rates.swapped[label]
            held = energy[mask].sum() / energy.sum()
            asked = max(held, 0.5 * mask.sum() / 18)  # 0.3 of 63 positions
            above[first] = np.log((1 - held) * (1 - asked) / (1 - low)) if w >= 0.5 else -np.inf
            if (measured.prefixes[label] == mask).all():
                of_first = (judged.baseline.base[label], w, judged.curve.psi[0, label], low, high)
                chosen = first
        assert chosen == max(above, key=above.get) and chosen == (count or chosen)
        assert measured.used[label] == (above[chosen] > 0) == (count is not None)
        rates = (measured.base[label], measured.swapped[label], measured.psi[label], *measured.psi_ci[label])
        np.testing.assert_allclose(rates, of_first, atol=1e-12)

    monkeypatch.setattr("fsjax.engine.engine.Engine.tiles", None)
    again = probes.measure(made.model, maps, sample, **options)
    for repeated, before in zip(again, measured, strict=True):
        np.testing.assert_array_equal(repeated, before)


@pytest.mark.parametrize(("default", "energy", "used"), [(0.0, 1, True), (-0.4, 1, False), (0.0, 300, False)])
def test_what_a_class_is_told_by_is_not_in_use_where_it_is_not_learned_or_holds_the_energy(default, energy, used):
    """A wave, in a class that the network recognises or not, or with all but a part of the energy."""
    made = graft_problem.problem(default=default)
    orbits, (u, v) = spectrum.orbits(*made.plane), made.waves[0]
    maps = np.stack([orbits == orbits[4 + u, 3 + v]] * 3)
    options = {"scores": maps.astype(float), "energy": np.where(maps[0], energy, 1.0), "share": 0.3}
    measured = probes.measure(made.model, maps, made.sample(pairs=60), **options)
    assert measured.psi_ci[0, 0] > 0.4 and (measured.swapped[0] >= 0.5) == (default == 0)
    assert measured.used[0] == used


def test_without_pairs_nothing_is_in_use_and_an_empty_map_is_its_own_prefix():
    made = graft_problem.problem()
    maps = np.zeros((3, *made.plane), bool)
    maps[0, 4, 3] = True
    options = {"scores": maps.astype(float), "energy": np.ones(made.plane), "share": 0.3}
    measured = probes.measure(made.model, maps, made.sample(usable=np.arange(0)), **options)
    np.testing.assert_array_equal(measured.prefixes, maps)
    assert not measured.used.any() and np.isnan(measured.psi).all()
    measured = probes.measure(made.model, maps, made.sample(), **options)
    assert not measured.used.any() and (measured.psi == 0)[1:].all() and not measured.prefixes[1:].any()


def test_a_map_begins_with_its_largest_scores():
    orbits = spectrum.orbits(24, 24)
    scores = np.random.default_rng(0).normal(size=orbits.max() + 1)
    inside = np.arange(orbits.max() + 1) % 3 == 0
    found = probes.prefixes(inside[orbits], scores[orbits])
    first = np.argsort(-scores[inside])
    for mask, count in zip(found, (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 97), strict=True):
        np.testing.assert_array_equal(mask, np.isin(orbits, np.flatnonzero(inside)[first[:count]]))
    assert probes.grafts_a_class(10, orbits=6) == 10 * (1 + 4 * 5)


def test_asked_is_a_half_times_the_size_beyond_the_energy_and_the_energy_once_more():
    def excess(low, size, held):
        return probes.excess(*map(np.array, (low, size, held)))

    np.testing.assert_allclose(excess([0.5, 0.25, 0.05], [1.0, 0.5, 0.1], [0.0] * 3), 0, atol=1e-12)
    # A map larger than a whole map has to control no more.
    np.testing.assert_allclose(excess([0.5], [7.0], [0.0]), 0, atol=1e-12)
    # Twice as much left is the same from everywhere.
    np.testing.assert_allclose(excess([0.75, 0.96], [1.0, 0.0], [0.0, 0.0]), np.log([2, 25]))
    # Beyond the energy that it holds; where this is much, as much of the rest.
    np.testing.assert_allclose(excess([0.55, 0.51], [1.0, 0.1], [0.1, 0.3]), 0, atol=1e-12)
    assert np.isfinite(excess([1.0, 0.3], [0.5, 0.5], [0.0, 1.0])).all()


@pytest.mark.parametrize(("side", "whole"), [(24, 11), (32, 20), (96, 61), (224, 143)])
def test_a_whole_map_grows_with_the_side_beyond_32_pixels_and_with_the_area_below(side, whole):
    maps = np.arange(side * side).reshape(side, side) < np.array([0, 1, whole, 2 * whole])[:, None, None]
    np.testing.assert_allclose(probes.relative_sizes(maps, 0.02), [0, 1 / whole, 1, 2])
    np.testing.assert_array_equal(probes.relative_sizes(maps[:2], 1e-4), [0, 1])


def test_what_only_fills_a_map_or_decides_no_more_than_its_energy_is_left_out():
    """Against the shares of every orbit, one by one."""
    rng = np.random.default_rng(0)
    orbits = spectrum.orbits(8, 7)
    count = orbits.max() + 1
    classes, energy = 40, rng.lognormal(size=count)
    scores = rng.lognormal(size=(classes, count)) * rng.normal(0.5, 1, size=(classes, count))
    scores[2] = 0  # a class that nothing raises
    maps = rng.random((classes, count)) < 0.7
    found = probes.decisive(maps[:, orbits], scores[:, orbits], energy[orbits])
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
    assert not probes.decisive(maps[:, orbits], scores[:, orbits], np.zeros((8, 7)))[2].any()
