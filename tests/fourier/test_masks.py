"""Budgets in whole orbits and the trivial masks."""

import itertools

import numpy as np
import pytest

from fsjax.fourier import masks, spectrum


def constant_on_orbits(values_per_orbit, height, width):
    return values_per_orbit[spectrum.orbits(height, width)]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (7, 9), (8, 5)])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 1.0])
def test_a_budget_is_met_in_whole_orbits_best_first(height, width, share):
    orbits, sizes = spectrum.orbits(height, width), spectrum.orbit_sizes(height, width)
    scores = np.random.default_rng(0).normal(size=len(sizes))
    positions = masks.budget(share, height, width)
    found = masks.best_orbits(constant_on_orbits(scores, height, width), positions)

    expected, total = np.zeros((height, width), bool), 0
    for orbit in sorted(range(len(sizes)), key=lambda orbit: -scores[orbit]):
        if total + sizes[orbit] > positions:
            break
        total += sizes[orbit]
        expected |= orbits == orbit
    np.testing.assert_array_equal(found, expected)
    assert positions - 1 <= found.sum() <= positions
    assert spectrum.is_hermitian(found)


def test_budget_is_the_floor_of_share_times_positions_in_exact_arithmetic():
    assert [masks.budget(share, 224, 224) for share in (0.01, 0.05, 0.1, 0.2)] == [501, 2508, 5017, 10035]
    assert masks.budget(0.57, 10, 10) == 57
    assert masks.budget(1.0, 7, 9) == 63


def test_masks_of_growing_shares_are_nested_even_with_ties():
    scores = constant_on_orbits(np.random.default_rng(0).integers(0, 4, 514).astype(float), 32, 32)
    kept = [masks.best_orbits(scores, masks.budget(share, 32, 32)) for share in (0.01, 0.05, 0.1, 0.2, 1.0)]
    for smaller, larger in itertools.pairwise(kept):
        assert not (smaller & ~larger).any()
    assert kept[-1].all()


def test_trivial_masks_keep_what_their_names_say():
    rng = np.random.default_rng(0)
    low = masks.low_pass(32, 32, 101)
    radius = spectrum.radius(32, 32)
    assert radius[low].max() <= radius[~low].min() + 1e-12
    energy = constant_on_orbits(rng.random(514), 32, 32)
    high = masks.best_orbits(energy, 101)
    assert energy[high].min() >= energy[~high].max()
    drawn = np.mean([masks.random(32, 32, 102, rng) for _ in range(400)], axis=0)
    assert drawn.mean() == pytest.approx(102 / 1024, rel=0.02)
    assert drawn.max() < 0.2, "no position is preferred"


def test_radial_matched_masks_keep_the_profile_and_move_the_orbits():
    rng = np.random.default_rng(0)
    scores = -spectrum.radius(32, 32) + constant_on_orbits(rng.random(514), 32, 32) * 0.2
    mask = masks.best_orbits(scores, 200)
    rings = np.round(spectrum.radius(32, 32) * 32).astype(int)
    for _ in range(20):
        drawn = masks.radial_matched(mask, rng)
        assert spectrum.is_hermitian(drawn)
        np.testing.assert_array_equal(np.bincount(rings[drawn], minlength=30), np.bincount(rings[mask], minlength=30))
    assert (drawn != mask).any()
    assert not masks.radial_matched(np.zeros((8, 8), bool), rng).any()


def test_masks_at_a_bit_a_position_are_the_masks():
    whole = np.random.default_rng(0).random((5, 3, 7, 9)) < 0.3
    packed = masks.Packed.of(whole)
    assert len(packed) == 5 and packed.bits.nbytes == 5 * 3 * 7 * 2
    np.testing.assert_array_equal(packed[1:4], whole[1:4])
