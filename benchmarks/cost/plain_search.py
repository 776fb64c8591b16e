"""A removal search without files and progress, for benchmarks."""

import numpy as np

from fsjax.engine import first_layer, tile_size
from fsjax.engine.engine import Engine, Sliceable
from fsjax.engine.model import Model
from fsjax.search.sweep import MaskList


class Search:
    """The engine as a search makes it.

    Args:
      model: the classifier.
      counts: number of images of each class.
      split: whether single orbits may be removed after the first convolution, if the model begins with one.

    Attributes:
      model: the model that the engine computes: split or not.
    """

    def __init__(self, model: Model, counts: list[int], *, split: bool = True):
        faster = first_layer.split(model) if split else None
        self.layout = tile_size.layout(model, counts, faster=faster)
        self.batch_size = self.layout["chunk"]
        self.model = faster if faster and self.layout["first_layer"] else model
        self.engine = Engine(self.model, tile_images=self.layout["tile_images"])

    def image_batches(
        self, images: np.ndarray, labels: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> list:
        labels = np.zeros(len(images), np.int32) if labels is None else labels
        return self.engine.image_batches(images, labels, weights, size=self.batch_size)

    def losses(self, batches: list, masks: MaskList) -> np.ndarray:
        perturbations: Sliceable | None = masks.removed_orbits if self.layout["first_layer"] else masks
        return self.engine.sums(batches, perturbations)["loss"][:, 0]

    def masked_images(self, batches: list, masks: MaskList, images: int) -> int:
        self.losses(batches, masks)
        return masks.count * images
