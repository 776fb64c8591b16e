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
    assert found.provenance == whole.provenance and found.provenance["stability"]["resamples"] == 20


@pytest.mark.parametrize(("processes", "devices"), [(1, 2), (1, 4), (1, 8), (2, 2), (4, 1)])
def test_scores_are_bit_equal_on_any_number_of_processes_and_devices(whole, tmp_path, processes, devices):
    printed = finish(start(tmp_path / "parts", tmp_path / "maps.npz", devices=devices, processes=processes))
    assert_same(tmp_path / "maps.npz", whole[0])
    assert computed(parts(tmp_path / "parts")) == 3 * whole[1]["masks"], "each process has its share and no more"
    assert re.search(r"search removal.*masks/s, ETA .* images/s", printed[0])
    assert not any("masks" in text for text in printed[1:]), "only the first process prints"


def test_a_search_killed_at_random_moments_ends_with_the_same_bits(whole, tmp_path):
    """SIGKILL at random moments, on other devices each time, and at last two processes."""
    rng = random.Random(0)
    directory = tmp_path / "parts"
    for devices in (2, 1, 4, 1):
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


@pytest.mark.parametrize(("method", "chains"), [("hierarchical", 0), ("greedy", 2), ("learned", 2 + 6 + 2)])
def test_every_method_finds_the_same_maps_in_two_processes(tmp_path, method, chains):
    found = []
    for name, processes in (("one", 1), ("two", 2)):
        output = tmp_path / f"{name}.npz"
        worker = ("tests/helpers/method_worker.py", method)
        finish(start(tmp_path / name, output, devices=2, processes=processes, worker=worker))
        found.append(dfm.DominantFrequencyMaps.load(output))
    np.testing.assert_array_equal(found[0].masks, found[1].masks)
    assert found[0].masks.any() and found[0].provenance == found[1].provenance
    for name in ("one", "two"):
        assert len(list((tmp_path / name).rglob("chain*.npz"))) == chains


def test_processes_of_the_adaptive_search_share_the_work_and_end_with_the_bits_of_one(tmp_path):
    def run(name, processes):
        output, worker = tmp_path / f"{name}.npz", ("tests/helpers/method_worker.py", "adaptive")
        finish(start(tmp_path / name, output, devices=1, processes=processes, worker=worker))
        return dfm.DominantFrequencyMaps.load(output)

    one, two = run("one", 1), run("two", 2)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.provenance == two.provenance
    shapes_of = {
        name: [files.read_npz(file)["values"].T.shape for file in (tmp_path / name).rglob("block*.npz")]
        for name in ("one", "two")
    }
    for shapes in shapes_of.values():
        assert sum(masks * images for masks, images in shapes) == one.forward_equivalents - 3 * 100
    most = {name: max(masks for masks, _ in shapes) for name, shapes in shapes_of.items()}
    # All 34 patches, but for the four of the exact sample, which were evaluated before.
    assert most == {"one": 30, "two": 15}, "each process has its share and no more"
