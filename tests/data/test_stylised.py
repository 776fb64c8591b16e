"""Stylised copies: trained on beside the images, in their classes, and nowhere else."""

import numpy as np
import pytest
from PIL import Image

from configs import common
from fsjax import data
from fsjax.data.folder import join_stylised
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.training import loop, settings

MEAN_STD = (np.full(3, 0.5), np.full(3, 0.2))


def write_images(folder, levels):
    folder.mkdir(parents=True)
    for number, level in enumerate(levels):
        Image.fromarray(np.full((10, 10, 3), level, np.uint8)).save(folder / f"{number}.png")


@pytest.fixture
def config(tmp_path):
    """Images of a grey level each: cats 10.., dogs 50.., stylised ones from 100 on."""
    write_images(tmp_path / "real" / "train" / "cat", [10, 11, 12, 13])
    write_images(tmp_path / "real" / "train" / "dog", [50, 51])
    write_images(tmp_path / "real" / "test" / "cat", [20])
    write_images(tmp_path / "real" / "test" / "dog", [60])
    write_images(tmp_path / "sin" / "cat", [100, 101])
    write_images(tmp_path / "sin" / "dog", [150, 151, 152])
    write_images(tmp_path / "sin" / "yak", [200])
    config = common.base()
    config.data.source, config.data.root = "folder", str(tmp_path / "real")
    config.data.image_size, config.data.validation_share = 8, 0.25
    config.model.name = "vit_nano_patch8"
    config.train.stylised, config.train.epochs, config.train.batch_size = str(tmp_path / "sin"), 1.0, 8
    config.train.evaluators = ""
    return config


def joined(config):
    return join_stylised(data.load(config.data, "train", 0), config.train.stylised, config.data)


def test_they_follow_the_training_images_with_their_own_indices_and_labels(config):
    original = data.load(config.data, "train", 0)
    both = joined(config)
    assert both.classes == ("cat", "dog") and len(both) == len(original) + 5 == 9
    levels = both.images(np.arange(9))[:, 0, 0, 0]
    np.testing.assert_array_equal(levels[:4], original.images(np.arange(4))[:, 0, 0, 0])
    assert levels.tolist()[4:] == [100, 101, 150, 151, 152]
    assert both.labels.tolist()[4:] == [0, 0, 1, 1, 1] and (both.labels[:4] == original.labels).all()
    mixed = [7, 0, 4, 2, 8]
    np.testing.assert_array_equal(both.images(mixed)[:, 0, 0, 0], levels[mixed])
    seen = np.concatenate([batch["index"] for batch in data.batches(both, batch_size=3, seed=0, num_steps=3)])
    assert sorted(seen) == list(range(9)), "an epoch is the union of both"


def test_folders_are_named_as_data_classes_names_them(config):
    config.data.classes = "dog=hound,cat"
    both = joined(config)
    assert both.classes == ("hound", "cat")
    assert both.images(np.arange(4, 9))[:, 0, 0, 0].tolist() == [150, 151, 152, 100, 101]
    assert both.labels.tolist()[4:] == [0, 0, 0, 1, 1]


def test_training_sees_them_and_validation_and_test_do_not(config, tmp_path, monkeypatch):
    asked = {}

    def stop(dataset, **options):
        asked.update(options, images=len(dataset))
        raise InterruptedError

    monkeypatch.setattr(loop, "batches", stop)
    loaded = {split: data.load(config.data, split, 0) for split in ("train", "validation", "test")}
    with pytest.raises(InterruptedError), Metrics(tmp_path) as metrics:
        loop.train(config, loaded.__getitem__, MEAN_STD, tmp_path / "run", metrics)
    assert asked["images"] == 9 and asked["num_steps"] == 2, "an epoch of 9 images in batches of 8"
    assert [len(loaded[split]) for split in ("train", "validation", "test")] == [4, 2, 2]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("no folder", r"^train\.stylised: got '.*nowhere'; expected a folder with <class>/ folders in it$"),
        ("no class", r"^data\.classes: no class 'dog' in .*sin; expected cat, yak$"),
        ("no image", r"^.*sin.cat: got no images \(.*; expected one or more for each class$"),
    ],
)
def test_a_folder_without_a_class_of_the_data_is_refused_in_one_line(config, tmp_path, broken, message):
    root = tmp_path / "sin"
    if broken == "no folder":
        config.train.stylised = str(tmp_path / "nowhere")
    elif broken == "no image":
        for file in (root / "cat").iterdir():
            file.unlink()
    else:
        (root / "dog").rename(tmp_path / "dog")
    with pytest.raises(InputError, match=message) as caught, Metrics(tmp_path) as metrics:
        settings.check(config)
        loop.train(config, lambda split: data.load(config.data, split, 0), MEAN_STD, tmp_path, metrics)
    assert "\n" not in str(caught.value) and not (tmp_path / "checkpoints").exists()
