"""The order of an epoch is Grain's, for any size of a set, any seed and any places."""

import itertools

import grain
import numpy as np
import pytest

from fsjax.data.permutation import permuted


def of_grain(places, images, seed):
    return [
        grain.experimental.index_shuffle(place, max_index=images - 1, seed=seed, rounds=4) for place in places.tolist()
    ]


@pytest.mark.parametrize("images", [1, 2, 3, 255, 1106, 65535, 65536, 65538, 131073, 262144, 1281167, 2**31 - 1])
def test_places_are_those_of_grain(images):
    rng = np.random.default_rng(images)
    for seed in [0, 2**32 - 1, *rng.integers(0, 2**32, 2).tolist()]:
        places = np.unique([0, images - 1, *rng.integers(0, images, 50).tolist()])
        np.testing.assert_array_equal(permuted(places, images, seed), of_grain(places, images, seed))


@pytest.mark.parametrize("images", [1000, 65537])  # Grain's order of 65,537 has one image twice
def test_every_image_has_one_place_and_other_seeds_another_order(images):
    orders = [permuted(np.arange(images), images, seed) for seed in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(images))
    assert all((first == second).mean() < 0.01 for first, second in itertools.pairwise(orders))
