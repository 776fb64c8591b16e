"""The removal search against its definition in NumPy float64, planted truth, and being stopped half-way."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax import search, spectrum
from fsjax.errors import InputError
from fsjax.metrics import Metrics
from fsjax.search import removal
from fsjax.search.removal import plane_scores

COUNTS = (5, 3, 4)


def make_problem(tmp_path, *, size=8, patch=1, seed=0, apply=None, images=None, **run):
    rng = np.random.default_rng(seed)
    params = {
        "hidden": rng.normal(size=(size * size * 3, 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, 3)).astype(np.float32),
    }
    if images is None:
        images = [rng.normal(size=(count, size, size, 3)).astype(np.float32) for count in COUNTS]
    return search.Problem(
        apply=apply or network,
        params=params,
        images=lambda label: images[label],
        counts=tuple(len(of_class) for of_class in images),
        classes=("a", "b", "c")[: len(images)],
        plane=(size, size),
        options=ConfigDict({"method": "removal", "patch": patch, "shares": (0.05, 0.2)}),
        run=ConfigDict({"tile_images": 16, "masks_per_file": 8} | run),
        about={"searched_on": "train", "provenance": {}},
        directory=tmp_path / "search",
        metrics=Metrics(tmp_path),
    )


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


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
        before = mean_loss(problem.params, images, label, np.ones((8, 8)))
        assert maps.provenance["loss_before_removal"][label] == pytest.approx(before, abs=2e-6)
        for orbit in range(orbits.max() + 1):
            rise = mean_loss(problem.params, images, label, orbits != orbit) - before
            np.testing.assert_allclose(maps.scores[label][orbits == orbit], rise, atol=4e-6)
    assert maps.forward_equivalents == sum(COUNTS) * (1 + orbits.max() + 1)
    assert maps.shares == (0.05, 0.2) and maps.masks.shape == (2, 3, 8, 8)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_patch_scores_the_mean_over_the_patches_that_contain_a_position(tmp_path, patch):
    problem = make_problem(tmp_path, patch=patch)
    maps = removal.search(problem)
    masks = spectrum.patches(8, 8, patch)
    images = problem.images(1)
    before = mean_loss(problem.params, images, 1, np.ones((8, 8)))
    rises = np.array([mean_loss(problem.params, images, 1, ~mask) - before for mask in masks])
    for row in range(8):
        for column in range(8):
            expected = rises[masks[:, row, column]].mean()
            assert maps.scores[1, row, column] == pytest.approx(expected, abs=4e-6)
    assert spectrum.is_hermitian(plane_scores(rises, (8, 8), patch).round(12))


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


class Stopped(Exception):
    pass


def stop_after(monkeypatch, tiles):
    seen = []

    def tick(progress, name, masks, images):
        seen.append(masks)
        if len(seen) > tiles:
            raise Stopped

    monkeypatch.setattr(removal, "_tick", tick)
    return seen


def test_a_search_stopped_anywhere_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    expected = removal.search(make_problem(tmp_path / "whole")).scores
    total, stops = 0, 0
    for tiles in (0, 3, 4, 2, 1000):
        # A restart's config has other sizes: the arithmetic and the files stay those of the first start.
        sizes = {"tile_images": 16 * (1 + stops), "masks_per_file": 8 - stops}
        problem = make_problem(tmp_path / "stopped", **sizes)
        seen = stop_after(monkeypatch, tiles)
        try:
            found = removal.search(problem)
        except Stopped:
            stops += 1
        total += sum(seen)
    assert stops == 4
    np.testing.assert_array_equal(found.scores, expected)
    # A stop costs at most one file's masks, and here a tile of all devices is larger than a file.
    assert total <= 3 * 35 + stops * 8


def test_a_damaged_partial_result_is_computed_again(tmp_path):
    expected = removal.search(make_problem(tmp_path)).scores
    files = sorted((tmp_path / "search").rglob("*.npz"))
    assert len(files) == 3 * 5
    files[0].write_bytes(files[0].read_bytes()[:-20])
    files[1].write_bytes(b"")
    flipped = bytearray(files[2].read_bytes())
    flipped[len(flipped) // 2] ^= 0x40
    files[2].write_bytes(bytes(flipped))
    np.testing.assert_array_equal(removal.search(make_problem(tmp_path)).scores, expected)


def test_partial_results_of_another_model_are_refused(tmp_path):
    removal.search(make_problem(tmp_path))
    with pytest.raises(InputError, match="partial results of another model; delete the folder to search anew"):
        removal.search(make_problem(tmp_path, seed=1))
