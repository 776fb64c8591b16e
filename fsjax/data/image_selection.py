"""Selection of a part of each class's images."""

import numpy as np
from jaxtyping import Int

from fsjax.runtime.random_streams import Stream, generator


def first_of_each_class(labels: Int[np.ndarray, " images"], count: int) -> Int[np.ndarray, " selected"]:
    """Return sorted indices of the first `count` images of each class; 0 = all."""
    indices = [np.flatnonzero(labels == label)[: count or None] for label in np.unique(labels)]
    return np.sort(np.concatenate(indices))


def sample_of_class(
    labels: Int[np.ndarray, " images"], label: int, count: int, seed: int
) -> Int[np.ndarray, " selected"]:
    """Return sorted indices of `count` images of a class drawn by seed, or of all where it has no more; 0 = all."""
    of_class = np.flatnonzero(labels == label)
    if count and count < len(of_class):
        of_class = np.sort(generator(seed, Stream.CHOSEN_IMAGES, label).choice(of_class, count, replace=False))
    return of_class
