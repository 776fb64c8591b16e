"""One device call: some perturbations times one image batch, and the weighted sums of per-image statistics."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from fsjax.engine.model import Model
from fsjax.engine.programs import at_precision, cached_program, over_devices
from fsjax.runtime import parallel

STATISTICS = ("loss", "correct", "predicted_target", "captured", "predicted")


class Perturbations(NamedTuple):
    """Changes of the images of a tile, and the target class of each.

    Attributes:
      masks: multiplied with the spectra, True where a frequency is kept; need not be constant on orbits. [n, H, W]
        bool, or uint8 [n, H, ceil(W / 8)], which `masks.unpack` unpacks: a mask of 224 pixels takes 50 kB, and packed
        6. Or [n, 3], blocks of `patches.blocks`, whose patches are removed, 12 bytes each. Or waves, for `WaveModel`.
      targets: class of each perturbation, for the statistic `predicted_target`; None = 0.
    """

    masks: PyTree
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

    Models that differ only in their parameters share it.
    """
    bare, key = _without_params(model)

    def tile(params: PyTree, perturbations: Perturbations, batch: ImageBatch) -> dict[str, Array]:
        masks, targets = perturbations
        logits = bare.masked_logits(params, masks, batch.encoded).astype(jnp.float32)
        targets = jnp.zeros(len(logits), int) if targets is None else targets
        return {
            name: jnp.einsum("mi...,ir->mr...", values, batch.weights, precision="highest")
            for name, values in _image_statistics(statistics, logits, batch.labels, targets).items()
        }

    def make() -> Callable:
        return over_devices(tile, mesh, (False, True, False), bare.matmul_precision)

    return cached_program(bare.apply, (key, tuple(statistics), mesh), make)


def make_encoder(model: Model, mesh: Mesh) -> Callable:
    """Return the jitted `Model.encode_images`, with its results on every device; shared as `make_tile` says."""
    bare, key = _without_params(model)
    encode, everywhere = at_precision(bare.matmul_precision, bare.encode_images), parallel.layouts(mesh)[1]
    return cached_program(bare.apply, (key, "encoder", mesh), lambda: jax.jit(encode, out_shardings=everywhere))


def _without_params(model: Model) -> tuple[Model, Hashable]:
    """Return the model without its parameters, and the key of its programs beside `apply`."""
    bare = dataclasses.replace(model, params=None, apply_bfloat16=None)
    return bare, (type(model), model.image_shape, model.matmul_precision, model.transform)


def tile_shapes(model: Model, masks: int, images: int) -> tuple[PyTree, Perturbations, ImageBatch]:
    """Return the shapes of a tile's arguments, for `make_tile(...).lower`, which compiles without running.

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


def _image_statistics(
    statistics: Sequence[str],
    logits: Float[Array, "n images classes"],
    labels: Int[Array, " images"],
    targets: Int[Array, " n"],
) -> dict[str, Float[Array, "n images *classes"]]:
    values: dict[str, Array] = {}
    if "loss" in statistics:
        label_logits = jnp.take_along_axis(logits, labels[None, :, None], axis=-1)[..., 0]
        values["loss"] = jax.nn.logsumexp(logits, axis=-1) - label_logits
    if "captured" in statistics:
        is_label = jnp.arange(logits.shape[-1]) == labels[:, None]
        is_left_out = is_label & (labels != targets[:, None])[..., None] & (logits.shape[-1] > 2)
        values["captured"] = jnp.argmax(jnp.where(is_left_out, -jnp.inf, logits), axis=-1) == targets[:, None]
    if {"correct", "predicted_target", "predicted"} & set(statistics):
        predicted = jnp.argmax(logits, axis=-1)
        values |= {"correct": predicted == labels[None, :], "predicted_target": predicted == targets[:, None]}
        values["predicted"] = jax.nn.one_hot(predicted, logits.shape[-1])
    return {name: values[name].astype(jnp.float32) for name in statistics}
