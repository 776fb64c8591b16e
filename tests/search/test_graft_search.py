"""The graft search against its definition in NumPy float64, closed forms, and planted orbits."""

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax import search
from fsjax.fourier import patches, spectrum
from fsjax.search import graft, stepwise
from tests.helpers import search_problem
from tests.helpers.plane import filtered
from tests.helpers.refused import refused
from tests.helpers.search_problem import logits, losses, on_devices


def make_problem(*, plane=(6, 6), **fields):
    small = {"channels": 2, "counts": (4, 3, 5), "shares": (0.1, 0.4), "paths": 7, "steps": 3, "resamples": 0}
    return search_problem.make_problem(None, "graft", plane=plane, **small | fields)


def log_odds(params, images, label):
    """Log-odds of each image, [...] for images [..., H, W, C]."""
    outputs = logits(params, images)
    return outputs[..., label] - np.log(np.exp(np.delete(outputs, label, axis=-1)).sum(-1))


def orbit_masks(plane):
    orbits = spectrum.orbits(*plane)
    return np.arange(orbits.max() + 1)[:, None, None] == orbits


def drawn_pairs(problem, label):
    """Recipients and donors of a class, and the weights of each pair."""
    layout = {"batch_images": 3, "tasks_per_device": 1}
    batches = graft.PathIntegration(problem, layout).batches(label)
    weights = np.concatenate([batch.weights for batch in batches])
    images = np.concatenate([batch.images for batch in batches])[weights[:, 0] > 0].astype(float)
    return images[:, 0], images[:, 1], weights[weights[:, 0] > 0].astype(float)


def pair_slopes(problem, label, masks):
    """The slope of the log-odds of each pair towards the donor's part in each mask, mean over the points [masks, n]."""
    recipients, donors, _ = drawn_pairs(problem, label)
    towards, params, steps = filtered(donors - recipients, masks), problem.model.params, problem.options.graft.steps
    points = [recipients + (step + 0.5) / steps * (donors - recipients) for step in range(steps)]
    change = 1e-5
    slopes = [
        log_odds(params, point + change * towards, label) - log_odds(params, point - change * towards, label)
        for point in points
    ]
    return np.mean(slopes, 0) / (2 * change)


@pytest.mark.parametrize("plane", [(5, 7), (6, 8)])
def test_a_score_is_the_mean_slope_of_the_log_odds_towards_the_donors_part(plane):
    problem = make_problem(plane=plane)
    maps = search.run(problem)
    for label in range(3):
        expected = pair_slopes(problem, label, orbit_masks(plane)).mean(1)
        np.testing.assert_allclose(maps.scores[label], expected[spectrum.orbits(*plane)], atol=3e-6)
        assert np.abs(expected).max() > 0.1
    assert maps.forward_equivalents == 3 * 7 * 3 * 3 == search.forward_passes(problem.options, (4, 3, 5), plane)


def test_a_patch_scores_the_sum_over_its_orbits_and_a_position_the_best_of_its_patches():
    problem = make_problem(patch=2, shares=(0.3,))
    masks = patches.masks(6, 6, 2)
    expected = pair_slopes(problem, 1, masks).mean(1)
    found = search.run(problem).scores[1]
    np.testing.assert_allclose(found, np.where(masks, expected[:, None, None], -np.inf).max(0), atol=3e-6)


def test_pairs_graft_each_image_of_the_class_into_images_of_the_others_alike():
    problem = make_problem(paths=8)
    for label in range(3):
        recipients, donors, weights = drawn_pairs(problem, label)
        times = [(donors == image).all((1, 2, 3)).sum() for image in problem.images(label)]
        assert sum(times) == 8 and max(times) - min(times) <= 1
        by_class = [
            sum((recipients == image).all((1, 2, 3)).sum() for image in problem.images(other))
            for other in set(range(3)) - {label}
        ]
        assert by_class == [4, 4]
        np.testing.assert_allclose(weights, np.full((8, 1), 1 / 8 / 3), rtol=1e-6)


