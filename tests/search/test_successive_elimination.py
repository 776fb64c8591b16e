"""Estimates, bounds and decisions of successive elimination, in plain NumPy, against planted truth and brute force."""

import numpy as np
import pytest
from scipy import stats

from fsjax.fourier import patches
from fsjax.search import patch_maps
from fsjax.search.adaptive import estimates, successive_elimination
from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.adaptive.successive_elimination import SuccessiveElimination


def population(rng, images, patches):
    """Rises that a few images dominate, how much each is expected to matter, and predictions of them."""
    sizes = np.exp(0.7 * rng.normal(size=images)) + 0.1
    predicted = rng.normal(size=(patches, images)) * sizes
    rises = (0.5 + 0.8 * rng.normal(size=(patches, images))) * sizes + 2 * predicted
    return rises, predicted, sizes


@pytest.mark.parametrize("with_predictions", [False, True])
@pytest.mark.parametrize("uniform", [False, True])
def test_estimates_are_unbiased_and_their_errors_as_large_as_they_say(with_predictions, uniform):
    rng = np.random.default_rng(0)
    rises, predicted, sizes = population(rng, 300, 40)
    sizes = np.ones(300) if uniform else sizes
    truth, chances, errors = rises.mean(1), estimates.inclusion_probabilities(sizes, 80)[:, None], []
    for _ in range(300):
        order = estimates.sampling_order(sizes, rng)[:80]
        given = (predicted[:, order], predicted.mean(1)) if with_predictions else (None, None)
        found = estimates.estimate(rises[:, order], chances[order, 0], 300, *given)
        assert found.control_variate.mean() > 0.9 if with_predictions else not found.control_variate.any()
        errors.append((found.mean - truth, found.standard_error))
    errors, deviations = np.array(errors).swapaxes(0, 1)
    assert (np.abs(errors.mean(0)) < 0.25 * errors.std(0)).all()
    np.testing.assert_allclose(deviations.mean(0), np.sqrt(np.mean(errors**2, 0)), rtol=0.25)
    outside = np.mean(np.abs(errors / deviations) > estimates.multiplier(2.25, 80))
    assert outside < 3 * 2 * stats.norm.sf(2.25), "heavy tails, but not by far"


def test_images_that_matter_and_predictions_narrow_the_bounds():
    rng = np.random.default_rng(1)
    rises, predicted, sizes = population(rng, 300, 40)
    widths = []
    for of_order, given in ((np.ones(300), False), (sizes, False), (sizes, True)):
        order = estimates.sampling_order(of_order, rng)[:80]
        pair = (predicted[:, order], predicted.mean(1)) if given else (None, None)
        found = estimates.estimate(rises[:, order], estimates.inclusion_probabilities(of_order, 80)[order], 300, *pair)
        widths.append(np.median(found.standard_error))
    assert widths[1] < 0.9 * widths[0] and widths[2] < 0.6 * widths[1]


def test_predictions_that_tell_nothing_are_seldom_used_and_never_cost_width():
    rng = np.random.default_rng(2)
    rises = rng.normal(size=(400, 200))
    useless = rng.normal(size=(400, 200))
    chances = np.full(50, 0.25)
    plain = estimates.estimate(rises[:, :50], chances, 200)
    found = estimates.estimate(rises[:, :50], chances, 200, useless[:, :50], useless.mean(1))
    assert (found.standard_error <= plain.standard_error).all()
    assert found.control_variate.mean() < 0.4
    np.testing.assert_array_equal(found.mean[~found.control_variate], plain.mean[~found.control_variate])
    constant = estimates.estimate(rises[:, :50], chances, 200, 0 * useless[:, :50], 0 * useless.mean(1))
    assert not constant.control_variate.any()


def test_with_every_image_an_estimate_is_the_mean():
    rises, predicted, sizes = population(np.random.default_rng(3), 50, 10)
    found = estimates.estimate(rises, estimates.inclusion_probabilities(sizes, 50), 50, predicted, predicted.mean(1))
    np.testing.assert_array_equal(found.mean, rises.mean(1))
    assert not found.standard_error.any() and not found.control_variate.any()


