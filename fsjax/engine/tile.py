"""One device call: some perturbations times some images, and the sums of a per-image statistic.

A perturbation multiplies an image's spectrum by a mask, adds components to it, or both. What removes a single orbit can
go a second way: its two waves pass through the model's first convolution once, and are taken out of what that makes of
each image. That saves the transform and the first convolution of every masked image.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Complex, Float, Int, Shaped

from fsjax.engine.first_layer import Cut
from fsjax.fourier import spectrum
from fsjax.runtime import parallel

STATISTICS = ("loss", "loss_squared", "correct", "called", "predicted")


class Perturbations(NamedTuple):
    """What happens to the spectra of a tile's images, and the class that each perturbation is about.

    Attributes:
      masks: multiplied, True where a frequency is kept; need not be constant on orbits. [n, H, W] for all images, or
        [n, K, H, W]: one a class, and each image takes that of its label. None = everything is kept.
      components: Fourier components that are added to every image (unnormalised DFT, centred), [n, H, W, C]; their
        Hermitian part counts. None = nothing is added.
      targets: class of each perturbation, for the statistic `called`; None = 0.
    """

    masks: Shaped[Array, "n *classes height width"] | Shaped[np.ndarray, "n *classes height width"] | None
    components: Complex[Array, "n height width channels"] | Complex[np.ndarray, "n height width channels"] | None = None
    targets: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None


class Removals(NamedTuple):
    """Perturbations that each take a share of one orbit out of the images; for an engine with a cut model.

    Attributes:
      positions: (row, column) of either member of the orbit on the centred plane.
      shares: of the orbit. 1 = all of it; 1/2 = what removing one of two members does; 0 = nothing.
      basis: what the first convolution makes of the waves; the engine's.
    """

    positions: Int[Array, "n 2"] | Int[np.ndarray, "n 2"]
    shares: Float[Array, " n"] | Float[np.ndarray, " n"]
    basis: Float[Array, "n channels 2 *features"] | None = None


class Chunk(NamedTuple):
    """Images of one tile, on every device.

    Attributes:
      spectra: their half spectra.
      labels: class of each.
      weights: of each image in each replicate.
      features: what the first convolution of a cut model makes of the images; else None.
    """

    spectra: Complex[Array, "images height half channels"]
    labels: Int[Array, " images"]
    weights: Float[Array, "images replicates"]
    features: Float[Array, " images *features"] | None = None


def make_tile(
    apply: Callable, statistics: Sequence[str], mesh: Mesh, precision: str, cut: Cut | None = None
) -> Callable:
    """The jitted tile: (params, perturbations, chunk) -> {statistic: [n, replicates, ...]}.

    Perturbations and results are split over the mesh, the rest is on every device, so nothing passes between devices:
    under plain jit with shardings the compiler gathers batched FFTs onto every one of them.
    """

    def tile(params, perturbations, chunk):
        if isinstance(perturbations, Removals):
            assert cut is not None, "orbits are taken out behind the first convolution"
            features, model, targets = _without(perturbations, chunk, cut.image[1]), cut.rest, None
        else:
            masks, components, targets = perturbations
            if masks is not None and masks.ndim == 4:
                masks = masks[:, chunk.labels]
            features, model = spectrum.filter_spectra(chunk.spectra, masks, components), apply
        logits = model(params, features.reshape(-1, *features.shape[2:]))
        logits = logits.reshape(*features.shape[:2], -1).astype(jnp.float32)
        targets = jnp.zeros(len(logits), int) if targets is None else targets
        per_image = _per_image(statistics, logits, chunk.labels, targets)
        return {
            name: jnp.einsum("mi...,ir->mr...", values, chunk.weights, precision="highest")
            for name, values in per_image.items()
        }

    split = P(parallel.AXIS)
    # Unchecked, because a callable that was traced before does not say what differs from device to device.
    sharded = jax.shard_map(tile, mesh=mesh, in_specs=(P(), split, P()), out_specs=split, check_vma=False)
    return jax.jit(at_precision(precision, sharded))


def make_basis(cut: Cut, mesh: Mesh, precision: str) -> Callable:
    """(params, positions) -> what the first convolution makes of the waves, in each channel by itself.

    The image size is that of the cut.
    """

    def basis(params, positions):
        height, width, channels = cut.image
        waves = spectrum.waves(positions, height, width)
        # [n, channels, 2, H, W, channels]: a wave in one channel and 0 in the others.
        images = waves[:, None, ..., None] * jnp.eye(channels)[:, None, None, None]
        features = cut.first(params, images.reshape(-1, *cut.image))
        return features.reshape(*images.shape[:3], *features.shape[1:])

    split = P(parallel.AXIS)
    sharded = jax.shard_map(basis, mesh=mesh, in_specs=(P(), split), out_specs=split, check_vma=False)
    return jax.jit(at_precision(precision, sharded))


def _without(removals: Removals, chunk: Chunk, width: int) -> Float[Array, "n images *features"]:
    """Features of the images without the removed orbits."""
    positions, shares, basis = removals
    amplitudes = spectrum.wave_amplitudes(chunk.spectra, positions, width) * shares[:, None, None, None]
    assert basis is not None and chunk.features is not None, "both are there with a cut model"
    features = chunk.features[None]
    trailing = (None,) * (features.ndim - 2)
    # Term by term and not as a matrix product: one pass over the features, which the model's next operations join.
    for channel in range(amplitudes.shape[2]):
        for wave in range(2):
            features = features - amplitudes[:, :, channel, wave][..., *trailing] * basis[:, None, channel, wave]
    return features


def at_precision(precision: str, function: Callable) -> Callable:
    """The function with its matrix products and convolutions in this precision."""

    def with_precision(*arguments):
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
    if {"correct", "called", "predicted"} & set(statistics):
        predicted = jnp.argmax(logits, axis=-1)
        values |= {"correct": predicted == labels[None, :], "called": predicted == targets[:, None]}
        values["predicted"] = jax.nn.one_hot(predicted, logits.shape[-1])
    return {name: values[name].astype(jnp.float32) for name in statistics}
