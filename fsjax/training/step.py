"""One step of training on all devices with jax.pmap, and the state that it carries."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from fsjax.data.augment import image_keys
from fsjax.data.preprocess import normalise
from fsjax.models.network import Network
from fsjax.runtime import parallel


def make_update_fn(
    network: Network,
    optimizer: optax.GradientTransformation,
    augment: Callable,
    mean_std: tuple,
    seed: int,
    other_class: Callable | None = None,
    *,
    average: optax.GradientTransformation | None = None,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
) -> Callable:
    """The pmapped step: (state, batch, scale) -> (state, {"loss", "accuracy"}), state donated.

    With `stop` in the batch, a bool a device, the values have `stop`, too: whether it is True anywhere.

    Args:
      network: the classifier.
      optimizer: updates are multiplied by `scale`, which the plateau schedule lowers.
      augment: (keys [n], images [n, S, S, 3] in [0, 255]) -> images.
      mean_std: of pixels in [0, 1], per channel.
      seed: of augmentation and dropout; keys depend on seed, epoch and image alone.
      other_class: (keys, labels, images normalised) -> images, of dfmx.make_dfmx; the last of the augmentations.
      average: of weights and BatchNorm's statistics over steps, its state in the state's "average".
      label_smoothing: share of the target that is spread evenly over the classes, in [0, 1).
      accumulate: parts of each device's rows that go through the model one after the other; their gradients are
        averaged, and BatchNorm sees one part of all devices at a time.
    """

    def gradient(params, batch_stats, batch):
        keys = image_keys(seed, batch["epoch"], batch["index"])
        images = normalise(augment(keys, batch["image"].astype(jnp.float32)), *mean_std)
        if other_class is not None:
            images = other_class(keys, batch["label"], images)
        # Augmentation folds 0, 1, ... into the keys of images; dropout takes a branch far from those.
        dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**31))(keys)

        def loss_fn(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, new_stats = network.apply_train(variables, images, dropout_keys)
            loss = cross_entropy(logits, batch["label"], label_smoothing)
            return loss, (new_stats, (logits.argmax(-1) == batch["label"]).mean())

        (loss, (new_stats, accuracy)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return new_stats, (gradients, loss, accuracy)

    def accumulated(params, batch_stats, batch):
        parts = jax.tree.map(lambda rows: rows.reshape(accumulate, -1, *rows.shape[1:]), batch)

        def add(carry, part):
            new_stats, found = gradient(params, carry[0], part)
            return (new_stats, jax.tree.map(jnp.add, carry[1], found)), None

        zeros = jax.tree.map(jnp.zeros_like, (params, jnp.float32(0), jnp.float32(0)))
        (batch_stats, sums), _ = jax.lax.scan(add, (batch_stats, zeros), parts)
        return batch_stats, jax.tree.map(lambda value: value / accumulate, sums)

    def update(state, batch, scale):
        stop = batch.pop("stop", None)
        compute = gradient if accumulate == 1 else accumulated
        batch_stats, found = compute(state["params"], state["batch_stats"], batch)
        gradients, loss, accuracy = jax.lax.pmean(found, parallel.AXIS)
        updates, optimizer_state = optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], jax.tree.map(lambda value: value * scale, updates))
        new_state = {"params": params, "batch_stats": batch_stats, "optimizer": optimizer_state}
        if average is not None:
            _, new_state["average"] = average.update(_weights(new_state), state["average"])
        values = {"loss": loss, "accuracy": accuracy}
        if stop is not None:
            values["stop"] = jax.lax.pmax(stop, parallel.AXIS)
        return new_state, values

    return jax.pmap(update, axis_name=parallel.AXIS, in_axes=(0, 0, None), donate_argnums=0)


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Mean cross-entropy in nats, logits [n, K] and labels int [n]; `smoothing` of the target goes to all classes."""
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()


def weights_of(state: dict, ema_decay: float) -> dict:
    """Of a training state, the weights that are evaluated and kept: the last, or their exponential moving average."""
    if not ema_decay:
        return _weights(state)
    average = state["average"]
    corrected = optax.tree.bias_correction(average.ema, ema_decay, average.count)
    return jax.tree.map(np.asarray, corrected)


def _weights(state: dict) -> dict:
    return {name: state[name] for name in ("params", "batch_stats")}


def beside_weights(state: dict) -> dict:
    """What training goes on from beside the weights that are kept; with an average, the last weights are among it."""
    return state if "average" in state else {"optimizer": state["optimizer"]}


def replicate(tree: PyTree) -> PyTree:
    """Every array once a local device, stacked, laid out as pmap returns it: from host arrays it compiles twice."""
    mesh = parallel.mesh()
    layout = NamedSharding(mesh, P(parallel.AXIS))
    return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (mesh.size, *np.shape(x))), layout), tree)


def unreplicate(tree: PyTree) -> PyTree:
    """Replica 0 as host NumPy."""
    return jax.tree.map(lambda value: np.asarray(value.addressable_data(0))[0], tree)


def split_over_devices(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A process's rows of a batch as [local devices, rows a device, ...]."""
    devices = jax.local_device_count()
    return {name: value.reshape(devices, -1, *value.shape[1:]) for name, value in batch.items()}
