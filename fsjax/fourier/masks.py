"""Masks of a given size: the best orbits by a score, and the trivial masks that a search's mask has to beat.

All masks are bool [H, W] on the centred plane. They are constant on orbits and keep whole orbits within a budget of
positions; only the published rule, `at_threshold`, looks at single positions.

Examples:
  >>> from fsjax.fourier import masks, spectrum
  >>> masks.budget(0.05, 32, 32)  # positions
  51
  >>> rng, scores = np.random.default_rng(0), spectrum.radius(8, 8)
  >>> np.array_equal(masks.best_orbits(scores, masks.budget(0.2, 8, 8)), masks.within_share(scores, 0.2))
  True
  >>> int(masks.at_threshold(scores, 0.2).sum())  # with ties
  13
  >>> masks.best(spectrum.per_orbit(scores), spectrum.orbit_sizes(8, 8), 12).shape  # bool [orbits]
  (34,)
  >>> low = masks.low_pass(8, 8, 9)
  >>> drawn = masks.random(8, 8, 9, rng), masks.radial_matched(low, rng), masks.radial_neighbours(low, rng)
  >>> [int(mask.sum()) for mask in (low, *drawn)]
  [9, 8, 9, 8]
  >>> ranked = np.stack([scores, -scores])
  >>> of_classes = np.stack([masks.best_orbits(plane, 9) for plane in ranked])
  >>> masks.ranks(of_classes, ranked).min(-1).tolist()
  [0.0, 0.0]
  >>> [int(masks.union(of_classes, ranked, positions).sum()) for positions in (8, 64)]
  [8, 18]
  >>> bits = masks.PackedOnce(2, lambda start, stop: of_classes[start:stop])(0, 2)
  >>> np.array_equal(masks.unpack(bits, 8), of_classes)
  True
  >>> bool((masks.outside(low, np.ones((8, 8)), 10.0, rng) & low).any())
  False
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from fsjax.fourier import spectrum


class PackedOnce:
    """Masks that are made when they are first asked for, and kept at a bit a position, as an engine takes them.

    Args:
      count: number of masks.
      make: (start, stop) -> masks start..stop-1, [n, H, W].
    """

    def __init__(self, count: int, make: Callable[[int, int], Bool[np.ndarray, "masks height width"]]) -> None:
        self.count, self._make = count, make
        self._bits: UInt8[np.ndarray, "masks height bytes"] | None = None  # as large as the first masks show
        self._made = np.zeros(count, bool)

    def __call__(self, start: int, stop: int) -> UInt8[np.ndarray, "masks height bytes"]:
        """Return the bits of masks start..stop-1."""
        if self._bits is None or not self._made[start:stop].all():
            bits = np.packbits(self._make(start, stop), axis=-1)
            if self._bits is None:
                self._bits = np.empty((self.count, *bits.shape[1:]), np.uint8)
            self._bits[start:stop], self._made[start:stop] = bits, True
        return self._bits[start:stop]


def unpack(
    bits: UInt8[Array, "*masks height bytes"] | UInt8[np.ndarray, "*masks height bytes"], width: int
) -> Bool[Array, "*masks height width"]:
    """Return masks of so many columns that `np.packbits(masks, axis=-1)` keeps at a bit a position."""
    return jnp.unpackbits(jnp.asarray(bits), axis=-1, count=width).astype(bool)


def budget(share: float, height: int, width: int) -> int:
    """Return how many positions a share in (0, 1] of the plane allows: floor(share * H * W)."""
    # The small term keeps a product that is whole in exact arithmetic, 0.29 * 100, from losing a position to rounding.
    return int(share * height * width + 1e-9)


def best_orbits(scores: Float[np.ndarray, "height width"], positions: int) -> Bool[np.ndarray, "height width"]:
    """Return the orbits with the largest scores, best first, as many as fit into `positions`.

    A score is read at an orbit's first member. Equal scores go in orbit order, so a smaller budget's mask always lies
    inside a larger one's. The first orbit that does not fit ends the mask: at most one position stays unused.
    """
    chosen = best(spectrum.per_orbit(scores), spectrum.orbit_sizes(*scores.shape), positions)
    return chosen[spectrum.orbits(*scores.shape)]


def best(
    scores: Float[np.ndarray, "*batch orbits"], sizes: Int[np.ndarray, " orbits"], positions: int
) -> Bool[np.ndarray, "*batch orbits"]:
    """Choose orbits as `best_orbits` does, from a score and a size of each."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order, np.cumsum(sizes[order], axis=-1) <= positions, axis=-1)
    return chosen


def within_share(scores: Float[np.ndarray, "height width"], share: float) -> Bool[np.ndarray, "height width"]:
    """Return the `best_orbits` within a share of the plane, in (0, 1]."""
    return best_orbits(scores, budget(share, *scores.shape))


