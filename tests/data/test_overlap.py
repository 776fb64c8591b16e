"""Test images that are training images too: counted by content, and refused where all are."""

import numpy as np
import pytest
from PIL import Image

from fsjax.data import overlap
from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.data.folder import read_classes
from fsjax.data.overlap import check_apart
from tests.helpers.refused import refused

PICTURES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3)).astype(np.uint8)


def arrays(root, name, indices):
    return ArrayDataset(PICTURES[indices], np.arange(len(indices)) % 2, ("a", "b"))


def folder(root, name, indices):
    """Files under other names, of which some have one size."""
    for place, index in enumerate(indices):
        file = root / name / "ab"[place % 2] / f"{name}{place}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURES[index]).save(file)
    return Dataset(read_classes(root / name, ""), 8)


@pytest.mark.parametrize("make", [arrays, folder])
def test_copies_are_counted_in_training_and_validation_images_and_refused_where_all_are(tmp_path, make, caplog):
    splits = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7, 2, 8, 4]}
    splits = {name: make(tmp_path, name, indices) for name, indices in splits.items()}
    check_apart(splits)
    assert caplog.messages == ["test images: 2 of 5 are training images too; verdicts need others"]
    check_apart(splits | {"train": make(tmp_path, "others", [0, 9]), "validation": make(tmp_path, "more", [1, 3])})
    check_apart({"test": splits["train"]})
    assert len(caplog.messages) == 1
    for test in (splits["train"], splits["train"].subset([1, 0]), make(tmp_path, "copies", [5, 2, 1])):
        refused(rf"test images: got {len(test)}, all of them training", check_apart, splits | {"test": test})


def test_sets_that_would_take_long_to_read_are_not_compared(tmp_path, monkeypatch, caplog):
    train, test = folder(tmp_path, "train", [0, 1, 2]), folder(tmp_path, "test", [0, 1, 3])
    monkeypatch.setattr(overlap, "_MOST_READ", 5)
    check_apart({"train": train, "test": test})
    assert not caplog.messages
