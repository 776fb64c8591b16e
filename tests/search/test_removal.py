"""The removal search against its definition in NumPy float64, planted truth, and being stopped half-way."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.engine import tile_size
from fsjax.fourier import patches, spectrum
from fsjax.runtime import files, interrupt, parallel, partial_results
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.search import removal
from tests.helpers.removal_problem import COUNTS, make_problem, network
from tests.helpers.stopping import Stopped, stop_after


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles a class; what a tile's size rests on is tested elsewhere."""
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 6)


def mean_loss(params, images, label, kept):
    centred = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2)) * kept[None, :, :, None]
    filtered = np.fft.ifft2(np.fft.ifftshift(centred, axes=(1, 2)), axes=(1, 2)).real
    logits = np.tanh(filtered.reshape(len(images), -1) @ params["hidden"].astype(float)) @ params["out"].astype(float)
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[:, label])


def test_scores_are_the_rise_in_loss_of_each_orbit_by_the_definition(tmp_path):
    problem = make_problem(tmp_path)
    maps = removal.search(problem)
    orbits = spectrum.orbits(8, 8)
    for label in range(3):
        images = problem.images(label)
        before = mean_loss(problem.model.params, images, label, np.ones((8, 8)))
        assert maps.provenance["loss_before_removal"][label] == pytest.approx(before, abs=2e-6)
        for orbit in range(orbits.max() + 1):
            rise = mean_loss(problem.model.params, images, label, orbits != orbit) - before
            np.testing.assert_allclose(maps.scores[label][orbits == orbit], rise, atol=4e-6)
    assert maps.forward_equivalents == sum(COUNTS) * (1 + orbits.max() + 1)
    assert maps.shares == (0.05, 0.2) and maps.masks.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_position_has_the_score_of_the_best_patch_that_holds_it_and_maps_hold_whole_patches(tmp_path, patch):
    problem = make_problem(tmp_path, patch=patch, shares=(0.1, 0.5, 0.8))
    maps = removal.search(problem)
    masks = patches.masks(8, 8, patch)
    images = problem.images(1)
    before = mean_loss(problem.model.params, images, 1, np.ones((8, 8)))
    rises = np.array([mean_loss(problem.model.params, images, 1, ~mask) - before for mask in masks])
    for row in range(8):
        for column in range(8):
            expected = rises[masks[:, row, column]].max()
            assert maps.scores[1, row, column] == pytest.approx(expected, abs=4e-6)
    for share in maps.shares:
        kept = np.zeros((8, 8), bool)
        for best in np.argsort(-rises):
            if (kept | masks[best]).sum() > share * 64:
                break
            kept |= masks[best]
        np.testing.assert_array_equal(maps.at(share)[1], kept)
    assert maps.provenance["whole_patches"] == patch and maps.positions[2, 1] > 0


def test_the_frequencies_a_classifier_reads_rank_first(tmp_path):
    """A classifier that reads the energy of two orbits of a 16-pixel plane and nothing else."""
    orbits = spectrum.orbits(16, 16)
    read = [orbits[8 + 3, 8 + 2], orbits[8 - 5, 8 + 6]]
    kept = jnp.asarray(np.isin(orbits, read))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, kept[None])[0]).mean((1, 2, 3))
        return jnp.stack([energy * 40, jnp.zeros_like(energy)], axis=1)

    images = [np.random.default_rng(label).normal(size=(6, 16, 16, 3)).astype(np.float32) for label in range(2)]
    maps = removal.search(make_problem(tmp_path, size=16, apply=apply, images=images))
    first = np.unique(orbits, return_index=True)[1]
    order = np.argsort(-maps.scores[0].ravel()[first])
    assert set(order[:2]) == set(read)
    assert maps.scores[0].ravel()[first][order[2]] < 1e-5 < maps.scores[0].ravel()[first][order[1]]


@pytest.mark.parametrize("save_seconds", [0.0, 1000.0])
def test_a_search_stopped_anywhere_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch, save_seconds):
    expected = removal.search(make_problem(tmp_path / "whole"))
    total, stops = 0, 0
    for counts in (1, 4, 2, 3, 1000):
        # A restart that would choose other tiles, and has other devices: the arithmetic stays that of the first start.
        monkeypatch.setattr(tile_size, "fit", lambda *_, stops=stops, **__: 6 * (1 + stops))
        monkeypatch.setattr(parallel, "local_devices", lambda stops=stops: jax.local_devices()[: 1 + stops % 3])
        seen = stop_after(monkeypatch, counts)
        try:
            found = removal.search(make_problem(tmp_path / "stopped", save_seconds=save_seconds))
        except Stopped:
            stops += 1
        total += sum(masks for masks, *_ in seen)
        monkeypatch.undo()
    assert stops == 4
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.provenance == expected.provenance, "resamples too"
    assert total == 3 * 35, "nothing is computed twice"


