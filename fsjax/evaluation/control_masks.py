"""Model-independent control masks of the same size as a class's map."""

import functools

import numpy as np
from jaxtyping import Bool, Float

from fsjax.fourier import masks
from fsjax.runtime.random_streams import Stream, generator


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
        """Return the masks of results.TRIVIAL; the energy is that of images of the class."""
        positions = self.size(label)
        return np.stack([masks.low_pass(*self._plane, positions), masks.highest_energy(energy, positions)])

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
