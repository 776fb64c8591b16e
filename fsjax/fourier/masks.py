"""Masks of a given size: the best orbits by a score, control masks, and the overlap of two masks.

Masks are bool [H, W] on the centred plane. They are constant on orbits and keep whole orbits within a budget of
positions. Only the published rule, `at_threshold`, ignores orbits.
"""

import functools

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float, Int, UInt8

from fsjax.fourier import spectrum
from fsjax.fourier.spectrum import Mask, Masks, Plane


def unpack(
    bits: UInt8[Array, "*masks height bytes"] | UInt8[np.ndarray, "*masks height bytes"], width: int
) -> Bool[Array, "*masks height width"]:
    """Undo `np.packbits(masks, axis=-1)` for masks of this width."""
    return jnp.unpackbits(jnp.asarray(bits), axis=-1, count=width).astype(bool)


def budget(share: float, height: int, width: int) -> int:
    """Return how many positions a share in (0, 1] of the plane allows: floor(share * H * W)."""
    # Without the small term, rounding would lose a position where the exact product is whole, such as 0.29 * 100.
    return int(share * height * width + 1e-9)


def best_orbits(scores: Plane, positions: int) -> Mask:
    """Return the orbits with the largest scores, best first, as many as fit into `positions`.

    Scores are read at an orbit's first member. Equal scores go in orbit order, so masks of growing budgets are nested.
    The first orbit that does not fit ends the mask: at most one position stays unused.
    """
    chosen = best(spectrum.per_orbit(scores), spectrum.orbit_sizes(*scores.shape), positions)
    return chosen[spectrum.orbits(*scores.shape)]


def best(
    scores: Float[np.ndarray, "*batch orbits"], sizes: Int[np.ndarray, " orbits"], positions: int
) -> Bool[np.ndarray, "*batch orbits"]:
    """Choose orbits as `best_orbits` does, from the score and size of each orbit."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order, np.cumsum(sizes[order], axis=-1) <= positions, axis=-1)
    return chosen


def within_share(scores: Plane, share: float) -> Mask:
    """Return the `best_orbits` within a share of the plane, in (0, 1]."""
    return best_orbits(scores, budget(share, *scores.shape))


def ranks(
    masks: Bool[np.ndarray, "*batch height width"], scores: Float[np.ndarray, "*batch height width"]
) -> Float[np.ndarray, "*batch orbits"]:
    """Return the rank of each orbit in a mask by its score, 0 for the largest score, and infinity outside.

    Equal scores go in orbit order. Masks are constant on orbits; scores are read at an orbit's first member.
    """
    inside = spectrum.per_orbit(masks)
    order = np.argsort(-np.where(inside, spectrum.per_orbit(scores), -np.inf), axis=-1, kind="stable")
    return np.where(inside, order.argsort(-1), np.inf)


def union(masks: Masks, scores: Float[np.ndarray, "masks height width"], positions: int) -> Mask:
    """Return the union of masks, cut to at most `positions` positions.

    Orbits enter by their best rank in any mask: the first orbits of all masks, then the second orbits. Masks are
    constant on orbits; a mask's scores, larger = earlier, are read at an orbit's first member.
    """
    plane, best_rank = masks.shape[1:], ranks(masks, scores).min(0, initial=np.inf)
    held = int(masks.any(0).sum())
    return best(-best_rank, spectrum.orbit_sizes(*plane), min(positions, held))[spectrum.orbits(*plane)]


def at_threshold(scores: Plane, share: float) -> Mask:
    """Return the positions whose score is at least the int(share * H * W)-th largest: the published rule.

    Ties are included, and orbits are ignored.
    """
    rank = max(1, int(share * scores.size))
    return scores >= np.sort(scores, axis=None)[-rank]


def random(height: int, width: int, positions: int, rng: np.random.Generator) -> Mask:
    """Draw as many random orbits as fit."""
    return best_orbits(rng.random((height, width)), positions)


def low_pass(height: int, width: int, positions: int) -> Mask:
    """Return as many of the orbits nearest to DC as fit."""
    return best_orbits(-spectrum.radius(height, width), positions)


def radial_matched(mask: Mask, rng: np.random.Generator) -> Mask:
    """Draw a mask with the radial profile of another, which is constant on orbits.

    Each ring, one cycle per image wide, gets as many orbits of each size as the given mask has there.
    """
    inside = spectrum.per_orbit(mask)
    strata = 2 * _rings(*mask.shape) + spectrum.orbit_sizes(*mask.shape) - 1  # a number for each ring and size
    chosen = np.zeros(len(strata), bool)
    for stratum in np.unique(strata[inside]):
        members = strata == stratum
        chosen[rng.choice(np.flatnonzero(members), int(inside[members].sum()), replace=False)] = True
    return chosen[spectrum.orbits(*mask.shape)]


def radial_neighbours(mask: Mask, rng: np.random.Generator) -> Mask:
    """Draw a mask outside another, with a radial profile as similar as possible.

    For each orbit of the given mask, in random order, draw from the free orbits of the nearest radius. DC and other
    orbits of one position are left out. Where the given mask keeps more than half of the plane, the result is its
    complement. The given mask is constant on orbits.
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


def outside(mask: Mask, energy: Plane, total: float, rng: np.random.Generator) -> Mask:
    """Draw orbits outside a mask, without DC, until they hold `total` of the energy, or no orbit is left.

    The energy and the mask are constant on orbits; the total has the unit of the energy.
    """
    sizes = spectrum.orbit_sizes(*mask.shape)
    free = ~spectrum.per_orbit(mask) & (_rings(*mask.shape) > 0)
    order = rng.permutation(np.flatnonzero(free))
    held = np.cumsum([0, *(spectrum.per_orbit(energy) * sizes)[order]])
    chosen = np.zeros(len(sizes), bool)
    chosen[order[: np.searchsorted(held, total)]] = True
    return chosen[spectrum.orbits(*mask.shape)]


def iou(left: Mask, right: Mask) -> float | None:
    """Return the intersection over union of two masks, in [0, 1]; None where both are empty."""
    union = int((left | right).sum())
    return int((left & right).sum()) / union if union else None


def chance_iou(left: Mask, right: Mask) -> float | None:
    """Return the expected IoU of two random masks with these sizes; None where both are empty.

    The masks are drawn orbit by orbit where both given masks are constant on orbits, else position by position.
    """
    if spectrum.is_hermitian(left) and spectrum.is_hermitian(right):
        left, right = spectrum.per_orbit(left), spectrum.per_orbit(right)
    return expected_iou(left.size, int(left.sum()), int(right.sum()))


@functools.lru_cache(maxsize=4096)
def expected_iou(total: int, left: int, right: int) -> float | None:
    """Return E[k / (left + right - k)] for the overlap k of two random sets with these sizes among `total` elements.

    k is hypergeometric, so the expectation is a finite sum. None where both sets are empty.
    """
    if not left + right:
        return None
    overlap = np.arange(max(0, left + right - total), min(left, right) + 1)
    return float((scipy.stats.hypergeom.pmf(overlap, total, left, right) * overlap / (left + right - overlap)).sum())


def _rings(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the distance of each orbit from DC in whole cycles per image (of the longer side)."""
    radius = spectrum.per_orbit(spectrum.radius(height, width))
    return np.round(radius * max(height, width)).astype(int)