def test_the_beginnings_of_an_order_are_samples_with_the_chances_of_inclusion():
    rng = np.random.default_rng(4)
    sizes = np.exp(1.5 * rng.normal(size=60))
    drawn = np.zeros((2, 60))
    for _ in range(4000):
        order = estimates.sampling_order(sizes, rng)
        drawn[0, order[:12]] += 1
        drawn[1, order[:35]] += 1
    for count, frequency in zip((12, 35), drawn / 4000, strict=True):
        chances = estimates.inclusion_probabilities(sizes, count)
        assert chances.sum() == pytest.approx(count) and chances.max() == 1
        assert np.allclose(chances[chances < 1] / sizes[chances < 1], (chances / sizes)[chances < 1][0])
        np.testing.assert_allclose(frequency, chances, atol=0.06)
    np.testing.assert_array_equal(estimates.inclusion_probabilities(sizes, 60), 1)


def test_blocks_grow_in_whole_steps_and_end_with_the_last_image():
    assert estimates.sample_sizes(10, 32, 1.25) == (10,)
    ends = estimates.sample_sizes(1000, 32, 1.25)
    assert ends[0] == 32 and ends[-1] == 1000 and len(ends) < 20
    assert all(end % 16 == 0 for end in ends[:-1]) and (np.diff(ends[:-1]) >= 16).all()
    assert (np.array(ends[1:]) / ends[:-1]).max() <= 1.5


def test_the_multiplier_leaves_the_tail_of_a_normal_distribution_for_any_sample():
    assert estimates.multiplier(2.25, 10**6) == pytest.approx(2.25, abs=1e-4)
    assert 2 * stats.t.sf(estimates.multiplier(2.25, 16), 14) == pytest.approx(2 * stats.norm.sf(2.25))


def kept(scores, sizes, budget, first=None):
    """The orbits that a budget keeps, one after another; of equal ones `first` wins (True) or loses (False)."""
    own = np.zeros(len(scores)) if first is None else first
    taken, found = 0, np.zeros(len(scores), bool)
    for orbit in np.lexsort((-own, -scores)):
        taken += sizes[orbit]
        if taken > budget:
            break
        found[orbit] = True
    return found


def test_an_orbit_is_undecided_exactly_if_scores_within_the_bounds_can_put_it_on_either_side():
    rng = np.random.default_rng(5)
    for _ in range(100):
        count = 14
        sizes = rng.integers(1, 3, count)
        centre, half = rng.integers(0, 12, count) / 4, rng.choice([0, 0.25, 0.5, 1.0], count)
        lower, upper = centre - half, centre + half
        budgets = (4, 9)
        expected = np.zeros(count, bool)
        for orbit in range(count):
            mine = np.eye(count)[orbit]
            worst, best = np.where(mine, lower, upper), np.where(mine, upper, lower)
            for budget in budgets:
                never_out = kept(worst, sizes, budget, -mine)[orbit]
                never_in = not kept(best, sizes, budget, mine)[orbit]
                expected[orbit] |= not (never_out or never_in)
        ranking = Ranking(np.arange(count)[:, None], sizes, budgets)
        np.testing.assert_array_equal(ranking.undecided(lower, upper), expected)


@pytest.mark.parametrize(("plane", "patch"), [((8, 8), 1), ((8, 8), 2), ((9, 9), 3)])
def test_a_ranking_keeps_the_orbits_that_the_maps_keep(plane, patch):
    scores = np.random.default_rng(6).normal(size=patches.count(*plane, patch))
    ranking = Ranking.of_plane(plane, patch, (0.1, 0.4))
    of_plane = patches.position_scores(scores, *plane, patch)
    rows, columns = patches.orbit_positions(*plane).T
    np.testing.assert_array_equal(ranking.orbit_scores(scores), of_plane[rows, columns])
    np.testing.assert_array_equal(scores[ranking.best_patches(scores)], of_plane[rows, columns])
    for share, inside in zip((0.1, 0.4), ranking.selected(scores), strict=True):
        np.testing.assert_array_equal(patch_maps.rule(patch)(of_plane, share)[rows, columns], inside)


