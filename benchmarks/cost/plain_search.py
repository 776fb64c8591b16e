"""A removal search without files and progress, with random images and random classifiers, for benchmarks."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fsjax import models
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model
from fsjax.models.network import fold
from fsjax.search.removal import removal_masks


class Search:
    """The engine with the layout that a search chooses.

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
        """Return masks without one orbit each that fill `tiles` tiles, because a search pads its last tile only."""
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


def random_classifier(name: str, size: int, classes: int = 10) -> Model:
    """Return a network with initial weights, BatchNorm folded, also in bfloat16."""
    network = models.build(name, num_classes=classes, image_size=size)
    variables = network.init(0)
    low, _ = fold(dataclasses.replace(network, dtype=jnp.dtype(jnp.bfloat16)), variables)
    return Model(*fold(network, variables), (size, size, 3), apply_bfloat16=low)
