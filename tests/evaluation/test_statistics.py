"""Intervals cover at their level and are SciPy's; means leave out unknown values."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from fsjax.evaluation.statistics import bootstrap_interval, mean, wilson


def test_intervals_are_scipys_and_a_mean_is_of_what_has_a_value():
    total = np.array([1, 7, 100, 365])
    for successes in (np.zeros(4, int), np.array([1, 3, 94, 200]), total):
        for row, k, n in zip(wilson(successes, total), successes.tolist(), total.tolist(), strict=True):
            assert row == pytest.approx(binomtest(k, n).proportion_ci(method="wilson"), abs=1e-12)
    assert np.isnan(wilson(np.array([0]), np.array([0]))).all()
    assert wilson(np.array([0]), np.array([9]))[0, 0] == 0 and wilson(np.array([9]), np.array([9]))[0, 1] == 1
    values = np.zeros((60, 2))
    values[:15, 0], values[:45, 1] = 1, 1
    exact = [binom.ppf([0.025, 0.975], 60, rate) / 60 for rate in (0.25, 0.75)]
    np.testing.assert_allclose(bootstrap_interval(values), exact, atol=0.5 / 60)
    assert mean([0.25, None, float("nan"), 1.0]) == 0.625 and mean(np.array([0.5, np.nan])) == 0.5
    assert mean([]) is None and mean([None, float("nan")]) is None