def test_a_patch_is_decided_only_if_scores_within_the_bounds_agree_on_it():
    """Of overlapping patches: where none is undecided, every set of scores within the bounds gives the same mask."""
    rng, ranking, varied, decided = np.random.default_rng(8), Ranking.of_plane((8, 8), 2, (0.2, 0.4)), 0, 0
    for _ in range(60):
        centre = rng.normal(size=len(ranking.members))
        half = rng.choice([0, 0, 0, 0.02, 0.1], len(centre))
        open_patches = ranking.undecided(centre - half, centre + half)
        masks_found = {
            ranking.selected(np.where(open_patches, centre, centre + half * rng.uniform(-1, 1, len(half)))).tobytes()
            for _ in range(20)
        }
        decided += len(masks_found) == 1
        varied += (
            len({ranking.selected(centre + half * rng.uniform(-1, 1, len(half))).tobytes() for _ in range(20)}) > 1
        )
    assert decided == 60 and varied > 10


class Planted:
    """Losses that are known, and a count of those that were asked for."""

    def __init__(self, losses, first):
        self.all, self.sample_sizes = losses, estimates.sample_sizes(losses.shape[1], first, 1.25)
        self.losses, self.asked = np.full_like(losses, np.nan), np.zeros(losses.shape, int)
        self.losses[0] = losses[0]

    def evaluate(self, masks, block):
        columns = slice(self.sample_sizes[block - 1] if block else 0, self.sample_sizes[block])
        self.asked[masks, columns] += 1
        self.losses[masks, columns] = self.all[masks, columns]


def test_elimination_finds_the_best_orbits_from_a_part_of_the_losses():
    """32 x 32 pixels, 1,000 images; most orbits matter little, and the boundary lies in a dense field."""
    rng = np.random.default_rng(7)
    patches, images = 514, 1000
    scale = np.exp(-np.linspace(0, 6, patches))[rng.permutation(patches)][:, None]
    sizes = np.exp(rng.normal(size=images)) + 0.1
    predicted = scale * sizes * rng.normal(size=(patches, images))
    rises = predicted + scale * sizes * (0.3 + 0.5 * rng.standard_t(4, size=(patches, images)))
    ranking = Ranking.of_plane((32, 32), 1, (0.05,))
    truth, right, costs = ranking.selected(rises.mean(1)), [], []
    for seed in range(6):
        order = estimates.sampling_order(sizes, np.random.default_rng(seed))
        losses = Planted(np.concatenate([np.zeros((1, images)), rises[:, order]]).astype(np.float32), 32)
        elimination = SuccessiveElimination(losses, ranking, sizes[order], 2.0, predicted[:, order].astype(np.float32))
        elimination.run()
        assert losses.asked.max() == 1, "nothing is asked for twice"
        np.testing.assert_allclose(elimination.mean[elimination.exact], rises.mean(1)[elimination.exact], atol=1e-5)
        inside = ranking.selected(elimination.mean)
        lower, upper = elimination.bounds()
        assert elimination.exact[ranking.undecided(lower, upper)].all(), "what is undecided is exact"
        right.append((inside & truth).sum() / (inside | truth).sum())
        costs.append(losses.asked.mean())
        some = np.arange(0, patches, 40)
        elimination.complete(some)
        np.testing.assert_allclose(elimination.mean[some], rises.mean(1)[some], atol=1e-5)
        assert losses.asked.max() == 1
    assert np.mean(right) > 0.98 and min(right) >= 0.92
    assert max(costs) < 0.25


def falling(rng, patches, images, *, known=True):
    """Rises that differ e^8-fold from patch to patch, and predictions of their size but not of their sign.

    Where it is not known how large they are, the predictions differ as much, but have nothing to do with the rises.
    """
    scale = np.exp(-np.linspace(0, 8, patches))[rng.permutation(patches)][:, None]
    rises = scale * (rng.choice([-0.1, 1, 2], size=(patches, 1)) + 0.5 * rng.normal(size=(patches, images)))
    size = scale if known else scale[rng.permutation(patches)]
    return rises, (-3 * size * np.exp(0.5 * rng.normal(size=(patches, images)))).astype(np.float32)


