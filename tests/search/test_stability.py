"""Stability of a map: resampled losses of single images in float64, maps of them, and the cost."""

import numpy as np
import pytest

from fsjax.fourier import patches
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
