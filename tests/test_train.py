"""Training: the same on any device count, goes on where it stopped bit for bit, stops when the loss is not finite."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from configs import common
from fsjax import data, interrupt, models, optimizers, parallel, train
from fsjax.checkpoints import Checkpoints
from fsjax.data.augment import make_augment
from fsjax.errors import InputError
from fsjax.metrics import Metrics
from fsjax.models import Network
from fsjax.models.resnet import BasicBlock, ResNet

MEAN_STD = (np.full(3, 0.5), np.full(3, 0.2))


def make_config(**changes):
    config = common.base()
    config.data.image_size = 24
    config.data.synthetic.train_per_class = 20
    config.data.synthetic.test_per_class = 8
    config.model.name = "vit_micro_patch8"
    config.train.steps = 6
    config.train.batch_size = 16
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.augment = "flip,crop"
    config.run.log_every = 1
    config.run.checkpoint_every = 2
    for name, value in changes.items():
        group, field = name.split("__")
        config[group][field] = value
    return config


def run(config, directory):
    metrics = Metrics(directory)
    try:
        train.train(config, lambda split: data.load(config.data, split, config.seed), MEAN_STD, directory, metrics)
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


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_stopped_and_started_again_equals_uninterrupted_bit_for_bit(tmp_path, monkeypatch, schedule):
    config = make_config(train__schedule=schedule, train__evaluate_every=1, train__plateau_patience=0)
    whole = run(config, tmp_path / "whole")
    for stop in (1, 4) if schedule == "cosine" else (5,):
        seen = []

        def requested(stop=stop, seen=seen):
            seen.append(1)
            return len(seen) == stop

        monkeypatch.setattr(interrupt, "requested", requested)
        directory = tmp_path / f"stopped {stop}"
        with pytest.raises(interrupt.Terminated):
            run(config, directory)
        assert Checkpoints(directory / "checkpoints").newest() == stop, "the step it came in is saved"
        monkeypatch.setattr(interrupt, "requested", lambda: False)
        assert_same_bits(run(config, directory), whole)
        losses = {line["step"]: line["loss"] for line in lines(directory) if "loss" in line}
        assert sorted(losses) == [1, 2, 3, 4, 5, 6]
        assert losses == {line["step"]: line["loss"] for line in lines(tmp_path / "whole") if "loss" in line}


def test_losses_do_not_depend_on_the_device_count():
    """BatchNorm and gradients are those of the global batch: eight devices step as one does."""
    config = make_config()
    dataset = data.load(config.data, "train", 0)
    # A short ResNet: what matters here is its BatchNorm.
    network = Network(partial(ResNet, BasicBlock, (1, 1), (4, 8), imagenet_stem=False), 4, 24, np.dtype("float32"))
    optimizer = optimizers.make(config.train, 3)
    batches = list(data.batches(dataset, batch_size=16, seed=0, num_steps=3))
    variables = network.init(0)
    losses = {}
    for count in (1, 8):
        devices = jax.local_devices()[:count]
        update = jax.pmap(
            make_update(network, optimizer), axis_name=parallel.AXIS, in_axes=(0, 0, None), devices=devices
        )
        state = jax.tree.map(
            lambda value, count=count: np.broadcast_to(value, (count, *np.shape(value))),
            {**variables, "optimizer": optimizer.init(variables["params"])},
        )
        losses[count] = []
        for batch in batches:
            split = {name: value.reshape(count, -1, *value.shape[1:]) for name, value in batch.items()}
            state, measured = update(state, split, 1.0)
            losses[count].append(float(measured["loss"][0]))
        for leaf in jax.tree.leaves(state):
            np.testing.assert_array_equal(np.asarray(leaf), np.broadcast_to(leaf[:1], leaf.shape), "replicas are equal")
    np.testing.assert_allclose(losses[8], losses[1], rtol=1e-5)


def make_update(network, optimizer):
    return train.make_update_fn(network, optimizer, make_augment("flip"), MEAN_STD, 0).__wrapped__


def test_bfloat16_follows_float32_and_keeps_its_weights_in_float32(tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        variables = run(make_config(train__precision=precision, run__checkpoint_every=6), tmp_path / precision)
        losses[precision] = [line["loss"] for line in lines(tmp_path / precision) if "loss" in line]
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.03)
    assert losses["bfloat16"] != losses["float32"]


def test_evaluators_are_called_at_the_steps_that_the_config_names(tmp_path):
    run(make_config(train__evaluate_every=4), tmp_path)
    evaluated = {line["step"]: line for line in lines(tmp_path) if "validation_loss" in line}
    assert sorted(evaluated) == [4, 6]
    assert 0 <= evaluated[6]["validation_accuracy"] <= 1
    assert list(tmp_path.glob("tensorboard/events*"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    config = make_config(train__optimizer="sgd", run__log_every=50)
    monkeypatch.setattr(optimizers, "learning_rate", lambda options, steps: lambda step: 1e38 * (step == 3))
    with pytest.raises(InputError, match=r"train: the loss is nan at step 5; the last checkpoint is kept"):
        run(config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").newest() == 4 or Checkpoints(tmp_path / "checkpoints").newest() == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final_variables(config, tmp_path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__optimizer": "adam"}, "train.optimizer: unknown optimizer 'adam'; accepted: adamw, sgd"),
        ({"train__schedule": "step"}, "train.schedule: unknown schedule 'step'; accepted: cosine, plateau, constant"),
        ({"train__precision": "float16"}, "train.precision: 'float16' is unknown; accepted: float32, bfloat16"),
        ({"train__steps": 0}, "train.epochs, train.steps: 0, 0; accepted: one of them above 0"),
        ({"train__batch_size": 12}, "train.batch_size: 12 is not a positive multiple of the 8 devices"),
        ({"train__evaluators": "f1"}, "train.evaluators: unknown evaluator 'f1'; accepted: validation, dynamics"),
        ({"train__schedule": "plateau", "data__validation_share": 0.0}, "data.validation_share is 0"),
        ({"train__schedule": "plateau", "train__evaluators": ""}, "needs the evaluator 'validation'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changes, message):
    with pytest.raises(InputError) as caught:
        train.check(make_config(**changes))
    assert message in str(caught.value)
