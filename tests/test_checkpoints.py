"""Checkpoints come back as saved, and damaged ones are passed over for the one before."""

import numpy as np
import optax
import pytest

from fsjax.checkpoints import Checkpoints
from fsjax.errors import InputError

ABOUT = {"classes": ["a", "b"], "mean": [0.1, 0.2, 0.3], "steps": 3}


def variables(step):
    return {"params": {"fc": {"0": np.full((300, 3), step, np.float32)}}, "batch_stats": {}}


def training(step):
    state = optax.sgd(0.1, momentum=0.9).init(variables(step)["params"])
    return {"optimizer": state, "plateau": {"scale": np.array(step, np.float32)}}


def saved(tmp_path, steps=(1, 2, 3), keep=2):
    checkpoints = Checkpoints(tmp_path, keep)
    for step in steps:
        checkpoints.save(step, variables(step), training(step), {**ABOUT, "at": step})
    checkpoints.close()
    return Checkpoints(tmp_path, keep)


def test_the_newest_comes_back_as_it_was_saved(tmp_path):
    checkpoints = saved(tmp_path)
    assert checkpoints.newest() == 3
    assert checkpoints.about(3) == {**ABOUT, "at": 3}
    np.testing.assert_array_equal(checkpoints.variables(3, variables(0))["params"]["fc"]["0"], np.full((300, 3), 3.0))
    restored = checkpoints.training(3, training(0))
    assert float(restored["plateau"]["scale"]) == 3
    assert type(restored["optimizer"]) is type(training(0)["optimizer"])


def test_only_the_newest_are_kept_with_their_hashes(tmp_path):
    saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "2.sha256.json", "3", "3.sha256.json"]


@pytest.mark.parametrize("damage", ["bit flip", "cut off", "file missing", "no hashes"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage, caplog):
    saved(tmp_path)
    largest = max((path for path in (tmp_path / "3" / "variables").rglob("*") if path.is_file()), key=file_size)
    content = bytearray(largest.read_bytes())
    if damage == "bit flip":
        content[len(content) // 2] ^= 1
        largest.write_bytes(bytes(content))
    elif damage == "cut off":
        largest.write_bytes(bytes(content[:-1]))
    elif damage == "file missing":
        largest.unlink()
    else:
        (tmp_path / "3.sha256.json").unlink()
    checkpoints = Checkpoints(tmp_path, 2)
    assert checkpoints.newest() == 2
    assert "is damaged or incomplete and is passed over" in caplog.text
    checkpoints.discard_after(2)
    checkpoints.save(3, variables(30), training(30), ABOUT)
    assert checkpoints.newest() == 3
    assert checkpoints.variables(3, variables(0))["params"]["fc"]["0"].max() == 30


def test_a_folder_with_nothing_whole_is_refused_and_an_empty_one_is_not(tmp_path):
    assert Checkpoints(tmp_path / "empty", 2).newest() is None
    saved(tmp_path / "full")
    for hashes in (tmp_path / "full").glob("*.json"):
        hashes.write_text("{}")
    with pytest.raises(InputError, match=r"none of the checkpoints \[3, 2\] is whole"):
        Checkpoints(tmp_path / "full", 2).newest()


def file_size(path):
    return path.stat().st_size
