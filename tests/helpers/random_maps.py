"""A file of random maps."""

import numpy as np

from fsjax.fourier import dfm

CLASSES = ("C0", "C1", "C2", "C3")


def save_maps(path, shares=(0.05, 0.2), size=16, classes=CLASSES, seed=0):
    """Write maps that are not constant on orbits, and return them."""
    rng = np.random.default_rng(seed)
    masks = np.stack([rng.random((len(classes), size, size)) < share for share in shares])
    maps = dfm.DominantFrequencyMaps(
        masks, tuple(shares), None, classes, "removal", "train", np.ones(len(classes), int), 0, {}
    )
    maps.save(path)
    return maps
