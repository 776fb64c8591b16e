"""One training step: a pure function on a device, and the same on all devices with jax.pmap."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from fsjax.data.augment import image_keys
from fsjax.data.preprocess import normalise
from fsjax.models.network import Network
from fsjax.runtime import parallel
from fsjax.training.auxiliary import overlay
from fsjax.training.state import TrainState
from fsjax.training.ways.way import Copies, Images, Transform

Batch = dict[str, jax.Array]
# Of the network, and of its BatchNorms for copies; the latter is None where there are none.
Pair = tuple[PyTree, PyTree]
# (state, batch, scale) -> (state, {"loss", "accuracy"})
UpdateFn = Callable[[TrainState, Batch, jax.Array | float], tuple[TrainState, dict[str, jax.Array]]]


def make_update_fn(
    network: Network,
    optimizer: optax.GradientTransformation,
    augment: Callable,
    mean_std: tuple,
    seed: int,
    ways: Sequence[Transform | Copies] = (),
    *,
    average: optax.GradientTransformation | None = None,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
) -> UpdateFn:
    """Return the step of one device, to be called inside pmap over `parallel.AXIS`.

    It maps (state, batch, scale) to (state, {"loss", "accuracy"}), where `scale`, which the plateau schedule lowers,
    multiplies the updates. Gradients are averaged over the devices, and BatchNorm's statistics are of all devices'
    images or, with `network.local_batch_norm`, the average of each device's.

    Args:
      network: the classifier.
      optimizer: makes updates of gradients.
      augment: (keys [n], images [n, S, S, 3] in [0, 255]) -> images.
      mean_std: of pixels in [0, 1], per channel.
      seed: of augmentation and dropout; keys depend on seed, epoch and image alone.
      ways: of training, of `ways.make`: each changes or copies the normalised images, after the augmentation. The loss
        is the mean over the images and their copies, the accuracy that on the images.
      average: moving average of weights and BatchNorm statistics over steps.
      label_smoothing: share of the target that is spread evenly over the classes, in [0, 1).
      accumulate: parts of each device's rows that go through the model one after the other; their gradients are
        averaged, and BatchNorm sees one part of all devices at a time.
    """

    def forward(params: Pair, batch_stats: Pair, batch: Batch) -> tuple[jax.Array, tuple[Pair, jax.Array]]:
        keys, labels = image_keys(seed, batch["epoch"], batch["index"]), batch["label"]
        # Augmentation folds 0, 1, ... into the keys of images; dropout takes a branch far from those.
        dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**31))(keys)
        statistics = list(batch_stats)

        def apply(images: Images, number: int = 0, auxiliary: bool = False) -> tuple[jax.Array, jax.Array]:
            """Return loss and logits, and update the statistics; `number` 0 are the images, and others their copies."""
            own = auxiliary and params[1] is not None
            keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**31 + number))(dropout_keys)
            of_network = overlay(params[0], params[1]) if own else params[0]
            variables = {"params": of_network, "batch_stats": statistics[own]}
            logits, statistics[own] = network.apply_train(variables, images, keys if number else dropout_keys)
            return cross_entropy(logits, labels, label_smoothing), logits

        def gradient(images: Images) -> Images:
            variables = jax.lax.stop_gradient({"params": params[0], "batch_stats": batch_stats[0]})

            def loss(images: Images) -> jax.Array:
                return cross_entropy(network.apply_train(variables, images, dropout_keys)[0], labels, label_smoothing)

            return jax.grad(loss)(images)

        images = normalise(augment(keys, batch["image"].astype(jnp.float32)), *mean_std)
        copies: list[tuple[Images, bool]] = []
        for way in ways:
            if isinstance(way, Copies):
                made = jax.lax.stop_gradient(way.make(keys, labels, images, gradient))
                copies += [(copy, way.auxiliary) for copy in made]
            else:
                images = way(keys, labels, images)
        loss, logits = apply(images)
        losses = [loss, *(apply(copy, number, own)[0] for number, (copy, own) in enumerate(copies, 1))]
        accuracy = (logits.argmax(-1) == labels).mean()
        return sum(losses[1:], loss) / len(losses), (tuple(statistics), accuracy)

    def gradients_of(params: Pair, batch_stats: Pair, batch: Batch) -> tuple[Pair, tuple]:
        (loss, (batch_stats, accuracy)), gradients = jax.value_and_grad(forward, has_aux=True)(
            params, batch_stats, batch
        )
        return batch_stats, (gradients, loss, accuracy)

    def accumulated_gradients(params: Pair, batch_stats: Pair, batch: Batch) -> tuple[Pair, tuple]:
        parts = jax.tree.map(lambda rows: rows.reshape(accumulate, -1, *rows.shape[1:]), batch)

        def add(carry: tuple, part: Batch) -> tuple[tuple, None]:
            batch_stats, sums = carry
            batch_stats, values = gradients_of(params, batch_stats, part)
            return (batch_stats, jax.tree.map(jnp.add, sums, values)), None

        zeros = jax.tree.map(jnp.zeros_like, (params, jnp.float32(0), jnp.float32(0)))
        (batch_stats, sums), _ = jax.lax.scan(add, (batch_stats, zeros), parts)
        return batch_stats, jax.tree.map(lambda value: value / accumulate, sums)

    def stepped(state: TrainState, gradients: PyTree, batch_stats: PyTree, scale: jax.Array | float) -> TrainState:
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, jax.tree.map(lambda value: value * scale, updates))
        return TrainState(params, batch_stats, optimizer_state)

    def update(state: TrainState, batch: Batch, scale: jax.Array | float) -> tuple[TrainState, dict[str, jax.Array]]:
        compute = gradients_of if accumulate == 1 else accumulated_gradients
        own = state.auxiliary
        params, stats = (state.params, own and own.params), (state.batch_stats, own and own.batch_stats)
        batch_stats, local = compute(params, stats, batch)
        gradients, loss, accuracy = jax.lax.pmean(local, parallel.AXIS)
        if network.local_batch_norm:
            batch_stats = jax.lax.pmean(batch_stats, parallel.AXIS)  # so that all devices have one state
        new = stepped(state, gradients[0], batch_stats[0], scale)
        average_state = state.average
        if average is not None:
            _, average_state = average.update(new.variables, state.average)
        # The optimisers treat each array by itself, so these may have a state of their own.
        auxiliary = own and stepped(own, gradients[1], batch_stats[1], scale)
        new = dataclasses.replace(new, average=average_state, auxiliary=auxiliary)
        return new, {"loss": loss, "accuracy": accuracy}

    return update


def pmap_update(update: UpdateFn, devices: Sequence[jax.Device] | None = None) -> Callable:
    """Return the step on all devices: (state, batch, scale, stop) -> (state, values, stop), its state donated.

    State and batch have a leading axis of local devices. `stop` [devices] says whether this process was asked to
    stop; it comes back True on every device of every process where any process was.
    """

    def update_and_agree(state: TrainState, batch: Batch, scale: jax.Array | float, stop: jax.Array) -> tuple:
        return *update(state, batch, scale), jax.lax.pmax(stop, parallel.AXIS)

    return jax.pmap(
        update_and_agree, axis_name=parallel.AXIS, in_axes=(0, 0, None, 0), donate_argnums=0, devices=devices
    )


def cross_entropy(logits: Float[Array, "n classes"], labels: Int[Array, " n"], smoothing: float) -> Float[Array, ""]:
    """Return the mean cross-entropy in nats; `smoothing` of the target is spread over all classes."""
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()


def split_over_devices(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reshape a process's rows of a batch to [local devices, rows a device, ...]."""
    devices = jax.local_device_count()
    return {name: value.reshape(devices, -1, *value.shape[1:]) for name, value in batch.items()}
