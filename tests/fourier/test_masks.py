"""Budgets in whole orbits, the trivial masks, and maps, whose files come back as they were saved."""

import itertools

import numpy as np
import pytest

from fsjax.fourier import dfm, masks, spectrum
from tests.helpers import results


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


def test_a_budget_is_a_floor_in_exact_arithmetic_and_masks_of_growing_shares_are_nested_even_with_ties():
    assert [masks.budget(share, 224, 224) for share in (0.01, 0.05, 0.1, 0.2)] == [501, 2508, 5017, 10035]
    assert masks.budget(0.57, 10, 10) == 57
    assert masks.budget(1.0, 7, 9) == 63
    scores = constant_on_orbits(np.random.default_rng(0).integers(0, 4, 514).astype(float), 32, 32)
    kept = [masks.best_orbits(scores, masks.budget(share, 32, 32)) for share in (0.01, 0.05, 0.1, 0.2, 1.0)]
    for smaller, larger in itertools.pairwise(kept):
        assert not (smaller & ~larger).any()
    assert kept[-1].all()
    whole = np.random.default_rng(0).random((5, 3, 7, 9)) < 0.3
    packed = np.packbits(whole, axis=-1)
    np.testing.assert_array_equal(masks.unpack(packed[1:4], 9), whole[1:4])


@pytest.mark.parametrize("positions", [0, 7, 30, 1000])
def test_a_union_takes_the_best_orbits_of_each_mask_in_turn(positions):
    rng, (height, width) = np.random.default_rng(3), (8, 8)
    orbits, sizes = spectrum.orbits(height, width), spectrum.orbit_sizes(height, width)
    scores = np.stack([constant_on_orbits(rng.normal(size=len(sizes)), height, width) for _ in range(3)])
    of_classes = np.stack([masks.best_orbits(scores[0], 20), masks.best_orbits(scores[1], 9), np.zeros((8, 8), bool)])
    turns = [
        sorted(set(orbits[mask]), key=lambda orbit, scored=s: -scored[orbits == orbit][0])
        for mask, s in zip(of_classes, scores, strict=True)
    ]
    expected, left = np.zeros((height, width), bool), positions
    for turn in itertools.zip_longest(*turns):
        for orbit in sorted({orbit for orbit in turn if orbit is not None and not expected[orbits == orbit].any()}):
            left = left - sizes[orbit] if sizes[orbit] <= left else -1
            if left >= 0:
                expected |= orbits == orbit
    np.testing.assert_array_equal(masks.union(of_classes, scores, positions), expected)
    assert masks.union(of_classes[:0], scores[:0], positions).sum() == 0


def test_trivial_masks_keep_what_their_names_say():
    rng = np.random.default_rng(0)
    low = masks.low_pass(32, 32, 101)
    radius = spectrum.radius(32, 32)
    assert radius[low].max() <= radius[~low].min() + 1e-12
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


