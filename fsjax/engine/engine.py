"""The hot loop: sums of a per-image statistic over every (perturbation, image) pair, on all local devices.

Searches, filtered evaluation and controls differ only in the perturbations, the weights and the statistics that they
ask for.
"""

import copy
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Complex, Float, Int, PyTree

from fsjax.engine.first_layer import Cut
from fsjax.engine.tile import STATISTICS, Chunk, Perturbations, Removals, at_precision, make_basis, make_tile
from fsjax.fourier import spectrum
from fsjax.fourier.masks import Packed
from fsjax.runtime import parallel


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
      cut: of the model, for an engine that takes Removals too.
    """

    def __init__(
        self,
        apply: Callable,
        params: PyTree,
        *,
        statistics: tuple[str, ...] = ("loss",),
        tile_images: int = 256,
        precision: str = "highest",
        cut: Cut | None = None,
    ):
        if unknown := set(statistics) - set(STATISTICS):
            raise ValueError(f"statistics {sorted(unknown)} are not among {STATISTICS}")
        self.tile_images = tile_images
        self._mesh = parallel.mesh()
        self._replicated = NamedSharding(self._mesh, P())
        self._sharded = NamedSharding(self._mesh, P(parallel.AXIS))
        self._params = jax.device_put(params, self._replicated)
        self._tile = make_tile(apply, statistics, self._mesh, precision, cut)
        self._spectra = jax.jit(spectrum.spectra, out_shardings=self._replicated)
        self._features: Callable | None = None
        self._basis: Callable | None = None
        if cut:
            self._features = jax.jit(at_precision(precision, cut.first), out_shardings=self._replicated)
            self._basis = make_basis(cut, self._mesh, precision)

    def with_params(self, params: PyTree) -> "Engine":
        """The same engine, compiled tile and all, with other parameters of the same shapes; chunks serve both.

        Not of a cut model, whose chunks hold what the first convolution made of the images.
        """
        if self._features:
            raise ValueError("an engine with a cut model keeps its parameters")
        other = copy.copy(self)
        other._params = jax.device_put(params, self._replicated)
        return other

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
                    self._features(self._params, jnp.asarray(padded)) if self._features else None,
                )
            )
        return made

    def per_tile(self, chunk_size: int) -> int:
        """How many perturbations one device call takes, over all devices, beside chunks of this size."""
        return max(1, self.tile_images // chunk_size) * self._mesh.size

    def tiles(
        self, chunks: list[Chunk], make: Callable[[int, int], Perturbations | Removals], count: int
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
            results = [self._tile(self._params, perturbations, chunk) for chunk in chunks]
            if waiting:
                yield _collect(*waiting)
            waiting = (start, stop, results)
        if waiting:
            yield _collect(*waiting)

    def sums(
        self,
        chunks: list[Chunk],
        masks: Bool[np.ndarray, "n *classes height width"] | Packed | None,
        components: Complex[np.ndarray, "n height width channels"] | None = None,
        *,
        targets: Int[np.ndarray, " n"] | None = None,
        on_tile: Callable[[int], None] = lambda perturbations: None,
    ) -> dict[str, Float[np.ndarray, "n replicates *outcomes"]]:
        """`tiles` of perturbations that are all there, put together: a row a perturbation; on_tile(how many)."""

        def make(start: int, stop: int) -> Perturbations:
            whole = (masks, components, targets)
            return Perturbations(*(part if part is None else part[start:stop] for part in whole))

        count = next(len(part) for part in (masks, components) if part is not None)
        parts = []
        for start, stop, sums in self.tiles(chunks, make, count):
            parts.append(sums)
            on_tile(stop - start)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _place(self, perturbations: Perturbations | Removals, size: int) -> Perturbations | Removals:
        """On the devices, each with its share, padded to `size`."""

        def place(part: np.ndarray) -> Array:
            return jax.device_put(np.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1)), self._sharded)

        placed = jax.tree.map(place, perturbations)
        if isinstance(placed, Removals):
            assert self._basis is not None, "orbits are taken out behind the first convolution"
            placed = placed._replace(basis=self._basis(self._params, placed.positions))
        return placed


def _collect(start: int, stop: int, results: list[dict]) -> tuple[int, int, dict]:
    fetched = [jax.device_get(result) for result in results]
    sums = {name: sum(part[name].astype(np.float64) for part in fetched)[: stop - start] for name in fetched[0]}
    return start, stop, sums
