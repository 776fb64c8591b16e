"""Partial results on disk: a restart takes over what is whole and fits, and nothing else."""

import numpy as np
import pytest

from fsjax.runtime import files, interrupt, partial_results
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import PartialResults
from tests.helpers.refused import refused

PARAMS = {"kernel": np.arange(3.0)}


def opened(directory, **options):
    return PartialResults(directory, {"tile": 8}, PARAMS, "a search", **options)


def filled(directory, values, tiles, **options):
    """Fill a table of class 3 tile by tile; return the table."""
    table = opened(directory, **options).table("class00003", np.empty_like(values))
    table.fill(((np.array(tile), values[..., tile]) for tile in tiles), lambda items: None)
    return table


def on_disk(directory, like):
    return opened(directory).table("class00003", np.empty_like(like)).values


def test_a_restart_takes_over_what_is_whole_and_without_a_directory_nothing_is_stored(tmp_path, monkeypatch):
    values = np.random.default_rng(0).normal(size=(2, 3, 9))
    filled(tmp_path, values, [[0, 1], [7, 4, 5]])
    (tmp_path / "class00003" / "000002-000003.npz").write_bytes(b"damaged")
    expected = np.full_like(values, np.nan)
    expected[..., [0, 1, 4, 5, 7]] = values[..., [0, 1, 4, 5, 7]]
    np.testing.assert_array_equal(on_disk(tmp_path, values), expected)
    monkeypatch.chdir(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    table = filled(None, np.ones(4), [[0, 1]])
    np.testing.assert_array_equal(table.values, [1, 1, np.nan, np.nan])
    assert opened(None).state("a") == {} and {path.name for path in tmp_path.iterdir()} == kept


def test_tables_do_not_read_each_others_files(tmp_path):
    store, values = opened(tmp_path), np.arange(4.0)
    items = ("class00003", "class00003/base", "class00003/base-2")
    for number, item in enumerate(items):
        table = store.table(item, np.empty(4))
        assert np.isnan(table.values).all()
        table.set(np.array([0, 1]), values[:2] + 10 * number)
        store.save()
    assert [opened(tmp_path).table(item, np.empty(4)).values[0] for item in items] == [0, 10, 20]
    assert np.isnan(opened(tmp_path).table("class00004", np.empty(4)).values).all()


def test_one_timer_saves_all_tables(tmp_path, monkeypatch):
    clock, saves = [0.0], []
    monkeypatch.setattr(partial_results.time, "monotonic", lambda: clock[0])
    store = opened(tmp_path, save_seconds=3.0)
    store.on_save = lambda: saves.append(clock[0])
    other, table = (store.table(item, np.empty(9)) for item in ("class00000", "class00003"))
    other.set(np.array([2]), np.ones(1))

    def tiles():
        for item in range(8):
            clock[0] += 1
            yield np.array([item]), np.ones(1)

    table.fill(tiles(), lambda items: None)
    assert saves == [3, 6, 8], "every 3 seconds, and at the end"
    parts = [f"00000{first}-00000{last}.npz" for first, last in ((0, 3), (3, 6), (6, 8))]
    assert sorted(file.name for file in (tmp_path / "class00003").iterdir()) == parts
    assert [file.name for file in (tmp_path / "class00000").iterdir()] == ["000002-000003.npz"]


@pytest.mark.parametrize("error", [interrupt.Terminated, InputError, KeyboardInterrupt])
def test_what_is_computed_is_saved_whatever_ends_it(tmp_path, error):
    def tiles():
        yield np.array([1]), np.ones(1)
        raise error("stopped")

    with pytest.raises(error):
        opened(tmp_path).table("class00003", np.empty(2)).fill(tiles(), lambda items: None)
    np.testing.assert_array_equal(on_disk(tmp_path, np.empty(2)), [np.nan, 1])


def test_a_state_is_replaced_and_read_back_and_a_damaged_one_is_none(tmp_path):
    store = opened(tmp_path)
    assert store.state("task000001") == {}
    for steps in (1, 2):
        store.set_state("task000001", {"steps": np.array(steps), "logits": np.ones(3) * steps})
        store.save()
    store.set_state("task000001", {"steps": np.array(3)})
    state = opened(tmp_path).state("task000001")
    assert state.keys() == {"steps", "logits"} and state["steps"] == 2
    file = tmp_path / "task000001.npz"
    store.save()
    written = file.stat().st_mtime_ns
    store.save()
    assert file.stat().st_mtime_ns == written, "a state is written once"
    file.write_bytes(file.read_bytes()[:-9])
    assert opened(tmp_path).state("task000001") == {}


def test_a_restart_uses_the_first_layout_and_another_search_model_or_version_is_refused(tmp_path):
    opened(tmp_path)
    assert PartialResults(tmp_path, {"tile": 24}, PARAMS, "a search").layout["tile"] == 8
    for thing, *arguments in (("search", PARAMS, "another"), ("model", {"kernel": np.ones(3)}, "a search")):
        message = f"partial results of another {thing}; delete the folder to search again"
        refused(message, PartialResults, tmp_path, {"tile": 8}, *arguments)
    layout = files.read_json(tmp_path / "layout.json")
    files.write_json(tmp_path / "layout.json", {key: value for key, value in layout.items() if key != "format"})
    refused("partial results of another version of fsjax; delete the folder", opened, tmp_path)
