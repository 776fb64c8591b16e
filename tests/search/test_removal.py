"""The removal search against its definition in NumPy float64, and planted truth."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.engine import tile_size
from fsjax.fourier import patches, spectrum
from fsjax.search import removal
from tests.helpers.plane import filtered
from tests.helpers.search_problem import COUNTS, losses, make_problem, network


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles a class; other tests cover how a tile's size is chosen."""
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 6)


def rises(problem, label, masks):
    """How much a class's mean loss rises under each mask, and the loss before."""
    images, params = problem.images(label), problem.model.params
    before = losses(params, images.astype(float), label).mean()
    return losses(params, filtered(images, masks), label).mean(-1) - before, before


def test_scores_are_the_rise_in_loss_of_each_orbit_by_the_definition(tmp_path):
    problem = make_problem(tmp_path)
    maps = removal.search(problem)
    orbits = spectrum.orbits(8, 8)
    every = np.arange(orbits.max() + 1)[:, None, None]
    for label in range(3):
        expected, before = rises(problem, label, orbits != every)
        assert maps.provenance["loss_before_removal"][label] == pytest.approx(before, abs=2e-6)
        np.testing.assert_allclose(maps.scores[label], expected[orbits], atol=4e-6)
    assert maps.forward_equivalents == sum(COUNTS) * (1 + orbits.max() + 1)
    assert maps.shares == (0.05, 0.2) and maps.masks.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_position_has_the_score_of_its_best_patch_and_maps_hold_whole_patches(tmp_path, patch):
    problem = make_problem(tmp_path, patch=patch, shares=(0.5, 0.8), resamples=0)
    maps = removal.search(problem)
    masks = patches.masks(8, 8, patch)
    expected, _ = rises(problem, 1, ~masks)
    best = np.where(masks, expected[:, None, None], -np.inf).max(0)
    np.testing.assert_allclose(maps.scores[1], best, atol=4e-6)
    for share in maps.shares:
        kept = np.zeros((8, 8), bool)
        for index in np.argsort(-expected):
            if (kept | masks[index]).sum() > share * 64:
                break
            kept |= masks[index]
        np.testing.assert_array_equal(maps.at(share)[1], kept)
    assert maps.provenance["whole_patches"] == patch and maps.positions[1, 1] > 0


def test_the_frequencies_a_classifier_reads_rank_first(tmp_path):
    """A classifier that reads the energy of two orbits of a 16-pixel plane and nothing else."""
    orbits = spectrum.orbits(16, 16)
    read = [orbits[8 + 3, 8 + 2], orbits[8 - 5, 8 + 6]]
    kept = jnp.asarray(np.isin(orbits, read))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, kept[None])[0]).mean((1, 2, 3))
        return jnp.stack([energy * 40, jnp.zeros_like(energy)], axis=1)

    images = [np.random.default_rng(label).normal(size=(6, 16, 16, 3)).astype(np.float32) for label in range(2)]
    scores = spectrum.per_orbit(removal.search(make_problem(tmp_path, apply=apply, images=images)).scores[0])
    order = np.argsort(-scores)
    assert set(order[:2]) == set(read)
    assert scores[order[2]] < 1e-5 < scores[order[1]]


def lower(params, images):
    """The network on images rounded to a few bits."""
    return network(params, images.astype(jnp.float8_e4m3fn).astype(jnp.float32))


def test_a_lower_precision_reports_how_far_it_agrees():
    expected = removal.search(make_problem())
    assert expected.provenance["agreement"] == {}
    exact = removal.search(make_problem(precision="tensorfloat32"))
    np.testing.assert_array_equal(exact.scores, expected.scores)  # a CPU has no TF32
    assert exact.provenance["agreement"]["spearman"] == exact.provenance["agreement"]["top_iou"] == [1.0] * 3
    problem = make_problem(precision="bfloat16", agreement_masks=1000)
    model = dataclasses.replace(problem.model, apply_bfloat16=lower)
    rough = removal.search(dataclasses.replace(problem, model=model))
    agreement = rough.provenance["agreement"]
    assert agreement["masks"] == 35, "all masks"
    assert rough.forward_equivalents == 2 * expected.forward_equivalents
    for label in range(3):
        pair = [spectrum.per_orbit(maps.scores[label]) for maps in (rough, expected)]
        ranks = [np.argsort(np.argsort(scores)) for scores in pair]
        assert agreement["spearman"][label] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
        best = [set(np.argsort(-scores)[:2]) for scores in pair]
        assert agreement["top_iou"][label] == len(best[0] & best[1]) / len(best[0] | best[1])
    assert max(agreement["spearman"]) < 0.999
