"""data.prepare: images are decoded once for all epochs, splits and runs, and what is damaged or changed again."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fsjax import data
from fsjax.data import prepared, source
from fsjax.runtime import image_files
from fsjax.runtime.errors import InputError
from tests.helpers.data_config import data_config

COUNT = 12


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for number in range(COUNT // 2):
            pixels = rng.integers(0, 256, (11, 9, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "train" / name / f"{number}.png")
    return tmp_path / "data"


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded, in order."""
    files = []

    def counted(file, *of_messages):
        files.append(file)
        return image_files.decode(file, *of_messages)

    monkeypatch.setattr(source, "decode", counted)
    return files


def load(root, split="train", prepare="", **fields):
    return data.load(data_config("folder", root=root, prepare=str(prepare), **fields), split, 0)


def test_images_are_those_of_no_preparation_and_decoded_once_for_all_splits_and_runs(root, tmp_path, decoded):
    everything = load(root).images(np.arange(COUNT))
    decoded.clear()
    splits = {split: load(root, split, tmp_path / "kept", validation_share=0.3) for split in ("train", "validation")}
    plain = {split: load(root, split, validation_share=0.3) for split in splits}
    for split, dataset in splits.items():
        rows = np.arange(len(dataset))
        np.testing.assert_array_equal(dataset.images(rows), plain[split].images(rows))
        assert dataset.names == plain[split].names
    assert len(decoded) == 2 * COUNT, "once each, and once for the comparison"
    decoded.clear()
    again = load(root, prepare=tmp_path / "kept", cache_gib=0.0)
    for _ in range(2):
        np.testing.assert_array_equal(again.subset([7, 2, 2]).images([0, 1, 2]), everything[[7, 2, 2]])
    np.testing.assert_array_equal(again.images(np.arange(COUNT)), everything)
    assert decoded == []
    # Another size is another file.
    assert load(root, prepare=tmp_path / "kept", image_size=6).images([0]).shape == (1, 6, 6, 3) and len(decoded) == 1


def test_what_is_damaged_or_half_written_is_decoded_again(root, tmp_path, decoded):
    expected = load(root, prepare=tmp_path / "kept").images(np.arange(COUNT))
    (file,) = (tmp_path / "kept").glob("*.images")
    pixels = np.memmap(file, np.uint8, "r+", shape=(COUNT, 8, 8, 3))
    pixels[3, 2, 1, 0] ^= 1
    (sums,) = (tmp_path / "kept").glob("*.sums")
    np.memmap(sums, np.uint32, "r+")[5] = 0  # as a kill leaves it that comes between the pixels and their checksum
    decoded.clear()
    np.testing.assert_array_equal(load(root, prepare=tmp_path / "kept").images(np.arange(COUNT)), expected)
    assert [os.path.basename(name) for name in decoded] == ["3.png", "5.png"]


def test_a_changed_file_is_read_anew(root, tmp_path):
    load(root, prepare=tmp_path / "kept").images(np.arange(COUNT))
    file = root / "train" / "cat" / "2.png"
    Image.fromarray(np.full((11, 9, 3), 7, np.uint8)).save(file)
    os.utime(file, ns=(0, 10**18))
    assert (load(root, prepare=tmp_path / "kept").images([2]) == 7).all()


def test_threads_and_two_sets_on_one_file_see_whole_images_only(root, tmp_path):
    expected = load(root).images(np.arange(COUNT))
    both = [load(root, prepare=tmp_path / "kept") for _ in range(2)]
    orders = [np.random.default_rng(seed).permutation(COUNT) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda number: both[number % 2].images(orders[number]), range(16)))
    for order, images in zip(orders, read, strict=True):
        np.testing.assert_array_equal(images, expected[order])


def test_where_nothing_can_be_kept_one_line_says_so(root, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^data.prepare: got data.source arrays; expected folder, or"):
        data.check(data_config("arrays", prepare="kept"))
    with pytest.raises(InputError, match=r"^data.prepare: got 'memory://kept'; expected a local folder$"):
        load(root, prepare="memory://kept")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^data.prepare: .*file: .*; expected a local folder with .* GiB of room$"):
        load(root, prepare=tmp_path / "file")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepared.os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"No space left on device; expected a local folder with 2.1e-06 GiB of room$"):
        load(root, prepare=tmp_path / "kept")
