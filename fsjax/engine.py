"""The hot loop: sums of a per-image statistic over every (perturbation, image) pair, on all local devices.

A perturbation is a mask of the Fourier plane. A tile is the work of one device call: some masks times some images.
Searches, filtered evaluation and controls differ only in the masks, the weights and the statistics they ask for.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from fsjax import parallel, spectrum

STATISTICS = ("loss", "loss_squared", "correct", "called")


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Images of one tile, on every device: half spectra, labels and the weight of each image in each replicate."""

    spectra: Shaped[Array, "images height half channels"]
    labels: Int[Array, " images"]
    weights: Float[Array, "images replicates"]


class Engine:
    """Evaluates masks on a classifier.

    Args:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: what `apply` takes first; replicated over the devices.
      statistics: which of STATISTICS `sums` returns. Per image and mask: `loss` is the cross-entropy to the label in
        nats, `loss_squared` its square, `correct` whether the largest logit is the label's, `called` whether it is
        that of the mask's target class.
      tile_images: most masked images of one tile on one device; the batch that the model sees.
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
        self.statistics = statistics
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

        Weights default to 1, one replicate. The last chunk is padded with weight 0.
        """
        if weights is None:
            weights = np.ones((len(images), 1), np.float32)
        size = size or min(len(images), self.tile_images)
        made = []
        for start in range(0, len(images), size):
            stop = min(start + size, len(images))
            padding = [(0, size - (stop - start))]
            made.append(
                Chunk(
                    self._spectra(np.pad(np.asarray(images[start:stop]), [*padding, (0, 0), (0, 0), (0, 0)])),
                    jax.device_put(np.pad(labels[start:stop].astype(np.int32), padding), self._replicated),
                    jax.device_put(np.pad(weights[start:stop], [*padding, (0, 0)]), self._replicated),
                )
            )
        return made

    def masks_per_tile(self, chunk_size: int) -> int:
        """How many masks one device call takes, over all devices, beside chunks of this size."""
        return max(1, self.tile_images // chunk_size) * self._mesh.size

    def sums(
        self,
        chunks: list[Chunk],
        masks: Bool[np.ndarray, "masks height width"],
        targets: Int[np.ndarray, " masks"] | None = None,
        *,
        on_tile: Callable[[int, int], None] = lambda masks, images: None,
    ) -> dict[str, Float[np.ndarray, "masks replicates"]]:
        """Weighted sums over the chunks' images of each statistic, one row a mask, in float64.

        Args:
          chunks: what `chunks` returned, all of one size.
          masks: True where a frequency is kept; need not be constant on orbits.
          targets: class of each mask, for `called`; default 0.
          on_tile: called with the number of masks and of masked images each time a tile's result is there.
        """
        if targets is None:
            targets = np.zeros(len(masks), np.int32)
        totals = {name: np.zeros((len(masks), chunks[0].weights.shape[1])) for name in self.statistics}

        def collect(start: int, stop: int, results: list[dict]) -> None:
            for result in results:
                for name, values in jax.device_get(result).items():
                    totals[name][start:stop] += values[: stop - start]
            on_tile(stop - start, (stop - start) * sum(len(chunk.labels) for chunk in chunks))

        # One tile is always under way while the one before it is read back.
        waiting = None
        for start, stop, tile_masks, tile_targets in self._mask_tiles(masks, targets, len(chunks[0].labels)):
            results = [
                self._tile(self._params, tile_masks, tile_targets, chunk.spectra, chunk.labels, chunk.weights)
                for chunk in chunks
            ]
            if waiting:
                collect(*waiting)
            waiting = (start, stop, results)
        if waiting:
            collect(*waiting)
        return totals

    def _mask_tiles(self, masks: np.ndarray, targets: np.ndarray, chunk_size: int) -> Iterator[tuple]:
        size = self.masks_per_tile(chunk_size)
        for start in range(0, len(masks), size):
            stop = min(start + size, len(masks))
            padding = (0, size - (stop - start))
            yield (
                start,
                stop,
                jax.device_put(np.pad(masks[start:stop], [padding, (0, 0), (0, 0)]), self._sharded),
                jax.device_put(np.pad(targets[start:stop].astype(np.int32), padding), self._sharded),
            )


def make_tile(apply: Callable, statistics: tuple[str, ...], mesh: jax.sharding.Mesh, precision: str) -> Callable:
    """The jitted tile: (params, masks, targets, spectra, labels, weights) -> {statistic: [masks, replicates]}.

    Masks, targets and results are split over the mesh, the rest is on every device, so nothing passes between devices:
    under plain jit with shardings the compiler gathers batched FFTs onto every one of them.
    """

    def tile(params, masks, targets, spectra, labels, weights):
        filtered = spectrum.filter_spectra(spectra, masks)
        logits = apply(params, filtered.reshape(-1, *filtered.shape[2:]))
        logits = logits.reshape(*filtered.shape[:2], -1).astype(jnp.float32)
        per_image = _per_image(statistics, logits, labels, targets)
        return {name: jnp.matmul(values, weights, precision="highest") for name, values in per_image.items()}

    split = P(parallel.AXIS)
    sharded = jax.shard_map(tile, mesh=mesh, in_specs=(P(), split, split, P(), P(), P()), out_specs=split)

    def with_precision(*arguments):
        with jax.default_matmul_precision(precision):
            return sharded(*arguments)

    return jax.jit(with_precision)


def _per_image(
    statistics: tuple[str, ...],
    logits: Float[Array, "masks images classes"],
    labels: Int[Array, " images"],
    targets: Int[Array, " masks"],
) -> dict[str, Float[Array, "masks images"]]:
    values = {}
    if "loss" in statistics or "loss_squared" in statistics:
        label_logits = jnp.take_along_axis(logits, labels[None, :, None], axis=-1)[..., 0]
        loss = jax.nn.logsumexp(logits, axis=-1) - label_logits
        values |= {"loss": loss, "loss_squared": loss**2}
    if "correct" in statistics or "called" in statistics:
        predicted = jnp.argmax(logits, axis=-1)
        values |= {"correct": predicted == labels[None, :], "called": predicted == targets[:, None]}
    return {name: values[name].astype(jnp.float32) for name in statistics}


def chunk_size(counts: list[int], tile_images: int) -> int:
    """The chunk size, at most tile_images, that wastes the fewest padded images on groups of these sizes.

    One size for all groups means one compilation; of equally good sizes the largest is taken.
    """
    smallest = max(1, min(max(counts), tile_images) // 8)
    sizes = range(min(max(counts), tile_images), smallest - 1, -1)
    return min(sizes, key=lambda size: sum(-(-count // size) * size for count in counts))
