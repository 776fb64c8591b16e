"""The regression on candidate losses, against ridge regression in its primal form and planted truth."""

import dataclasses

import numpy as np
import pytest

from fsjax.fourier import spectrum
from fsjax.search.hierarchical import candidate_regression
from fsjax.search.hierarchical.candidates import Candidates
from fsjax.search.hierarchical.stages import Stage

STAGES = (Stage(4, 60), Stage(2, 90), Stage(1, 120), Stage(1, 40, 20, 0.5))


@pytest.mark.parametrize("orbits", [30, 1500])
def test_slopes_are_those_of_ridge_regression_with_an_intercept_for_each_stage(orbits, monkeypatch):
    rng = np.random.default_rng(0)
    stage = rng.integers(3, size=80)
    kept = rng.random((80, orbits)) < (0.3 + 0.2 * stage[:, None])
    losses = rng.normal(size=(3, 80)) + 3 * stage
    x, y = kept.astype(float), losses.copy()
    for number in range(3):
        x[stage == number] -= x[stage == number].mean(0)
        y[:, stage == number] -= y[:, stage == number].mean(1, keepdims=True)
    penalty = 0.05 * (x**2).sum(0).mean()
    expected = np.linalg.solve(x.T @ x + penalty * np.eye(orbits), x.T @ y.T).T
    monkeypatch.setattr(candidate_regression, "_CLASSES", 2)
    monkeypatch.setattr(candidate_regression, "_ORBITS", 400)
    found = list(candidate_regression.slopes(kept, losses, stage))
    assert [len(of_classes) for of_classes in found] == [2, 1]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-9)


def searched(needed, *, seed=0):
    """Candidates at 16 pixels after their published stages, and losses that count what a class needs and lacks."""
    made, found = Candidates((16, 16), STAGES, seed, 0.6, False), []
    orbits = spectrum.orbits(16, 16)
    for number in range(3):
        masks = made.masks(number, 0, STAGES[number].count)
        held = np.array([[np.isin(of_class, orbits[mask]) for mask in masks] for of_class in needed])
        found.append(~held @ np.arange(1.0, 1 + len(needed[0])) + number)
        best = np.argsort(found[-1], axis=1, kind="stable")[:, :2]
        made = dataclasses.replace(made, best=(*made.best, best))
    return made, found


def test_what_a_class_needs_ranks_first_also_where_its_best_candidates_lack_it():
    needed = np.random.default_rng(0).permutation(130)[:12].reshape(2, 6)
    for seed in (1, 2, 5):  # draws whose best candidates all lack an orbit of each class
        made, found = searched(needed, seed=seed)
        ranking = candidate_regression.rank_orbits(made, found, 20)
        assert ranking.shape == (2, 20)
        for label in range(2):
            # The more it costs to lack an orbit, the better it ranks.
            assert ranking[label, :5].tolist() == needed[label, :0:-1].tolist()
            assert needed[label, 0] in ranking[label, 5:10]
            for index in made.best[2][label]:
                mask = made.mask(2, int(index))
                assert not np.isin(needed[label], spectrum.orbits(16, 16)[mask]).all()


def test_of_many_candidates_some_are_looked_at_and_of_all_stages(monkeypatch):
    made, found = searched(np.array([[5, 40, 77, 101]]))
    seen, slopes = [], candidate_regression.slopes

    def noted(*given):
        seen.append(given)
        return slopes(*given)

    monkeypatch.setattr(candidate_regression, "MOST_CANDIDATES", 90)
    monkeypatch.setattr(candidate_regression, "slopes", noted)
    ranking = candidate_regression.rank_orbits(made, found, 20)
    ((kept, losses, stage),) = seen
    assert kept.shape == (90, 130) and losses.shape == (1, 90) and np.bincount(stage).min() >= 10
    assert np.isin([77, 101], ranking[0, :8]).all()
    for row, loss, number in zip(kept, losses[0], stage, strict=True):
        lacking = [not row[orbit] for orbit in (5, 40, 77, 101)]
        assert loss == lacking @ np.arange(1.0, 5) + number, "a loss beside its own candidate"


@pytest.mark.parametrize("count", [1, 20])
def test_where_losses_tell_nothing_orbits_keep_their_order(count):
    made = Candidates((16, 16), (Stage(4, count), *STAGES[1:]), 0, 0.6, False)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(
            candidate_regression.rank_orbits(made, [np.full((2, count), 1.5)], 20), [range(20)] * 2
        )
