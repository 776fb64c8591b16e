"""A removal search without its files and its progress: what benchmarks time."""

import functools
from collections.abc import Callable

import numpy as np

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.first_layer import Cut
from fsjax.search.sweep import MaskList


class Search:
    """The engine as a search makes it.

    Args:
      apply, params: the model.
      counts: images of each class.
      image: (H, W, C).
      cut: of the model, where orbits are removed one by one.
      precision: as the engine takes it.
    """

    def __init__(
        self, apply: Callable, params: dict, counts: list[int], image: tuple, cut: Cut | None, precision="highest"
    ):
        self.layout = tile_size.layout(apply, params, image, counts, precision=precision, cut=cut)
        self.chunk = self.layout["chunk"]
        cut = cut if self.layout["first_layer"] else None
        self.engine = Engine(apply, params, tile_images=self.layout["tile_images"], precision=precision, cut=cut)

    def chunks(self, images: np.ndarray, labels: np.ndarray | None = None, weights: np.ndarray | None = None) -> list:
        labels = np.zeros(len(images), np.int32) if labels is None else labels
        return self.engine.chunks(images, labels, weights, size=self.chunk)

    def losses(self, chunks: list, masks: MaskList) -> np.ndarray:
        make = functools.partial(masks.perturbations, as_removals=bool(self.layout["first_layer"]))
        return np.concatenate([sums["loss"][:, 0] for _, _, sums in self.engine.tiles(chunks, make, masks.count)])

    def masked_images(self, chunks: list, masks: MaskList, images: int) -> int:
        self.losses(chunks, masks)
        return masks.count * images
