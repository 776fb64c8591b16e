"""Stability of a map: resampled losses of single images in float64, maps of them, and the cost."""

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.fourier import patches, spectrum
from fsjax.search import patch_maps, removal
from tests.helpers.plane import filtered
from tests.helpers.search_problem import COUNTS, losses, make_problem


def best_squares(squares, rises, positions):
    """The positions of the best squares that fit, one after another."""
    kept = set()
    for best in np.argsort(-rises, kind="stable"):
        more = kept | set(np.flatnonzero(squares[best]))
        if len(more) > positions:
            break
        kept = more
    return kept


@pytest.mark.parametrize(("patch", "shares"), [(1, (0.05, 0.2)), (2, (0.3, 0.6))])
def test_it_is_the_iou_of_maps_of_losses_resampled_one_by_one(tmp_path, patch, shares):
    problem = make_problem(tmp_path, patch=patch, resamples=7, shares=shares, draws=5)
    found = removal.search(problem).provenance["stability"]
    assert found["resamples"] == 7 and found["shares"] == list(shares)
    squares, params = patches.masks(8, 8, patch), problem.model.params
    for label, count in enumerate(COUNTS):
        images, counts = problem.images(label), patch_maps.resample_weights(count, 7, problem.seed, label)
        before = losses(params, images.astype(float), label)
        without = losses(params, filtered(images, ~squares), label)
        maps = []
        for times in counts.T:
            drawn = np.repeat(np.arange(count), times.astype(int))
            rises = without[:, drawn].mean(1) - before[drawn].mean()
            maps.append([best_squares(squares, rises, int(share * 64)) for share in shares])
        for index in range(len(shares)):
            own, *others = (kept[index] for kept in maps)
            ious = [len(own & other) / len(own | other) for other in others]
            expected = {"mean": np.mean(ious), "low": np.quantile(ious, 0.025), "high": np.quantile(ious, 0.975)}
            assert {name: found["iou"][name][index][label] for name in expected} == pytest.approx(expected)
    means = np.array(found["iou"]["mean"])
    assert (means > 0).all() and len(np.unique(means)) > 2 + (patch == 1), "the comparison means something"


def test_a_resample_draws_as_many_images_by_seed_and_label_and_leaves_the_scores():
    drawn = patch_maps.resample_weights(40, 500, 3, 1)
    assert (drawn[:, 0] == 1).all() and (drawn.sum(0) == 40).all() and drawn.shape == (40, 501)
    # Binomial: each image is drawn once on average, and its variance is 1 - 1/40.
    assert drawn[:, 1:].mean(1) == pytest.approx(1, abs=5 / 500**0.5)
    assert drawn[:, 1:].var() == pytest.approx(1 - 1 / 40, abs=0.05)
    np.testing.assert_array_equal(drawn, patch_maps.resample_weights(40, 500, 3, 1))
    for seed, label in ((4, 1), (3, 2)):
        assert (drawn[:, 1:] != patch_maps.resample_weights(40, 500, seed, label)[:, 1:]).any(0).all()
    none, some = (removal.search(make_problem(resamples=resamples)) for resamples in (0, 20))
    np.testing.assert_allclose(some.scores, none.scores, atol=1e-6)
    np.testing.assert_array_equal(some.masks, none.masks)
    assert none.provenance["stability"] == {}


def test_the_orbit_that_identifies_a_class_is_in_every_map_and_the_rest_changes_with_the_images():
    orbits = spectrum.orbits(16, 16)
    kept = jnp.asarray(orbits == orbits[8 + 3, 8 + 2])

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, kept[None])[0]).mean((1, 2, 3))
        # Less, and by very different frequencies.
        also = jnp.square(images.mean(3) @ jnp.cos(jnp.arange(16))).mean(1)
        return jnp.stack([energy * 400 + also, jnp.zeros_like(energy)], axis=1)

    images = [np.random.default_rng(label).normal(size=(30, 16, 16, 3)).astype(np.float32) for label in range(2)]
    problem = make_problem(apply=apply, images=images, resamples=20, shares=(2 / 256, 0.2))
    iou = removal.search(problem).provenance["stability"]["iou"]
    assert iou["mean"][0][0] == iou["low"][0][0] == 1, "one orbit is kept"
    assert 0.1 < iou["low"][1][0] < iou["mean"][1][0] < iou["high"][1][0] < 0.9
