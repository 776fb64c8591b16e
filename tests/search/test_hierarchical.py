"""The hierarchical search: its choices against losses in NumPy float64, its budgets, and its stages."""

import numpy as np
import pytest

from fsjax import search
from fsjax.engine import tile_size
from fsjax.fourier import masks as masks_lib
from fsjax.fourier import spectrum
from fsjax.search import candidate_masks, hierarchical
from tests.helpers import search_problem
from tests.helpers.plane import filtered
from tests.helpers.refused import refused
from tests.helpers.search_problem import COUNTS

FIELDS = {"candidates": "12,15,18", "keep": 3, "shares": (0.1, 0.25, 1.0)}


def make_problem(directory=None, **fields):
    return search_problem.make_problem(directory, "hierarchical", plane=(16, 16), **FIELDS | fields)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 6)


def begin(problem):
    """The candidates of a search before its first stage."""
    stages = hierarchical.plan_stages(problem.options, problem.plane)
    return candidate_masks.Candidates(problem.plane, stages, problem.seed, problem.options.hierarchical.share)


def mean_losses(problem, label, masks):
    """Mean cross-entropy of a class's images under each mask, in float64."""
    return search_problem.losses(problem.model.params, filtered(problem.images(label), masks), label).mean(-1)


def test_each_class_keeps_the_candidates_with_the_lowest_loss(monkeypatch):
    problem = make_problem(shares=(0.5,), **search_problem.filtering_by(monkeypatch, "dft"))
    made = begin(problem)
    for number, stage in enumerate(made.stages):
        masks = made.masks(number, 0, stage.count)
        made, found, *_ = hierarchical.advance(problem, made)
        expected = np.stack([mean_losses(problem, label, masks) for label in range(3)])
        np.testing.assert_allclose(found, expected, atol=4e-6)
        assert (made.best[number] == expected.argsort(1, kind="stable")[:, :3]).mean() > 0.9
        kept = np.take_along_axis(expected, made.best[number], 1)
        np.testing.assert_allclose(kept, np.sort(expected)[:, :3], atol=1e-5)
    assert (made.best[0][0] != made.best[0][1]).any(), "classes differ"


def published_stages(problem):
    """The candidates after the last published stage, and their losses."""
    made = begin(problem)
    for _ in range(3):
        made, losses, *_ = hierarchical.advance(problem, made)
    return made, losses


def test_a_map_is_the_best_that_fits_its_budget_and_at_a_share_of_1_the_best_of_the_last_published_stage(tmp_path):
    problem = make_problem(tmp_path, shares=(1.0, 0.22, 0.02, 0.1, 0.25))
    maps = hierarchical.search(problem)
    assert maps.shares == (0.02, 0.1, 0.22, 0.25, 1.0)
    budgets = np.array([masks_lib.budget(share, 16, 16) for share in maps.shares])
    assert (maps.positions <= budgets[:, None]).all() and (maps.positions[:2] >= budgets[:2, None] - 1).any()
    assert spectrum.is_hermitian(maps.masks)
    for share, share_masks, losses in zip(maps.shares, maps.masks, maps.provenance["losses"], strict=True):
        for label, (mask, loss) in enumerate(zip(share_masks, losses, strict=True)):
            assert loss == pytest.approx(mean_losses(problem, label, mask), abs=4e-6), share
    stages = maps.provenance["stages"]
    assert [stage["shares"] for stage in stages if stage["shares"]] == [[1.0, 0.22, 0.25], [0.1], [0.02]]
    made, losses = published_stages(problem)
    sizes = made.masks(2, 0, 18).sum((1, 2))
    assert (sizes > budgets[2]).any()
    for index in (2, 3, 4):
        assert maps.provenance["losses"][index] == losses[:, sizes <= budgets[index]].min(1).tolist()
    assert stages[2]["positions"] == [sizes.min(), np.sort(sizes)[8], sizes.max()]
    for label in range(3):
        np.testing.assert_array_equal(maps.masks[4, label], made.mask(2, int(losses[label].argmin())))
    assert [stage["patch"] for stage in stages[:3]] == [4, 2, 1]
    assert maps.forward_equivalents == sum(COUNTS) * sum(stage["candidates"] for stage in stages)


def test_where_no_candidate_fits_the_best_is_trimmed(tmp_path):
    budget = masks_lib.budget(0.217, 16, 16)
    for seed in range(40):  # until the only candidate is too large
        problem = make_problem(tmp_path / str(seed), shares=(0.217,), candidates="9,9,1", keep=1, seed=seed)
        whole = published_stages(problem)[0].mask(2, 0)
        if whole.sum() > budget:
            break
    assert whole.sum() > budget
    maps = hierarchical.search(problem)
    assert (maps.positions <= budget).all() and (maps.positions >= budget - 1).all()
    assert not (maps.masks & ~whole).any() and spectrum.is_hermitian(maps.masks)
    assert maps.provenance["losses"] == [[None] * 3]


def test_further_stages_search_what_the_ranking_of_orbits_says(tmp_path, monkeypatch):
    problem = make_problem(tmp_path, shares=(0.05,))
    hierarchical.search(problem)
    hierarchical.search(problem)
    monkeypatch.setattr(candidate_masks, "PENALTY", 500.0)
    refused("stage4: partial results of another search", hierarchical.search, problem)


@pytest.mark.parametrize(
    ("plane", "patches"),
    [
        ((32, 32), "8,4,2,1"),
        ((64, 64), "16,8,4,2,1"),
        ((128, 128), "32,16,8,4,2"),
        ((224, 224), "56,28,14,8,4,2"),
        *((plane, None) for plane in [(24, 36), (15, 15), (31, 31), (1, 5), (300, 200), (7, 49)]),
    ],
)
def test_published_sizes_have_presets_and_other_planes_patches_that_fit(plane, patches):
    options = search.options("hierarchical", shares=(1.0,))
    search.check(options, plane)
    stages = hierarchical.plan_stages(options, plane)
    assert patches is None or ",".join(str(stage.patch) for stage in stages) == patches
    assert all(side % stage.patch == 0 for side in plane for stage in stages)
    if plane == (32, 32):
        assert [stage.count for stage in stages] == [250, 500, 1000, 2000]


def test_further_stages_go_from_share_to_share_in_equal_ratios():
    options = search.options("hierarchical", shares=(0.15, 0.05, 0.01))
    stages = hierarchical.plan_stages(options, (32, 32))
    assert stages[3].shares == (0.15,) and stages[3].budget is None
    further = stages[4:]
    assert {(stage.patch, stage.count) for stage in further} == {(1, 2000)}
    # 0.6^4 = 0.1296; two steps of 0.62 to 0.05, three of 0.58 to 0.01.
    assert [stage.budget for stage in further] == [82, 51, 29, 17, 10]
    assert [stage.shares for stage in further] == [(), (0.05,), (), (), (0.01,)]
