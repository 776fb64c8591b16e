"""The removal search against its definition in NumPy float64, and planted truth."""

import numpy as np
import pytest

from fsjax.engine import tile_size
from fsjax.fourier import patches, spectrum, transforms
from fsjax.search import patch_maps, removal
from tests.helpers.plane import filtered
from tests.helpers.search_problem import COUNTS, filtering_by, losses, make_problem


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles a class; other tests cover how a tile's size is chosen."""
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 6)


def rises(problem, label, masks):
    """How much a class's mean loss rises under each mask, and the loss before."""
    images, params = problem.images(label), problem.model.params
    before = losses(params, images.astype(float), label).mean()
    return losses(params, filtered(images, masks), label).mean(-1) - before, before


@pytest.mark.parametrize("transform", transforms.INVERSES)
def test_scores_are_the_rise_in_loss_of_each_orbit_by_the_definition(tmp_path, monkeypatch, transform):
    problem = make_problem(tmp_path, **filtering_by(monkeypatch, transform))
    maps = removal.search(problem)
    orbits = spectrum.orbits(8, 8)
    every = np.arange(orbits.max() + 1)[:, None, None]
    for label in range(3):
        expected, before = rises(problem, label, orbits != every)
        assert maps.provenance["loss_before_removal"][label] == pytest.approx(before, abs=2e-6)
        np.testing.assert_allclose(maps.scores[label], expected[orbits], atol=4e-6)
    assert maps.forward_equivalents == sum(COUNTS) * (1 + orbits.max() + 1)
    assert maps.shares == (0.05, 0.2) and maps.masks.shape == (2, 3, 8, 8)


def test_a_position_has_the_score_of_its_best_patch_and_maps_hold_whole_patches(tmp_path):
    problem = make_problem(tmp_path, patch=2, shares=(0.5, 0.8), resamples=0)
    maps = removal.search(problem)
    masks = patches.masks(8, 8, 2)
    expected, _ = rises(problem, 1, ~masks)
    best = np.where(masks, expected[:, None, None], -np.inf).max(0)
    np.testing.assert_allclose(maps.scores[1], best, atol=4e-6)
    for share in maps.shares:
        np.testing.assert_array_equal(maps.at(share)[1], patch_maps.rule(2)(best, share))
    assert maps.provenance["whole_patches"] == 2 and maps.positions[1, 1] > 0


# How a map depends on the images


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