@pytest.mark.parametrize("plane", [(32, 32), (9, 15), (12, 7)])
@pytest.mark.parametrize("kind", ["low", "middle", "scattered"])
def test_radial_neighbours_are_as_many_orbits_outside_the_mask_each_as_near_as_one_is_free(plane, kind):
    rng, radius = np.random.default_rng(0), spectrum.radius(*plane)
    scores = {"low": -radius, "middle": -np.abs(radius - 0.25), "scattered": rng.random(plane)}[kind]
    mask, sizes = masks.within_share(scores, 0.1), spectrum.orbit_sizes(*plane)
    found = [masks.radial_neighbours(mask, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert kind == "low" or (found[0] != found[2]).any()
    rings = spectrum.per_orbit(np.round(radius * max(plane)).astype(int))
    inside, pairs = spectrum.per_orbit(mask), sizes == 2
    for drawn in (found[0], found[2]):
        assert spectrum.is_hermitian(drawn) and not (drawn & mask).any()
        chosen = spectrum.per_orbit(drawn)
        assert not (chosen & ~pairs).any() and chosen.sum() == (inside & pairs).sum()
        # Orbits that are taken one by one, the nearest first, leave none free that is nearer than one taken, and
        # where a ring has room for its own orbits of the mask it gives as many.
        for ring in np.unique(rings[inside & pairs]):
            own = rings == ring
            wanted, room = (inside & pairs & own).sum(), (~inside & pairs & own).sum()
            assert (chosen & own).sum() >= min(wanted, room)
        free = pairs & ~inside & ~chosen
        if kind == "low" and free.any():
            assert rings[chosen].max() <= rings[free].min(), "of a low-pass mask the next rings"


def test_radial_neighbours_of_a_ring_are_spread_evenly_over_it():
    """Two orbits of a ring are the mask's; the others are drawn alike."""
    rings = np.round(spectrum.radius(12, 12) * 12).astype(int)
    rng, orbits = np.random.default_rng(0), spectrum.orbits(12, 12)
    of_ring = np.unique(orbits[rings == 3])
    mask = np.isin(orbits, of_ring[:2])
    drawn = np.mean([spectrum.per_orbit(masks.radial_neighbours(mask, rng)) for _ in range(600)], axis=0)
    np.testing.assert_allclose(drawn[of_ring[2:]], 2 / (len(of_ring) - 2), rtol=0.25)
    assert drawn.sum() == pytest.approx(2)


@pytest.mark.parametrize("plane", [(8, 8), (9, 7), (8, 5)])
def test_radial_neighbours_of_more_than_half_the_plane_are_all_that_is_left(plane):
    mask, sizes = masks.low_pass(*plane, int(0.7 * plane[0] * plane[1])), spectrum.orbit_sizes(*plane)
    drawn = masks.radial_neighbours(mask, np.random.default_rng(0))
    np.testing.assert_array_equal(spectrum.per_orbit(drawn), ~spectrum.per_orbit(mask) & (sizes == 2))
    for nothing in (np.ones(plane, bool), np.zeros(plane, bool), spectrum.radius(*plane) == 0):
        assert not masks.radial_neighbours(nothing, np.random.default_rng(0)).any()


@pytest.mark.parametrize("plane", [(8, 8), (9, 7), (6, 15)])
@pytest.mark.parametrize("total", [0.0, 1e-9, 3.0, 17.0, 1e9])
def test_outside_takes_the_first_orbits_of_its_order_that_hold_the_energy(plane, total):
    rng, sizes = np.random.default_rng(1), spectrum.orbit_sizes(*plane)
    energy = constant_on_orbits(rng.random(len(sizes)), *plane)
    energy[plane[0] // 2, plane[1] // 2] = 1e6
    mask = masks.within_share(constant_on_orbits(rng.random(len(sizes)), *plane), 0.3)
    drawn = masks.outside(mask, energy, total, np.random.default_rng(7))
    assert spectrum.is_hermitian(drawn) and not (drawn & mask).any() and not drawn[plane[0] // 2, plane[1] // 2]
    dc = spectrum.orbits(*plane)[plane[0] // 2, plane[1] // 2]
    free = np.setdiff1d(np.flatnonzero(~spectrum.per_orbit(mask)), [dc])
    held, expected = 0.0, np.zeros(plane, bool)
    for orbit in np.random.default_rng(7).permutation(free):
        if held >= total:
            break
        of_orbit = spectrum.orbits(*plane) == orbit
        held, expected = held + energy[of_orbit].sum(), expected | of_orbit
    np.testing.assert_array_equal(drawn, expected)
    everything = ~mask & (spectrum.radius(*plane) > 0)
    assert (drawn == everything).all() == (total > energy[everything].sum())
    other = masks.outside(mask, energy, total, np.random.default_rng(8))
    assert total not in (3.0, 17.0) or (other != drawn).any()


# Maps


def make_maps():
    per_orbit = np.random.default_rng(0).normal(size=(3, 41)).astype(np.float32)
    about = {"images": np.array([3, 4, 5]), "forward_equivalents": 10**12}
    about |= {"provenance": {"fields": {"seed": 0, "search.shares": [0.05, 0.2]}}}
    scores = per_orbit[:, spectrum.orbits(9, 9)]
    return results.maps(scores, (0.2, 0.05), ("cat", "<script>", "naïve, 猫"), **about)


def test_each_share_keeps_the_best_orbits_within_its_budget():
    maps = make_maps()
    assert maps.shares == (0.05, 0.2)
    for index, share in enumerate(maps.shares):
        for label in range(3):
            expected = masks.best_orbits(maps.scores[label], int(share * 81))
            np.testing.assert_array_equal(maps.masks[index, label], expected)
    assert (maps.positions <= [[4], [16]]).all() and (maps.positions >= [[3], [15]]).all()
    np.testing.assert_array_equal(maps.at(0.2), maps.masks[1])
    with pytest.raises(ValueError, match=r"share: got 0\.1; expected one of"):
        maps.at(0.1)


@pytest.mark.parametrize("ranked", [True, False])
def test_a_file_gives_back_what_was_saved(tmp_path, ranked):
    maps = make_maps()
    if not ranked:
        maps = dfm.dataclasses.replace(maps, scores=None)
    maps.save(tmp_path / "dfm" / "removal.npz")
    loaded = dfm.DominantFrequencyMaps.load(tmp_path / "dfm" / "removal.npz")
    for field in dfm.dataclasses.fields(maps):
        saved, read = getattr(maps, field.name), getattr(loaded, field.name)
        if isinstance(saved, np.ndarray):
            np.testing.assert_array_equal(read, saved)
            assert read.dtype == saved.dtype
        else:
            assert read == saved and type(read) is type(saved)
    assert [path.name for path in (tmp_path / "dfm").iterdir()] == ["removal.npz"], "no temporary file is left"
