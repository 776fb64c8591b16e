"""One device call: some perturbations times one image batch, and the weighted sums of per-image statistics.

Examples:
  >>> Perturbations(masks=np.ones((2, 8, 8), bool)).targets is None
  True
  >>> from fsjax.engine.engine import Engine
  >>> engine = Engine(as_model(model, images, 3))
  >>> (batch,) = engine.image_batches(images, labels, size=len(images))  # an ImageBatch
  >>> batch.labels.shape, batch.weights.shape  # [images], [images, replicates]
  ((45,), (45, 1))
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Complex, Float, Int, PyTree

from fsjax.engine.kept_programs import kept
from fsjax.engine.model import NORMALISED, Model
from fsjax.runtime import parallel

STATISTICS = ("loss", "loss_squared", "correct", "predicted_target", "captured", "predicted")


class Perturbations(NamedTuple):
    """Changes of the images of a tile, and the target class of each.

    Attributes:
      masks: multiplied with the spectra, True where a frequency is kept; need not be constant on orbits. [n, H, W] for
        all images, or [n, K, H, W]: one a class, and each image takes that of its label; bool, or uint8,
        [..., H, ceil(W / 8)], which `masks.unpack` unpacks: a mask of 224 pixels takes 50 kB, and packed 6. Or [n, 3],
        blocks of `patches.blocks`, whose patches are removed, 12 bytes each. None = everything is kept.
      components: Fourier components added to every image (unnormalised DFT, centred), [n, H, W, C]; only their
        Hermitian part has an effect. None = nothing is added.
      targets: class of each perturbation, for the statistic `predicted_target`; None = 0.
    """

    masks: PyTree
    components: Complex[Array, "n height width channels"] | None = None
    targets: Int[Array, " n"] | None = None


class ImageBatch(NamedTuple):
    """Images on every device, as a tile takes them.

    Attributes:
      encoded: what `Model.encode_images` returns.
      labels: class of each.
      weights: of each image in each replicate.
    """

    encoded: PyTree
    labels: Int[Array, " images"]
    weights: Float[Array, "images replicates"]


def make_tile(model: Model, statistics: Sequence[str], mesh: Mesh) -> Callable:
    """Return the jitted tile: (params, perturbations, image batch) -> {statistic: [n, replicates, ...]}.

    It is the same object for models that differ only in their parameters.
    """
    bare = _bare(model)

    def tile(params: PyTree, perturbations: Perturbations, batch: ImageBatch) -> dict[str, Array]:
        masks, components, targets = perturbations
        logits = bare.masked_logits(params, masks, components, batch.encoded, batch.labels).astype(jnp.float32)
        targets = jnp.zeros(len(logits), int) if targets is None else targets
        per_image = _per_image(statistics, logits, batch.labels, targets)
        return {
            name: jnp.einsum("mi...,ir->mr...", values, batch.weights, precision="highest")
            for name, values in per_image.items()
        }

    key = bare, tuple(statistics), mesh
    return kept(bare.apply, key, lambda: over_devices(tile, mesh, (False, True, False), bare.matmul_precision))


def make_encoder(model: Model, mesh: Mesh) -> Callable:
    """Return the jitted `Model.encode_images`, its results on every device; the same object as `make_tile` says."""
    bare = _bare(model)
    encode, everywhere = at_precision(bare.matmul_precision, bare.encode_images), NamedSharding(mesh, P())
    return kept(bare.apply, (bare, "encoder", mesh), lambda: jax.jit(encode, out_shardings=everywhere))


def _bare(model: Model) -> Model:
    """Return the model without its parameters: what programs of it are kept by."""
    return dataclasses.replace(model, params=None, classes=(), mean_std=NORMALISED, apply_bfloat16=None)


def tile_shapes(model: Model, masks: int, images: int) -> tuple[PyTree, Perturbations, ImageBatch]:
    """Return the shapes of a tile's arguments, with which `make_tile(...).lower` compiles it without running it.

    Args:
      model: the classifier; of its parameters only the shapes are used.
      masks: over all devices.
      images: of the image batch.
    """
    shape: Any = jax.ShapeDtypeStruct  # in place of arrays
    perturbations = Perturbations(shape((masks, *model.image_shape[:2]), jnp.bool_))
    encoded = jax.eval_shape(model.encode_images, model.params, shape((images, *model.input_shape), jnp.float32))
    batch = ImageBatch(encoded, shape((images,), jnp.int32), shape((images, 1), jnp.float32))
    return jax.eval_shape(lambda params: params, model.params), perturbations, batch


def over_devices(function: Callable, mesh: Mesh, split: tuple[bool, ...], precision: str) -> Callable:
    """Return the jitted function, whose results are split over the mesh, as are the arguments that `split` says.

    The others are on every device, so nothing passes between devices: under plain jit with shardings the compiler
    gathers batched FFTs onto every one of them.
    """
    in_specs = tuple(P(parallel.AXIS) if is_split else P() for is_split in split)
    # Unchecked, because a callable that was traced before does not say what differs from device to device.
    sharded = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P(parallel.AXIS), check_vma=False)
    return jax.jit(at_precision(precision, sharded))


def at_precision(precision: str, function: Callable) -> Callable:
    """Return the function with its matrix products and convolutions in a precision."""

    def with_precision(*arguments: PyTree) -> PyTree:
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    return with_precision


def _per_image(
    statistics: Sequence[str],
    logits: Float[Array, "n images classes"],
    labels: Int[Array, " images"],
    targets: Int[Array, " n"],
) -> dict[str, Float[Array, "n images *classes"]]:
    values: dict[str, Array] = {}
    if {"loss", "loss_squared"} & set(statistics):
        label_logits = jnp.take_along_axis(logits, labels[None, :, None], axis=-1)[..., 0]
        loss = jax.nn.logsumexp(logits, axis=-1) - label_logits
        values |= {"loss": loss, "loss_squared": loss**2}
    if "captured" in statistics:
        is_label = jnp.arange(logits.shape[-1]) == labels[:, None]
        is_left_out = is_label & (labels != targets[:, None])[..., None] & (logits.shape[-1] > 2)
        values["captured"] = jnp.argmax(jnp.where(is_left_out, -jnp.inf, logits), axis=-1) == targets[:, None]
    if {"correct", "predicted_target", "predicted"} & set(statistics):
        predicted = jnp.argmax(logits, axis=-1)
        values |= {"correct": predicted == labels[None, :], "predicted_target": predicted == targets[:, None]}
        values["predicted"] = jax.nn.one_hot(predicted, logits.shape[-1])
    return {name: values[name].astype(jnp.float32) for name in statistics}
