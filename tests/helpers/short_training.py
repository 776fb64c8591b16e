"""A training of six steps, and what it leaves."""

import json

import jax
import numpy as np

from fsjax import data, models
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.metrics import Metrics
from fsjax.training import loop
from tests.helpers.small_run import small_config

MEAN_STD = (np.full(3, 0.5), np.full(3, 0.2))


def make_config(**changes):
    fields = {"data__synthetic__train_per_class": 20, "data__synthetic__test_per_class": 8, "train__steps": 6}
    fields |= {"train__optimizer": "adamw", "train__learning_rate": 1e-3, "train__augment": "flip,crop"}
    return small_config(**fields | {"run__log_every": 1, "run__checkpoint_every": 2} | changes)


def run(config, directory):
    metrics = Metrics(directory)
    try:
        loop.train(config, lambda split: data.load(config.data, split, config.seed), MEAN_STD, directory, metrics)
    finally:
        metrics.close()
    return final_variables(config, directory)


def final_variables(config, directory):
    network = models.build(config.model.name, num_classes=4, image_size=config.data.image_size)
    checkpoints = Checkpoints(directory / "checkpoints")
    return checkpoints.variables(checkpoints.newest(), jax.eval_shape(lambda: network.init(0)))


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_same_bits(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def losses_of(directory):
    return {line["step"]: line["loss"] for line in lines(directory) if "loss" in line}
