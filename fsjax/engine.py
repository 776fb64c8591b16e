"""The hot loop: sums of a per-image statistic over every (perturbation, image) pair, on all local devices.

A perturbation multiplies an image's spectrum by a mask, adds components to it, or both. A tile is the work of one
device call: some perturbations times some images. Searches, filtered evaluation and controls differ only in the
perturbations, the weights and the statistics they ask for.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Complex, Float, Int, PyTree, Shaped

from fsjax import parallel, spectrum

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


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Images of one tile, on every device: half spectra, labels and the weight of each image in each replicate."""

    spectra: Complex[Array, "images height half channels"]
    labels: Int[Array, " images"]
    weights: Float[Array, "images replicates"]


class Engine:
    """Evaluates perturbations on a classifier.

    Args:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: what `apply` takes first; replicated over the devices.
      statistics: which of STATISTICS are summed. Per image and perturbation: `loss` is the cross-entropy to the label
        in nats, `loss_squared` its square, `correct` whether the largest logit is the label's, `called` whether it is
        that of the perturbation's target class, `predicted` the class of the largest logit, one-hot.
      tile_images: most perturbed images of one tile on one device; the batch that the model sees.
      precision: of matrix products and convolutions, as jax.default_matmul_precision takes it.
    """

    def __init__(
        self,
        apply: Callable,
        params: PyTree,
        *,
        statistics: tuple[str, ...] = ("loss",),
        tile_images: int = 256,
        precision: str = "highest",
    ):
        if unknown := set(statistics) - set(STATISTICS):
            raise ValueError(f"statistics {sorted(unknown)} are not among {STATISTICS}")
        self.tile_images = tile_images
        self._mesh = parallel.mesh()
        self._replicated = NamedSharding(self._mesh, P())
        self._sharded = NamedSharding(self._mesh, P(parallel.AXIS))
        self._params = jax.device_put(params, self._replicated)
        self._tile = make_tile(apply, statistics, self._mesh, precision)
        self._spectra = jax.jit(spectrum.spectra, out_shardings=self._replicated)

    def chunks(
        self,
        images: Float[np.ndarray, "images height width channels"] | Float[Array, "images height width channels"],
        labels: Int[np.ndarray, " images"],
        weights: Float[np.ndarray, "images replicates"] | None = None,
        *,
        size: int | None = None,
    ) -> list[Chunk]:
        """Images in chunks of `size` (default: as many as a tile takes), transformed once and kept on the devices.

        Weights default to 1, one replicate. The last chunk is padded with its last image at weight 0.
        """
        if weights is None:
            weights = np.ones((len(images), 1), np.float32)
        size = size or min(len(images), self.tile_images)
        made = []
        for start in range(0, len(images), size):
            stop = min(start + size, len(images))
            padding = [(0, size - (stop - start))]
            # Not with zeros, on which a model may return NaN, and 0 x NaN is NaN.
            padded = np.pad(np.asarray(images[start:stop]), [*padding, (0, 0), (0, 0), (0, 0)], mode="edge")
            made.append(
                Chunk(
                    self._spectra(padded),
                    jax.device_put(np.pad(labels[start:stop].astype(np.int32), padding, mode="edge"), self._replicated),
                    jax.device_put(np.pad(weights[start:stop], [*padding, (0, 0)]), self._replicated),
                )
            )
        return made

    def per_tile(self, chunk_size: int) -> int:
        """How many perturbations one device call takes, over all devices, beside chunks of this size."""
        return max(1, self.tile_images // chunk_size) * self._mesh.size

    def tiles(
        self, chunks: list[Chunk], make: Callable[[int, int], Perturbations], count: int
    ) -> Iterator[tuple[int, int, dict[str, Float[np.ndarray, "n replicates *outcomes"]]]]:
        """Weighted sums over the chunks' images, tile by tile.

        Args:
          chunks: what `chunks` returned, all of one size.
          make: (start, stop) -> perturbations start..stop-1, so that no more of them exist at once than a tile takes.
          count: of perturbations.

        Yields:
          start, stop, and the sums of each statistic in float64. Only these leave the devices, once a tile, and the
          next tile is under way by then.
        """
        waiting = None
        size = self.per_tile(len(chunks[0].labels))
        for start in range(0, count, size):
            stop = min(start + size, count)
            perturbations = self._place(make(start, stop), size)
            results = [
                self._tile(self._params, perturbations, chunk.spectra, chunk.labels, chunk.weights) for chunk in chunks
            ]
            if waiting:
                yield _collect(*waiting)
            waiting = (start, stop, results)
        if waiting:
            yield _collect(*waiting)

    def sums(
        self,
        chunks: list[Chunk],
        masks: Bool[np.ndarray, "n *classes height width"] | None,
        components: Complex[np.ndarray, "n height width channels"] | None = None,
        *,
        targets: Int[np.ndarray, " n"] | None = None,
        on_tile: Callable[[int], None] = lambda perturbations: None,
    ) -> dict[str, Float[np.ndarray, "n replicates *outcomes"]]:
        """`tiles` of perturbations that are all there, put together: a row a perturbation; on_tile(how many)."""
        whole = Perturbations(masks, components, targets)

        def make(start: int, stop: int) -> Perturbations:
            return Perturbations(*(part if part is None else part[start:stop] for part in whole))

        count = len(components if masks is None else masks)
        parts = []
        for start, stop, sums in self.tiles(chunks, make, count):
            parts.append(sums)
            on_tile(stop - start)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _place(self, perturbations: Perturbations, size: int) -> Perturbations:
        """On the devices, each with its share, padded to `size`."""

        def place(part: np.ndarray) -> Array:
            return jax.device_put(np.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1)), self._sharded)

        return jax.tree.map(place, perturbations)


