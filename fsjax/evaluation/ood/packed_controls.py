"""Control masks for sets out of distribution: the trivial masks of the test set, and a few of its random masks."""

import numpy as np
from jaxtyping import Bool

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.evaluation.control_masks import ControlMasks
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress

# Random masks of a class at most, and as many with its map's radial profile: with the trivial masks they cost as much
# as the maps of 22 classes, whatever the number of classes.
MOST_RANDOM = 10


def mask_counts(maps: Bool[np.ndarray, "classes height width"], random_masks: int) -> dict[str, int]:
    """Return how many masks of each kind a class has, by the field of ControlRates; none without random masks.

    They are one trivial mask of each kind, then random ones, then as many with the radial profile of its map, if these
    maps have one.
    """
    if not random_masks:
        return {}
    radial = {"radial_tpr": random_masks} if spectrum.is_hermitian(maps) else {}
    return {"low_pass_tpr": 1, "highest_energy_tpr": 1, "random_tpr": random_masks, **radial}


def pack_controls(
    maps: Bool[np.ndarray, "classes height width"],
    budget: int,
    test: Dataset,
    mean_std: tuple[np.ndarray, np.ndarray],
    *,
    images: int,
    random_masks: int,
    seed: int,
) -> masks.Packed:
    """Return the controls of every class's map: [masks, classes, H, W], in the order of `mask_counts`.

    The energy is that of test images and not of a set's own: a set is judged part by part, and its maps know as little
    of it. A class without test images has the low-pass mask twice. Collective: every process must call this; they share
    the classes, and all return the same.

    Args:
      maps: the map of each class.
      budget: positions that the maps' share allows.
      test: images of all classes.
      mean_std: of pixels in [0, 1], per channel.
      images: the energy is that of the first so many of each class; 0 = all.
      random_masks: of each class: the first of the test set's controls.
      seed: of the random masks.
    """
    classes, height, width = maps.shape
    counts, controls = mask_counts(maps, random_masks), ControlMasks(maps, budget, seed)

    def of_class(label: int) -> Bool[np.ndarray, "controls height width"]:
        rows = np.flatnonzero(test.labels == label)[: images or None]
        energy = -spectrum.radius(height, width)
        if len(rows):
            energy = spectrum.energy(np.asarray(normalise(test.images(rows), *mean_std)))
        radial = controls.radial(label, counts.get("radial_tpr", 0))
        return np.concatenate([controls.trivial(label, energy), controls.random(label, random_masks), radial])

    labels, own = range(classes)[parallel.share(classes)], {}
    with Progress("ood controls", len(labels), "classes") as progress:
        for label in labels:
            own[label] = masks.Packed.of(of_class(label)).bits
            progress.update(1)
    bits = np.empty((sum(counts.values()), classes, height, -(-width // 8)), np.uint8)
    unknown = np.full((1, bits[:, 0].size), np.nan)
    for label in range(classes):
        known = own[label].reshape(1, -1).astype(float) if label in own else unknown
        bits[:, label] = parallel.merge(known).reshape(bits[:, label].shape)
    return masks.Packed(bits, width)
