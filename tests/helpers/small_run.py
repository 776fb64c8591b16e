"""Configurations of runs of seconds, and short trainings."""

import json

import jax
import numpy as np

from configs import common
from fsjax import data, models
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.metrics import Metrics
from fsjax.training import loop, setup

MEAN_STD = (np.full(3, 0.5), np.full(3, 0.2))
SMALL = {
    "data.image_size": 24,
    "data.synthetic.train_per_class": 16,
    "data.synthetic.test_per_class": 6,
    "model.name": "vit_nano_patch8",
    "train.steps": 3,
    "train.batch_size": 16,
    "search.images_per_class": 4,
    "report.samples": 1,
    "report.attributions": 0,
    "evaluate.grid": (0.3,),
    "evaluate.pairs": 6,
    "evaluate.trigger_size": 0,
}
# Two runs have these sizes, so that their programs are compiled once.
OF_PHOTOGRAPHS = {"model.name": "vit_nano_patch8", "train.batch_size": 4, "train.epochs": 1.0, "evaluate.pairs": 2}
OF_PHOTOGRAPHS |= {"evaluate.grid": (), "report.samples": 1, "report.attributions": 0, "report.share": 0.2}
OF_PHOTOGRAPHS |= {"search.images_per_class": 2, "search.patch": 8, "search.shares": (0.2,), "search.resamples": 0}
OF_PHOTOGRAPHS |= {"search.graft.paths": 2, "search.graft.steps": 1}


def small_config(**changes):
    """A config of a small run; 'search__patch' names the field search.patch. Removal has two resamples."""
    config = common.base()
    changes = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    config.update_from_flattened_dict(changes)
    if "search.resamples" not in changes:
        removal = config.search.method == "removal" and not config.search.removal.compat
        config.search.resamples = 2 if removal else 0
    return config


def training_config(**changes):
    """A config of a training of six steps, which checkpoints every second."""
    fields = {"data__synthetic__train_per_class": 20, "data__synthetic__test_per_class": 8, "train__steps": 6}
    fields |= {"train__optimizer": "adamw", "train__learning_rate": 1e-3, "train__augment": "flip,crop"}
    return small_config(**fields | {"run__log_every": 1, "run__checkpoint_every": 2} | changes)


def train(config, directory):
    """Train in a workdir and return the last variables."""
    with Metrics(directory) as metrics:
        training = setup.build(config, data.load(config.data, "train", config.seed), MEAN_STD, directory)
        loop.train(training, lambda split: data.load(config.data, split, config.seed), directory, metrics)
    return final_variables(config, directory)


def final_variables(config, directory):
    network = models.build(config.model.name, num_classes=4, image_size=config.data.image_size)
    checkpoints = Checkpoints(directory / "checkpoints")
    return checkpoints.restore("variables", checkpoints.newest(), jax.eval_shape(lambda: network.init(0)))


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def losses_of(directory):
    return {line["step"]: line["loss"] for line in lines(directory) if "loss" in line}


def assert_same_bits(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)
