"""Checkpoints come back as saved, on a disk and in a store, and damaged ones are passed over for the one before."""

import pathlib
import resource
import threading
import uuid

import jax
import numpy as np
import optax
import pytest

from fsjax.runtime import checkpoints as module
from fsjax.runtime import storage
from fsjax.runtime.checkpoints import Checkpoints, chosen_record
from tests.helpers.refused import refused

ABOUT = {"classes": ["a", "b"], "mean": [0.1, 0.2, 0.3], "steps": 3}


@pytest.fixture(params=["disk", "store"])
def place(request, tmp_path):
    return tmp_path if request.param == "disk" else storage.path(f"memory://{uuid.uuid4().hex}")


def variables(step, rows=300):
    return {"params": {"fc": {"0": np.full((rows, 3), step, np.float32)}}, "batch_stats": {}}


def training(step):
    state = optax.sgd(0.1, momentum=0.9).init(variables(step)["params"])
    return {"optimizer": state, "plateau": {"scale": np.array(step, np.float32)}}


def save(checkpoints, step, loss=None):
    checkpoints.save(step, variables(step), training(step), {**ABOUT, "at": step}, loss)


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
    checkpoints = saved(place)
    assert checkpoints.newest() == 3
    assert checkpoints.metadata(3) == {**ABOUT, "at": 3}
    assert value(checkpoints, 3) == 3
    restored = checkpoints.restore("training", 3, training(0))
    assert float(restored["plateau"]["scale"]) == 3
    assert type(restored["optimizer"]) is type(training(0)["optimizer"])
    assert sorted(path.name for path in place.iterdir()) == ["2.json", "2.npz", "3.json", "3.npz"]


DAMAGES = {
    "bit flip": lambda arrays, record: arrays.write_bytes(flipped(arrays.read_bytes())),
    "cut off": lambda arrays, record: arrays.write_bytes(arrays.read_bytes()[:-1]),
    "no arrays": lambda arrays, record: arrays.unlink(),
    "no record": lambda arrays, record: record.unlink(),
    "record cut off": lambda arrays, record: record.write_bytes(record.read_bytes()[:-9]),
    "another record": lambda arrays, record: record.write_text('{"sha256": "0"}'),
}


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("place", "damage"), [*(("disk", damage) for damage in DAMAGES), ("store", "bit flip")], indirect=["place"]
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(place, damage, caplog):
    saved(place)
    DAMAGES[damage](place / "3.npz", place / "3.json")
    checkpoints = Checkpoints(place, 2)
    assert checkpoints.newest() == 2
    assert "is damaged or incomplete; skipping it" in caplog.text
    checkpoints.discard_after(2)
    checkpoints.save(3, variables(30), training(30), ABOUT)
    assert checkpoints.newest() == 3
    assert value(checkpoints, 3) == 30
    checkpoints.close()


def test_a_folder_with_nothing_whole_is_refused_and_an_empty_one_is_not(place):
    assert Checkpoints(place / "empty", 2).newest() is None
    saved(place / "full")
    for record in (place / "full").glob("*.json"):
        record.write_text("{}")
    refused(r"all checkpoints \[3, 2\] are damaged", Checkpoints(place / "full", 2).newest)


def test_the_best_is_kept_beside_the_newest_over_restarts(place):
    losses = {1: 0.5, 2: 0.25, 3: None, 4: float("nan"), 5: 0.25, 6: 0.75, 7: None}
    assert Checkpoints(place, 1).best() is None and not chosen_record(place, "best").exists()
    for step, loss in losses.items():
        checkpoints = Checkpoints(place, 1)
        save(checkpoints, step, loss)
        checkpoints.close()
    checkpoints = Checkpoints(place, 1)
    assert checkpoints.newest() == 7 and checkpoints.best() == 2, "the earliest of equal losses, and no NaN"
    assert value(checkpoints, 2) == 2
    assert sorted(path.name for path in place.iterdir()) == ["2.json", "2.npz", "7.json", "7.npz"]
    assert chosen_record(place, "best").name == "2.json"
    assert chosen_record(place, "").name == "7.json"
    save(checkpoints, 8, 0.0)
    assert checkpoints.best() == 8
    assert sorted(path.name for path in place.iterdir()) == ["8.json", "8.npz"]
    checkpoints.close()


