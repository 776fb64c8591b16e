"""Which images of each class are looked at, where not all are."""

import numpy as np
from jaxtyping import Int


def first_of_each(labels: Int[np.ndarray, " images"], count: int) -> Int[np.ndarray, " chosen"]:
    """Sorted indices of the first `count` images of each class, 0 = all."""
    kept = [np.flatnonzero(labels == label)[: count or None] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept))


def drawn(labels: Int[np.ndarray, " images"], label: int, count: int, seed: int) -> Int[np.ndarray, " chosen"]:
    """Sorted indices of `count` images of a class drawn by seed, or of all where it has no more; 0 = all."""
    of_class = np.flatnonzero(labels == label)
    if count and count < len(of_class):
        of_class = np.sort(np.random.default_rng([seed, label]).choice(of_class, count, replace=False))
    return of_class
