"""Intervals cover at their level and are SciPy's; means leave out unknown values."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from fsjax.evaluation.statistics import bootstrap_interval, mean, wilson


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_limits_are_scipys(level):
    total = np.array([1, 7, 100, 365])
    for successes in (np.zeros(4, int), np.array([1, 3, 94, 200]), total):
        found = wilson(successes, total, level)
        for row, k, n in zip(found, successes.tolist(), total.tolist(), strict=True):
            assert row == pytest.approx(binomtest(k, n).proportion_ci(level, method="wilson"), abs=1e-12)
    assert np.isnan(wilson(np.array([0]), np.array([0]))).all()
    assert wilson(np.array([0]), np.array([9]))[0, 0] == 0 and wilson(np.array([9]), np.array([9]))[0, 1] == 1


@pytest.mark.parametrize(
    ("count", "level", "least"),
    [(40, 0.95, 0.92), (100, 0.95, 0.92), (250, 0.95, 0.94), (1000, 0.95, 0.94), (100, 0.8, 0.72), (100, 0.99, 0.98)],
)
def test_wilson_intervals_cover_at_their_level(count, level, least):
    """The exact probability, on average over the true shares, and for the worst."""
    truths = np.linspace(0.02, 0.98, 193)
    successes = np.arange(count + 1)
    lower, upper = wilson(successes, np.full(count + 1, count), level).T
    inside = (lower <= truths[:, None]) & (truths[:, None] <= upper)
    covered = (binom.pmf(successes, count, truths[:, None]) * inside).sum(1)
    assert covered.mean() == pytest.approx(level, abs=0.005) and covered.min() > least


def test_a_mean_is_of_what_has_a_value():
    assert mean([0.25, None, float("nan"), 1.0]) == 0.625 and mean(np.array([0.5, np.nan])) == 0.5
    assert mean([]) is None and mean([None, float("nan")]) is None


def test_a_bootstrap_interval_of_a_rate_is_that_of_the_binomial_distribution():
    values = np.zeros((60, 2))
    values[:15, 0], values[:45, 1] = 1, 1
    interval = bootstrap_interval(values, resamples=20000)
    exact = [binom.ppf([0.025, 0.975], 60, rate) / 60 for rate in (0.25, 0.75)]
    np.testing.assert_allclose(interval, exact, atol=1.01 / 60)
