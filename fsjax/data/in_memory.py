"""Images that are arrays already, of any size and number of channels."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, Num

from fsjax.data.dataset import Dataset


class ArrayDataset(Dataset):
    """Images and labels of one split, in memory; nothing is decoded, resized or rounded.

    Args:
      images: grey levels in [0, 255], integers or not, or normalised images.
      labels: class of each image.
      classes: display names in index order.
    """

    def __init__(
        self,
        images: Num[np.ndarray, "images height width channels"],
        labels: Int[np.ndarray, " images"],
        classes: tuple[str, ...],
    ):
        self._images, self._positions = images, np.arange(len(images))
        self.labels, self.classes = np.asarray(labels, np.int32), classes
        self.planted, self.image_size = None, images.shape[1]

    @property
    def names(self) -> list[str]:
        """No names: the images are not files."""
        return []

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> Num[np.ndarray, "n height width channels"]:
        """Return a copy of these images."""
        return self._images[self._positions[np.asarray(indices, int)]]
