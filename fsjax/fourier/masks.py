"""Masks of a given size: the best orbits by a score, and the trivial masks that a search's mask has to beat.

All masks are bool [H, W] on the centred plane. They are constant on orbits and keep whole orbits within a budget of
positions; only the published rule, `at_threshold`, looks at single positions.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fsjax.fourier import spectrum


class Packed:
    """Masks at one bit a position; a slice of them is unpacked to bool.

    Attributes:
      bits: uint8 [..., H, ceil(W / 8)].
      width: W.
    """

    def __init__(self, bits: UInt8[np.ndarray, "*masks height bytes"], width: int) -> None:
        self.bits, self.width = bits, width

    @classmethod
    def of(cls, masks: Bool[np.ndarray, "*masks height width"]) -> "Packed":
        """Pack bool masks."""
        return cls(np.packbits(masks, axis=-1), masks.shape[-1])

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, which: slice) -> Bool[np.ndarray, "*masks height width"]:
        return np.unpackbits(self.bits[which], axis=-1, count=self.width).view(bool)


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
    height, width = mask.shape
    inside = spectrum.per_orbit(mask)
    rings = np.round(spectrum.per_orbit(spectrum.radius(height, width)) * max(height, width)).astype(int)
    strata = 2 * rings + spectrum.orbit_sizes(height, width) - 1
    chosen = np.zeros(len(strata), bool)
    for stratum in np.unique(strata[inside]):
        of_stratum = strata == stratum
        chosen[rng.choice(np.flatnonzero(of_stratum), int(inside[of_stratum].sum()), replace=False)] = True
    return chosen[spectrum.orbits(height, width)]
