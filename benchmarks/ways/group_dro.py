"""GroupDRO: train on the worst groups, whose weights grow with their losses (ICLR 2020). The groups are told.

S. Sagawa et al., "Distributionally robust neural networks for group shifts", arXiv 1911.08731, algorithm 1. As in the
authors' code, kohpangwei/group_DRO (the class LossComputer and --reweight_groups), every group is drawn equally often,
with replacement, and a group that a batch lacks has the loss 0 there. Neither the adjustment for the size of a group
nor a stronger weight decay is used. A training that is interrupted and goes on begins with equal weights again.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from benchmarks.ways import training_images
from fsjax.data.augment import image_keys, make_augment
from fsjax.data.normalisation import normalise
from fsjax.experiment.stage import Workspace
from fsjax.runtime import parallel
from fsjax.runtime.storage import Path
from fsjax.training import loop, state
from fsjax.training.setup import Training
from fsjax.training.state import TrainState
from fsjax.training.step import Batch

STEP_SIZE = 0.01  # of the weights, in the authors' code


def train(config: ConfigDict, directory: Path, groups: Int[np.ndarray, " n"]) -> None:
    """Train in `directory`; groups: of each training image of the config."""
    _, groups = np.unique(groups, return_inverse=True)
    indices = drawn(groups, config.train.steps * config.train.batch_size, np.random.default_rng(config.seed))
    training_images.select(config, indices, directory / "reweighted")
    workspace = Workspace(config, directory)
    training = dataclasses.replace(workspace.training, update=GroupUpdate(workspace.training, groups[indices]))
    loop.train(training, workspace.dataset, directory, workspace.metrics)
    workspace.metrics.close()


def drawn(groups: Int[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """Draw images with replacement, so that every group is equally likely."""
    likely = 1 / np.bincount(groups)[groups]
    return rng.choice(len(groups), count, p=likely / likely.sum())


class GroupUpdate:
    """A step on all devices that minimises the robust loss, called as PmappedUpdate; groups: of each training image."""

    def __init__(self, training: Training, groups: Int[np.ndarray, " n"]):
        count = int(groups.max()) + 1
        self.weights = state.replicate(np.full(count, 1 / count, np.float32))
        step = functools.partial(_step, training, groups)
        self._step = jax.pmap(step, axis_name=parallel.AXIS, in_axes=(0, 0, 0, None, 0))

    def __call__(self, replicas: TrainState, batch: Batch, scale: float, stop: Any) -> tuple:
        """Return the states after the step, its values and whether to stop."""
        self.weights, *new = self._step(self.weights, replicas, batch, np.float32(scale), stop)
        return tuple(new)


def robust_loss(
    losses: Float[Array, " n"], groups: Int[Array, " n"], weights: Float[Array, " groups"], step_size: float
) -> tuple[Float[Array, ""], Float[Array, " groups"]]:
    """Return this device's share of the robust loss, whose mean over devices it is, and the new weights.

    The new weights are w exp(step_size * mean loss of the group), over their sum; the robust loss is the sum of the
    groups' mean losses times their new weights. Call it inside pmap over `parallel.AXIS`.
    """
    of_group = jax.nn.one_hot(groups, len(weights))
    counts, sums = jax.lax.psum((of_group.sum(0), jax.lax.stop_gradient(losses) @ of_group), parallel.AXIS)
    counts = jnp.maximum(counts, 1)
    grown = jax.nn.softmax(jnp.log(weights) + step_size * sums / counts)
    return jax.lax.psum(1, parallel.AXIS) * (losses @ of_group) @ (grown / counts), grown


def _step(
    training: Training, groups: np.ndarray, weights: Array, old: TrainState, batch: Batch, scale: Any, stop: Any
) -> tuple[Array, TrainState, dict, Any]:
    options = training.config.train
    augment = make_augment(options.augment, pad=options.pad, min_scale=options.min_scale)
    keys = image_keys(training.config.seed, batch["epoch"], batch["index"])
    images = normalise(augment(keys, batch["image"].astype(jnp.float32)), *training.mean_std)

    def loss(params: Any) -> tuple[Array, tuple]:
        logits, stats = training.network.apply_train({"params": params, "batch_stats": old.batch_stats}, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        value, grown = robust_loss(losses, jnp.asarray(groups)[batch["index"]], weights, STEP_SIZE)
        return value, (stats, grown, (logits.argmax(-1) == batch["label"]).mean())

    (value, (stats, grown, accuracy)), gradients = jax.value_and_grad(loss, has_aux=True)(old.params)
    gradients, value, accuracy = jax.lax.pmean((gradients, value, accuracy), parallel.AXIS)
    updates, optimizer = training.optimizer.update(gradients, old.optimizer, old.params)
    params = optax.apply_updates(old.params, jax.tree.map(lambda update: update * scale, updates))
    new, values = TrainState(params, stats, optimizer), {"loss": value, "accuracy": accuracy}
    return grown, new, values, jax.lax.pmax(stop, parallel.AXIS)
