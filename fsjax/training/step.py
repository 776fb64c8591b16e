"""One training step: a pure function on one device, and the same function on all devices with jax.pmap."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.jax_utils import prefetch_to_device
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree, UInt32

from fsjax.data.augment import image_keys
from fsjax.data.normalisation import normalise
from fsjax.models.network import Network
from fsjax.runtime import parallel
from fsjax.training.state import TrainState, overlay
from fsjax.training.ways.way import Copies, Images, Transform

Batch = dict[str, jax.Array]
# Arrays of the network, and of its BatchNorms for copies; the second is None where there are none.
Pair = tuple[PyTree, PyTree]
Values = dict[str, jax.Array]
# Compiled programs that a process keeps: of a step without a way of training, and with it.
_KEPT = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """The step of one device, to be called inside pmap over `parallel.AXIS`.

    It maps (state, batch, scale) to (state, {"loss", "accuracy"}). `scale`, the learning rate, multiplies the updates.
    Gradients are averaged over the devices; BatchNorm takes its statistics over the images of all devices.

    Attributes:
      network: the classifier.
      optimizer: turns gradients into updates.
      augment: (keys [n], images [n, S, S, 3] in [0, 255]) -> images.
      mean_std: of pixels in [0, 1], per channel.
      seed: of augmentation and ways; keys depend on seed, epoch and image alone.
      ways: from `ways.make`; each changes or copies the normalised images, after the augmentation. The loss is the mean
        over the images and their copies; the accuracy counts the images alone.
      label_smoothing: share of the target that is spread evenly over the classes, in [0, 1).
    """

    network: Network
    optimizer: optax.GradientTransformation
    augment: Callable
    mean_std: tuple
    seed: int | UInt32[Array, ""]
    ways: Sequence[Transform | Copies] = ()
    label_smoothing: float = 0.0

    def __call__(self, state: TrainState, batch: Batch, scale: jax.Array | float) -> tuple[TrainState, Values]:
        """Return the state after the step, and its loss and accuracy."""
        copies = state.auxiliary
        params, stats = (state.params, copies and copies.params), (state.batch_stats, copies and copies.batch_stats)
        differentiate = jax.value_and_grad(self._loss, has_aux=True)
        (loss, (batch_stats, accuracy)), gradients = differentiate(params, stats, batch)
        gradients, loss, accuracy = jax.lax.pmean((gradients, loss, accuracy), parallel.AXIS)
        new = self._stepped(state, gradients[0], batch_stats[0], scale)
        # The optimisers treat each array separately, so the BatchNorms for copies may have an optimiser state apart.
        auxiliary = copies and self._stepped(copies, gradients[1], batch_stats[1], scale)
        return dataclasses.replace(new, auxiliary=auxiliary), {"loss": loss, "accuracy": accuracy}

    def _loss(self, params: Pair, batch_stats: Pair, batch: Batch) -> tuple[jax.Array, tuple[Pair, jax.Array]]:
        """Return the loss, and with it the new BatchNorm statistics and the accuracy."""
        keys, labels = image_keys(self.seed, batch["epoch"], batch["index"]), batch["label"]
        stats = list(batch_stats)  # each pass updates the statistics

        def forward(images: Images, auxiliary: bool = False) -> tuple[jax.Array, jax.Array]:
            """Return loss and logits."""
            which = int(auxiliary and params[1] is not None)
            variables = {"params": overlay(*params) if which else params[0], "batch_stats": stats[which]}
            logits, stats[which] = self.network.apply_train(variables, images)
            return cross_entropy(logits, labels, self.label_smoothing), logits

        def image_gradient(images: Images) -> Images:
            """Return d loss / d images, without an update of the statistics."""
            variables = jax.lax.stop_gradient({"params": params[0], "batch_stats": stats[0]})

            def loss(images: Images) -> jax.Array:
                logits, _ = self.network.apply_train(variables, images)
                return cross_entropy(logits, labels, self.label_smoothing)

            return jax.grad(loss)(images)

        images = normalise(self.augment(keys, batch["image"].astype(jnp.float32)), *self.mean_std)
        copies: list[tuple[Images, bool]] = []
        for way in self.ways:
            if isinstance(way, Copies):
                made = jax.lax.stop_gradient(way.make(keys, labels, images, image_gradient))
                copies += [(copy, way.auxiliary) for copy in made]
            else:
                images = way(keys, labels, images)
        loss, logits = forward(images)
        losses = [loss, *(forward(*copy)[0] for copy in copies)]
        accuracy = (logits.argmax(-1) == labels).mean()
        return sum(losses[1:], loss) / len(losses), (tuple(stats), accuracy)

    def _stepped(
        self, state: TrainState, gradients: PyTree, batch_stats: PyTree, scale: jax.Array | float
    ) -> TrainState:
        """Return the state after a step of the optimiser, without auxiliary state."""
        updates, optimizer_state = self.optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, jax.tree.map(lambda value: value * scale, updates))
        return TrainState(params, batch_stats, optimizer_state)


class PmappedUpdate:
    """The step on all devices: (state, batch, scale, stop) -> (state, values, stop), its state donated.

    State and batch have a leading axis of local devices. `stop` [devices] says whether this process was asked to stop;
    it comes back True on every device of every process where any process was. Steps that differ in the seed and in the
    arrays of their ways (of each `jax.tree_util.Partial`) alone share a compiled program.
    """

    _programs: ClassVar[dict[str, Callable]] = {}

    def __init__(self, update: Update, devices: Sequence[jax.Device] | None = None):
        def update_and_agree(varied: tuple, state: TrainState, batch: Batch, scale: Any, stop: jax.Array) -> tuple:
            seed, arrays = varied[0], list(varied[1])
            ways = [Partial(way.func, *arrays.pop(0)) if isinstance(way, Partial) else way for way in update.ways]
            of_these = dataclasses.replace(update, seed=seed, ways=ways)
            return *of_these(state, batch, scale), jax.lax.pmax(stop, parallel.AXIS)

        axes = (None, 0, 0, None, 0)
        self._own = jax.pmap(update_and_agree, axis_name=parallel.AXIS, in_axes=axes, donate_argnums=1, devices=devices)
        arrays = [way.args for way in update.ways if isinstance(way, Partial)]
        self._varied, self._devices = (np.uint32(update.seed), arrays), devices
        self._program: Callable | None = None

    def lower(self, state: PyTree, batch: PyTree, scale: float, stop: Any) -> jax.stages.Lowered:
        """Lower the step for arguments of these shapes."""
        return self._own.lower(self._varied, state, batch, np.float32(scale), stop)

    def __call__(self, state: TrainState, batch: Batch, scale: float, stop: Any) -> tuple:
        """Return the states after the step, its values and whether to stop."""
        if self._program is None:
            text = f"{self._devices} {self.lower(state, batch, scale, stop).as_text()}"
            self._program = self._programs.setdefault(hashlib.sha256(text.encode()).hexdigest(), self._own)
            for oldest in list(self._programs)[:-_KEPT]:
                del self._programs[oldest]
        return self._program(self._varied, state, batch, np.float32(scale), stop)


def cross_entropy(logits: Float[Array, "n classes"], labels: Int[Array, " n"], smoothing: float) -> Float[Array, ""]:
    """Return the mean cross-entropy in nats; `smoothing` of the target is spread over all classes."""
    if not smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()


def on_devices(batches: Iterator[dict[str, np.ndarray]]) -> Iterator[Batch]:
    """Yield a process's batches as [local devices, rows a device, ...] on the devices, two ahead of their steps."""
    devices = jax.local_device_count()
    split = ({name: x.reshape(devices, -1, *x.shape[1:]) for name, x in batch.items()} for batch in batches)
    return prefetch_to_device(split, 2, axis_name=parallel.AXIS)
