"""Sufficiency, necessity, psi and the smallest share against formulas; intervals against bootstraps and truth."""

import itertools

import numpy as np
import pytest

from fsjax.evaluation import influence
from fsjax.evaluation.influence import Outcomes, smallest_share


def outcomes(disrupted, grafted, swapped, replaced, donors=None, recipients=None):
    """Outcomes under one mask or several, of pairs that share no image where none are named."""
    under = [np.atleast_2d(np.asarray(array, bool)) for array in (grafted, swapped, replaced)]
    each = np.arange(under[0].shape[-1])
    images = (each if rows is None else rows for rows in (donors, recipients))
    return Outcomes(np.broadcast_to(np.asarray(disrupted, bool), under[0].shape), *under, *images)


def rows_of(found):
    """The four outcomes of each pair under the first mask."""
    return found.disrupted[0], found.grafted[0], found.swapped[0], found.replaced[0]


def drawn(rng, pairs, d, s, w, n, masks=1):
    """Outcomes of independent pairs whose rates are known; nobody is lost by grafting, so that S = s."""
    disrupted = rng.random((masks, pairs)) < d
    each = rng.random((3, masks, pairs))
    return outcomes(disrupted, disrupted | (each[0] < s), each[1] < w, each[2] < n)


def parts_by_loops(found, pairs):
    """S and N of some pairs under the first mask."""
    d, q, w, n = (sum(bool(array[i]) for i in pairs) / len(pairs) for array in rows_of(found))
    return ((q - d) / (1 - d), (w - n) / w)


def test_psi_is_the_mean_of_what_grafting_gains_and_what_it_loses():
    rng, pairs = np.random.default_rng(0), 50
    base = rng.random(pairs) < 0.2
    arrays = [rng.random((2, 3, pairs)) < rate for rate in (0.6, 0.8, 0.3)]
    found = influence.measure(outcomes(base, *arrays))
    for index in itertools.product(range(2), range(3)):
        one = outcomes(base, *(array[index] for array in arrays))
        sufficiency, necessity = parts_by_loops(one, range(pairs))
        assert found.sufficiency[index] == pytest.approx(sufficiency)
        assert found.necessity[index] == pytest.approx(necessity)
        assert found.psi[index] == pytest.approx((sufficiency + necessity) / 2)
        alone = influence.measure(one)
        assert alone.standard_error[0] == pytest.approx(found.standard_error[index])
    assert found.interval().shape == (2, 3, 2)


@pytest.mark.parametrize("rates", [(0.0, 0.5, 0.9, 0.4), (0.3, 0.8, 0.7, 0.1), (0.6, 0.4, 0.95, 0.9)])
def test_the_standard_error_of_separate_pairs_is_that_of_a_bootstrap(rates):
    found = drawn(np.random.default_rng(1), 400, *rates)
    (error,) = influence.measure(found).standard_error
    assert error == pytest.approx(bootstrapped(found, found.donors), rel=0.1)


def bootstrapped(found, images, resamples=1500):
    """Standard deviation of psi over resampled images, by drawing them and all of their pairs."""
    rng, different, psi = np.random.default_rng(2), np.unique(images), []
    of_image = [np.flatnonzero(images == image) for image in different]
    base, *arrays = (np.asarray(array, float) for array in rows_of(found))
    for _ in range(resamples):
        pairs = np.concatenate([of_image[i] for i in rng.integers(0, len(different), len(different))])
        d, q, w, n = (array[pairs].mean() for array in (base, *arrays))
        psi.append(((q - d) / (1 - d) + (w - n) / w) / 2)
    return np.std(psi)


@pytest.mark.parametrize("side", ["donors", "recipients"])
def test_images_that_come_five_times_with_the_same_outcome_count_once(side):
    once = drawn(np.random.default_rng(1), 120, 0.2, 0.5, 0.9, 0.3)
    five_times = [np.repeat(array, 5) for array in rows_of(once)]
    images = np.repeat(np.arange(120), 5)
    clustered, separate = outcomes(*five_times, **{side: images}), outcomes(*five_times)
    found, naive = (influence.measure(of).standard_error[0] for of in (clustered, separate))
    assert found / naive == pytest.approx(np.sqrt(5), rel=0.05)
    assert found == pytest.approx(influence.measure(once).standard_error[0], rel=1e-6)
    assert found == pytest.approx(bootstrapped(clustered, images), rel=0.1)


def test_the_standard_error_of_crossed_images_is_the_spread_over_new_images():
    """Every donor and every recipient moves all of its pairs; both come four times."""
    rng, psi, errors = np.random.default_rng(0), [], []
    donors = np.tile(np.arange(50), 4)
    for _ in range(400):
        recipients = rng.permutation(np.repeat(np.arange(50), 4))
        of_donor, of_recipient = rng.normal(size=50)[donors], rng.normal(size=50)[recipients]
        base, grafted = of_recipient > 1.5, of_donor + of_recipient > 0
        swapped, replaced = of_donor > -1.5, of_donor + of_recipient < 0
        found = influence.measure(outcomes(base, grafted | base, swapped, replaced & swapped, donors, recipients))
        psi.append(found.psi[0])
        errors.append(found.standard_error[0])
    assert np.mean(errors) == pytest.approx(np.std(psi), rel=0.1)


