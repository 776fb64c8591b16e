"""Model-independent masks of the same size as a class's map, which its TPR is compared with out of distribution."""

import functools

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator

# Images of a class whose energy its masks of the highest energy have, the first ones.
ENERGY_IMAGES = 100


class ControlMasks:
    """Masks that the map of each class is compared with.

    A control keeps as many positions as its map: the budget where the map uses it, up to the position that whole orbits
    may leave over. Random masks are the first orbits of orders that are drawn once, so classes whose maps have one size
    share them.

    Args:
      maps: the map of each class.
      budget: positions that the maps' share allows.
      seed: of the random masks.
    """

    def __init__(self, maps: Bool[np.ndarray, "classes height width"], budget: int, seed: int):
        self._maps, self._budget, self._seed = maps, budget, seed
        self._plane: tuple[int, int] = (maps.shape[1], maps.shape[2])
        self._of_size = functools.lru_cache(2)(self._draw)

    def size(self, label: int) -> int:
        """Return how many positions the controls of a class may keep."""
        positions = int(self._maps[label].sum())
        return self._budget if positions == self._budget - 1 else positions

    def trivial(
        self, label: int, energy: Float[np.ndarray, "height width"]
    ) -> Bool[np.ndarray, "trivial height width"]:
        """Return the lowest frequencies, and those of the highest energy; the energy is that of images of the class."""
        positions = self.size(label)
        return np.stack([masks.low_pass(*self._plane, positions), masks.best_orbits(energy, positions)])

    def random(self, label: int, count: int) -> Bool[np.ndarray, "count height width"]:
        """Return the first random masks of a class."""
        return self._of_size(self.size(label), count)

    def radial(self, label: int, count: int) -> Bool[np.ndarray, "count height width"]:
        """Return the first random masks with the radial profile of a class's map, which is constant on orbits."""
        rng = generator(self._seed, Stream.RADIAL_CONTROLS, label)
        drawn = [masks.radial_matched(self._maps[label], rng) for _ in range(count)]
        return np.array(drawn, bool).reshape(count, *self._plane)

    def _draw(self, positions: int, count: int) -> Bool[np.ndarray, "count height width"]:
        rngs = (generator(self._seed, Stream.RANDOM_CONTROLS, index) for index in range(count))
        return np.stack([masks.random(*self._plane, positions, rng) for rng in rngs])


def mask_counts(maps: Bool[np.ndarray, "classes height width"], random_masks: int) -> dict[str, int]:
    """Return how many packed controls of each kind a class has, by the field of ControlRates; {} without random masks.

    The last kind, random masks with the radial profile of the class's map, needs maps that are constant on orbits.
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
    random_masks: int,
    seed: int,
) -> UInt8[np.ndarray, "masks classes height bytes"]:
    """Return the controls of every class's map, as `mask_counts` has them, at a bit a position (`masks.unpack`).

    Their energy is that of the first test images of each class, not of a set's own: a set is judged part by part, and
    its maps know as little of it. A class without test images has the low-pass mask twice. Pixels are in [0, 1] for
    mean_std. Collective: every process must call this; they share the classes, and all return the same.
    """
    classes, height, width = maps.shape
    counts, controls = mask_counts(maps, random_masks), ControlMasks(maps, budget, seed)

    def of_class(label: int) -> Bool[np.ndarray, "controls height width"]:
        rows = np.flatnonzero(test.labels == label)[:ENERGY_IMAGES]
        energy = -spectrum.radius(height, width)
        if len(rows):
            energy = spectrum.energy(np.asarray(normalise(test.images(rows), *mean_std)))
        radial = controls.radial(label, counts.get("radial_tpr", 0))
        return np.concatenate([controls.trivial(label, energy), controls.random(label, random_masks), radial])

    bits = np.zeros((sum(counts.values()), classes, height, -(-width // 8)), np.uint8)
    own = range(classes)[parallel.share(classes)]
    with Progress("ood controls", len(own), "classes") as progress:
        for label in own:
            bits[:, label] = np.packbits(of_class(label), axis=-1)
            progress.update(1)
    for label in range(classes):  # one by one, since a message of all classes may not fit in memory
        bits[:, label] = parallel.total(bits[:, label])
    return bits