def test_a_resample_counts_each_donor_as_often_as_it_was_drawn():
    problem = make_problem(resamples=5)
    slopes = pair_slopes(problem, 0, orbit_masks((6, 6)))
    _, donors, weights = drawn_pairs(problem, 0)
    assert weights.shape == (7, 6)
    assert len(np.unique(weights, axis=1).T) > 3, "resamples differ"
    np.testing.assert_allclose(weights.sum(0), 1 / 3, rtol=1e-6)
    for image in problem.images(0):
        assert not np.ptp(weights[(donors == image).all((1, 2, 3))], axis=0).any()
    layout = graft.layout(problem, 7)
    states = stepwise.run(problem, graft.PathIntegration(problem, layout), problem.partial_results(layout))
    numbers = patches.orbit_numbers(6, 6)
    np.testing.assert_allclose(states[0]["scores"], (slopes @ weights * 3).T[:, numbers], atol=3e-6)
    maps = search.run(problem)
    assert maps.provenance["stability"]["resamples"] == 5 and maps.provenance["stability"]["shares"] == [0.1, 0.4]
    np.testing.assert_allclose(maps.scores, search.run(make_problem()).scores, atol=1e-6)


# First-order removal


def one_class(*, plane=(6, 8), memory_mib=0, **fields):
    problem = search_problem.make_problem(plane=plane, channels=2, counts=(5,), shares=(1.0,), **fields)
    problem.run.memory_mib = memory_mib
    return problem


@pytest.mark.parametrize(("plane", "patch"), [((6, 8), 1), ((5, 7), 1), ((8, 8), 4), ((9, 9), 3)])
def test_a_score_is_the_slope_of_the_loss_as_the_patch_fades(plane, patch):
    problem = one_class(plane=plane, patch=patch)
    images, params, step = problem.images(0), problem.model.params, 1e-4
    found = graft.make_first_order(problem)(images, 1)
    removed = filtered(images, patches.masks(*plane, patch))
    expected = (losses(params, images - step * removed, 1) - losses(params, images + step * removed, 1)) / (2 * step)
    np.testing.assert_allclose(found, expected.T, atol=2e-6)
    assert np.abs(found).max() > 0.05


def test_rounding_does_not_hide_scores_of_a_class_recognised_for_sure():
    """A loss of 1e-11 nats; as the difference of a probability from 1 float32 would lose its gradient."""

    def apply(params, images):
        right = images.reshape(len(images), -1) @ params["hidden"][:, 0]
        return jnp.stack([25 + right, jnp.zeros_like(right), -50 + right], axis=1)

    problem = one_class(apply=apply)
    images, weights = problem.images(0), problem.model.params["hidden"][:, 0].astype(float)
    along = filtered(images, patches.masks(6, 8, 1)).reshape(-1, 5, 96) @ weights
    chances = np.exp(-25 - images.reshape(5, -1) @ weights)
    found = graft.make_first_order(problem)(images, 0)
    np.testing.assert_allclose(found / chances[:, None], along.T, atol=1e-4)
    assert np.abs(along).max() > 0.1


def test_scores_do_not_depend_on_the_number_of_devices_and_one_class_has_no_gradient(monkeypatch):
    problem, found = one_class(), []
    monkeypatch.setattr(graft, "batch_size", lambda problem: 2)
    for devices in (1, 4):
        on_devices(monkeypatch, devices)
        found.append(graft.make_first_order(problem)(problem.images(0), 2))
    np.testing.assert_array_equal(*found)
    problem = one_class(apply=lambda params, images: images.mean((1, 2, 3))[:, None])
    np.testing.assert_array_equal(graft.make_first_order(problem)(problem.images(0), 0), 0)


def test_the_backward_pass_fits_into_the_memory_there_is():
    assert graft.batch_size(one_class()) == 5, "no larger than the class"
    wide = [np.zeros((40, 64, 64, 2), np.float32)]

    def apply(params, images):
        features = jnp.tanh(images[..., None] * jnp.arange(1.0, 17)).sum((1, 2, 3))
        return features[:, :3]

    sizes = [graft.batch_size(one_class(apply=apply, images=wide, memory_mib=mib)) for mib in (8, 16)]
    assert 1 <= sizes[0] < sizes[1] < 40
    message = "run.memory_mib: got 1; expected .* for the gradient of one image"
    refused(message, graft.batch_size, one_class(apply=apply, images=wide, memory_mib=1))
