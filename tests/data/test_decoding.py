"""Images that are not kept in memory are decoded in processes, and are those that threads decode."""

import datasets
import numpy as np
import pytest
from PIL import Image

from fsjax import data
from fsjax.runtime import workers
from fsjax.runtime.image_files import resize
from tests.helpers.data_config import data_config
from tests.helpers.refused import refused

COUNT = 18


def pixels(row):
    return np.random.default_rng(row).integers(0, 256, (13 + row % 3, 11, 3), np.uint8)


@pytest.fixture
def called(monkeypatch):
    """Processes and images of each call; there are two processes."""
    calls, call = [], workers.call

    def counted(processes, name, function, arguments):
        calls.extend((processes, len(images)) for images, *_ in arguments)
        return call(processes, name, function, arguments)

    monkeypatch.setattr(workers, "call", counted)
    monkeypatch.setattr(workers, "most_processes", lambda: 2)
    return calls


def folder(root):
    for row in range(COUNT):
        file = root / "train" / "cat" / f"{row:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(row)).save(file)
    return {"source": "folder", "root": root}


def parquet(root):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat"])})
    rows = [{"image": Image.fromarray(pixels(row)), "label": 0} for row in range(COUNT)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(root / "train.parquet"))
    return {"source": "huggingface", "root": root / "train.parquet"}


@pytest.mark.parametrize("make", [folder, parquet])
@pytest.mark.parametrize("shorter", [0, 10])
def test_processes_decode_what_threads_decode(make, shorter, tmp_path, called):
    fields = make(tmp_path) | {"image_size": 8, "resize_shorter": shorter}
    dataset = data.load(data_config(**fields, cache_gib=0.0), "train", 0)
    rows = [*range(COUNT), 3]
    expected = np.stack([resize(pixels(row), 8, shorter) for row in rows])
    np.testing.assert_array_equal(dataset.images(rows), expected)
    assert sorted(called) == [(2, 9), (2, 10)]
    np.testing.assert_array_equal(dataset.subset([7, 2]).images([1, 0]), expected[[2, 7]])
    np.testing.assert_array_equal(data.load(data_config(**fields), "train", 0).images(rows), expected)
    assert len(called) == 2, "few images, and those that stay in memory, are decoded in threads"


def test_an_image_that_does_not_decode_is_named_after_all_others_are_done(tmp_path, called):
    dataset = data.load(data_config(**folder(tmp_path), cache_gib=0.0), "train", 0)
    (tmp_path / "train" / "cat" / "00.png").write_bytes(b"no picture")
    refused(r"cat/00\.png does not decode .*=True leaves such images out$", dataset.images, range(COUNT))
    assert len(called) == 2
    assert dataset.images(range(1, COUNT)).shape[0] == COUNT - 1
