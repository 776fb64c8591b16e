"""The greedy elimination against its description in NumPy float64, and the published code position by position."""

import numpy as np
import pytest
import torch

from benchmarks.parity import published
from benchmarks.parity.published import batches
from fsjax import search
from fsjax.engine import tile_size
from fsjax.fourier import masks, spectrum
from fsjax.search import greedy
from tests.helpers.plane import filtered
from tests.helpers.search_problem import filtering_by, logits, make_problem

SIZE, COUNTS = 8, (9, 5, 12)
COMPAT_COUNTS = (150, 90, 120)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 4)


def correct(problem, label, kept):
    """Number of a class's images that are predicted as it, in float64."""
    outputs = logits(problem.model.params, filtered(problem.images(label), kept))
    return int((outputs.argmax(1) == label).sum())


@pytest.mark.parametrize(("tolerance", "transform"), [(0.0, "fft"), (0.1, "dft")])
def test_an_orbit_is_dropped_where_the_class_keeps_its_current_number_less_the_tolerance(
    monkeypatch, tolerance, transform
):
    fields = {"counts": COUNTS, "shares": (0.2, 1.0), "tolerance": tolerance}
    problem = make_problem(None, "greedy", **fields, **filtering_by(monkeypatch, transform))
    maps = greedy.search(problem)
    orbits = spectrum.orbits(SIZE, SIZE)
    dropped = 0
    for label, count in enumerate(COUNTS):
        kept = np.ones((SIZE, SIZE), bool)
        now = correct(problem, label, kept)
        assert maps.provenance["correct_before"][label] == now
        scores = np.full((SIZE, SIZE), -1.0)
        for orbit in greedy.removal_order(SIZE, SIZE):
            trial = kept & (orbits != orbit)
            found = correct(problem, label, trial)
            if found >= now - round(tolerance * count):
                kept, now = trial, found
            else:
                scores[orbits == orbit] = (now - found) / count
        np.testing.assert_allclose(maps.scores[label], scores, atol=1e-6)
        np.testing.assert_array_equal(maps.at(1.0)[label], kept)
        assert maps.provenance["correct_with_all_kept"][label] == now
        best = masks.best_orbits(scores, masks.budget(0.2, SIZE, SIZE))
        np.testing.assert_array_equal(maps.at(0.2)[label], best & kept)
        dropped += (~kept).sum()
    assert 0 < dropped < 3 * SIZE**2, "some are dropped and some are kept"
    known = search.forward_passes(problem.options, COUNTS, (SIZE, SIZE))
    assert maps.forward_equivalents == sum(COUNTS) * (1 + orbits.max() + 1) == known


@pytest.mark.parametrize("plane", [(8, 8), (7, 7), (6, 10), (32, 32)])
def test_the_order_visits_each_orbit_once_from_low_to_high_with_dc_last(plane):
    order = greedy.removal_order(*plane)
    orbits = spectrum.orbits(*plane)
    assert sorted(order) == list(range(orbits.max() + 1))
    rows, columns = np.indices(plane)
    ring = np.maximum(abs(rows - plane[0] // 2) / plane[0], abs(columns - plane[1] // 2) / plane[1])
    rings = np.array([ring[orbits == orbit].max() for orbit in order])
    assert rings[-1] == 0 and (np.diff(rings[:-1]) >= -1e-9).all()


# The published code


def as_published(size, seed):
    """An order with the published shape: pairs, singles in row 0, column 0 and DC's row, 0 in half of row 0."""
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


def mixed_groups(plane, seed):
    """An order of groups of positions that cut across orbits, a third of them removed from the start."""
    return np.maximum(np.random.default_rng(seed).integers(-15, 30, plane), 0).astype(float)


def compat_problem(folder, turns, seed, tolerance, shares=(0.2, 1.0)):
    rng = np.random.default_rng(10 + seed)
    # Running sums have a few strong, low frequencies, some of which are not worth the tolerance.
    noise = [rng.normal(size=(count, *turns.shape, 3)) / 8 for count in COMPAT_COUNTS]
    images = [class_noise.cumsum(1).cumsum(2).astype(np.float32) for class_noise in noise]
    np.save(folder / "order.npy", turns)
    fields = {"tolerance": float(tolerance), "compat": True, "order": str(folder / "order.npy")}
    return make_problem(folder, "greedy", images=images, seed=seed, shares=shares, **fields), images


def published_maps(problem, images, turns, tolerance):
    params = {name: torch.from_numpy(array) for name, array in problem.model.params.items()}

    def model(images):
        return torch.tanh(images.permute(0, 2, 3, 1).flatten(1) @ params["hidden"]) @ params["out"]

    # In an order in which batches hold several classes.
    shuffled = np.random.default_rng(0).permutation(sum(COMPAT_COUNTS))
    labels = np.repeat(range(len(COMPAT_COUNTS)), COMPAT_COUNTS)[shuffled]
    data = batches(np.concatenate(images)[shuffled], labels, size=64)
    return published.eliminate(model, data, len(COMPAT_COUNTS), turns, tolerance)


@pytest.mark.parametrize(
    ("turns", "seed", "tolerance"),
    [
        (as_published(8, 0), 0, 0),
        (as_published(8, 2), 2, 2),
        (mixed_groups((7, 7), 4), 4, 1),
        (mixed_groups((6, 10), 5), 5, 1),
    ],
)
def test_compat_maps_equal_the_published_procedure(tmp_path, monkeypatch, turns, seed, tolerance):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 64)
    problem, images = compat_problem(tmp_path, turns, seed, tolerance)
    maps = greedy.search(problem)
    expected = published_maps(problem, images, turns, tolerance)
    np.testing.assert_array_equal(maps.at(1.0), expected)
    assert 0 < expected.sum() < np.count_nonzero(turns) * len(COMPAT_COUNTS), "some are dropped and some are kept"
    assert not spectrum.is_hermitian(maps.at(1.0)), "some orbits have lost one member"
    assert maps.forward_equivalents == sum(COMPAT_COUNTS) * (1 + len(np.unique(turns[turns > 0])))
    assert len(maps.provenance["order"]["sha256"]) == 64
    for kept, scores, count in zip(maps.at(1.0), maps.scores, COMPAT_COUNTS, strict=True):
        np.testing.assert_array_equal(scores >= 0, kept)
        lost = scores[kept] * count
        np.testing.assert_allclose(lost, lost.round(), atol=1e-4)
        assert (lost.round() > tolerance).all(), "each kept frequency would have cost more than the tolerance"
        for share in (0.1, 0.2, 0.6, 1.0):
            np.testing.assert_array_equal(greedy.METHOD.mask(scores, share), best_members(scores, share))
    for mask, scores in zip(maps.at(0.2), maps.scores, strict=True):
        np.testing.assert_array_equal(mask, best_members(scores, 0.2))


def best_members(scores, share):
    """The surviving members of the best orbits, orbit by orbit; an orbit is as good as its better member."""
    orbits, kept = spectrum.orbits(*scores.shape), scores >= 0
    expected = np.zeros(scores.shape, bool)
    for orbit in sorted(set(orbits[kept]), key=lambda orbit: -scores[orbits == orbit].max()):
        more = expected | (kept & (orbits == orbit))
        if more.sum() > int(share * scores.size):
            break
        expected = more
    return expected