def ranks(
    masks: Bool[np.ndarray, "*batch height width"], scores: Float[np.ndarray, "*batch height width"]
) -> Float[np.ndarray, "*batch orbits"]:
    """Return the rank of each orbit in a mask by its score, 0 for the largest, and infinity outside.

    Equal scores go in orbit order.

    Args:
      masks: constant on orbits.
      scores: read at an orbit's first member.
    """
    inside = spectrum.per_orbit(masks)
    order = np.argsort(-np.where(inside, spectrum.per_orbit(scores), -np.inf), axis=-1, kind="stable")
    return np.where(inside, order.argsort(-1), np.inf)


def union(
    masks: Bool[np.ndarray, "masks height width"], scores: Float[np.ndarray, "masks height width"], positions: int
) -> Bool[np.ndarray, "height width"]:
    """Return the union of masks; where it has more than so many positions, each mask gives as many orbits as fit.

    Orbits go in by the best rank that their score has in a mask: the first ones of all masks, then the second ones.

    Args:
      masks: constant on orbits.
      scores: of each mask's frequencies, read at an orbit's first member; larger = earlier.
      positions: that the union has at most.
    """
    plane, best_rank = masks.shape[1:], ranks(masks, scores).min(0, initial=np.inf)
    held = int(masks.any(0).sum())
    return best(-best_rank, spectrum.orbit_sizes(*plane), min(positions, held))[spectrum.orbits(*plane)]


def at_threshold(scores: Float[np.ndarray, "height width"], share: float) -> Bool[np.ndarray, "height width"]:
    """Return the positions whose score is at least the int(share * H * W)-th largest: the published rule.

    Ties are included, and orbits are ignored.
    """
    rank = max(1, int(share * scores.size))
    return scores >= np.sort(scores, axis=None)[-rank]


def random(height: int, width: int, positions: int, rng: np.random.Generator) -> Bool[np.ndarray, "height width"]:
    """Draw orbits at random, as many as fit."""
    return best_orbits(rng.random((height, width)), positions)


def low_pass(height: int, width: int, positions: int) -> Bool[np.ndarray, "height width"]:
    """Return the orbits nearest to DC, as many as fit."""
    return best_orbits(-spectrum.radius(height, width), positions)


def radial_matched(
    mask: Bool[np.ndarray, "height width"], rng: np.random.Generator
) -> Bool[np.ndarray, "height width"]:
    """Draw a mask with the radial profile of another.

    Each ring, one cycle per image wide, gets as many orbits of each size as the given mask has there. The given
    mask must be constant on orbits.
    """
    inside = spectrum.per_orbit(mask)
    strata = _strata(*mask.shape)
    chosen = np.zeros(len(strata), bool)
    for stratum in np.unique(strata[inside]):
        of_stratum = strata == stratum
        chosen[rng.choice(np.flatnonzero(of_stratum), int(inside[of_stratum].sum()), replace=False)] = True
    return chosen[spectrum.orbits(*mask.shape)]


def radial_neighbours(
    mask: Bool[np.ndarray, "height width"], rng: np.random.Generator
) -> Bool[np.ndarray, "height width"]:
    """Draw a mask outside another with a radial profile as near to it as that allows.

    Orbit by orbit, in random order, the free orbit of the nearest radius is taken (of those as near one at random);
    DC and other orbits of one position are left out. Where the given mask, constant on orbits, keeps more than half of
    the plane, the mask keeps all that is outside.
    """
    inside, rings = spectrum.per_orbit(mask), _rings(*mask.shape)
    pairs = spectrum.orbit_sizes(*mask.shape) == 2
    free, chosen = pairs & ~inside, np.zeros(len(inside), bool)
    for orbit in rng.permutation(np.flatnonzero(inside & pairs)):
        candidates = np.flatnonzero(free)
        if not len(candidates):
            break
        distances = np.abs(rings[candidates] - rings[orbit])
        taken = rng.choice(candidates[distances == distances.min()])
        chosen[taken], free[taken] = True, False
    return chosen[spectrum.orbits(*mask.shape)]


def outside(
    mask: Bool[np.ndarray, "height width"],
    energy: Float[np.ndarray, "height width"],
    total: float,
    rng: np.random.Generator,
) -> Bool[np.ndarray, "height width"]:
    """Draw orbits outside a mask, DC left out, until they hold a total of the energy, or all of them.

    The energy and the mask are constant on orbits, the total is of the same unit as the energy.
    """
    sizes = spectrum.orbit_sizes(*mask.shape)
    free = ~spectrum.per_orbit(mask) & (_rings(*mask.shape) > 0)
    order = rng.permutation(np.flatnonzero(free))
    held = np.cumsum([0, *(spectrum.per_orbit(energy) * sizes)[order]])
    chosen = np.zeros(len(sizes), bool)
    chosen[order[: np.searchsorted(held, total)]] = True
    return chosen[spectrum.orbits(*mask.shape)]


def _rings(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the distance of each orbit from DC in whole cycles per image (of the longer side)."""
    radius = spectrum.per_orbit(spectrum.radius(height, width))
    return np.round(radius * max(height, width)).astype(int)


def _strata(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return one number for all orbits of a ring and of one size."""
    return 2 * _rings(height, width) + spectrum.orbit_sizes(height, width) - 1
