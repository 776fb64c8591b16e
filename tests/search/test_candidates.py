"""The masks of the hierarchical search against their description, written out with blocks and half-turns."""

import dataclasses

import numpy as np
import pytest

from fsjax.fourier import spectrum
from fsjax.search.hierarchical import candidates
from fsjax.search.hierarchical.candidates import Candidates
from fsjax.search.hierarchical.stages import Stage

TWO_STAGES = (Stage(8, 99), Stage(4, 99))


def drawn(stages=TWO_STAGES, *, compat=False):
    """Candidates at 32 pixels and P = 0.6, with four random best ones of three classes in the first stages."""
    made = Candidates((32, 32), stages, 0, 0.6, compat)
    best = [np.random.default_rng(7).integers(stage.count, size=(3, 4)) for stage in stages[:-1]]
    return dataclasses.replace(made, best=tuple(best))


# Patches


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("plane", "patch"), [((32, 32), 8), ((32, 32), 2), ((24, 36), 6), ((15, 25), 5), ((8, 20), 4)])
def test_a_patch_is_a_block_with_its_conjugate_in_whole_orbits(plane, patch, shifted):
    patch_of = candidates.patches(plane, patch, shifted, False)
    assert spectrum.is_hermitian(patch_of)
    if patch % 2 and shifted:
        return  # half a patch is no whole frequency
    counts = [side // patch for side in plane]
    grid = np.kron(np.arange(counts[0] * counts[1]).reshape(counts), np.ones((patch, patch), int))
    if shifted:
        grid = np.roll(grid, (-(patch // 2), -(patch // 2)), (0, 1))
    found = np.zeros(patch_of.max() + 1, bool)
    for block in range(grid.max() + 1):
        near = (grid == block) | (grid == block)[::-1, ::-1]
        near = near | spectrum.conjugate(near)
        found |= np.array([not ((patch_of == number) & ~near).any() for number in range(len(found))])
    assert found.all(), "no patch reaches beyond a block, the opposite one and their conjugates"
    blocks = counts[0] * counts[1]
    opposite = (grid == grid[::-1, ::-1]).reshape(-1).sum() / patch**2  # blocks that are their own
    assert len(found) == (blocks + opposite) / 2
    if not shifted and opposite == 0:
        assert np.abs(np.bincount(patch_of.ravel()) / (2 * patch**2) - 1).max() <= 1 / patch + 1e-9


def test_patches_of_one_frequency_are_the_orbits():
    np.testing.assert_array_equal(candidates.patches((12, 9), 1, False, False), spectrum.orbits(12, 9))


# Masks


def test_the_plain_the_shifted_and_the_union_keep_their_share_of_the_patches():
    made = drawn()
    plain, shifted = (candidates.patches((32, 32), 8, moved, False) for moved in (False, True))
    for index, mask in enumerate(made.masks(0, 0, 99)):
        whole = [
            np.bincount(patch_of[mask], minlength=patch_of.max() + 1) == np.bincount(patch_of.ravel())
            for patch_of in (plain, shifted)
        ]
        if index % 3 == 0:  # 60 % of 8 patches
            assert whole[0].sum() == 5 and np.isin(plain, np.flatnonzero(whole[0])).sum() == mask.sum()
        elif index % 3 == 1:  # 60 % of 10
            assert whole[1].sum() == 6 and np.isin(shifted, np.flatnonzero(whole[1])).sum() == mask.sum()
        else:  # 30 % of either; overlaps may fill others
            assert whole[0].sum() >= 2 and whole[1].sum() >= 3
            both = [np.isin(of, np.flatnonzero(full)) for of, full in zip((plain, shifted), whole, strict=True)]
            np.testing.assert_array_equal(mask, both[0] | both[1])
            assert 0.3 < mask.mean() < 0.65
    assert len({mask.tobytes() for mask in made.masks(0, 0, 99)}) > 60


def test_masks_are_hermitian_and_lie_in_a_kept_mask_of_a_random_class():
    stages = (Stage(8, 99), Stage(4, 99), Stage(1, 60), Stage(1, 60, 40, 0.5))
    made = drawn(stages)
    for stage in range(1, 4):
        parents = [[made.mask(stage - 1, int(index)) for index in row] for row in made.best[stage - 1]]
        used = np.zeros((3, 4), int)
        for mask in made.masks(stage, 0, 60):
            inside = np.array([[not (mask & ~parent).any() for parent in row] for row in parents])
            assert spectrum.is_hermitian(mask) and inside.any()
            used += inside
        assert (used > 0).all(), "all classes and all of their best have descendants"
    shares = made.masks(2, 0, 60).mean((1, 2))
    grandparents = np.array([made.mask(1, int(index)).mean() for index in made.best[1].ravel()])
    assert shares.mean() == pytest.approx(0.6 * grandparents.mean(), rel=0.1)


def test_a_further_stage_fills_its_budget_or_keeps_its_ratio():
    made = drawn((Stage(8, 99), Stage(1, 99), Stage(1, 60, 350, 0.5)))
    found = 0
    for index in range(60):
        before, after = made.parent(2, index).sum(), made.mask(2, index).sum()
        target = 350 if before > 350 else before // 2
        assert target - 1 <= after <= target
        found += before <= 350
    assert 0 < found < 60


def test_the_first_candidates_of_a_further_stage_keep_each_class_s_best_orbits():
    ranking = np.array([np.random.default_rng(label).permutation(514)[:50] for label in range(3)])
    plain = drawn((Stage(8, 99), Stage(1, 99), Stage(1, 8, 40, 0.5)))
    ranked = dataclasses.replace(plain, ranking=ranking)
    orbits, sizes = spectrum.orbits(32, 32), spectrum.orbit_sizes(32, 32)
    for index in range(8):
        mask = ranked.mask(2, index)
        if index >= 3:
            np.testing.assert_array_equal(mask, plain.mask(2, index))
            continue
        count = max(count for count in range(50) if sizes[ranking[index, :count]].sum() <= 40)
        np.testing.assert_array_equal(mask, np.isin(orbits, ranking[index, :count]))
    np.testing.assert_array_equal(ranked.masks(1, 0, 9), plain.masks(1, 0, 9), "the published stages stay")
    # Half of them at most: the others go on from what was found.
    few = dataclasses.replace(ranked, stages=(*ranked.stages[:2], Stage(1, 4, 40, 0.5)))
    assert [few.mask(2, index).tobytes() == ranked.mask(2, index).tobytes() for index in (0, 1)] == [True, True]
    np.testing.assert_array_equal(few.mask(2, 2), plain.mask(2, 2))
    assert ranked.digest("") != plain.digest("")


def test_a_mask_does_not_depend_on_those_made_before_it():
    stages = (Stage(8, 99), Stage(4, 99), Stage(1, 60))
    first, second = drawn(stages), drawn(stages)
    there = [first.mask(2, index) for index in range(20)]
    back = [second.mask(2, index) for index in reversed(range(20))][::-1]
    np.testing.assert_array_equal(there, back)
    other = dataclasses.replace(first, seed=1)
    assert (other.mask(0, 0) != first.mask(0, 0)).any() or (other.mask(0, 1) != first.mask(0, 1)).any()


# Compat


def half_turned(top, size):
    """The published way: the top half of an array, its bottom half that turned by 180 degrees."""
    mask = np.zeros((size, size), bool)
    mask[: size // 2] = top[: size // 2]
    for row in range(size // 2, size):
        for column in range(size):
            mask[row, column] = mask[size - 1 - row, size - 1 - column]
    return mask


def test_compat_draws_blocks_of_the_top_half_and_turns_them():
    made = drawn(compat=True)
    for mask in made.masks(0, 0, 99)[::3]:
        top = np.zeros((32, 32), bool)
        chosen = [(row, column) for row in range(2) for column in range(4) if mask[8 * row, 8 * column]]
        assert len(chosen) == 4, "int(0.6 * 8)"
        for row, column in chosen:
            top[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = True
        np.testing.assert_array_equal(mask, half_turned(top, 32))
        assert not spectrum.is_hermitian(mask)


def test_compat_shifts_the_grid_by_half_a_patch():
    made = drawn(compat=True)
    for index, mask in enumerate(made.masks(0, 0, 99)):
        np.testing.assert_array_equal(mask, half_turned(mask, 32))
        if index % 3 == 1:
            blocks = np.roll(mask, (4, 4), (0, 1)).reshape(4, 8, 4, 8).swapaxes(1, 2).reshape(16, 64)
            assert (blocks.all(1) | ~blocks.any(1)).all()
    single = dataclasses.replace(made, stages=(Stage(1, 9),), best=())
    for mask in single.masks(0, 0, 9):
        np.testing.assert_array_equal(mask, half_turned(mask, 32))
        assert mask.sum() == 2 * int(0.6 * 512)


@pytest.mark.parametrize("compat", [False, True])
def test_only_in_compat_the_three_of_a_pass_have_one_parent(compat):
    made = drawn(compat=compat)
    alike = [
        all(made.parent(1, first) is made.parent(1, first + other) for other in (1, 2)) for first in range(0, 99, 3)
    ]
    assert all(alike) if compat else np.mean(alike) < 0.2
