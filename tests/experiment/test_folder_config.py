"""configs/folder.py: a folder of photographs as people have them goes from nothing to a page."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from configs import folder
from fsjax.experiment import runner
from fsjax.fourier import dfm
from fsjax.search import patch_maps
from tests.helpers.refused import refused
from tests.helpers.small_run import OF_PHOTOGRAPHS


def write(root, split, name, sizes, mode="RGB"):
    place = root / split / name
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    for number, (width, height) in enumerate(sizes):
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).convert(mode).save(place / f"{number}.jpg", quality=90)


@pytest.fixture
def photographs(tmp_path):
    """Two classes; train/ and val/ differ in number and size, one image is grey, and one is broken."""
    root = tmp_path / "photographs"
    write(root, "train", "heron", [(60, 44), (52, 39), (48, 64), (40, 36), (37, 50)])
    write(root, "train", "stork", [(51, 44), (33, 48), (40, 40), (90, 38)])
    write(root, "val", "heron", [(33, 20), (25, 70)])
    write(root, "val", "stork", [(38, 41)])
    write(root, "val", "stork", [(38, 41)], mode="L")
    write(root, "train", "stork", [(51, 44)], mode="L")
    (root / "train" / "heron" / "broken.jpg").write_bytes((root / "train" / "heron" / "0.jpg").read_bytes()[:300])
    # On a FIFO, a reader waits for ever; the loader's decoders take no TIFF, whatever its size.
    os.mkfifo(root / "train" / "heron" / "fifo.jpg")
    Image.new("RGB", (900, 900)).save(root / "train" / "heron" / "tiff.jpg", "TIFF")
    write(root, "train", "__MACOSX", [(900, 900)] * 20)
    return root


def test_a_photograph_folder_goes_from_nothing_to_a_page(photographs, tmp_path, caplog, undrawn):
    config = folder.get_config(str(photographs))
    assert (config.data.image_size, config.model.name) == (32, "resnet20")
    config.update_from_flattened_dict(OF_PHOTOGRAPHS)
    caplog.set_level(logging.INFO, "fsjax")
    runner.run(config, tmp_path / "run")
    left_out = "left out 3 of 12 images, which do not decode: heron/broken.jpg, heron/fifo.jpg, heron/tiff.jpg"
    assert left_out in caplog.text and "train: left out the folders __MACOSX" in caplog.text
    assert f"data: folder {photographs}: 2 classes, 7 train, 2 validation, 3 test images, at 32 x 32" in caplog.text
    assert (tmp_path / "run" / "report" / "index.html").stat().st_size
    maps = dfm.DominantFrequencyMaps.load(tmp_path / "run" / "dfm" / "graft.npz")
    assert maps.classes == ("heron", "stork") and maps.positions.all()


LARGER = "resnet10w16_imagenet"


@pytest.mark.parametrize(
    ("side", "size", "model", "patch"),
    [(20, 32, "resnet20", 1), (40, 32, "resnet20", 1), (100, 96, LARGER, 4), (640, 224, LARGER, 8)],
)
def test_sizes_choose_model_patch_and_shares(tmp_path, monkeypatch, caplog, side, size, model, patch):
    write(tmp_path, "train", "a", [(side, side + 9)] * 8)
    write(tmp_path, "test", "a", [(3, 3)])
    config = folder.get_config(str(tmp_path))
    chosen = (config.data.image_size, config.model.name, config.search.patch, config.train.epochs)
    assert config.search.method == "removal" and "graft needs two or more classes of two or more" in caplog.text
    assert chosen == (size, model, patch, 60)
    assert runner.check(config) == ["train", "search", "evaluate", "report"]
    assert not patch_maps.few(config.search.shares, (size, size), patch) and 0.05 in config.search.shares
    monkeypatch.setattr(folder, "_PIXELS", 8.0 * size**2 * 8)
    assert folder.get_config(str(tmp_path)).train.epochs == 8


def test_no_folder_is_one_line_and_none_named_is_a_config_still(tmp_path):
    refused(r"--config: got folder.py:.*, no folder .*train; expected DIR with train", folder.get_config, str(tmp_path))
    assert folder.get_config().data.root == "" and folder.get_config().search.method == "graft"
