"""The trivial masks that maps are held against out of distribution: those of their controls on the test set."""

import numpy as np
from jaxtyping import Bool

from fsjax import parallel, spectrum
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.evaluate.controls import TRIVIAL, trivial_masks
from fsjax.progress import Progress


def masks_of(
    kept: Bool[np.ndarray, "classes height width"],
    budget: int,
    test: Dataset,
    mean_std: tuple[np.ndarray, np.ndarray],
    images: int,
) -> Bool[np.ndarray, "trivial classes height width"]:
    """controls.TRIVIAL of every class's map; processes share the images, and all return the same.

    The energy is that of test images and not of a set's own: a set is judged part by part, and its maps know as little
    of it. A class without test images has the low-pass mask twice.

    Args:
      kept: the map of each class.
      budget: positions that the maps' share allows.
      test: images of all classes.
      mean_std: that they are normalised with.
      images: the first so many of each class have the energy, 0 = all.
    """
    classes, height, width = kept.shape
    mine, own = range(classes)[parallel.share(classes)], {}
    with Progress("ood trivial masks", len(mine), "classes") as progress:
        for label in mine:
            if len(rows := np.flatnonzero(test.labels == label)[: images or None]):
                own[label] = spectrum.energy(np.asarray(normalise(test.images(rows), *mean_std))).reshape(1, -1)
            progress.update(1)
    found, unknown = np.empty((len(TRIVIAL), *kept.shape), bool), np.full((1, height * width), np.nan)
    for label in range(classes):
        energy = parallel.merge(own.get(label, unknown)).reshape(height, width)
        energy = np.where(np.isfinite(energy), energy, -spectrum.radius(height, width))
        found[:, label] = trivial_masks(kept[label], budget, energy)
    return found
