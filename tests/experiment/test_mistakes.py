"""Mistakes of a first hour: each is one line before the first forward pass, and leaves the workdir free."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from fsjax.experiment import pipeline, runner
from fsjax.experiment.stages import train
from fsjax.runtime.errors import InputError
from tests.helpers.small_run import small_config


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Folders of two classes of two images, and what is wrong with each."""
    root = tmp_path_factory.mktemp("photographs")

    def write(name, **counts):
        for place, count in counts.items():
            split, _, label = place.partition("_")
            folder = root / name / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.random.default_rng(number).integers(0, 256, (9, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")

    write("right", train_cat=2, train_dog=2, test_cat=1, test_dog=1)
    write("no_test", train_cat=2, train_dog=2)
    write("class_missing", train_cat=2, train_dog=2, test_cat=1)
    write("class_empty", train_cat=2, train_dog=2, test_cat=1, test_dog=0)
    write("class_new", train_cat=2, train_dog=2, test_cat=1, test_dog=1, test_yak=1)
    np.save(root / "train_images.npy", np.zeros((4, 8, 8, 3), np.uint8))
    np.save(root / "train_labels.npy", np.arange(4) % 3)
    np.save(root / "test_images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    np.save(root / "test_labels.npy", np.arange(2))
    return root


def folder(name):
    return {"data__source": "folder", "data__root": name, "train__batch_size": 8}


MISTAKES = {
    "a mistyped path": (folder("rihgt"), "data.root: got '{root}/rihgt'; expected a folder with <split>/<class>/ "),
    "no test images": (folder("no_test"), "data.root: {root}/no_test has no folder for split 'test'; expected train"),
    "a class without a test folder": (
        folder("class_missing"),
        "data: got no class 'dog' in the test images, which the train images have; expected the same classes in every ",
    ),
    "a class without a training folder": (
        folder("class_new"),
        "data: got no class 'yak' in the train images, which the test images have; expected the same classes in every ",
    ),
    "a class without test images": (folder("class_empty"), "{root}/class_empty/test/dog: got no images (.jpg, "),
    "a folder that cannot be read": (folder("right"), "{root}/right/test/dog: cannot be read (Permission denied); "),
    "labels that the test array lacks": (
        {"data__source": "arrays", "data__root": "", "train__batch_size": 8},
        "data: got no class '2' in the test images, which the train images have; expected the same classes in every ",
    ),
    "a share without a whole patch": (
        {"search__patch": 4, "search__shares": (0.05, 0.2)},
        "search.shares: got 0.05, 28 of 24 x 24 frequencies, which holds no patch of 4 x 4 frequencies with its "
        "conjugate; expected 0.0556 or more, or search.patch=3",
    ),
    "epochs beside steps": (
        {"train__epochs": 2.0},
        "train.epochs, train.steps: got 2, 3; expected one of them above 0, and the other 0",
    ),
    "pixels that a ViT's patch does not divide": (
        {"data__image_size": 28},
        "data.image_size: got 28; expected a multiple of the patch, 8 pixels",
    ),
    "fewer pixels than a ResNet's first convolution": (
        {"data__image_size": 6, "model__name": "resnet18_imagenet", "search__shares": (0.2,), "report__share": 0.2},
        "data.image_size: got 6; expected 7 or more for a ResNet whose first convolution is 7 x 7",
    ),
    "a share that the report shows and the search lacks": (
        {"report__share": 0.3},
        "report.share: got 0.3; expected one of search.shares, 0.01, 0.05, 0.1, 0.2",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_is_one_line_before_anything_runs_and_the_workdir_stays_free(tmp_path, monkeypatch, photographs, mistake):
    changes, message = MISTAKES[mistake]
    if "data__root" in changes:
        changes = changes | {"data__root": str(photographs / changes["data__root"])}
    if mistake == "a folder that cannot be read":
        monkeypatch.setattr(os, "scandir", locked(os.scandir))
    ran = []
    monkeypatch.setattr(train.loop, "train", lambda *arguments: ran.append(arguments))
    with pytest.raises(InputError) as caught:
        runner.run(small_config(**changes), tmp_path / "run", command=["fsjax"])
    said = str(caught.value)
    assert message.replace("{root}", str(photographs)) in said and "\n" not in said and not ran
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not [name for name in left if name.endswith((".json", ".npz")) and not name.startswith("events")]
    # Another data set, other settings: nothing of before is in the way.
    monkeypatch.undo()
    pipeline.run(small_config(stages="train", seed=1), tmp_path / "run", {"train": stopped_by(ran.append)})
    assert ran


def locked(scandir):
    def call(path):
        if str(path).endswith("test/dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    return call


def test_the_list_is_long_enough():
    assert len(MISTAKES) >= 10


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
    with pytest.raises(InputError, match=r"made with other settings \(data.name was 'syn3', now 'syn2'"):
        start(killed, data__name="syn2")


def stopped_by(run):
    """The stage train with another body."""
    return dataclasses.replace(train.STAGE, run=run, outputs=lambda workspace: [])
