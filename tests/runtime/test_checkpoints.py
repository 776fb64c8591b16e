"""Checkpoints come back as saved, on a disk and in a store, and damaged ones are passed over for the one before."""

import pathlib
import threading

import numpy as np
import optax
import pytest

from fsjax.runtime import checkpoints as module
from fsjax.runtime.checkpoints import Checkpoints, newest_hashes
from tests.helpers.places import full_disk, store
from tests.helpers.refused import refused

ABOUT = {"classes": ["a", "b"], "mean": [0.1, 0.2, 0.3], "steps": 3}


@pytest.fixture(autouse=True)
def closed_at_the_end(monkeypatch):
    """Checkpoints that a test leaves open are closed: those of a store have copies on this machine."""
    opened, begin = [], Checkpoints.__init__

    def begin_and_note(self, *arguments):
        begin(self, *arguments)
        opened.append(self)

    monkeypatch.setattr(Checkpoints, "__init__", begin_and_note)
    yield
    for checkpoints in opened:
        checkpoints.close()


def variables(step, rows=300):
    return {"params": {"fc": {"0": np.full((rows, 3), step, np.float32)}}, "batch_stats": {}}


def training(step):
    state = optax.sgd(0.1, momentum=0.9).init(variables(step)["params"])
    return {"optimizer": state, "plateau": {"scale": np.array(step, np.float32)}}


def save(checkpoints, step):
    checkpoints.save(step, variables(step), training(step), {**ABOUT, "at": step})


def saved(place, steps=(1, 2, 3), keep=2):
    checkpoints = Checkpoints(place, keep)
    for step in steps:
        save(checkpoints, step)
    checkpoints.close()
    return Checkpoints(place, keep)


def value(checkpoints, step):
    (only,) = np.unique(checkpoints.restore("variables", step, variables(0))["params"]["fc"]["0"])
    return only


def test_the_newest_comes_back_as_it_was_saved_and_only_the_newest_are_kept(place):
    assert not newest_hashes(place).exists()
    checkpoints = saved(place)
    assert checkpoints.newest() == 3 and newest_hashes(place).name == "3.sha256.json"
    assert checkpoints.metadata(3) == {**ABOUT, "at": 3}
    assert value(checkpoints, 3) == 3
    restored = checkpoints.restore("training", 3, training(0))
    assert float(restored["plateau"]["scale"]) == 3
    assert type(restored["optimizer"]) is type(training(0)["optimizer"])
    assert sorted(path.name for path in place.iterdir()) == ["2", "2.sha256.json", "3", "3.sha256.json"]


DAMAGES = ["bit flip", "cut off", "file missing", "no hashes", "hashes cut off"]


@pytest.mark.parametrize(
    ("place", "damage"), [*(("disk", damage) for damage in DAMAGES), ("store", "bit flip")], indirect=["place"]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(place, damage, caplog):
    saved(place)
    written = [path for path in (place / "3" / "variables").rglob("*") if path.is_file()]
    largest = max(written, key=lambda path: path.stat().st_size)
    content, hashes = bytearray(largest.read_bytes()), place / "3.sha256.json"
    if damage == "bit flip":
        content[len(content) // 2] ^= 1
        largest.write_bytes(bytes(content))
    elif damage == "cut off":
        largest.write_bytes(bytes(content[:-1]))
    elif damage == "file missing":
        largest.unlink()
    elif damage == "no hashes":
        hashes.unlink()
    else:
        hashes.write_bytes(hashes.read_bytes()[:-9])
    checkpoints = Checkpoints(place, 2)
    assert checkpoints.newest() == 2
    assert "is damaged or incomplete; skipping it" in caplog.text
    checkpoints.discard_after(2)
    checkpoints.save(3, variables(30), training(30), ABOUT)
    assert checkpoints.newest() == 3
    assert value(checkpoints, 3) == 30
    checkpoints.close()


def test_a_folder_with_nothing_whole_is_named(place):
    assert Checkpoints(place / "empty", 2).newest() is None
    saved(place / "full")
    for hashes in (place / "full").glob("*.json"):
        hashes.write_text("{}")
    refused(r"all checkpoints \[3, 2\] are damaged", Checkpoints(place / "full", 2).newest)


def test_what_changes_after_save_returned_does_not_reach_the_file(place, monkeypatch):
    gate, write = threading.Event(), module._save
    monkeypatch.setattr(module, "_save", lambda folder, arrays: (gate.wait(60), write(folder, arrays)))
    checkpoints, own = Checkpoints(place, 2), variables(1)
    checkpoints.save(1, own, training(1), ABOUT)
    own["params"]["fc"]["0"][:] = 99
    assert not (place / "1.sha256.json").exists(), "save returned before anything was written"
    threading.Timer(0.2, gate.set).start()
    assert checkpoints.newest() == 1, "newest waits for it"
    assert value(checkpoints, 1) == 1
    checkpoints.close()


@pytest.mark.parametrize("then", ["wait", "save", "newest", "close"])
def test_a_full_disk_is_one_error_and_leaves_what_was_saved(tmp_path, then):
    checkpoints = saved(tmp_path, steps=(1,))
    before = contents(tmp_path)
    with full_disk(2**20):
        noise = np.random.default_rng(0).normal(size=(10**6, 1)).astype(np.float32)
        checkpoints.save(2, {"params": {"fc": {"0": noise}}, "batch_stats": {}}, training(2), ABOUT)
        call = {"save": lambda: save(checkpoints, 3)}.get(then) or getattr(checkpoints, then)
        refused(r"/2: cannot be written \(File too large\)", call)
    assert contents(tmp_path) == before
    checkpoints = Checkpoints(tmp_path, 2)
    save(checkpoints, 2)
    assert checkpoints.newest() == 2
    checkpoints.close()


def test_an_upload_that_was_interrupted_is_passed_over(monkeypatch):
    place = store()
    checkpoints, put = saved(place, steps=(1,)), type(place.fs).put

    def half(self, sources, targets):
        put(self, sources[::2], targets[::2])
        raise OSError("the network is gone")

    monkeypatch.setattr(type(place.fs), "put", half)
    save(checkpoints, 2)
    refused(r"/2: cannot be written \(the network is gone\)", checkpoints.close)
    monkeypatch.undo()
    assert (place / "2").exists()
    checkpoints = Checkpoints(place, 2)
    assert checkpoints.newest() == 1
    save(checkpoints, 2)
    assert checkpoints.newest() == 2 and value(checkpoints, 2) == 2
    checkpoints.close()


def contents(directory):
    files = [path for path in pathlib.Path(directory).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}
