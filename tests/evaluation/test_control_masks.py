"""Control masks are of the size of each map, of its profile where they say so, and the same for maps of one size."""

import numpy as np
import pytest

from fsjax.data.dataset import Dataset
from fsjax.evaluation import control_masks
from fsjax.evaluation.control_masks import ControlMasks, pack_controls
from fsjax.fourier import masks, spectrum
from tests.helpers.linear_classifier import MEAN_STD, Made

SIDE = 12


def of_size(size):
    """A random mask that keeps just so many positions."""
    drawn = (masks.random(SIDE, SIDE, size, np.random.default_rng(seed)) for seed in range(100))
    return next(mask for mask in drawn if mask.sum() == size)


def test_controls_are_of_the_size_of_each_map_and_share_their_orders():
    counts = [29, 28, 10, 0, 144]
    maps = np.stack([of_size(size) for size in counts])
    controls, energy = ControlMasks(maps, 29, seed=0), np.random.default_rng(0).random((SIDE, SIDE))
    radius = np.round(spectrum.radius(SIDE, SIDE) * SIDE).astype(int)
    random = [controls.random(label, 4) for label in range(len(counts))]
    for label, count in enumerate(counts):
        # Whole orbits may leave one position of the budget over.
        size = 29 if count == 28 else count
        sizes = np.concatenate([controls.trivial(label, energy), random[label]]).sum((1, 2))
        assert (sizes <= size).all() and (sizes >= size - 1).all(), (label, sizes)
        for mask in controls.radial(label, 3):
            profile = [np.bincount(radius[one], minlength=20) for one in (mask, maps[label])]
            np.testing.assert_array_equal(*profile)
    np.testing.assert_array_equal(random[0], random[1])
    assert not (random[2] & ~random[0]).any(), "a smaller map's random masks lie inside a larger one's"
    assert (random[0][0] != random[0][1]).any() and (controls.radial(0, 2)[0] != controls.radial(0, 2)[1]).any()


def test_trivial_masks_hold_the_lowest_frequencies_and_the_most_energy():
    maps, energy = np.stack([of_size(29)]), np.random.default_rng(0).random((SIDE, SIDE))
    energy = energy + spectrum.conjugate(energy)
    low, loud = ControlMasks(maps, 29, seed=0).trivial(0, energy)
    radius = spectrum.radius(SIDE, SIDE)
    assert radius[low].max() <= radius[~low].min() and energy[loud].min() >= energy[~loud].max()


def test_packed_controls_know_the_first_images_of_their_class(monkeypatch):
    monkeypatch.setattr(control_masks, "ENERGY_IMAGES", 2)
    source, maps = Made((3, 4, 0), size=SIDE), np.stack([of_size(29)] * 3)
    packed = pack_controls(maps, 29, Dataset(source, SIDE), MEAN_STD, random_masks=2, seed=5)
    found, controls = np.asarray(masks.unpack(packed, SIDE)), ControlMasks(maps, 29, seed=5)
    assert found.shape == (1 + 1 + 2 + 2, 3, SIDE, SIDE)
    for label in range(2):
        pixels = (source.images[source.labels == label][:2] / 255 - MEAN_STD[0]) / MEAN_STD[1]
        energy = np.square(np.abs(np.fft.fftshift(np.fft.fft2(pixels, axes=(1, 2)), axes=(1, 2)))).mean((0, 3))
        trivial = [masks.low_pass(SIDE, SIDE, 29), masks.best_orbits(energy, 29)]
        np.testing.assert_array_equal(found[:2, label], trivial)
    np.testing.assert_array_equal(found[:2, 2], [masks.low_pass(SIDE, SIDE, 29)] * 2)
    for label in range(3):
        np.testing.assert_array_equal(found[2:4, label], controls.random(label, 2))
        np.testing.assert_array_equal(found[4:, label], controls.radial(label, 2))


@pytest.mark.parametrize("seed", [0, 1])
def test_energy_is_the_mean_square_of_the_fourier_transform(seed):
    images = np.random.default_rng(seed).normal(size=(70, 6, 9, 3)).astype(np.float32)
    expected = np.square(np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2)))).mean((0, 3))
    np.testing.assert_allclose(spectrum.energy(images), expected, rtol=1e-5)
