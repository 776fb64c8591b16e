"""Optimisers and schedules against torch.optim on the same gradients."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from ml_collections import ConfigDict

from fsjax.training import optimizers


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
