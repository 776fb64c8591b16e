"""TFDS sets really prepared here: array_record is read without TensorFlow and without the set's code."""

import os
import re
import shlex
import textwrap

import numpy as np
import pytest

from fsjax import data
from fsjax.runtime import image_files
from tests.helpers import processes
from tests.helpers.data_config import data_config
from tests.helpers.refused import refused

BUILDER = """
import numpy as np
import tensorflow_datasets as tfds

LABEL = tfds.features.ClassLabel(names=["cat", "dog", "emu"])
FEATURES = {
    "pets": {"image": tfds.features.Image(shape=(None, None, 3)), "label": LABEL},
    "grey": {"image": tfds.features.Image(shape=(None, None, 1)), "label": LABEL},
    "nolabel": {"image": tfds.features.Image(shape=(None, None, 3)), "tag": LABEL},
    "noimage": {"pixels": tfds.features.Image(shape=(None, None, 3)), "label": LABEL},
    "unlabelled": {"image": tfds.features.Image(shape=(None, None, 3)), "label": LABEL},
}


class HousePets(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in FEATURES]

    def _info(self):
        features = tfds.features.FeaturesDict(FEATURES[self.builder_config.name])
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        return {"train": self._generate_examples(12), "test": self._generate_examples(6)}

    def _generate_examples(self, count):
        image, label = FEATURES[self.builder_config.name]
        for i in range(count):
            shape = (6 + i % 2, 5, self.info.features[image].shape[-1])
            pixels = np.random.default_rng(i).integers(1, 256, shape, np.uint8)
            pixels[0, 0] = i
            yield i, {image: pixels, label: -1 if self.builder_config.name == "unlabelled" else i % 3}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with house_pets in array_record, another with it in TFRECORD, and that prepared as our message says."""
    root = tmp_path_factory.mktemp("sets")
    (root / "house_pets.py").write_text(BUILDER)
    script = f"""
        import shlex
        from ml_collections import ConfigDict
        from house_pets import FEATURES, HousePets
        from fsjax import data
        for config in FEATURES:
            HousePets(config=config, data_dir="records", file_format="array_record").download_and_prepare()
        HousePets(config="pets", data_dir="old", file_format="tfrecord").download_and_prepare()
        try:
            data.load(ConfigDict({config(root / "old").to_dict()!r}), "train", 0)
        except ValueError as error:
            command = shlex.split(str(error).split("with: ")[1])[2]
        exec(command)
    """
    python(root, script)
    return root


def python(folder, script):
    path = os.pathsep.join([str(folder), str(processes.ROOT)])
    ran = processes.python(textwrap.dedent(script), cwd=folder, PYTHONPATH=path)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def config(root, **fields):
    return data_config(**{"source": "tfds", "name": "house_pets/pets", "root": root, "image_size": 6} | fields)


def expected(i, channels=3):
    pixels = np.random.default_rng(i).integers(1, 256, (6 + i % 2, 5, channels), np.uint8)
    pixels[0, 0] = i
    return np.broadcast_to(pixels, (6 + i % 2, 5, 3))


@pytest.mark.parametrize(("name", "channels"), [("pets", 3), ("pets:1.0.0", 3), ("grey", 1)])
def test_a_prepared_set_gives_its_images_labels_and_class_names(prepared, name, channels):
    source = data.SOURCES["tfds"](config(prepared / "records", name=f"house_pets/{name}"), "train")
    assert source.classes == ("cat", "dog", "emu") and source.planted is None and len(source) == 12
    found = [source[i].getpixel((0, 0))[0] for i in range(12)]  # TFDS stores examples in an order of its own
    assert sorted(found) == list(range(12))
    np.testing.assert_array_equal(source.labels, np.array(found) % 3)
    for i in range(12):
        np.testing.assert_array_equal(source[i], expected(found[i], channels))


def test_slices_and_chosen_classes(prepared):
    fields = config(prepared / "records", classes="emu=Emu,cat", train_split="train[:75%]")
    dataset = data.load(fields, "train", 0)
    whole = data.SOURCES["tfds"](config(prepared / "records"), "train")
    kept = np.flatnonzero(whole.labels[:9] != 1)
    assert dataset.classes == ("Emu", "cat")
    np.testing.assert_array_equal(dataset.labels, np.where(whole.labels[kept] == 2, 0, 1))
    for i in range(len(kept)):
        np.testing.assert_array_equal(dataset[i], image_files.resize(whole[kept[i]], 6))


def test_reading_does_not_import_tensorflow(prepared):
    script = f"""
        import sys
        from ml_collections import ConfigDict
        from fsjax import data
        dataset = data.load(ConfigDict({config(prepared / "records").to_dict()!r}), "test", 0)
        batch = next(data.batches(dataset, batch_size=2, seed=0, num_steps=1))
        print(dataset.images(range(6)).shape, batch["index"].shape)
        print("tensorflow" in sys.modules)
    """
    assert python(prepared, script).split("\n")[:2] == ["(6, 6, 6, 3) (2,)", "False"]


def refused_set(message, root, **fields):
    return refused(message, data.load, config(root, **fields), "train", 0)


def test_sets_that_cannot_be_used_are_refused_and_a_tfrecord_set_with_the_command_that_prepares_it(prepared):
    root = prepared / "records"
    refused_set("got split 'val'.*Unknown split.*; expected test, train", root, train_split="val")
    features = "has image: Image, tag: ClassLabel; expected image: Image and label: ClassLabel"
    refused_set(features, root, name="house_pets/nolabel")
    refused_set("has label: ClassLabel, pixels: Image; expected", root, name="house_pets/noimage")
    refused_set("got labels -1 to -1; expected 0 to 2", root, name="house_pets/unlabelled")
    refused_set("data.classes, in .*: got 'dgo'; .*did you mean dog", root, classes="dgo")
    refused_set("house_pets:9.0.0 is not prepared in", root, name="house_pets:9.0.0")
    refused_set("cannot be opened|is not prepared", root, name="house pets!")
    message = refused_set("is prepared as tfrecord, not array_record", prepared / "old")
    (new_root,) = re.search(r"with: python -c .* and set --config.data.root=(\S+)$", message).groups()
    assert len(data.load(config(new_root), "train", 0)) == 12


def test_a_set_not_prepared_is_refused_with_the_command_that_prepares_it(tmp_path):
    message = refused_set("cifar10:3.0.2 is not prepared in", tmp_path, name="cifar10:3.0.2")
    command = shlex.split(message.split("with: ")[1])
    assert command[:2] == ["python", "-c"]
    assert f"tfds.builder('cifar10:3.0.2', data_dir='{tmp_path}', file_format='array_record')" in command[2]
    compile(command[2], "command", "exec")
    own = "cifar10 is not prepared in TFDS's own folder.*tfds.builder.'cifar10', file_format='array_record'"
    refused_set(own, "", name="cifar10")
