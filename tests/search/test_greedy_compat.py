"""The greedy elimination of DFM-X's published code, position by position."""

import numpy as np
import pytest
import torch

from benchmarks.parity import published_greedy
from benchmarks.parity.published import batches
from fsjax import search
from fsjax.engine import tile_size
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError
from fsjax.search import greedy
from tests.helpers.greedy_problem import make_problem
from tests.helpers.stopping import Stopped, stop_after

COUNTS = (150, 90, 120)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 64)


def as_published(size, seed):
    """An order with the published one's shape: pairs, singles in row 0, column 0 and DC's row, 0 in half of row 0."""
    half = size // 2
    single = [(0, column) for column in range(half + 1)] + [(row, 0) for row in range(1, size)]
    steps = [[place] for place in single + [(half, column) for column in range(1, size)]]
    for row in range(1, half):
        steps += [[(row, column), (size - row, size - column)] for column in range(1, size)]
    turns = np.zeros((size, size))
    for turn, step in enumerate(np.random.default_rng(seed).permutation(len(steps)), 1):
        for place in steps[step]:
            turns[place] = turn
    return turns


def of_groups(plane, seed):
    """An order of groups of positions that no orbit knows, a third of them always removed."""
    return np.maximum(np.random.default_rng(seed).integers(-15, 30, plane), 0).astype(float)


def compat_problem(folder, turns, seed, tolerance, shares=(0.2, 1.0)):
    rng = np.random.default_rng(10 + seed)
    # Running sums have a few strong, low frequencies, of which some are not worth the tolerance.
    noise = [rng.normal(size=(count, *turns.shape, 3)) / 8 for count in COUNTS]
    images = [of_class.cumsum(1).cumsum(2).astype(np.float32) for of_class in noise]
    folder.mkdir(exist_ok=True)
    np.save(folder / "order.npy", turns)
    problem = make_problem(folder, images=images, seed=seed, tolerance=float(tolerance), shares=shares)
    problem.options.greedy.update(compat=True, order=str(folder / "order.npy"))
    search.check(problem.options, turns.shape)
    return problem, images


def published_maps(problem, images, turns, tolerance):
    params = {name: torch.from_numpy(array) for name, array in problem.model.params.items()}

    def model(images):
        return torch.tanh(images.permute(0, 2, 3, 1).flatten(1) @ params["hidden"]) @ params["out"]

    # In an order in which batches hold several classes.
    shuffled = np.random.default_rng(0).permutation(sum(COUNTS))
    labels = np.repeat(range(len(COUNTS)), COUNTS)[shuffled]
    data = batches(np.concatenate(images)[shuffled], labels, size=64)
    return published_greedy.search(model, data, len(COUNTS), turns, tolerance)


@pytest.mark.parametrize(
    ("turns", "seed", "tolerance"),
    [
        (as_published(8, 0), 0, 0),
        (as_published(8, 1), 1, 1),
        (as_published(8, 2), 2, 2),
        (of_groups((8, 8), 3), 3, 0),
        (of_groups((7, 7), 4), 4, 1),
        (of_groups((6, 10), 5), 5, 1),
    ],
)
def test_the_maps_are_those_of_the_published_procedure(tmp_path, turns, seed, tolerance):
    problem, images = compat_problem(tmp_path, turns, seed, tolerance)
    maps = greedy.search(problem)
    expected = published_maps(problem, images, turns, tolerance)
    np.testing.assert_array_equal(maps.at(1.0), expected)
    assert 0 < expected.sum() < np.count_nonzero(turns) * len(COUNTS), "some are dropped and some are kept"
    assert not spectrum.is_hermitian(maps.at(1.0)), "an orbit of which half is left is among them"
    assert maps.forward_equivalents == sum(COUNTS) * (1 + len(np.unique(turns[turns > 0])))
    for kept, scores, count in zip(maps.at(1.0), maps.scores, COUNTS, strict=True):
        np.testing.assert_array_equal(scores >= 0, kept)
        lost = scores[kept] * count
        np.testing.assert_allclose(lost, lost.round(), atol=1e-4)
        assert (lost.round() > tolerance).all(), "what is kept would have cost more than the tolerance"


def test_a_smaller_share_holds_what_is_left_of_the_orbits_whose_better_member_cost_most(tmp_path):
    turns = as_published(8, 3)
    problem, _ = compat_problem(tmp_path, turns, 0, 0, shares=(0.1, 0.2, 1.0))
    maps = greedy.search(problem)
    orbits = spectrum.orbits(8, 8)
    for share in (0.1, 0.2):
        for kept, scores, mask in zip(maps.at(1.0), maps.scores, maps.at(share), strict=True):
            expected = np.zeros((8, 8), bool)
            for orbit in sorted(set(orbits[kept]), key=lambda orbit: -scores[orbits == orbit].max()):
                more = expected | (kept & (orbits == orbit))
                if more.sum() > share * 64:
                    break
                expected = more
            np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
def test_an_orbit_of_which_one_member_is_left_counts_as_one_position(share):
    rng = np.random.default_rng(0)
    scores = np.where(rng.random((8, 8)) < 0.6, rng.permutation(64).reshape(8, 8) / 64, -1.0)
    orbits, kept = spectrum.orbits(8, 8), scores >= 0
    expected = np.zeros((8, 8), bool)
    for orbit in sorted(set(orbits[kept]), key=lambda orbit: -scores[orbits == orbit].max()):
        more = expected | (kept & (orbits == orbit))
        if more.sum() > int(share * 64):
            break
        expected = more
    np.testing.assert_array_equal(greedy.METHOD.mask(scores, share), expected)


def test_an_elimination_that_is_stopped_goes_on_and_takes_no_step_twice(tmp_path, monkeypatch):
    turns = as_published(8, 0)
    expected = greedy.search(compat_problem(tmp_path / "whole", turns, 0, 1)[0])
    stopped = stop_after(monkeypatch, 17)
    with pytest.raises(Stopped):
        greedy.search(compat_problem(tmp_path / "stopped", turns, 0, 1)[0])
    monkeypatch.undo()
    others = stop_after(monkeypatch, np.inf)
    found = greedy.search(compat_problem(tmp_path / "stopped", turns, 0, 1)[0])
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert sum(units for units, *_ in stopped + others) == len(COUNTS) * (1 + len(np.unique(turns[turns > 0])))


def test_settings_that_the_published_code_does_not_have_are_named(tmp_path):
    options = search.options()
    options.update(method="greedy")
    options.greedy.compat = True
    with pytest.raises(
        InputError, match=r"^search.greedy.order: got nothing; expected the file of the published order"
    ):
        search.check(options, (8, 8))
    np.save(tmp_path / "order.npy", np.ones((8, 8)))
    options.greedy.order = str(tmp_path / "order.npy")
    with pytest.raises(InputError, match=r"^search.greedy.order: .*order.npy is of 8 x 8; expected of 10 x 8"):
        search.check(options, (10, 8))
    for tolerance in (1.5, -1.0, float("inf"), float("nan")):
        options.greedy.tolerance = tolerance
        with pytest.raises(InputError, match=r"^search.greedy.tolerance: .* or a whole number of images"):
            search.check(options, (8, 8))
    options.greedy.tolerance = 6.0
    search.check(options, (8, 8))
