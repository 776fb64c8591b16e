"""A removal search without files and progress, for benchmarks."""

import numpy as np

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model
from fsjax.search.removal import removal_masks


class Search:
    """The engine as a search makes it.

    Args:
      model: the classifier.
      counts: number of images of each class.
    """

    def __init__(self, model: Model, counts: list[int]):
        self.layout = tile_size.layout(model, counts)
        self.batch_size, self.model = self.layout["chunk"], model
        self.engine = Engine(model, tile_images=self.layout["tile_images"])

    def image_batches(
        self, images: np.ndarray, labels: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> list:
        labels = np.zeros(len(images), np.int32) if labels is None else labels
        return self.engine.image_batches(images, labels, weights, size=self.batch_size)

    def removals(self, tiles: int) -> LazyArray:
        """Return masks that fill so many tiles, each without one orbit: of a search's tiles only the last is padded."""
        every = removal_masks(self.model.image_shape[:2], 1)
        count = tiles * self.engine.perturbations_per_tile(self.batch_size)
        return every[1 + np.arange(count) % (every.count - 1)]

    def losses(self, batches: list, masks: LazyArray) -> np.ndarray:
        return self.engine.sums(batches, masks)["loss"][:, 0]

    def masked_images(self, batches: list, masks: LazyArray, images: int) -> int:
        self.losses(batches, masks)
        return masks.count * images


def random_images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype(np.float32)
