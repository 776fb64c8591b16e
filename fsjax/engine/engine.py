"""The hot loop: sums of per-image statistics over every (perturbation, image) pair, on all local devices.

Searches, filtered evaluation and controls differ only in their perturbations, weights and statistics.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from fsjax.engine.model import Model
from fsjax.engine.tile import ImageBatch, Perturbations, make_encoder, make_tile
from fsjax.runtime import parallel


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """Rows that are made when a slice asks for them: a 224-pixel plane has too many masks to hold at once.

    Indexed with an array of integers it is a lazy array of those rows.

    Attributes:
      count: number of rows.
      make: (start, stop) -> rows start..stop-1.
    """

    count: int
    make: Callable[[int, int], PyTree]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, which: slice | Int[np.ndarray, " rows"]) -> Any:
        if isinstance(which, slice):
            start, stop, _ = which.indices(self.count)
            return self.make(start, stop)

        return LazyArray(len(which), lambda start, stop: _rows(self, which[start:stop]))


# Masks: slices are arrays, or trees of arrays.
Rows: TypeAlias = np.ndarray | Array | LazyArray


class Engine:
    """Evaluates perturbations on a classifier.

    Args:
      model: the classifier; its parameters are replicated over the devices.
      statistics: which of STATISTICS are summed. Per image and perturbation: `loss` is the cross-entropy to the label
        in nats, `correct` whether the predicted class is the label, `predicted_target` whether it is the perturbation's
        target class, `captured` the same without the label, `predicted` the predicted class itself, one-hot.
      tile_images: perturbed images of one tile on one device, at most; the batch that the model sees.
    """

    def __init__(self, model: Model, *, statistics: tuple[str, ...] = ("loss",), tile_images: int = 256):
        self.tile_images = tile_images
        self._mesh = parallel.mesh()
        self._sharded, self._replicated = parallel.layouts(self._mesh)
        self._params = jax.device_put(model.params, self._replicated)
        self._tile = make_tile(model, statistics, self._mesh)
        self._encode_images = make_encoder(model, self._mesh)

    def with_params(self, params: PyTree) -> "Engine":
        """Return the engine, compiled tile and all, with other parameters of the same shapes; batches serve both."""
        other = copy.copy(self)
        other._params = jax.device_put(params, self._replicated)
        return other

    def with_tile(self, tile_images: int) -> "Engine":
        """Return the engine with another tile size; its parameters and batches serve both."""
        other = copy.copy(self)
        other.tile_images = tile_images
        return other

    def image_batches(
        self,
        images: Float[np.ndarray, "images ..."] | Float[Array, "images ..."],
        labels: Int[np.ndarray, " images"],
        weights: Float[np.ndarray, "images replicates"] | None = None,
        *,
        size: int | None = None,
    ) -> list[ImageBatch]:
        """Encode images once, in batches of `size` (default: as many as a tile takes) that stay on the devices.

        An image has the shape that `Model.encode_images` takes: [H, W, C], or for a `GraftModel` a pair, [2, H, W, C].
        Weights default to 1, one replicate. The last batch is padded with its last image at weight 0.
        """
        if weights is None:
            weights = np.ones((len(images), 1), np.float32)
        size = size or min(len(images), self.tile_images)
        batches = []
        for start in range(0, len(images), size):
            stop = min(start + size, len(images))
            padding = [(0, size - (stop - start))]
            # Not with zeros, on which a model may return NaN, and 0 x NaN is NaN.
            padded = np.pad(np.asarray(images[start:stop]), [*padding, *[(0, 0)] * (images.ndim - 1)], mode="edge")
            batches.append(
                ImageBatch(
                    self._encode_images(self._params, padded),
                    jax.device_put(np.pad(labels[start:stop].astype(np.int32), padding, mode="edge"), self._replicated),
                    jax.device_put(np.pad(weights[start:stop], [*padding, (0, 0)]), self._replicated),
                )
            )
        return batches

    def perturbations_per_tile(self, batch_size: int) -> int:
        """Return how many perturbations a tile takes, over all devices, with image batches of this size."""
        return max(1, self.tile_images // batch_size) * self._mesh.size

    def tiles(
        self,
        image_batches: list[ImageBatch],
        masks: Rows,
        *,
        targets: Int[np.ndarray, " n"] | None = None,
        items: Int[np.ndarray, " items"] | None = None,
    ) -> Iterator[tuple[Int[np.ndarray, " n"], dict[str, Float[np.ndarray, "n replicates *outcomes"]]]]:
        """Yield weighted sums over the images, tile by tile; no more perturbations exist at once than a tile takes.

        Args:
          image_batches: what `image_batches` returned, all of one size.
          masks, targets: as in `Perturbations`, of one length.
          items: which of the perturbations; None = all.

        Yields:
          The items of a tile, and the sums of each statistic in float64. Only these leave the devices, once a tile, and
          the next tile is under way by then.
        """
        if items is None:
            items = np.arange(len(masks))
        size = self.perturbations_per_tile(len(image_batches[0].labels))
        pending = None
        for start in range(0, len(items), size):
            chosen = items[start : start + size]
            aimed: Any = None if targets is None else targets[chosen]
            placed = self._place(Perturbations(_rows(masks, chosen), aimed), size)
            results = [self._tile(self._params, placed, batch) for batch in image_batches]
            if pending:
                yield _collect(*pending)
            pending = (chosen, results)
        if pending:
            yield _collect(*pending)

    def sums(
        self,
        image_batches: list[ImageBatch],
        masks: Rows,
        *,
        targets: Int[np.ndarray, " n"] | None = None,
        on_tile: Callable[[int], None] = lambda perturbations: None,
    ) -> dict[str, Float[np.ndarray, "n replicates *outcomes"]]:
        """Return the sums of all `tiles`, a row a perturbation; calls on_tile(number of perturbations) after each."""
        tiles = []
        for items, sums in self.tiles(image_batches, masks, targets=targets):
            tiles.append(sums)
            on_tile(len(items))
        return {name: np.concatenate([sums[name] for sums in tiles]) for name in tiles[0]}

    def _place(self, perturbations: Perturbations, size: int) -> Perturbations:
        """Split perturbations over the devices, padded to `size`."""

        def place(part: np.ndarray) -> Array:
            return jax.device_put(np.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1)), self._sharded)

        return jax.tree.map(place, perturbations)


def _rows(rows: Rows, items: Int[np.ndarray, " n"]) -> Any:
    """Return rows by their indices, sliced where they are neighbours."""
    neighbours = np.split(items, np.flatnonzero(np.diff(items) != 1) + 1)
    slices = [rows[int(run[0]) : int(run[-1]) + 1] for run in neighbours]
    return jax.tree.map(lambda *parts: parts[0] if len(parts) == 1 else np.concatenate(parts), *slices)


def _collect(items: Int[np.ndarray, " n"], results: list[dict]) -> tuple[Int[np.ndarray, " n"], dict]:
    """Fetch a tile's results from the devices and add up its image batches."""
    fetched = [jax.device_get(result) for result in results]
    sums = {name: sum(batch_sums[name].astype(np.float64) for batch_sums in fetched) for name in fetched[0]}
    return items, {name: values[: len(items)] for name, values in sums.items()}
