"""The greedy culling against a NumPy transcription of its description, and against being stopped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsjax import search
from fsjax.engine import tile_size
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.search import greedy
from fsjax.search.sweep import Throughput
from tests.helpers.greedy_problem import COUNTS, SIZE, make_problem
from tests.helpers.stopping import Stopped, stop_after


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 4)


def correct(params, images, label, kept):
    """Images of a class that are called it, in NumPy float64."""
    centred = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2)) * kept[None, :, :, None]
    filtered = np.fft.ifft2(np.fft.ifftshift(centred, axes=(1, 2)), axes=(1, 2)).real
    logits = np.tanh(filtered.reshape(len(images), -1) @ params["hidden"].astype(float)) @ params["out"].astype(float)
    return int((logits.argmax(1) == label).sum())


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_an_orbit_is_dropped_where_the_class_keeps_its_current_number_less_the_tolerance(tmp_path, tolerance):
    problem = make_problem(tmp_path, tolerance=tolerance)
    maps = greedy.search(problem)
    orbits = spectrum.orbits(SIZE, SIZE)
    dropped = 0
    for label, count in enumerate(COUNTS):
        images, kept = problem.images(label), np.ones((SIZE, SIZE), bool)
        now = correct(problem.model.params, images, label, kept)
        assert maps.provenance["correct_before"][label] == now
        scores = np.full((SIZE, SIZE), -1.0)
        for orbit in greedy.removal_order(SIZE, SIZE):
            trial = kept & (orbits != orbit)
            found = correct(problem.model.params, images, label, trial)
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
    assert maps.forward_equivalents == sum(COUNTS) * (1 + orbits.max() + 1)


@pytest.mark.parametrize("plane", [(8, 8), (7, 7), (6, 10), (32, 32)])
def test_the_order_visits_each_orbit_once_from_low_to_high_with_dc_last(plane):
    order = greedy.removal_order(*plane)
    orbits = spectrum.orbits(*plane)
    assert sorted(order) == list(range(orbits.max() + 1))
    rows, columns = np.indices(plane)
    ring = np.maximum(abs(rows - plane[0] // 2) / plane[0], abs(columns - plane[1] // 2) / plane[1])
    of_orbit = np.array([ring[orbits == orbit].max() for orbit in order])
    assert of_orbit[-1] == 0 and (np.diff(of_orbit[:-1]) >= -1e-9).all()
    assert len(order) == (544 - 79 + 49 if plane == (32, 32) else len(order))


def test_frequencies_that_work_only_together_are_both_kept_and_of_ones_that_stand_in_for_each_other_one(tmp_path):
    orbits = spectrum.orbits(SIZE, SIZE)
    # A pair that class a needs together, two orbits of which class b needs either.
    members = [orbits[SIZE // 2 + row, SIZE // 2 + column] for row, column in ((0, 1), (2, 1), (1, 2), (3, -2))]
    planes = jnp.asarray(np.stack([orbits == member for member in members]))

    def apply(params, images):
        present = jnp.square(spectrum.filter_images(images, planes)).sum((2, 3, 4)) > 1e-3
        pair, either = present[0] & present[1], present[2] | present[3]
        return jnp.stack([pair, either, 0.5 * jnp.ones_like(pair)], axis=1).astype(jnp.float32)

    images = [np.random.default_rng(label).normal(size=(4, SIZE, SIZE, 3)).astype(np.float32) for label in range(2)]
    # Class b's images lack the pair, or class a would be called first.
    keep = np.isin(orbits, members[:2])
    images[1] = images[1] - np.asarray(spectrum.filter_images(jnp.asarray(images[1]), jnp.asarray(keep)[None])[0])
    maps = greedy.search(make_problem(tmp_path, tolerance=0.0, apply=apply, images=images))
    kept = [set(np.unique(orbits[mask])) for mask in maps.at(1.0)]
    assert kept[0] == set(members[:2])
    order = greedy.removal_order(SIZE, SIZE).tolist()
    assert kept[1] == {max(members[2:], key=order.index)}


def published_order():
    """As DFM-X defines it: pairs in one step, singles without their conjugate, and what is always removed."""
    single = [(0, column) for column in range(17)] + [(row, 0) for row in range(1, 32)]
    steps = [[place] for place in single + [(16, column) for column in range(1, 32)]]
    others = {(row, column) for row in range(1, 32) for column in range(1, 32) if row != 16}
    steps += [
        [(row, column), (32 - row, 32 - column)] for row, column in others if (row, column) < (32 - row, 32 - column)
    ]
    turns = np.zeros((32, 32))
    for turn, step in enumerate(np.random.default_rng(0).permutation(len(steps)), 1):
        for place in steps[step]:
            turns[place] = turn
    return turns


def test_a_published_order_is_walked_in_whole_orbits_by_their_first_turn():
    turns = published_order()
    assert turns.max() == 544 and (turns == 0).sum() == 15 and (turns[0, 17:] == 0).all()
    orbits = spectrum.orbits(32, 32)
    order = greedy.order_of(turns)
    first = [turns[orbits == orbit].max() for orbit in order]
    assert sorted(order) == list(range(514)) and first == sorted(first, reverse=True)


def test_an_order_from_a_file_is_walked_and_what_is_0_there_is_gone_from_the_start(tmp_path):
    rng = np.random.default_rng(3)
    turns = rng.permutation(SIZE**2).reshape(SIZE, SIZE).astype(float)
    gone = [(1, 2), (7, 6), (0, 0), (3, 5)]  # a pair, an orbit of one, and one member of a pair, which is walked
    for row, column in gone:
        turns[row, column] = 0
    np.save(tmp_path / "order.npy", turns)
    problem = make_problem(tmp_path, tolerance=0.1)
    problem.options.greedy.order = str(tmp_path / "order.npy")
    search.check(problem.options, (SIZE, SIZE))
    maps = greedy.search(problem)
    orbits = spectrum.orbits(SIZE, SIZE)
    removed = np.isin(orbits, [orbits[1, 2], orbits[0, 0]])
    walk = sorted(set(orbits[~removed]), key=lambda orbit: -turns[orbits == orbit].max())
    dropped = 0
    for label, count in enumerate(COUNTS):
        images, kept = problem.images(label), ~removed
        now = correct(problem.model.params, images, label, kept)
        assert maps.provenance["correct_before"][label] == now
        for orbit in walk:
            found = correct(problem.model.params, images, label, kept & (orbits != orbit))
            if found >= now - round(0.1 * count):
                kept, now = kept & (orbits != orbit), found
        np.testing.assert_array_equal(maps.at(1.0)[label], kept)
        assert (maps.scores[label][removed] == -1).all()
        dropped += (~kept).sum()
    assert 3 * 3 < dropped < 3 * SIZE**2
    assert maps.forward_equivalents == sum(COUNTS) * (1 + 34 - 2)
    assert len(maps.provenance["order"]["sha256"]) == 64

    # Another content under the same name is another search.
    turns[4, 4] = 0
    np.save(tmp_path / "order.npy", turns)
    with pytest.raises(InputError, match="partial results of another search"):
        greedy.search(problem)


def test_an_order_that_cannot_be_used_is_named(tmp_path):
    options = search.options()
    options.update(method="greedy")
    options.greedy.order = str(tmp_path / "order.npy")
    unusable = {"missing.npy": "no file", "missing.pkl": "no file", "folder.pkl": "a folder", "text.pkl": ""}
    (tmp_path / "folder.pkl").mkdir()
    (tmp_path / "text.pkl").write_text("order")
    np.save(tmp_path / "infinite.npy", np.full((8, 8), np.inf))
    for name, found in {**unusable, "infinite.npy": "an array of 8 x 8"}.items():
        options.greedy.order = str(tmp_path / name)
        with pytest.raises(InputError, match=rf"^search\.greedy\.order: .*{name}: .*{found}"):
            search.check(options, (8, 8))
    options.greedy.order = str(tmp_path / "order.npy")
    np.save(tmp_path / "order.npy", np.ones((4, 8)))
    with pytest.raises(InputError, match=r"search.greedy.order: .*order.npy is of 4 x 8; expected of 8 x 8"):
        search.check(options, (8, 8))
    assert search.reads(options) == [tmp_path / "order.npy"]


def test_a_culling_stopped_anywhere_goes_on_and_takes_no_step_twice(tmp_path, monkeypatch):
    expected = greedy.search(make_problem(tmp_path / "whole"))
    taken, stops = 0, 0
    for limit in (1, 17, 3, 40, 1000):
        monkeypatch.setattr(tile_size, "fit", lambda *_, stops=stops, **__: 4 + stops)
        monkeypatch.setattr(
            parallel, "local_devices", lambda stops=stops: jax.local_devices()[: (2, 1, 3, 4, 2)[stops]]
        )
        seen = stop_after(monkeypatch, limit)
        try:
            found = greedy.search(make_problem(tmp_path / "stopped", save_seconds=1000.0))
        except Stopped:
            stops += 1
        taken += sum(units for units, *_ in seen)
        monkeypatch.undo()
    assert stops == 4
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.masks, expected.masks)
    assert taken == 3 * (1 + 34)


def test_what_is_finished_is_read_and_not_computed_again(tmp_path, monkeypatch):
    expected = greedy.search(make_problem(tmp_path, save_seconds=0.0))

    def count(*arguments):
        raise AssertionError("a step is taken")

    monkeypatch.setattr(Throughput, "count", count)
    np.testing.assert_array_equal(greedy.search(make_problem(tmp_path)).scores, expected.scores)


def test_a_damaged_state_is_computed_again(tmp_path):
    expected = greedy.search(make_problem(tmp_path))
    files = sorted((tmp_path / "search").glob("task*.npz"))
    assert len(files) == 3
    files[0].write_bytes(files[0].read_bytes()[:-20])
    files[1].unlink()
    np.savez(files[2], step=np.array(3), state=np.zeros(2))  # a state of other arrays
    np.testing.assert_array_equal(greedy.search(make_problem(tmp_path)).scores, expected.scores)
    with pytest.raises(InputError, match="partial results of another model"):
        greedy.search(make_problem(tmp_path, seed=1))


def test_a_tolerance_that_cannot_be_used_is_named():
    options = search.options()
    options.update(method="greedy")
    options.greedy.tolerance = 1.0
    with pytest.raises(InputError, match=r"search.greedy.tolerance: got 1.0; expected a share in \[0, 1\)"):
        search.check(options, (8, 8))