def make_tile(apply: Callable, statistics: Sequence[str], mesh: Mesh, precision: str) -> Callable:
    """The jitted tile: (params, perturbations, spectra, labels, weights) -> {statistic: [n, replicates, ...]}.

    Perturbations and results are split over the mesh, the rest is on every device, so nothing passes between devices:
    under plain jit with shardings the compiler gathers batched FFTs onto every one of them.
    """

    def tile(params, perturbations, spectra, labels, weights):
        masks, components, targets = perturbations
        if masks is not None and masks.ndim == 4:
            masks = masks[:, labels]
        images = spectrum.filter_spectra(spectra, masks, components)
        logits = apply(params, images.reshape(-1, *images.shape[2:]))
        logits = logits.reshape(*images.shape[:2], -1).astype(jnp.float32)
        targets = jnp.zeros(len(logits), int) if targets is None else targets
        per_image = _per_image(statistics, logits, labels, targets)
        return {
            name: jnp.einsum("mi...,ir->mr...", values, weights, precision="highest")
            for name, values in per_image.items()
        }

    split = P(parallel.AXIS)
    # Unchecked, because a callable that was traced before does not say what differs from device to device.
    sharded = jax.shard_map(tile, mesh=mesh, in_specs=(P(), split, P(), P(), P()), out_specs=split, check_vma=False)

    def with_precision(*arguments):
        with jax.default_matmul_precision(precision):
            return sharded(*arguments)

    return jax.jit(with_precision)


def _per_image(
    statistics: Sequence[str],
    logits: Float[Array, "n images classes"],
    labels: Int[Array, " images"],
    targets: Int[Array, " n"],
) -> dict[str, Float[Array, "n images *classes"]]:
    values = {}
    if {"loss", "loss_squared"} & set(statistics):
        label_logits = jnp.take_along_axis(logits, labels[None, :, None], axis=-1)[..., 0]
        loss = jax.nn.logsumexp(logits, axis=-1) - label_logits
        values |= {"loss": loss, "loss_squared": loss**2}
    if {"correct", "called", "predicted"} & set(statistics):
        predicted = jnp.argmax(logits, axis=-1)
        values |= {"correct": predicted == labels[None, :], "called": predicted == targets[:, None]}
        values["predicted"] = jax.nn.one_hot(predicted, logits.shape[-1])
    return {name: values[name].astype(jnp.float32) for name in statistics}


def _collect(start: int, stop: int, results: list[dict]) -> tuple[int, int, dict]:
    fetched = [jax.device_get(result) for result in results]
    sums = {name: sum(part[name].astype(np.float64) for part in fetched)[: stop - start] for name in fetched[0]}
    return start, stop, sums
