"""Which orbits the best shares of a plane keep, for scores of patches that are known within bounds."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import masks, spectrum
from fsjax.search.gradient import patch_members


@dataclasses.dataclass(frozen=True)
class Ranking:
    """What the best shares of a plane are decided by: scores of orbits, made of those of patches.

    Attributes:
      members: orbits of each patch; the number of orbits fills the rows.
      sizes: positions of each orbit.
      budgets: positions of each share.
    """

    members: Int[np.ndarray, "patches most"]
    sizes: Int[np.ndarray, " orbits"]
    budgets: tuple[int, ...]

    @classmethod
    def of(cls, plane: tuple[int, int], patch: int, shares: tuple[float, ...]) -> "Ranking":
        """Of the patches of `spectrum.patches`."""
        rows, columns = spectrum.orbit_positions(*plane).T
        sizes = spectrum.orbit_sizes(*plane)[spectrum.orbits(*plane)[rows, columns]]
        return cls(patch_members(plane, patch), sizes, tuple(masks.budget(share, *plane) for share in shares))

    def of_orbits(self, values: Float[np.ndarray, " patches"]) -> Float[np.ndarray, " orbits"]:
        """Of each orbit the mean over the patches that contain it."""
        flat, count = self.members.ravel(), len(self.sizes) + 1
        totals = np.bincount(flat, np.repeat(values, self.members.shape[1]), count)
        return (totals / np.maximum(1, np.bincount(flat, minlength=count)))[:-1]

    def undecided(
        self, lower: Float[np.ndarray, " patches"], upper: Float[np.ndarray, " patches"]
    ) -> Bool[np.ndarray, " patches"]:
        """Patches with an orbit that these bounds leave on either side of a budget."""
        return self.touched(undecided(self.of_orbits(lower), self.of_orbits(upper), self.sizes, self.budgets))

    def touched(self, orbits: Bool[np.ndarray, " orbits"]) -> Bool[np.ndarray, " patches"]:
        """Patches with one of these orbits."""
        return np.append(orbits, False)[self.members].any(1)

    def inside(self, values: Float[np.ndarray, " patches"]) -> Bool[np.ndarray, "shares orbits"]:
        """The orbits that each budget keeps."""
        order = np.argsort(-self.of_orbits(values), kind="stable")
        taken = np.cumsum(self.sizes[order])
        kept = np.zeros((len(self.budgets), len(self.sizes)), bool)
        for row, budget in zip(kept, self.budgets, strict=True):
            row[order[taken <= budget]] = True
        return kept

    def boundary(self, values: Float[np.ndarray, " patches"]) -> float | None:
        """How far above the median the lowest of the budgets' last orbits lies; None where none does."""
        scores = self.of_orbits(values)
        lowest = [scores[kept].min() for kept in self.inside(values) if kept.any()]
        heights = [float(score - np.median(scores)) for score in lowest]
        return min((height for height in heights if height > 0), default=None)


def undecided(
    lower: Float[np.ndarray, " orbits"],
    upper: Float[np.ndarray, " orbits"],
    sizes: Int[np.ndarray, " orbits"],
    budgets: tuple[int, ...],
) -> Bool[np.ndarray, " orbits"]:
    """Which orbits may be inside or outside the best ones of some budget, as `masks.best_orbits` takes them.

    An orbit is inside if all that may rank before it fit into the budget together with it, and outside if those that
    surely do leave no room for it.

    Args:
      lower: bound of each score.
      upper: bound of each score; equal to the lower one where it is exact.
      sizes: positions of each orbit.
      budgets: in positions.
    """
    before_at_most = _positions_from(upper, lower, sizes, "left") - sizes
    before_at_least = _positions_from(lower, upper, sizes, "right")
    found = np.zeros(len(lower), bool)
    for budget in budgets:
        inside, outside = before_at_most + sizes <= budget, before_at_least + sizes > budget
        found |= ~(inside | outside)
    return found


def _positions_from(
    of: np.ndarray, values: np.ndarray, sizes: np.ndarray, side: Literal["left", "right"]
) -> np.ndarray:
    """Positions of all orbits whose `of` is at least (side left) or above (side right) each of the values."""
    ranked = np.argsort(of, kind="stable")
    below = np.concatenate([[0], np.cumsum(sizes[ranked])])
    return below[-1] - below[np.searchsorted(of[ranked], values, side)]