def test_outcomes_that_cancel_within_a_donor_are_as_uncertain_as_separate_pairs_and_without_pairs_all_is_nan():
    half = np.tile([True, False], 100)
    found, separate = (
        influence.measure(outcomes(half & False, half, half | True, half & False, donors)).standard_error[0]
        for donors in (np.repeat(np.arange(100), 2), None)
    )
    assert 0.95 * separate < found < 1.1 * separate
    found = influence.measure(outcomes(np.zeros(0), *np.zeros((3, 4, 0))))
    assert all(array.shape == (4,) and np.isnan(array).all() for array in vars(found).values())
    assert np.isnan(found.interval()).all() and np.isnan(found.p_above(0.5)).all()


TRUTHS = [
    *((0.0, 0.0, 0.9, 0.9), (0.02, 0.0, 0.9, 0.88), (0.1, 0.05, 0.9, 0.85), (0.3, 0.4, 0.8, 0.4)),
    *((0.0, 0.6, 1.0, 0.4), (0.45, 0.9, 0.7, 0.1), (0.0, 0.97, 0.97, 0.02), (0.0, 1.0, 1.0, 0.0)),
]


@pytest.mark.parametrize("pairs", [40, 120])
@pytest.mark.parametrize("rates", TRUTHS)
def test_intervals_hold_the_truth_at_all_rates(rates, pairs):
    rng = np.random.default_rng(3)
    _, s, w, n = rates
    truth, limits = (s + (w - n) / w) / 2, []
    for _ in range(60):
        found = influence.measure(drawn(rng, pairs, *rates, masks=20))
        limits.append(found.interval())
        assert ((found.p_above(0.5) < 0.025) == (limits[-1][:, 0] > 0.5)).all()
    low, high = np.concatenate(limits).T
    assert (low < high).all()
    assert ((low <= truth) & (truth <= high)).mean() >= 0.93
    assert (high - low).mean() < 0.7 / np.sqrt(pairs / 40), "and they are no wider than the pairs ask for"


@pytest.mark.parametrize("rates", list(itertools.product([0, 1], repeat=4)))
def test_rates_of_0_and_1_have_finite_intervals(rates):
    found = influence.measure(outcomes(*(np.full(30, rate) for rate in rates)))
    ((low, high),) = found.interval()
    assert np.isfinite([low, high, found.p_above(0.5)[0]]).all() and low < high
    d, q, w, n = rates
    # 1 - d and w are at least 0.02.
    assert found.psi[0] == pytest.approx(((q - d) / (0.02 if d else 1) + (w - n) / (1 if w else 0.02)) / 2)


SHARES = (0.01, 0.04, 0.16, 0.64)


def controlled_pairs(controlled, donors=None, recipients=None):
    """Outcomes of pairs that are controlled fully or not at all, so that psi is the share of pairs, [shares, n]."""
    return outcomes(np.zeros(controlled.shape[1]), controlled, controlled | True, ~controlled, donors, recipients)


def pairs_with(psi, pairs=40):
    """Outcomes with exactly this psi at each share."""
    return controlled_pairs(np.arange(pairs) < np.round(np.array(psi) * pairs)[:, None])


@pytest.mark.parametrize(
    ("psi", "expected"),
    [
        *(((0.1, 0.3, 0.7, 0.9), 0.08), ((0.0, 0.2, 0.4, 0.8), 0.16 * 4**0.25), ((0.2, 0.5, 0.6, 0.7), 0.04)),
        *(((0.5, 0.6, 0.7, 0.8), 0.01), ((0.9, 0.1, 0.2, 0.3), 0.01), ((0.3, 0.6, 0.2, 0.9), 0.01 * 4 ** (2 / 3))),
        *(((0.4, 0.2, 0.4, 0.6), 0.16 * 2), ((0.1, 0.2, 0.3, 0.475), np.nan)),
    ],
)
def test_the_first_crossing_is_on_a_line_over_the_logarithm_of_the_share(psi, expected):
    found, (low, high) = smallest_share(pairs_with(psi, 400), SHARES, 0.5, seed=0)
    assert found == pytest.approx(expected, nan_ok=True)
    assert np.isnan(expected) or (low <= found + 1e-9 and not high < found - 1e-9)
    assert smallest_share(pairs_with(psi, 400), SHARES, 0.0, seed=0)[0] == pytest.approx(0.01)


def test_limits_beyond_the_last_share_are_unknown_and_those_of_other_seeds_others():
    never, certain = pairs_with((0.0, 0.0, 0.1, 0.2)), pairs_with((0.0, 1.0, 1.0, 1.0))
    found, limits = smallest_share(never, SHARES, 0.5, seed=0)
    assert np.isnan(found) and np.isnan(limits).all()
    found, limits = smallest_share(certain, SHARES, 0.5, seed=0)
    assert found == pytest.approx(0.02) and limits == pytest.approx([0.02, 0.02])
    barely = pairs_with((0.0, 0.1, 0.2, 0.55))
    found, (low, high) = smallest_share(barely, SHARES, 0.5, seed=0)
    assert 0.16 < low < found < 0.64 and np.isnan(high)
    missed = smallest_share(pairs_with((0.0, 0.1, 0.2, 0.45)), SHARES, 0.5, seed=0)
    assert np.isnan(missed[0]) and missed[1][0] < 0.64 and np.isnan(missed[1][1])
    spread = pairs_with((0.0, 0.3, 0.7, 0.9))
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
        _, limits = smallest_share(controlled_pairs(controlled, **images), SHARES, 0.5, seed=0)
        low, high = np.nan_to_num(limits, nan=np.inf)
        held.append(low <= truth * (1 + 1e-9) and truth <= high * (1 + 1e-9))
        widths.append(np.log(high / low))
    assert np.mean(held) >= 0.9
    assert np.mean(widths) < 1, "a factor of 2.7 at most: not so wide that they say nothing"
