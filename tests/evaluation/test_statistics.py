"""Intervals cover at their level, p-values keep theirs: against SciPy, published examples and simulation."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial

from fsjax.evaluation.statistics import benjamini_hochberg, mean, p_values, paired_difference, wilson


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
    """The exact probability, on average over the true shares, and for the worst of them."""
    truths = np.linspace(0.02, 0.98, 193)
    successes = np.arange(count + 1)
    lower, upper = wilson(successes, np.full(count + 1, count), level).T
    inside = (lower <= truths[:, None]) & (truths[:, None] <= upper)
    covered = (binom.pmf(successes, count, truths[:, None]) * inside).sum(1)
    assert covered.mean() == pytest.approx(level, abs=0.005) and covered.min() > least


# Newcombe (1998), Table III, method 10.
@pytest.mark.parametrize(
    ("cells", "limits"),
    [
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        ((20, 12, 2, 16), (0.0562, 0.3292)),
        ((35, 14, 0, 1), (0.1461, 0.4175)),
        ((2, 97, 1, 0), (0.8721, 0.9854)),
        ((0, 30, 0, 0), (0.8395, 1)),
        ((54, 0, 0, 0), (-0.0664, 0.0664)),
        ((29, 0, 0, 25), (-0.0354, 0.0354)),
    ],
)
def test_paired_intervals_are_the_published_ones(cells, limits):
    found = paired_difference(*(np.array([cell]) for cell in cells))[0]
    assert found == pytest.approx(limits, abs=6e-5)
    both, first, second, neither = (np.array([cell]) for cell in cells)
    np.testing.assert_allclose(paired_difference(both, second, first, neither)[0], -found[::-1], atol=1e-12)


def test_paired_intervals_cover_at_their_level():
    rng, covered = np.random.default_rng(0), []
    for _ in range(150):
        cells = rng.dirichlet([1, 1, 1, 1])
        found = paired_difference(*rng.multinomial(100, cells, 2000).T)
        truth = cells[1] - cells[2]
        covered.append(np.mean((found[:, 0] <= truth) & (truth <= found[:, 1])))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.005) and np.min(covered) > 0.93
    assert np.isnan(paired_difference(*np.zeros((4, 1), int))).all()


@pytest.fixture(scope="module")
def every_outcome():
    """All outcomes (both, first, second, neither) of 40 paired images."""
    both, first, second = (axis.ravel() for axis in np.indices((41, 41, 41)))
    cells = np.stack([both, first, second, 40 - both - first - second], axis=1)
    return cells[cells[:, 3] >= 0]


def test_paired_intervals_cover_exactly_that_often(every_outcome):
    """No simulation: the probability of every outcome, under truths from all over the simplex."""
    lower, upper = paired_difference(*every_outcome.T).T
    covered = []
    for truth in np.random.default_rng(1).dirichlet([1, 1, 1, 1], 100):
        difference = truth[1] - truth[2]
        inside = (lower <= difference) & (difference <= upper)
        covered.append(multinomial.pmf(every_outcome[inside], 40, truth).sum())
    assert np.mean(covered) == pytest.approx(0.95, abs=0.005) and np.min(covered) > 0.94


def test_a_margin_of_nothing_seldom_lies_above_nothing(every_outcome):
    """The third condition of a shortcut, alone: exactly how often, at most; a one-sided 2.5 %, and 0.2 % of method."""
    above = every_outcome[paired_difference(*every_outcome.T)[:, 0] > 0]
    found = []
    for both in np.linspace(0, 0.9, 7):
        for apart in np.linspace(0.02, 1 - both, 6):
            truth = np.array([both, apart / 2, apart / 2, 1 - both - apart]).clip(0)
            found.append(multinomial.pmf(above, 40, truth / truth.sum()).sum())
    assert max(found) <= 0.027 and max(found) > 0.02


def test_p_values_keep_their_level_also_on_ties():
    rng = np.random.default_rng(0)
    for trials in (1, 5, 1000):  # one trial is nothing but ties
        drawn = rng.binomial(trials, 0.3, (40, 20000))
        found = p_values(drawn[0], drawn[1:])
        for alpha in (0.025, 0.05, 0.1, 0.5):
            assert (found <= alpha).mean() <= alpha + 3 * np.sqrt(alpha / 20000)
    assert p_values(np.array([3, 2]), np.array([[1, 2], [3, 3], [2, 0]])).tolist() == [2 / 4, 3 / 4]
    assert p_values(np.array([9]), np.zeros((19, 1), int)) == 1 / 20


def test_q_values_are_the_definitions_and_skip_what_was_not_tested():
    p = np.random.default_rng(0).random(30) ** 3
    order = np.argsort(p)
    raised = p[order] * 30 / np.arange(1, 31)
    expected = np.empty(30)
    expected[order] = [min(1, raised[rank:].min()) for rank in range(30)]
    np.testing.assert_allclose(benjamini_hochberg(p), expected)
    with_gaps = np.insert(p, [0, 10], np.nan)
    np.testing.assert_allclose(benjamini_hochberg(with_gaps)[~np.isnan(with_gaps)], expected)
    assert np.isnan(benjamini_hochberg(np.full(2, np.nan))).all()


def test_a_mean_is_of_what_has_a_value():
    assert mean([0.25, None, float("nan"), 1.0]) == 0.625 and mean(np.array([0.5, np.nan])) == 0.5
    assert mean([]) is None and mean([None, float("nan")]) is None
