"""The source that puts each photograph into two classes, as it is and compressed, against Pillow."""

import io
import re

import numpy as np
from PIL import Image

from configs import jpeg
from fsjax import data
from tests.helpers.data_config import data_config, smooth_images
from tests.helpers.refused import refused


def test_each_photograph_is_real_as_it_is_and_fake_compressed_and_never_in_both_splits(tmp_path):
    (tmp_path / "deep" / "down").mkdir(parents=True)
    names = [*(f"{row:02}.png" for row in range(20)), *(f"deep/down/{row:02}.png" for row in range(20))]
    photographs = dict(zip(names, smooth_images(40, 32), strict=True))
    for name, image in photographs.items():
        Image.fromarray(image).save(tmp_path / name)
    config = data_config("jpeg", root=tmp_path, image_size=16, quality=20, skip_undecodable=True)
    shown = {}
    for split in ("train", "test"):
        dataset = data.load(config, split, 0)
        real, fake = (np.flatnonzero(dataset.labels == label) for label in range(2))
        shown[split] = [dataset.files[row].removeprefix(f"{tmp_path}/") for row in real]
        assert dataset.classes == ("real", "fake") and np.array_equal(fake, real + len(real)) and len(real) > 3
        for row, name in zip(real, shown[split], strict=True):
            small = Image.fromarray(photographs[name]).resize((16, 16), Image.Resampling.BILINEAR)
            small.save(stored := io.BytesIO(), "JPEG", quality=20)
            np.testing.assert_array_equal(dataset[row], np.asarray(small))
            np.testing.assert_array_equal(dataset[row + len(real)], np.asarray(Image.open(stored)))
    assert sorted(shown["train"] + shown["test"]) == sorted(names)
    config.classes = "fake=compressed"
    assert data.load(config, "test", 0).classes == ("compressed",)
    np.testing.assert_array_equal(data.load(config, "test", 0).images(real), dataset.images(fake))


def test_a_folder_without_photographs_and_another_split_are_refused(tmp_path):
    config = jpeg.get_config().data
    config.root = str(tmp_path)
    refused(re.escape(f"data.root: got no images in {tmp_path}; expected .jpg"), data.load, config, "test", 0)
    config.test_split = "val"
    refused("data.test_split: got 'val'; expected train, test", data.load, config, "test", 0)
    config.resize_shorter = 40
    refused("data.resize_shorter: got 40; expected 0 for data.source=jpeg", data.load, config, "test", 0)