def test_partial_results_are_kept_at_the_interval(tmp_path, monkeypatch):
    """A clock that a tile moves by a second: a file holds what 3 seconds computed, and a kill loses no more."""
    clock = [0.0]
    monkeypatch.setattr(partial_results.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(parallel, "local_devices", lambda: jax.local_devices()[:1])
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 1)

    def check():
        clock[0] += 1

    monkeypatch.setattr(interrupt, "check", check)
    removal.search(make_problem(tmp_path, save_seconds=3.0))
    starts = sorted(int(file.name[:6]) for file in (tmp_path / "search" / "class00000").glob("*.npz"))
    gaps = np.diff([*starts, 35])
    assert (gaps[1:-1] == 3).all() and len(starts) > 8, "a tile is one mask"


def test_a_damaged_partial_result_is_computed_again(tmp_path):
    expected = removal.search(make_problem(tmp_path)).scores
    paths = sorted((tmp_path / "search").rglob("*.npz"))
    assert len(paths) > 6
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    paths[1].write_bytes(b"")
    flipped = bytearray(paths[2].read_bytes())
    flipped[len(flipped) // 2] ^= 0x40
    paths[2].write_bytes(bytes(flipped))
    paths[3].unlink()
    # Of a search with another number of resamples, or of none: it would fit, broadcast.
    part = files.read_npz(paths[4])
    files.write_npz(paths[4], items=part["items"], values=part["values"][0] + 1)
    np.testing.assert_array_equal(removal.search(make_problem(tmp_path)).scores, expected)


def test_partial_results_of_another_model_or_search_are_refused(tmp_path):
    removal.search(make_problem(tmp_path))
    with pytest.raises(InputError, match="partial results of another model; delete the folder to search anew"):
        removal.search(make_problem(tmp_path, seed=1))
    with pytest.raises(InputError, match="partial results of another search; delete the folder to search anew"):
        removal.search(dataclasses.replace(make_problem(tmp_path), identity="other images"))
    (tmp_path / "search" / "layout.json").write_text("{")
    with pytest.raises(InputError, match=r"layout.json: not JSON"):
        removal.search(make_problem(tmp_path))


def test_a_model_whose_loss_is_not_finite_is_named(tmp_path):
    images = [np.ones((2, 8, 8, 3), np.float32), np.full((2, 8, 8, 3), np.inf, np.float32)]
    with pytest.raises(InputError, match="the model returned a non-finite loss on class 'b'"):
        removal.search(make_problem(tmp_path, images=images))


def test_rates_are_written_as_numbers(tmp_path):
    with Metrics(tmp_path) as metrics:
        removal.search(dataclasses.replace(make_problem(tmp_path), metrics=metrics))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3 * 35 and lines[-1]["eta_seconds"] == 0
    for line in lines:
        # A mask of class a, the largest, is 5 images in chunks of 6; no class has fewer than 3.
        assert 3 * line["masks_per_second"] <= line["images_per_second"] <= 6 * line["masks_per_second"] * 1.001


# Precision


def lower(params, images):
    """The network on images rounded to a few bits."""
    return network(params, images.astype(jnp.float8_e4m3fn).astype(jnp.float32))


def test_a_lower_precision_reports_how_far_it_agrees(tmp_path):
    expected = removal.search(make_problem(tmp_path / "highest"))
    assert expected.provenance["agreement"] == {}
    exact = removal.search(make_problem(tmp_path / "same", precision="tensorfloat32"))
    np.testing.assert_array_equal(exact.scores, expected.scores)  # a CPU has no TF32
    assert (
        exact.provenance["agreement"]["spearman"] == [1.0] * 3 and exact.provenance["agreement"]["top_iou"] == [1.0] * 3
    )
    problem = make_problem(tmp_path / "rough", precision="bfloat16", agreement_masks=1000)
    model = dataclasses.replace(problem.model, apply_bfloat16=lower)
    rough = removal.search(dataclasses.replace(problem, model=model))
    agreement = rough.provenance["agreement"]
    assert agreement["masks"] == 35, "all there are, and nothing removed"
    assert rough.forward_equivalents == 2 * expected.forward_equivalents
    first = np.unique(spectrum.orbits(8, 8), return_index=True)[1]
    for label in range(3):
        pair = rough.scores[label].ravel()[first], expected.scores[label].ravel()[first]
        ranks = [np.argsort(np.argsort(scores)) for scores in pair]
        assert agreement["spearman"][label] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
        best = [set(np.argsort(-scores)[:2]) for scores in pair]
        assert agreement["top_iou"][label] == len(best[0] & best[1]) / len(best[0] | best[1])
    assert max(agreement["spearman"]) < 0.999
