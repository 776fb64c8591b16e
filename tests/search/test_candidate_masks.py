"""Candidates of the hierarchical search against their description, and the regression of their losses."""

import dataclasses

import numpy as np
import pytest

from fsjax.fourier import spectrum
from fsjax.search import candidate_masks
from fsjax.search.candidate_masks import Candidates, Stage

TWO_STAGES = (Stage(8, 99), Stage(4, 99))


def drawn(stages=TWO_STAGES):
    """Candidates at 32 pixels and P = 0.6, with four random best ones of three classes in the first stages."""
    made = Candidates((32, 32), stages, 0, 0.6)
    best = [np.random.default_rng(7).integers(stage.count, size=(3, 4)) for stage in stages[:-1]]
    return dataclasses.replace(made, best=tuple(best))


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("plane", "patch"), [((32, 32), 8), ((32, 32), 2), ((24, 36), 6), ((15, 25), 5), ((8, 20), 4)])
def test_a_patch_is_a_block_with_its_conjugate_in_whole_orbits(plane, patch, shifted):
    patch_of = candidate_masks.patch_numbers(plane, patch, shifted)
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


def test_the_plain_the_shifted_and_the_union_keep_their_share_of_the_patches():
    made = drawn()
    plain, shifted = (candidate_masks.patch_numbers((32, 32), 8, moved) for moved in (False, True))
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


STAGES = (Stage(4, 60), Stage(2, 90), Stage(1, 120), Stage(1, 40, 20, 0.5))


@pytest.mark.parametrize("orbits", [30, 1500])
def test_slopes_are_those_of_ridge_regression_with_an_intercept_for_each_stage(orbits, monkeypatch):
    rng = np.random.default_rng(0)
    stage = rng.integers(3, size=80)
    kept = rng.random((80, orbits)) < (0.3 + 0.2 * stage[:, None])
    losses = rng.normal(size=(3, 80)) + 3 * stage
    x, y = kept.astype(float), losses.copy()
    for number in range(3):
        x[stage == number] -= x[stage == number].mean(0)
        y[:, stage == number] -= y[:, stage == number].mean(1, keepdims=True)
    penalty = 0.05 * (x**2).sum(0).mean()
    expected = np.linalg.solve(x.T @ x + penalty * np.eye(orbits), x.T @ y.T).T
    monkeypatch.setattr(candidate_masks, "_ORBITS", 400)
    np.testing.assert_allclose(candidate_masks.regression_slopes(kept, losses, stage), expected, atol=1e-9)


def searched(needed, *, seed=0):
    """Candidates at 16 pixels after their published stages, and losses that count what a class needs and lacks."""
    made, found = Candidates((16, 16), STAGES, seed, 0.6), []
    orbits = spectrum.orbits(16, 16)
    for number in range(3):
        masks = made.masks(number, 0, STAGES[number].count)
        held = np.array([[np.isin(of_class, orbits[mask]) for mask in masks] for of_class in needed])
        found.append(~held @ np.arange(1.0, 1 + len(needed[0])) + number)
        best = np.argsort(found[-1], axis=1, kind="stable")[:, :2]
        made = dataclasses.replace(made, best=(*made.best, best))
    return made, found


def test_what_a_class_needs_ranks_first_also_where_its_best_candidates_lack_it():
    needed = np.random.default_rng(0).permutation(130)[:12].reshape(2, 6)
    for seed in (0, 4, 5):  # draws whose best candidates all lack an orbit of each class
        made, found = searched(needed, seed=seed)
        ranking = candidate_masks.rank_orbits(made, found, 20)
        assert ranking.shape == (2, 20)
        for label in range(2):
            # The more it costs to lack an orbit, the better it ranks.
            assert ranking[label, :5].tolist() == needed[label, :0:-1].tolist()
            assert needed[label, 0] in ranking[label, 5:10]
            for index in made.best[2][label]:
                mask = made.mask(2, int(index))
                assert not np.isin(needed[label], spectrum.orbits(16, 16)[mask]).all()


@pytest.mark.parametrize("count", [1, 20])
def test_where_losses_tell_nothing_orbits_keep_their_order(count):
    made = Candidates((16, 16), (Stage(4, count), *STAGES[1:]), 0, 0.6)
    with np.errstate(all="raise"):
        found = candidate_masks.rank_orbits(made, [np.full((2, count), 1.5)], 20)
        np.testing.assert_array_equal(found, [range(20)] * 2)