@pytest.mark.parametrize("known", [True, False])
def test_patches_that_are_predicted_to_change_little_begin_only_where_predictions_hold(known):
    ranking, right, begun = Ranking.of_plane((32, 32), 1, (0.05,)), [], []
    for seed in range(8):
        rises, predicted = falling(np.random.default_rng(seed), 514, 100, known=known)
        truth = ranking.selected(rises.mean(1))
        losses = Planted(np.concatenate([np.zeros((1, 100)), rises]).astype(np.float32), 16)
        probes = np.arange(3, 514, 32)
        elimination = SuccessiveElimination(losses, ranking, np.ones(100), 2.0, predicted, probes)
        elimination.run()
        inside, rest = ranking.selected(elimination.mean), elimination.step < 0
        right.append((inside & truth).sum() / (inside | truth).sum())
        begun.append(1 - rest.mean())
        np.testing.assert_array_equal(losses.asked[1:, 0] > 0, ~rest | np.isin(np.arange(514), probes))
        assert np.isnan(losses.losses[1:][rest, 16:]).all()
        assert not elimination.exact[rest].any() and elimination.control_variate[rest].all()
        lower, upper = elimination.bounds()
        held = (lower <= rises.mean(1)) & (rises.mean(1) <= upper)
        assert not known or held[rest].mean() > 0.9
        elimination.complete(np.flatnonzero(rest)[:3])
        np.testing.assert_allclose(elimination.mean[elimination.exact], rises.mean(1)[elimination.exact], atol=1e-5)
    assert np.mean(right) > 0.98 and min(right) >= 0.92
    assert max(begun) < 0.35 if known else min(begun) == 1


@pytest.mark.parametrize("asked, images, begun", [(16, 100, 16), (30, 100, 32), (32, 24, 24)])
def test_where_every_patch_begins_it_does_so_with_more_images(asked, images, begun):
    rises, useless = falling(np.random.default_rng(2), 34, images, known=False)
    for given, expected in ((useless, {begun}), (rises.astype(np.float32), {0, 16})):
        losses = Planted(np.concatenate([np.zeros((1, images)), rises]).astype(np.float32), 16)
        ranking, probes = Ranking.of_plane((8, 8), 1, (0.2,)), np.arange(0, 34, 4)
        SuccessiveElimination(losses, ranking, np.ones(images), 2.0, given, probes, asked)
        assert losses.sample_sizes[:3] == (16, 24, 32)[: len(losses.sample_sizes)]
        assert set(np.isfinite(losses.losses[1:]).sum(1)) == expected


def test_an_image_with_next_to_no_gradient_counts_as_much_as_any_other():
    """A class recognised for sure but for one image, which leans on a frequency of its own."""
    rng = np.random.default_rng(12)
    predicted = 1e-9 * rng.normal(size=(50, 10)).astype(np.float32)
    predicted[3] = 3e-8
    predicted[:, 0] = 0.01 * rng.normal(size=50)
    predicted[7, 0] = 0.5
    found = successive_elimination.strengths(predicted)
    assert np.argmax(found) == 3 and np.sum(found**2) == pytest.approx(50)
    np.testing.assert_allclose(successive_elimination.strengths(2 * predicted), found, rtol=1e-6)
    predicted[:, 5], predicted[11] = 0, 0
    assert (
        np.isfinite(successive_elimination.strengths(predicted)).all()
        and 0 < successive_elimination.strengths(predicted)[11] < 1e-5
    )


