"""Control masks have the size of each map, its profile where they say so, and are the same for maps of one size."""

import numpy as np
import pytest

from fsjax.evaluation.ood.counting import control_kinds, control_masks
from fsjax.fourier import masks, spectrum
from tests.helpers.plane import spectra

SIDE, KINDS = 12, ("low_pass_tpr", "highest_energy_tpr", "random_tpr", "radial_tpr")


def of_size(size):
    """A random mask that keeps just this many positions."""
    drawn = (masks.random(SIDE, SIDE, size, np.random.default_rng(seed)) for seed in range(100))
    return next(mask for mask in drawn if mask.sum() == size)


def test_controls_have_the_size_of_each_map_and_share_their_orders():
    counts = [29, 28, 10, 0, 144]
    maps = np.stack([of_size(size) for size in counts])
    kinds = control_kinds(maps, 4)
    assert kinds == dict(zip(KINDS, (1, 1, 4, 4), strict=True))
    radius = spectrum.radius(SIDE, SIDE)
    rings = np.round(radius * SIDE).astype(int)
    energy = np.random.default_rng(1).random(rings.max() + 1)[rings]
    drawn = [control_masks(mask, energy, 29, kinds, 5, label) for label, mask in enumerate(maps)]
    for label, count in enumerate(counts):
        # Whole orbits may leave one position of the budget over.
        size = 29 if count == 28 else count
        sizes = drawn[label][:6].sum((1, 2))
        assert (sizes <= size).all() and (sizes >= size - 1).all(), (label, sizes)
        for mask in drawn[label][6:]:
            profile = [np.bincount(rings[each], minlength=20) for each in (mask, maps[label])]
            np.testing.assert_array_equal(*profile)
    for low, loud in (of_class[:2] for of_class in drawn[:3]):
        assert radius[low].max() <= radius[~low].min() and energy[loud].min() >= energy[~loud].max()
    random = [of_class[2:6] for of_class in drawn]
    np.testing.assert_array_equal(random[0], random[1])
    assert not (random[2] & ~random[0]).any(), "a smaller map's random masks lie inside a larger one's"
    assert (random[0][0] != random[0][1]).any() and (drawn[0][6] != drawn[0][7]).any()


def test_there_are_radial_masks_only_of_maps_with_a_profile():
    single = np.zeros((3, SIDE, SIDE), bool)
    single[:, 0, 1] = True
    assert list(control_kinds(single, 3)) == list(KINDS[:3]) and not control_kinds(single, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_energy_is_the_mean_square_of_the_fourier_transform(seed):
    images = np.random.default_rng(seed).normal(size=(70, 6, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(spectrum.energy(images), np.square(np.abs(spectra(images))).mean((0, 3)), rtol=1e-5)
