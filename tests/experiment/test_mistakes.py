"""Mistakes of a first hour, in a command and in Python: each is one line before the first forward pass."""

import dataclasses
import os
import re

import numpy as np
import pytest
from safetensors.numpy import save

import fsjax
from fsjax.experiment import pipeline, runner
from fsjax.experiment.stages import spectra, train
from fsjax.models import Network, callables
from fsjax.runtime import files
from tests.helpers.data_config import save_images
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Folders of two classes of two images, and what is wrong with each."""
    root = tmp_path_factory.mktemp("photographs")

    def write(name, **counts):
        for place, count in counts.items():
            split, _, label = place.partition("_")
            pixels = np.random.default_rng([*place.encode()]).integers(0, 256, (count, 9, 8, 3), np.uint8)
            save_images(root / name / split / label, pixels)

    write("right", train_cat=4, train_dog=4, test_cat=1, test_dog=1)
    write("no_test", train_cat=2, train_dog=2)
    write("missing", train_cat=2, train_dog=2, test_cat=1)
    write("class_empty", train_cat=2, train_dog=2, test_cat=1, test_dog=0)
    write("one_class", train_cat=2, test_cat=1)
    write("newline", train_cat=2, test_cat=1, **{"train_a\nb": 2, "test_a\nb": 1})
    write("fifo", train_cat=4, train_dog=4, test_cat=1, test_dog=1)
    os.mkfifo(root / "fifo" / "train" / "dog" / "a.png")
    for split in ("train", "test"):
        np.save(root / f"{split}_images.npy", np.random.default_rng(len(split)).random((9, 8, 8)))
        np.save(root / f"{split}_labels.npy", np.arange(9) % 3 + 1)
    write("new", train_cat=2, train_dog=2, test_cat=1, test_dog=1, test_yak=1)
    kernel = np.zeros((8, 3, 3, 3), np.float32)
    files.write_bytes(root / "other.safetensors", save({"layer1.0.conv1.weight": kernel, "fc.weight": kernel}))
    return root


def folder(name, **fields):
    return {"data__source": "folder", "data__root": name, "train__batch_size": 4} | fields


IN_ALL = "images have; expected the same classes in every "


COMMANDS = {
    "a mistyped path": (folder("rihgt"), "data.root: got '{root}/rihgt'; expected a folder with <split>/<class>/ "),
    "no test images": (folder("no_test"), "data.root: {root}/no_test has no folder for split 'test'; expected train"),
    "no test folder": (folder("missing"), f"data: got no class 'dog' in the test images, which the train {IN_ALL}"),
    "a class without test images": (folder("class_empty"), "{root}/class_empty/test/dog: got no images"),
    "a folder that cannot be read": (folder("right"), "{root}/right/test/dog: cannot be read (Permission denied); "),
    "no training folder": (folder("new"), f"data: got no class 'yak' in the train images, which the test {IN_ALL}"),
    "one class": (folder("one_class"), "data: got one class, 'cat'; expected two or more"),
    "a line break in a name": (folder("newline"), "{root}/newline/train: class name 'a\\nb'; expected 1 to 255 "),
    "a name twice": (folder("right", data__classes="cat=pet,dog=pet"), "data.classes: got class 'pet' 2 times; exp"),
    "labels from 1": (
        {"data__source": "arrays", "data__root": ""},
        "data.source arrays: got no image of class 0; expected one or more of each (labels count from 0)",
    ),
    "training images": (folder("right", data__test_split="train"), "test images: got 8, all of them training images"),
    "a FIFO among the images": (
        folder("fifo", data__validation_share=0.0),
        "image {root}/fifo/train/dog/a.png does not decode (it is no regular file); --config.data.skip_undecodable=",
    ),
    "a large batch": (folder("right", train__batch_size=64), "train.batch_size: got 64; expected up to 6, the train"),
    "weights without a mean": (
        {"model__weights": "other.safetensors"},
        "data.mean: got nothing; expected with model.weights, the mean and std that they were trained with",
    ),
    "a share without a whole patch": (
        {"search__patch": 4, "search__shares": (0.05, 0.2)},
        "search.shares: got 0.05, 28 of 24 x 24 frequencies, which holds no patch of 4 x 4 frequencies with its "
        "conjugate; expected 0.0556 or more, or search.patch=3",
    ),
    "epochs beside steps": ({"train__epochs": 2.0}, "train.epochs, train.steps: got 2, 3; expected one of them above"),
    "half a patch": ({"data__image_size": 28}, "data.image_size: got 28; expected a multiple of the patch, 8 pixels"),
    "fewer pixels than a ResNet's first convolution": (
        {"data__image_size": 6, "model__name": "resnet18_imagenet", "search__shares": (0.2,), "report__share": 0.2},
        "data.image_size: got 6; expected 7 or more for a ResNet whose first convolution is 7 x 7",
    ),
    "half a model's name": ({"model__name": "resnet18"}, " (did you mean resnet18_cifar or resnet18_imagenet?)"),
    "weights of another model": (
        {"model__weights": "other.safetensors", "data__mean": (0.5,) * 3, "data__std": (0.2,) * 3},
        "{root}/other.safetensors, as vit_nano_patch8: missing: blocks.0.attn.proj.bias, ",
    ),
}


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_command_ends_with_one_line_before_anything_runs_and_the_workdir_stays_free(
    tmp_path, monkeypatch, launch, photographs, mistake
):
    changes, message = COMMANDS[mistake]
    for field in {"data__root", "model__weights"} & changes.keys():
        changes = changes | {field: str(photographs / changes[field])}
    if mistake == "a folder that cannot be read":
        monkeypatch.setattr(os, "scandir", locked(os.scandir))
    ran = []
    monkeypatch.setattr(Network, "bind", lambda *arguments: ran.append(arguments))  # as every forward pass does
    config = tmp_path / "config.py"
    code = "from tests.helpers.small_run import small_config\n\ndef get_config():\n    return small_config"
    config.write_text(f"{code}(**{changes})\n")
    status, printed = launch(f"--config={config}", f"--workdir={tmp_path / 'run'}")
    *before, said = printed.splitlines()
    assert status == 2 and said.startswith("error: ") and message.replace("{root}", str(photographs)) in said
    assert not ran and all(line.startswith(("data: ", "model: ", "run: ", "A map at ")) for line in before)
    # Another data set, other settings: nothing of before is in the way.
    monkeypatch.undo()
    pipeline.run(small_config(stages="train", seed=1), tmp_path / "run", {"train": stopped_by(ran.append)})
    assert ran


NUMBERS = {
    "seed": (10**30, "0 or more and up to 4294967295"),
    "train.learning_rate": (np.nan, "0 or more and finite"),
    "train.weight_decay": (-1e-4, "0 or more and finite"),
    "train.epochs": (np.inf, "0 or more and finite"),
    "train.batch_size": (0, "1 or more and below 2147483648"),
    "train.steps": (10**12, "0 or more and below 2147483648"),
    "train.until": (0.0, "above 0 and up to 1"),
    "train.label_smoothing": (1.0, "0 or more and below 1"),
    "train.dfmx.probability": (np.nan, "0 or more and up to 1"),
    "data.image_size": (100_000, "1 or more and up to 4096"),
    "data.cache_gib": (-1.0, "0 or more and finite"),
    "search.shares": ((0.05, "5%"), "a number, above 0 and up to 1"),
    "search.resamples": (-2, "-1 or more and below 2147483648"),
    "search.hierarchical.share": (1.0, "above 0 and below 1"),
    "search.learned.steps": (0, "1 or more and below 2147483648"),
    "evaluate.grid": ((0.1, 0), "above 0 and up to 1"),
    "heat_map.norm": (0.0, "above 0 and finite"),
    "heat_map.images_per_class": (-1, "0 or more and below 2147483648"),
    "run.memory_mib": (-1, "0 or more and below 2147483648"),
}


@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_that_is_not_finite_or_outside_its_interval_is_refused(tmp_path, field):
    value, expected = NUMBERS[field]
    wrong = value[-1] if isinstance(value, tuple) else value
    config = small_config(**{field.replace(".", "__"): value})
    refused(f"^{re.escape(f'{field}: got {wrong!r}; expected {expected}')}$", runner.run, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def locked(scandir):
    def call(path):
        if str(path).endswith("test/dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    return call


IMAGES, LABELS = np.random.default_rng(0).normal(size=(12, 8, 8, 1)).astype(np.float32), np.arange(12) % 3
NAMES = ("plain", "wave", "bright")
WEIGHTS = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)


def plain(images):
    return images.reshape(len(images), -1) @ WEIGHTS


def given(images=IMAGES, labels=LABELS):
    return {"test": (images, labels)}


FOLDER = {"train": "/nowhere", "image_size": 8, "mean_std": ((0, 0, 0), (1, 1, 1))}
PAIR = ((0.0,), (1.0,))
CALLS = {
    "a mistyped path": (FOLDER, "train: got '/nowhere'; expected a folder with <class>/ folders in it"),
    "a class without test images": (given(IMAGES[LABELS > 0], LABELS[LABELS > 0]), "got no image of class 0"),
    "fewer labels than images": (given(labels=LABELS[:3]), "test labels: got int64 of shape (3,); expected 12"),
    "uint8": ({"train": ((IMAGES * 50 + 99).astype(np.uint8), LABELS)}, "train: got uint8; expected normalised floats"),
    "channels first": (given(IMAGES.transpose(0, 3, 1, 2)), "test: got shape (12, 1, 8, 8), channels first; expected"),
    "NaN": (given(np.where(IMAGES > 2, np.nan, IMAGES)), "test: got NaN or infinity in image"),
    "an unknown method": ({"search": "removals"}, " (did you mean removal?)"),
    "a field of another method": ({"compat": True}, "compat: got a field that 'graft' lacks; expected paths, steps"),
    "a patch that does not divide the images": ({"patch": 3}, "search.patch: got 3; expected a divisor of the image "),
    "a share without a whole patch": (
        {"patch": 2, "shares": (0.05, 0.2)},
        "search.shares: got 0.05, 3 of 8 x 8 frequencies, which holds no patch of 2 x 2 frequencies with its conjugate",
    ),
    "no pair": ({"test": 3}, "test: got int; expected (images, labels), a folder"),
    "test images of another size": (given(IMAGES[:, :6]), "test: got images of shape (6, 8, 1); expected (8,"),
    "training images": (
        {"train": (np.repeat(IMAGES, 2, 0), np.repeat(LABELS, 2))},
        "test images: got 12, all of them training images too; expected others, not searched",
    ),
    "grey levels": (given(np.clip(99 + 50 * IMAGES, 0, 255)), "as of pixels; expected normalised floats, or uint8 be"),
    "a mean for normalised images": ({"mean_std": PAIR}, "beside mean_std; expected pixels in [0, 1] or uint8, or no"),
    "a mean alone": ({"mean_std": 0.5}, "mean_std: got 0.5; expected the mean and the std"),
    "an infinite std": ({"mean_std": ((0.0,), (np.inf,))}, "mean_std: got ((0.0,), (inf,)); expected the mean and th"),
    "a folder without a size": ({"train": "/nowhere"}, "image_size: got nothing; expected the model's, since train i"),
    "no mean": ({"train": "/nowhere", "image_size": 8}, "mean_std: got nothing; expected the model's, or"),
    "images that have another size": ({"image_size": 9}, "image_size: got 9 for an image of float32 and shape"),
    "too large images": ({"image_size": 100_000}, "image_size: got 100000; expected 1 or more and up to 4096"),
    "labels from 1": (given(labels=LABELS + 1), "train labels: got no image of class 3"),
    "labels from 1 in both": (
        {"train": (-IMAGES, LABELS + 1), **given(labels=LABELS + 1)},
        "train labels: got no image of class 0; expected one or more of each (labels count from 0)",
    ),
    "labels from 1 beside names": (
        {"train": (-IMAGES, LABELS + 1), "classes": NAMES},
        "train labels: got labels 1 to 3; expected 0 to 2 (labels count from 0)",
    ),
    "labels of -1": (given(labels=LABELS - 1), "test labels: got labels -1 to 1; expected 0 to 99999 (is the"),
    "identities for labels": (given(labels=LABELS + 10**9), "test labels: got labels 1000000000 to 1000000002; exp"),
    "labels as floats": (given(labels=LABELS / 1), "test labels: got float64 of shape (12,); expected 12 whole"),
    "one class": ({"train": (-IMAGES, 0 * LABELS), **given(labels=0 * LABELS)}, "classes: got one, '0'; expected two"),
    "a name twice": ({"classes": ["a", "b", "a"]}, "classes: got class 'a' 2 times; expected it once"),
    "a line break": ({"classes": ["a", "b\n", "c"]}, "classes: class name 'b\\n'; expected 1 to 255 printable"),
    "a field with a typing error": ({"image_per_class": 3}, " (did you mean images_per_class?)"),
    "a text for a number": ({"patch": "x"}, "patch: got 'x'; expected int"),
    "fewer than no pairs": ({"pairs": -1}, "evaluate.pairs: got -1; expected 0 or more"),
    "a grid beyond the plane": ({"grid": (0.1, 3.0)}, "evaluate.grid: got 3.0; expected above 0 and up to 1"),
    "a seed of 100 bits": ({"seed": 10**30}, f"seed: got {10**30}; expected 0 or more and up to 4294"),
    "NumPy in a model": (
        {"model": lambda images: np.asarray(images).reshape(len(images), -1) @ WEIGHTS},
        "makes NumPy arrays of its images; expected jax.numpy",
    ),
    "a model that branches on its images": (
        {"model": lambda images: plain(images) if images.sum() > 0 else plain(-images)},
        "branches on values of its images; expected jax.numpy.where",
    ),
}


GIVEN = {"model": plain, "train": (-IMAGES, LABELS), "test": (IMAGES, LABELS), "shares": (0.1,)}


@pytest.mark.parametrize("mistake", CALLS)
def test_a_call_ends_with_one_line_before_anything_runs(monkeypatch, mistake):
    changes, message = CALLS[mistake]
    ran = []
    # The model is first run, rather than traced, where it is tried on a few images.
    monkeypatch.setattr(callables, "_try", lambda *arguments: ran.append(arguments))
    refused(re.escape(message), fsjax.analyse, **GIVEN | changes)
    assert not ran


def test_too_little_memory_is_found_before_the_training(tmp_path):
    ran, changes = [], {"search__images_per_class": 0, "data__synthetic__train_per_class": 200}
    little = small_config(stages="train,search", run__memory_mib=1, **changes)
    stages = runner.STAGES | {"train": stopped_by(ran.append)}
    refused(r"run\.memory_mib: got 1; expected \d+ or more for a tile of one", pipeline.run, little, tmp_path, stages)
    assert not ran


def test_a_killed_first_start_leaves_the_workdir_free_and_one_that_kept_something_does_not(tmp_path):
    def killed(workspace):
        raise KeyboardInterrupt

    def start(run, **changes):
        pipeline.run(small_config(stages="train", **changes), tmp_path, {"train": stopped_by(run)})

    with pytest.raises(KeyboardInterrupt):
        start(killed, data__name="syn2")
    assert (tmp_path / "stages" / "train.json").exists() and (tmp_path / "images.json").exists()
    with pytest.raises(KeyboardInterrupt):
        start(killed, data__name="syn3", data__synthetic__train_per_class=20)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "1.json").write_text("{}")
    refused(r"made with other settings \(data.name was 'syn3', now 'syn2'", start, killed, data__name="syn2")


def test_a_mistake_in_a_workdir_with_results_leaves_them_usable(tmp_path, photographs):
    ran, stages = [], {"train": stopped_by(lambda workspace: ran.append("train")), "heat_map": spectra.HEAT_MAP}

    def start(chosen, name):
        config = small_config(stages=chosen, **folder(str(photographs / name)))
        pipeline.run(config, tmp_path, stages, command=[name])

    start("train", "right")
    kept = ("config.json", "command.json", "images.json", "stages/train.json")
    before = {name: (tmp_path / name).read_bytes() for name in kept}
    refused("no trained model", start, "heat_map", "new")  # other test images
    assert {name: (tmp_path / name).read_bytes() for name in kept} == before
    stages["heat_map"] = dataclasses.replace(stages["heat_map"], run=lambda workspace: ran.append("heat_map"))
    start("train,heat_map", "right")
    assert ran == ["train", "heat_map"]


def stopped_by(run):
    """The stage train with another body."""
    return dataclasses.replace(train.STAGE, run=run, outputs=lambda workspace: [])
