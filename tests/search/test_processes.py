"""A search in real processes: any number of them and of devices, killed at any moment, ends with the same bits."""

import random
import re
import signal
import time

import numpy as np
import pytest

from fsjax.fourier import dfm
from fsjax.runtime import files
from tests.helpers.processes import computed, finish, start


def parts(directory):
    return {file: file.stat().st_mtime_ns for file in directory.rglob("class*/*.npz")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The maps of a search on one device that nothing interrupted, and how its work was cut."""
    directory = tmp_path_factory.mktemp("whole")
    finish(start(directory / "parts", directory / "maps.npz", devices=1))
    layout = files.read_json(directory / "parts" / "layout.json")
    assert computed(parts(directory / "parts")) == 3 * layout["masks"]
    return dfm.DominantFrequencyMaps.load(directory / "maps.npz"), layout


def assert_same(output, whole):
    """Scores to the bit, and with them what resampled images give."""
    found = dfm.DominantFrequencyMaps.load(output)
    np.testing.assert_array_equal(found.scores, whole.scores)
    assert results(found) == results(whole) and found.provenance["stability"]["resamples"] == 20


def results(maps):
    return {name: value for name, value in maps.provenance.items() if name != "devices"}


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(1, 4), (3, 1)])
def test_scores_are_bit_equal_on_any_number_of_processes_and_devices(whole, tmp_path, processes, devices):
    printed = finish(start(tmp_path / "parts", tmp_path / "maps.npz", devices=devices, processes=processes))
    assert_same(tmp_path / "maps.npz", whole[0])
    assert computed(parts(tmp_path / "parts")) == 3 * whole[1]["masks"], "each process has its share and no more"
    assert not any("masks" in text for text in printed[1:]), "only the first process prints"


@pytest.mark.slow
def test_a_search_killed_at_random_moments_ends_with_the_same_bits(whole, tmp_path):
    """SIGKILL at random moments, on other devices each time, and at last two processes."""
    rng = random.Random(0)
    directory = tmp_path / "parts"
    for devices in (2, 1):
        before = parts(directory)
        wanted = len(before) + rng.randint(1, 4)
        (worker,) = start(directory, tmp_path / "maps.npz", devices=devices)
        deadline = time.monotonic() + 200
        while len(parts(directory)) < wanted:
            assert worker.poll() is None, worker.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        assert {file: time for file, time in parts(directory).items() if file in before} == before
    assert computed(parts(directory)) < 3 * whole[1]["masks"], "there is something left to do"
    finish(start(directory, tmp_path / "maps.npz", devices=2, processes=2))
    assert_same(tmp_path / "maps.npz", whole[0])
    assert computed(parts(directory)) == 3 * whole[1]["masks"], "nothing that was kept is computed again"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the maps and partial results of every method: one process, and two of two devices each."""
    folders, printed = [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")], []
    # For greedy, position by position as DFM-X's code.
    np.save(folders[0].parent / "order.npy", np.arange(64.0).reshape(8, 8))
    for processes, folder in enumerate(folders, start=1):
        worker = ("tests/helpers/search_worker.py", "all")
        printed.append(finish(start(folder, folder, devices=processes, processes=processes, worker=worker)))
    return folders, printed


@pytest.mark.parametrize(
    ("method", "tasks"), [("removal", 0), ("hierarchical", 0), ("graft", 2), ("greedy", 2), ("learned", 6)]
)
def test_every_method_finds_the_same_maps_in_two_processes_on_four_devices(runs, method, tasks):
    one, two = (dfm.DominantFrequencyMaps.load(folder / f"{method}.npz") for folder in runs[0])
    np.testing.assert_array_equal(one.masks, two.masks)
    if one.scores is not None:
        np.testing.assert_array_equal(one.scores, two.scores)
    assert one.masks.any() and results(one) == results(two)
    for folder in runs[0]:
        assert len(list((folder / method).rglob("task*.npz"))) == tasks


def test_each_process_computes_its_share_and_only_the_first_prints(runs):
    folders, (alone, (first, second)) = runs
    for folder in folders:
        assert computed(parts(folder / "removal")) == 2 * files.read_json(folder / "removal" / "layout.json")["masks"]
    assert re.search(r"search removal.*masks/s, ETA .* images/s", alone[0]) and "masks/s" in first
    assert "masks/s" not in second
