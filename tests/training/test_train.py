"""Training goes on where it stopped bit for bit, and stops when the loss is not finite; PyTorch's optimisers."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from ml_collections import ConfigDict

from fsjax import data
from fsjax.data.augment import make_augment
from fsjax.fourier import spectrum
from fsjax.models import Network
from fsjax.models.resnet import BasicBlock, ResNet
from fsjax.runtime import progress
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.training import optimizers, settings, state, step
from fsjax.training.ways import graft
from tests.helpers.processes import stopped
from tests.helpers.refused import refused
from tests.helpers.small_run import (
    MEAN_STD,
    assert_same_bits,
    final_variables,
    lines,
    losses_of,
    train,
    training_config,
)

FLIP = make_augment("flip")
SHORT_RESNET = partial(ResNet, BasicBlock, (1,), (4,), imagenet_stem=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The workdir of a run that keeps every step and evaluates every fourth."""
    directory = tmp_path_factory.mktemp("plain")
    train(training_config(run__checkpoint_every=1, run__keep_checkpoints=9, train__evaluate_every=4), directory)
    return directory


def test_stopped_and_started_again_equals_uninterrupted_bit_for_bit(tmp_path):
    """On the plateau schedule, whose state a fresh start would lose; test_two_halves_are_the_whole has a cosine."""
    config = training_config(train__schedule="plateau", train__evaluate_every=1, train__plateau_patience=0)
    whole, again = train(config, tmp_path / "whole"), tmp_path / "again"
    with stopped(3):
        train(config, again)
    assert Checkpoints(again / "checkpoints").newest() == 5, "all processes know of it one step later"
    assert_same_bits(train(config, again), whole)
    assert losses_of(again) == losses_of(tmp_path / "whole") and sorted(losses_of(again)) == [1, 2, 3, 4, 5, 6]


def test_the_next_batch_lies_on_the_devices_when_a_step_takes_one():
    devices, read = jax.local_device_count(), []

    def batches():
        for count in range(4):
            read.append(count)
            yield {"label": 100 * count + np.arange(2 * devices)}

    for number, batch in enumerate(step.on_devices(batches())):
        assert len(read) == min(number + 2, 4)
        np.testing.assert_array_equal(batch["label"], 100 * number + np.arange(2 * devices).reshape(devices, 2))
        assert [shard.data.shape for shard in batch["label"].addressable_shards] == [(1, 2)] * devices
    assert number == 3


def test_steps_of_other_seeds_and_grafted_frequencies_share_a_program_and_are_each_their_own(monkeypatch):
    config, planes = training_config(), spectrum.orbits(24, 24)
    network = Network(SHORT_RESNET, 4, 24, np.dtype("float32"))
    optimizer, dataset = optimizers.make(config.train), data.load(config.data, "train", 0)
    (batch,) = data.batches(dataset, batch_size=8, seed=0, num_steps=1)
    start = state.create(network.init(0), optimizer)
    monkeypatch.setattr(step.PmappedUpdate, "_programs", {})

    def compiled_and_loss(seed, orbits):
        before, changes = progress.compiled()[0], (graft.make_graft(planes < orbits),)
        own = step.PmappedUpdate(step.Update(network, optimizer, FLIP, MEAN_STD, seed, changes))
        replicas, stop = state.replicate(start), np.zeros(jax.local_device_count(), bool)
        _, measured, _ = own(replicas, next(step.on_devices(iter([batch]))), 0.1, stop)
        return progress.compiled()[0] - before, float(measured["loss"][0])

    (first, *others), losses = zip(*(compiled_and_loss(*given) for given in ((0, 90), (1, 90), (0, 0))), strict=True)
    assert first and not any(others) and len(set(losses)) == 3
    step.PmappedUpdate._programs.clear()
    assert compiled_and_loss(1, 90)[1] == losses[1], "by a program of its own"


def test_bfloat16_follows_float32_and_keeps_its_weights_in_float32(plain, tmp_path):
    variables = train(training_config(train__precision="bfloat16", run__checkpoint_every=6), tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    low, exact = (np.array(list(losses_of(directory).values())) for directory in (tmp_path, plain))
    np.testing.assert_allclose(low, exact, rtol=0.03)
    assert (low != exact).any()


def test_evaluators_are_called_at_the_steps_that_the_config_names(plain):
    evaluated = {line["step"]: line for line in lines(plain) if "validation_loss" in line}
    assert sorted(evaluated) == [4, 6]
    assert 0 <= evaluated[6]["validation_accuracy"] <= 1
    assert list(plain.glob("tensorboard/events*"))


@pytest.mark.parametrize(
    ("rate", "message", "kept"),
    [(1e38, "the loss is nan at step 5", 4), (np.inf, "the weights are not finite after step 4", 2)],
)
def test_what_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, monkeypatch, rate, message, kept):
    config = training_config(train__optimizer="sgd", run__log_every=50)
    monkeypatch.setattr(optimizers, "learning_rate", lambda options, steps: lambda step: jnp.where(step == 3, rate, 0))
    refused(f"train: {message}; the last checkpoint is kept", train, config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").newest() == kept
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final_variables(config, tmp_path)))


