"""A search in real processes: any number of them and of devices, which go on with what others left, ends alike."""

import re
import shutil

import numpy as np
import pytest

from fsjax.fourier import dfm
from fsjax.runtime import files
from tests.helpers.processes import computed, finish, start


def parts(directory):
    return sorted(directory.rglob("class*/*.npz"))


def results(maps):
    return {name: value for name, value in maps.provenance.items() if name != "devices"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the maps and partial results of every method: one process, and two of two devices each.

    The two find a part of what the one has computed for removal.
    """
    folders, printed = [tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")], []
    # For greedy, position by position as DFM-X's code.
    np.save(folders[0].parent / "order.npy", np.arange(64.0).reshape(8, 8))
    for processes, folder in enumerate(folders, start=1):
        printed.append(finish(start(folder, folder, devices=processes, processes=processes)))
        if processes == 1:
            for file in [folder / "removal" / "layout.json", *parts(folder / "removal")[::2]]:
                kept = folders[1] / file.relative_to(folder)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, kept)
    return folders, printed


TASKS = {"removal": 0, "hierarchical": 0, "graft": 2, "greedy": 2, "learned": 6}


@pytest.mark.parametrize("method", TASKS)
def test_every_method_finds_the_same_maps_in_two_processes_on_four_devices(runs, method):
    one, two = (dfm.DominantFrequencyMaps.load(folder / f"{method}.npz") for folder in runs[0])
    np.testing.assert_array_equal(one.masks, two.masks)
    if one.scores is not None:
        np.testing.assert_array_equal(one.scores, two.scores)
    assert one.masks.any() and results(one) == results(two)
    assert method != "removal" or one.provenance["stability"]["resamples"] == 20
    for folder in runs[0]:
        assert len(list((folder / method).rglob("task*.npz"))) == TASKS[method]


def test_each_process_computes_its_share_of_what_is_left_and_only_the_first_prints(runs):
    folders, (alone, (first, second)) = runs
    for folder in folders:
        assert computed(parts(folder / "removal")) == 2 * files.read_json(folder / "removal" / "layout.json")["masks"]
    one, two = ({file.relative_to(folder): file.stat().st_mtime_ns for file in parts(folder)} for folder in folders)
    found = parts(folders[0] / "removal")[::2]
    assert 0 < computed(found) < computed(parts(folders[0] / "removal")), "there is something left to do"
    for file in (file.relative_to(folders[0]) for file in found):
        assert two[file] == one[file], "what was there is not computed again"
    assert re.search(r"search removal.*masks/s, ETA .* images/s", alone[0]) and "masks/s" in first
    assert "masks/s" not in second
