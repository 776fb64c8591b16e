"""The smallest share that controls a class: where curves cross in closed form, and intervals that hold the truth."""

import numpy as np
import pytest

from fsjax.evaluation.influence import Outcomes, smallest_share

SHARES = (0.01, 0.04, 0.16, 0.64)


def outcomes(controlled, donors=None, recipients=None):
    """Outcomes of pairs in which everything or nothing happens, so that psi is the share of pairs, [shares, n]."""
    each = np.arange(controlled.shape[1])
    images = (each if rows is None else rows for rows in (donors, recipients))
    return Outcomes(each < 0, controlled, controlled | True, ~controlled, *images)


def of_curve(psi, pairs=40):
    """Outcomes with exactly this psi at each share."""
    return outcomes(np.arange(pairs) < np.round(np.array(psi) * pairs)[:, None])


@pytest.mark.parametrize(
    ("psi", "expected"),
    [
        ((0.1, 0.3, 0.7, 0.9), 0.08),
        ((0.0, 0.2, 0.4, 0.8), 0.16 * 4**0.25),
        ((0.2, 0.5, 0.6, 0.7), 0.04),
        ((0.5, 0.6, 0.7, 0.8), 0.01),
        ((0.9, 0.1, 0.2, 0.3), 0.01),
        ((0.3, 0.6, 0.2, 0.9), 0.01 * 4 ** (2 / 3)),
        ((0.4, 0.2, 0.4, 0.6), 0.16 * 2),
        ((0.1, 0.2, 0.3, 0.475), np.nan),
    ],
)
def test_the_first_crossing_is_on_a_line_over_the_logarithm_of_the_share(psi, expected):
    found, (low, high) = smallest_share(of_curve(psi, 400), SHARES, 0.5, seed=0)
    assert found == pytest.approx(expected, nan_ok=True)
    assert np.isnan(expected) or (low <= found + 1e-9 and not high < found - 1e-9)
    assert smallest_share(of_curve(psi, 400), SHARES, 0.0, seed=0)[0] == pytest.approx(0.01)


def test_limits_beyond_the_last_share_are_unknown_and_those_of_other_seeds_others():
    never, certain = of_curve((0.0, 0.0, 0.1, 0.2)), of_curve((0.0, 1.0, 1.0, 1.0))
    found, limits = smallest_share(never, SHARES, 0.5, seed=0)
    assert np.isnan(found) and np.isnan(limits).all()
    found, limits = smallest_share(certain, SHARES, 0.5, seed=0)
    assert found == pytest.approx(0.02) and limits == pytest.approx([0.02, 0.02])
    barely = of_curve((0.0, 0.1, 0.2, 0.55))
    found, (low, high) = smallest_share(barely, SHARES, 0.5, seed=0)
    assert 0.16 < low < found < 0.64 and np.isnan(high)
    missed = smallest_share(of_curve((0.0, 0.1, 0.2, 0.45)), SHARES, 0.5, seed=0)
    assert np.isnan(missed[0]) and missed[1][0] < 0.64 and np.isnan(missed[1][1])
    spread = of_curve((0.0, 0.3, 0.7, 0.9))
    np.testing.assert_array_equal(*(smallest_share(spread, SHARES, 0.5, seed=1)[1] for _ in range(2)))
    assert (smallest_share(spread, SHARES, 0.5, seed=1)[1] != smallest_share(spread, SHARES, 0.5, seed=2)[1]).any()


@pytest.mark.parametrize(
    ("curve", "truth"),
    [((0.1, 0.3, 0.7, 0.9), 0.08), ((0.05, 0.1, 0.3, 0.8), 0.16 * 4**0.4), ((0.5, 0.7, 0.8, 1), 0.01)],
)
@pytest.mark.parametrize("monotone", [True, False])
@pytest.mark.parametrize("side", [None, "donors", "recipients"])
def test_intervals_hold_the_truth_and_images_that_come_again_widen_them(curve, truth, monotone, side):
    """Pairs either stay controlled at every larger share, or not; of a side, four pairs with an image are alike."""
    rng, held, widths, repeated = np.random.default_rng(0), [], [], 1 if side is None else 4
    for _ in range(100):
        u = rng.random((1 if monotone else 4, 80))
        controlled = np.repeat(u < np.array(curve)[:, None], repeated, 1)
        images = {} if side is None else {side: np.repeat(np.arange(80), repeated)}
        _, limits = smallest_share(outcomes(controlled, **images), SHARES, 0.5, seed=0)
        low, high = np.nan_to_num(limits, nan=np.inf)
        held.append(low <= truth * (1 + 1e-9) and truth <= high * (1 + 1e-9))
        widths.append(np.log(high / low))
    assert np.mean(held) >= 0.9
    assert np.mean(widths) < 1, "a factor of 2.7 at most: not so wide that they say nothing"
