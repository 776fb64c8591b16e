"""A training that diverges with finite numbers is said to in one line; a hard start is none."""

import logging
import math

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax import data
from fsjax.runtime.metrics import Metrics
from fsjax.training import loop, optimizers
from fsjax.training.loop import DivergenceWatch
from tests.helpers.small_run import small_config

GUESSING = math.log(10)


def warned(losses, every, classes=10):
    """The steps at which a training of these losses, logged every so often, is warned of."""
    watch = DivergenceWatch(classes)
    return [stop for stop in range(every, len(losses) + 1, every) if watch.add(losses[stop - every : stop], stop)]


@pytest.mark.parametrize("every", [1, 5, 50])
def test_a_loss_that_stays_far_above_guessing_is_warned_of_once(every):
    losses = [5.6] * 50 + [23527.0] * 100
    assert warned(losses, every) == [{1: 60, 5: 60, 50: 100}[every]], "half of 20 steps are above"


@pytest.mark.parametrize("every", [1, 5, 50])
def test_a_hard_start_single_bad_batches_and_a_model_that_learns_nothing_are_not(every):
    overshoot = [1.4, 7.7, 43.6, 900.0, 60.0, 30.0, 12.0, 8.0, 4.0]
    assert not warned(overshoot + [2.3] * 91, every)
    assert not warned([1e6 if step % 3 == 0 else 1.0 for step in range(150)], every)
    assert not warned([GUESSING] * 100, every) and not warned([9.9 * GUESSING] * 100, every)
    assert not warned([1e4] * 19, 1), "too few steps to tell"


def test_the_limit_is_that_of_the_classes():
    assert warned([20.0] * 40, 20, classes=4) and not warned([20.0] * 40, 20, classes=10)
    assert warned([20.0] * 40, 20, classes=1)


def test_a_run_whose_weights_explode_says_so_and_what_to_change(tmp_path, monkeypatch, caplog):
    fields = {"data__synthetic__train_per_class": 12, "data__synthetic__test_per_class": 2, "train__steps": 24}
    config = small_config(**fields, train__optimizer="sgd", train__evaluators="", run__log_every=12)
    monkeypatch.setattr(optimizers, "learning_rate", lambda options, steps: lambda step: jnp.where(step == 3, 100.0, 0))
    mean_std = (np.full(3, 0.5), np.full(3, 0.2))
    with caplog.at_level(logging.WARNING, "fsjax"), Metrics(tmp_path) as metrics:
        loop.train(config, lambda split: data.load(config.data, split, 0), mean_std, tmp_path, metrics)
    (line,) = [record.getMessage() for record in caplog.records if "diverges" in record.getMessage()]
    assert "median of 20 steps) at step 24, and guessing has 1.39" in line and "\n" not in line
    assert "lower train.learning_rate or lengthen train.warmup_steps" in line