PLATEAU = {"train__schedule": "plateau"}
NO_VALIDATION = "train.evaluators: got ''; expected 'validation' with"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__optimizer": "adam"}, "train.optimizer: got 'adam'; expected adamw, sgd"),
        ({"train__schedule": "step"}, "train.schedule: got 'step'; expected cosine, plateau, constant"),
        ({"train__precision": "float16"}, "train.precision: got 'float16'; expected float32, bfloat16"),
        ({"train__steps": 0}, "train.epochs, train.steps: got 0, 0; expected one of them above 0"),
        ({"train__batch_size": 10}, "train.batch_size: got 10; expected a positive multiple of the 4 devices"),
        ({"train__evaluators": "f1"}, "train.evaluators: got 'f1'; expected validation, dynamics"),
        ({**PLATEAU, "data__validation_share": 0.0}, "data.validation_share: got 0; expected above 0 with train.sch"),
        ({**PLATEAU, "train__evaluators": ""}, f"{NO_VALIDATION} train.schedule='plateau'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changes, message):
    refused(re.escape(message), settings.check, training_config(**changes))


# Going on with another run


FIELDS = {"train__ways": "graft", "train__graft__maps": "low:0.2", "train__warmup_steps": 2}


def part(until, start="", **fields):
    return training_config(**FIELDS | {"train__until": until, "train__graft__start": str(start)} | fields)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The workdirs of a whole training and of its first half."""
    root = tmp_path_factory.mktemp("runs")
    train(part(1.0), root / "whole")
    train(part(0.5), root / "half")
    return root


def test_two_halves_are_the_whole_bit_for_bit_and_a_part_without_a_further_step_saves_what_it_continues(runs, tmp_path):
    """On a cosine with Adam, whose state and schedule a fresh start would lose."""
    second = train(part(1.0, runs / "half"), tmp_path / "second")
    assert_same_bits(second, final_variables(part(1.0), runs / "whole"))
    losses = losses_of(runs / "half"), losses_of(tmp_path / "second")
    assert [sorted(steps) for steps in losses] == [[1, 2, 3], [4, 5, 6]]
    assert losses[0] | losses[1] == losses_of(runs / "whole")
    assert_same_bits(train(part(0.55, runs / "half"), tmp_path), final_variables(part(0.5), runs / "half"))
    assert Checkpoints(tmp_path / "checkpoints").newest() == 3


def test_a_run_that_cannot_be_continued_is_refused_in_one_line(runs, tmp_path):
    for config, message in (
        (part(0.5, runs / "whole"), "whole was trained for 6 steps; expected 1 to 3, the steps of this training"),
        (part(1.0, runs / "whole", train__optimizer="sgd"), "got .*whole; expected a run of the same model"),
        (part(1.0, runs / "whole", model__name="vit_micro_patch8"), "got .*whole; expected a run of the same model"),
    ):
        refused(rf"^train.graft.start: .*{message}", train, config, tmp_path / "refused")
        assert Checkpoints(tmp_path / "refused" / "checkpoints").newest() is None


# Optimisers and schedules


def options(**changes):
    rate = {"schedule": "constant", "learning_rate": 0.1, "warmup_steps": 0, "plateau_patience": 2}
    rate |= {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01, "plateau_factor": 0.1}
    return ConfigDict(rate | changes)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_ten_steps_are_torchs(name):
    rng = np.random.default_rng(0)
    start = rng.normal(size=7).astype(np.float32)
    weights = torch.nn.Parameter(torch.tensor(start))
    theirs = {
        "sgd": lambda: torch.optim.SGD([weights], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        "adamw": lambda: torch.optim.AdamW([weights], lr=0.1, weight_decay=0.01),
    }[name]()
    ours = optimizers.make(options(optimizer=name))
    params = jnp.asarray(start)
    state = ours.init(params)
    for _ in range(10):
        gradient = rng.normal(size=7).astype(np.float32)
        weights.grad = torch.tensor(gradient)
        theirs.step()
        updates, state = ours.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, 0.1 * updates)
    np.testing.assert_allclose(np.asarray(params), weights.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_plateau_lowers_the_rate_when_torchs_scheduler_does():
    losses = [3.0, 2.0, 2.5, 2.4, 2.3, 1.9, 1.91, 1.92, 1.93, 1.94, 1.95, 1.96, 1.97]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2)
    plateau = optimizers.plateau(options())
    state = plateau.init({})
    scales, rates = [], []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
        state = plateau.update({}, state, value=loss)[1]
        scales.append(float(state.scale))
    assert len(set(rates)) > 2
    np.testing.assert_allclose(scales, rates)


def test_the_rate_warms_up_from_nothing_and_falls_by_a_cosine_to_nothing():
    rate = optimizers.learning_rate(options(schedule="cosine", warmup_steps=10), 110)
    steps = np.arange(111)
    expected = np.where(steps < 10, 0.1 * steps / 10, 0.05 * (1 + np.cos(np.pi * (steps - 10) / 100)))
    np.testing.assert_allclose([float(rate(step)) for step in steps], expected, atol=1e-7)
    constant = optimizers.learning_rate(options(warmup_steps=10), 110)
    np.testing.assert_allclose([float(constant(step)) for step in (0, 5, 10, 100)], [0, 0.05, 0.1, 0.1], rtol=1e-6)
