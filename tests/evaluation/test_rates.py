"""Logits, counts and rates against single images in float64, and the masks at shares between the maps' shares."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

import fsjax
from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.engine import tile_size
from fsjax.engine.model import NORMALISED
from fsjax.evaluation import rates
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.rates import Filterer, class_rates, confusion_matrix, grid_shares, masks_at
from fsjax.fourier import spectrum
from fsjax.runtime.progress import Progress
from tests.helpers import results
from tests.helpers.linear_classifier import Made, make_classifier, make_maps, predictions

ASKED = (0.1, 0.2, 0.35, 0.5)


@pytest.mark.parametrize("pool", [[], [0, 3, 4, 5, 11, 17], range(21)])
def test_own_images_and_the_pool_s_others_are_counted_whatever_the_tile(tmp_path, monkeypatch, pool):
    source, classifier, pool = Made((7, 4, 10)), make_classifier(3), np.array(pool, int)
    masks = np.random.default_rng(5).random((2, 5, 8, 8)) < 0.6
    targets = np.array([0, 2, 1, 1, 0])
    for tile in (1, 6, 64):
        monkeypatch.setattr(tile_size, "fit", lambda *args, tile=tile, **options: tile)
        filterer = Filterer(classifier, 21, directory=tmp_path / str(tile))
        for given, asked in ((masks, targets), (~masks, targets), (masks, targets[::-1])):
            found = filterer.counts(Dataset(source, 8), given, asked, pool, "test")
            for at in np.ndindex(2, 5):
                is_called = predictions(classifier, source.images, given[at]) == asked[at[1]]
                is_own = source.labels == asked[at[1]]
                expected = [(is_called & is_own).sum(), (is_called & ~is_own)[pool].sum()]
                assert [counts[at] for counts in found] == expected


def test_fpr_rests_on_a_pool_drawn_by_seed_and_costs_as_much_a_class_for_any_number_of_classes(monkeypatch):
    monkeypatch.setattr(rates, "POOL", 12)
    source, classifier, maps = Made((9, 4, 12)), make_classifier(3), make_maps(3)
    filtered = []
    monkeypatch.setattr(Progress, "update", lambda _, count: filtered.append(count))
    found = Filterer(classifier, 25, seed=3).rates(Dataset(source, 8), maps.masks, "test")
    assert sum(filtered) == rates.filtered_passes(25, 3, 2) == 2 * (3 * 12 + 13)
    pool = rates.draw_pool(25, 3)
    assert len(np.unique(pool)) == 12 and any(pool != rates.draw_pool(25, 4)) and len(rates.draw_pool(11, 3)) == 11
    for share, at_share in zip(maps.shares, found, strict=True):
        for label in range(3):
            is_called = predictions(classifier, source.images, maps.at(share)[label]) == label
            is_other = source.labels[pool] != label
            assert at_share.tpr[label] == is_called[source.labels == label].mean()
            assert at_share.fpr[label] == is_called[pool][is_other].mean() and at_share.others[label] == is_other.sum()
            limits = binomtest(int(is_called[pool][is_other].sum()), int(is_other.sum())).proportion_ci(method="wilson")
            assert at_share.fpr_ci[label] == pytest.approx(limits, abs=1e-12)


def test_rates_of_nothing_are_nan_and_outputs_beyond_the_classes_count_as_wrong():
    found = class_rates(np.array([0, 1]), np.array([3, 0]), np.array([0, 4]), np.array([4, 0]))
    assert np.isnan(found.tpr[0]) and np.isnan(found.fpr[1]) and found.fpr[0] == 0.75
    found = confusion_matrix(np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 2, 4]), 2)
    np.testing.assert_array_equal(found, [[1, 1], [0, 0]])


def test_where_nothing_is_to_be_measured_nothing_is_left_and_maps_are_cut_from_the_scores_that_are_kept():
    maps = make_maps(2)
    assert grid_shares(maps, ASKED) == (0.1, 0.35) and grid_shares(maps, (0.5, 0.2)) == ()
    assert grid_shares(maps, (0.7, 0.1, 0.7)) == (0.1, 0.7)
    assert grid_shares(dataclasses.replace(maps, scores=None), ASKED) == ()
    other = maps.masks.copy()
    other[1, 0] = ~other[1, 0]
    assert grid_shares(dataclasses.replace(maps, masks=other), ASKED) == (), "scores of other masks"
    order = np.random.default_rng(0).permutation(34)
    scores = (1 + 1e-9 * order)[spectrum.orbits(8, 8)]
    maps = results.maps([scores], (0.3,), ("a",))
    assert len(np.unique(maps.scores)) == 1 and grid_shares(maps, (0.5,)) == (0.5,)


@pytest.mark.parametrize(
    ("method", "fields"), [("removal", {}), ("removal", {"compat": True}), ("greedy", {"tolerance": 0.1})]
)
def test_every_method_with_scores_has_its_own_masks_at_its_own_shares(method, fields):
    """Of a model that most frequencies are nothing to, so that many scores are nearly equal."""
    rng, orbits = np.random.default_rng(0), spectrum.orbits(8, 8)
    read = jnp.asarray(np.isin(orbits, rng.permutation(orbits.max() + 1)[:6]))
    weights = jnp.asarray(rng.normal(size=(192, 2)), jnp.float32)

    def model(images):
        return spectrum.filter_images(images, read[None])[0].reshape(len(images), -1) @ weights

    images = rng.normal(size=(40, 8, 8, 3)).astype(np.float32)
    maps = fsjax.dominant_frequencies(model, images, np.arange(40) % 2, search=method, shares=(0.1, 0.4), **fields)
    assert grid_shares(maps, (0.05, 0.2, 0.4)) == (0.05, 0.2)
    at = {share: masks_at(maps, share) for share in (0.05, 0.2)} | {0.1: maps.at(0.1), 0.4: maps.at(0.4)}
    for smaller, larger in ((0.05, 0.1), (0.1, 0.2), (0.2, 0.4)):
        assert not (at[smaller] & ~at[larger]).any(), "a larger share only adds frequencies"


def apply(params, images):
    return images.mean((1, 2)) * params


@pytest.mark.parametrize("images", [1, 21])
def test_logits_are_of_images_normalised_as_each_predictor_says_though_they_share_a_program(images):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 5, 4, 3)).astype(np.uint8)
    dataset = ArrayDataset(pixels, np.zeros(images, int), ("a",))
    scale = np.array([1, -2, 3], np.float32)
    half = np.full(3, 0.5), np.full(3, 0.25)
    for mean, std in (half, (rng.random(3), 1 + rng.random(3)), half):
        rows, logits = zip(*make_predictor(apply, mean, std)(scale, dataset), strict=True)
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(images))
        known = np.isin(np.arange(images), [0, *rows[-1]]) & (images > 1)
        left = [part for part, _ in make_predictor(apply, mean, std)(scale, dataset, known=known)]
        assert [*np.concatenate(left)] == [*np.concatenate(rows[:-1] or rows)], "batches that are wholly known"
        expected = ((pixels / 255 - mean) / std).mean((1, 2)) * scale
        np.testing.assert_allclose(np.concatenate(logits), expected, atol=1e-5)
    first = ArrayDataset(pixels[:1], np.zeros(1, int), ("a",))
    ((_, logits),) = make_predictor(apply, *NORMALISED, batch_size=1)(scale, first)
    np.testing.assert_allclose(logits, pixels[:1].mean((1, 2)) * scale, rtol=1e-5)
