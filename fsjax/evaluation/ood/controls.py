"""What maps are held against out of distribution: their trivial masks on the test set, and a few of the random ones."""

import functools

import numpy as np
from jaxtyping import Bool

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.evaluation import controls
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress

# Random masks of a class at most, and as many of its map's radial profile: with the trivial masks they cost as much as
# the maps of 22 classes, whatever the number of classes.
MOST = 10


def kinds(kept: Bool[np.ndarray, "classes height width"], random_masks: int) -> dict[str, int]:
    """How many masks of each kind a class has, by what evaluation.json calls the TPR under them; none without controls.

    They are the trivial ones, one each, then random ones, then as many of the radial profile of its map, if these maps
    have one.
    """
    if not random_masks:
        return {}
    drawn = controls.RANDOM_RATES[: 1 + spectrum.is_hermitian(kept)]
    return dict.fromkeys(controls.TRIVIAL_RATES, 1) | dict.fromkeys(drawn, random_masks)


def masks_of(
    kept: Bool[np.ndarray, "classes height width"],
    budget: int,
    test: Dataset,
    mean_std: tuple[np.ndarray, np.ndarray],
    *,
    images: int,
    random_masks: int,
    seed: int,
) -> masks.Packed:
    """The controls of every class's map, of all `kinds`.

    The energy is that of test images and not of a set's own: a set is judged part by part, and its maps know as little
    of it. A class without test images has the low-pass mask twice. Processes share the classes, and all return the
    same.

    Args:
      kept: the map of each class.
      budget: positions that the maps' share allows.
      test: images of all classes.
      mean_std: that they are normalised with.
      images: the first so many of each class have the energy, 0 = all.
      random_masks: of each class: the first of the test set's controls.
      seed: of what is drawn.
    """
    classes, height, width = kept.shape
    numbers = kinds(kept, random_masks)

    @functools.lru_cache(2)
    def random(size: int) -> list[Bool[np.ndarray, "height width"]]:
        return [controls.random_mask((height, width), size, seed, index) for index in range(random_masks)]

    def of_class(label: int) -> Bool[np.ndarray, "controls height width"]:
        rows = np.flatnonzero(test.labels == label)[: images or None]
        energy = -spectrum.radius(height, width)
        if len(rows):
            energy = spectrum.energy(np.asarray(normalise(test.images(rows), *mean_std)))
        trivial = controls.trivial_masks(kept[label], budget, energy)
        matched = controls.radial_matched(kept[label], numbers.get("radial_tpr", 0), seed, label)
        return np.stack([*trivial, *random(controls.size(kept[label], budget)), *matched])

    mine, own = range(classes)[parallel.share(classes)], {}
    with Progress("ood controls", len(mine), "classes") as progress:
        for label in mine:
            own[label] = masks.Packed.of(of_class(label)).bits
            progress.update(1)
    bits = np.empty((sum(numbers.values()), classes, height, -(-width // 8)), np.uint8)
    unknown = np.full((1, bits[:, 0].size), np.nan)
    for label in range(classes):
        known = own[label].reshape(1, -1).astype(float) if label in own else unknown
        bits[:, label] = parallel.merge(known).reshape(bits[:, label].shape)
    return masks.Packed(bits, width)