def test_a_damaged_best_is_named_and_not_replaced_by_another(place):
    checkpoints = Checkpoints(place, 2)
    for step, loss in ((1, 0.1), (2, 0.2), (3, 0.3)):
        save(checkpoints, step, loss)
    checkpoints.close()
    (place / "1.npz").write_bytes(flipped((place / "1.npz").read_bytes()))
    refused(r"1: the best checkpoint is damaged; expected train\.select=''", Checkpoints(place, 2).best)


def test_what_changes_after_save_returned_does_not_reach_the_file(place, monkeypatch):
    gate, write = threading.Event(), module._save
    monkeypatch.setattr(module, "_save", lambda file, arrays: (gate.wait(60), write(file, arrays)))
    checkpoints, own = Checkpoints(place, 2), variables(1)
    checkpoints.save(1, own, training(1), ABOUT)
    own["params"]["fc"]["0"][:] = 99
    assert not (place / "1.json").exists(), "save returned before anything was written"
    threading.Timer(0.2, gate.set).start()
    assert checkpoints.newest() == 1, "newest waits for it"
    assert value(checkpoints, 1) == 1
    checkpoints.close()


@pytest.mark.parametrize("then", ["wait", "save", "newest", "close"])
def test_a_full_disk_is_one_error_and_leaves_what_was_saved(tmp_path, then):
    checkpoints = saved(tmp_path, steps=(1,))
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        noise = np.random.default_rng(0).normal(size=(10**6, 1)).astype(np.float32)
        checkpoints.save(2, {"params": {"fc": {"0": noise}}, "batch_stats": {}}, training(2), ABOUT)
        call = {"save": lambda: save(checkpoints, 3)}.get(then) or getattr(checkpoints, then)
        refused(r"/2\.npz: cannot be written \(File too large\)", call)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == before
    checkpoints = Checkpoints(tmp_path, 2)
    save(checkpoints, 2)
    assert checkpoints.newest() == 2
    checkpoints.close()


def test_an_upload_that_was_interrupted_is_passed_over(monkeypatch):
    place = storage.path(f"memory://{uuid.uuid4().hex}")
    checkpoints = saved(place, steps=(1,))

    def half(self, source, target):
        self.pipe_file(target, pathlib.Path(source).read_bytes()[:100])
        raise OSError("the network is gone")

    monkeypatch.setattr(type(place.fs), "put_file", half)
    save(checkpoints, 2)
    refused(r"/2\.npz: cannot be written \(the network is gone\)", checkpoints.close)
    monkeypatch.undo()
    assert (place / "2.npz").exists()
    checkpoints = Checkpoints(place, 2)
    assert checkpoints.newest() == 1
    save(checkpoints, 2)
    assert checkpoints.newest() == 2 and value(checkpoints, 2) == 2


@pytest.mark.parametrize("item", ["variables", "training"])
def test_arrays_of_another_model_or_optimiser_are_refused(tmp_path, item):
    """More arrays, fewer, or of another shape or type than those saved."""
    checkpoints, like = saved(tmp_path), {"variables": variables, "training": training}[item](0)
    name, found = next(iter(like.items()))
    for other in ({**like, "more": np.zeros(3)}, {}, {**like, name: jax.tree.map(lambda x: x[..., None], found)}):
        refused(rf"3\.npz: got arrays of another {item}; expected the model and opti", checkpoints.restore, item, 3, other)
    doubled = jax.tree.map(lambda x: np.asarray(x, np.float64), like)
    refused("got arrays of another", checkpoints.restore, item, 3, doubled)


def contents(directory):
    files = [path for path in pathlib.Path(directory).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}