def test_guesses_are_off_their_predictions_as_the_weaker_half_of_those_begun_is():
    rng = np.random.default_rng(10)
    rises, predicted = falling(rng, 514, 100)
    losses = Planted(np.concatenate([np.zeros((1, 100)), rises]).astype(np.float32), 100)
    ranking, probes = Ranking.of_plane((32, 32), 1, (0.05,)), np.arange(0, 514, 32)
    elimination = SuccessiveElimination(losses, ranking, np.ones(100), 2.0, predicted, probes)
    of_images = predicted.astype(np.float64) / np.sqrt(np.mean(predicted.astype(np.float64) ** 2, axis=0))
    strengths = np.sqrt(np.mean(of_images**2, axis=1))
    ranked = np.argsort(-strengths)
    count = int((elimination.step >= 0).sum())
    assert sorted(ranked[:count]) == np.flatnonzero(elimination.step >= 0).tolist() and count == 32
    means = predicted.mean(1, dtype=np.float64)
    off = ((rises.mean(1) - means) / strengths)[ranked[16:32]]
    rest = ranked[32:]
    np.testing.assert_allclose(elimination.mean[rest], means[rest] + off.mean() * strengths[rest], rtol=1e-4)
    np.testing.assert_allclose(elimination.standard_error[rest], off.std() * strengths[rest], rtol=1e-4)
    upper = elimination.bounds()[1]
    elimination.widen(3.0)
    decided = np.isfinite(upper)
    np.testing.assert_allclose(
        (elimination.bounds()[1] - elimination.mean)[decided], 3 * (upper - elimination.mean)[decided], rtol=1e-6
    )


def test_a_patch_is_taken_to_scatter_no_less_than_half_of_the_others_do():
    rng = np.random.default_rng(11)
    rises, predicted = falling(rng, 514, 100)
    losses = Planted(np.concatenate([np.zeros((1, 100)), rises]).astype(np.float32), 20)
    ranking = Ranking.of_plane((32, 32), 1, (0.05,))
    elimination = SuccessiveElimination(losses, ranking, np.ones(100), 2.0, predicted, np.arange(0, 514, 32))
    first = np.flatnonzero(elimination.step == 0)
    given = predicted[first, :20].astype(np.float64), predicted[first].mean(1, dtype=np.float64)
    alone = estimates.estimate(rises[first, :20], np.full(20, 0.2), 100, *given).standard_error
    strengths = successive_elimination.strengths(predicted)[first]
    least = np.median(alone / strengths) * strengths
    np.testing.assert_allclose(elimination.standard_error[first], np.maximum(alone, least), rtol=1e-3)
    assert 0.3 < np.mean(alone < least) < 0.7
    elimination.complete(first[:5])
    assert not elimination.standard_error[first[:5]].any()
    np.testing.assert_allclose(elimination.standard_error[first[5:]], np.maximum(alone, least)[5:], rtol=0.5)


def test_a_patch_that_few_images_lift_is_not_ruled_out_by_a_sample_without_them():
    """In the first 32 of 320 images removing it lowers the loss, though less surely than its bounds say."""
    rng = np.random.default_rng(8)
    rises = 0.02 * rng.normal(size=(130, 320)) + np.where(np.arange(130) % 10 == 0, 0.1, 0)[:, None]
    rises[7, :32], rises[7, 32:] = 0.5 * rng.normal(size=32) - 0.5, 0.6
    losses = Planted(np.concatenate([np.zeros((1, 320)), rises]).astype(np.float32), 32)
    ranking = Ranking.of_plane((16, 16), 1, (0.1,))
    elimination = SuccessiveElimination(losses, ranking, np.ones(320), 2.0)
    upper = elimination.bounds()[1]
    assert elimination.mean[7] + 3 * elimination.standard_error[7] < 0.1 < upper[7], (
        "bounds of three errors would rule it out"
    )
    elimination.run()
    assert elimination.mean[7] > 0.15 and ranking.selected(elimination.mean)[0][7]
    assert losses.asked.mean() < 0.4


def test_wider_bounds_decide_less():
    rng = np.random.default_rng(9)
    rises = rng.normal(size=(34, 200)) + rng.normal(size=(34, 1))
    ranking, costs = Ranking.of_plane((8, 8), 1, (0.2,)), []
    for factor in (1.0, 2.0):
        losses = Planted(np.concatenate([np.zeros((1, 200)), rises]).astype(np.float32), 32)
        elimination = SuccessiveElimination(losses, ranking, np.ones(200), 2.0)
        lower, upper = elimination.bounds()
        elimination.widen(factor)
        finite = np.isfinite(upper)
        np.testing.assert_allclose(
            (elimination.bounds()[1] - lower)[finite], ((1 + factor) / 2 * (upper - lower))[finite]
        )
        elimination.run()
        costs.append(losses.asked.mean())
    assert costs[0] < costs[1]
