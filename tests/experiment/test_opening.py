"""A run begins with three lines: what data, what model, and how much work, in numbers that can be counted."""

import numpy as np
import pytest

from configs import cifar10_cpu
from fsjax import data
from fsjax.experiment import cli, opening, training_length
from tests.helpers.small_run import small_config


def test_the_lines_say_data_model_and_forward_passes():
    config = small_config()
    datasets = {split: data.load(config.data, split, 0) for split in ("train", "test")}
    what, model, work, *_ = opening.lines(config, ["train", "search", "evaluate", "report"], datasets)
    assert what == "data: synthetic syn1: 4 classes, 56 train, 24 test images, at 24 x 24 pixels"
    assert model == "model: vit_nano_patch8, trained by sgd: 3 steps of 16 images"
    # 16 images of 3 steps, each three passes; four images of four classes under 290 orbits and nothing removed.
    assert work.startswith("run: train about 144, search about 4,656, evaluate about ") and ", report; in " in work
    config.search.patch, config.search.shares = 3, (0.05, 0.2)
    assert opening.lines(config, ["search"], datasets)[3].startswith("A map at 5 % has room for 1 patch of 3 x 3 ")
    config.search.method = "learned"
    assert opening.forward_passes(config, datasets).keys() == {"train", "evaluate"}
    assert opening.lines(config, ["compare"], {}) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--config.train.steps=9"], (0.0, 9)),
        (["--config.train.epochs=2.5", "--config.seed=1"], (2.5, 0)),
        (["--config.train.epochs", "2.5"], (2.5, 0)),
        (["--config.seed=1"], (6.0, 0)),
        (["--config.train.steps=9", "--config.train.epochs=2.5"], (2.5, 9)),
        (["--config.train.steps=0"], (6.0, 0)),
    ],
)
def test_the_length_that_a_command_sets_replaces_that_of_the_config_file(given, expected):
    config = cifar10_cpu.get_config().lock()
    for word in given:
        name, _, value = word.removeprefix("--config.").partition("=")
        if name in training_length.FIELDS:
            config.update_from_flattened_dict({name: type(config[name])(value or 2.5)})
    training_length.choose(config, cli._given_fields(["launch.py", *given]))
    assert (config.train.epochs, config.train.steps) == expected and np.isreal(config.train.epochs)
