"""Select the patches of each share's budget, from scores that are known within bounds."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import masks, patches, spectrum


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A plane's patches, ranked by their scores, and the orbits that they hold.

    Attributes:
      members: orbits of each patch, as indices into `patches.orbit_positions`; rows are filled up with their number.
      orbit_sizes: positions of each orbit.
      budgets: positions that each share may keep.
    """

    members: Int[np.ndarray, "patches most"]
    orbit_sizes: Int[np.ndarray, " orbits"]
    budgets: tuple[int, ...]

    @classmethod
    def of_plane(cls, plane: tuple[int, int], patch: int, shares: tuple[float, ...]) -> "Ranking":
        """Build the ranking of the patches of `fourier.patches`."""
        orbit_sizes = spectrum.orbit_sizes(*plane)[patches.orbit_numbers(*plane)]
        budgets = tuple(masks.budget(share, *plane) for share in shares)
        return cls(patches.members(*plane, patch), orbit_sizes, budgets)

    def orbit_scores(self, values: Float[np.ndarray, " patches"]) -> Float[np.ndarray, " orbits"]:
        """Return the value of the best patch that holds each orbit."""
        return patches.orbit_scores(values, self.members, len(self.orbit_sizes))

    def best_patches(self, values: Float[np.ndarray, " patches"]) -> Int[np.ndarray, " orbits"]:
        """Return the patch of the largest value that holds each orbit."""
        order, found = np.argsort(values, kind="stable"), np.zeros(len(self.orbit_sizes) + 1, int)
        for column in self.members[order].T:
            np.maximum.at(found, column, np.arange(len(order)))
        return order[found[:-1]]

    def selected(self, scores: Float[np.ndarray, " patches"]) -> Bool[np.ndarray, "shares orbits"]:
        """Select the best patches that fit whole into each budget."""
        of_orbits, sizes = self.orbit_scores(scores), self.orbit_sizes
        if self.members.shape[1] == 1:
            return np.stack([masks.best(of_orbits, sizes, budget) for budget in self.budgets])
        return np.stack([patches.best_of_orbits(of_orbits, sizes, self.members, budget) for budget in self.budgets])

    def undecided(
        self, lower: Float[np.ndarray, " patches"], upper: Float[np.ndarray, " patches"]
    ) -> Bool[np.ndarray, " patches"]:
        """Find patches that scores within these bounds can put on either side of a budget.

        A patch is inside if all that may rank before it fit into the budget together with it, and outside if those
        that surely do leave no room for it.

        Args:
          lower: bound of each score.
          upper: bound of each score; equal to the lower one where it is exact.
        """
        # Patches with a bound of at least b hold the orbits whose best bound is at least b.
        most = _positions_from(self.orbit_scores(upper), lower, self.orbit_sizes, "left")
        least = _positions_from(self.orbit_scores(lower), upper, self.orbit_sizes, "right")
        if self.members.shape[1] == 1:
            least = least + self.orbit_sizes  # larger patches may lie within those before them
        return np.any([(most > budget) & (least <= budget) for budget in self.budgets], axis=0)

    def patches_with(self, orbits: Bool[np.ndarray, " orbits"]) -> Bool[np.ndarray, " patches"]:
        """Find patches that contain one of these orbits."""
        return np.append(orbits, False)[self.members].any(1)

    def boundary(self, scores: Float[np.ndarray, " patches"]) -> float | None:
        """Return how far above the median the lowest positive boundary of a budget lies; None if there is none."""
        of_orbits = self.orbit_scores(scores)
        lowest = [of_orbits[selected].min() for selected in self.selected(scores) if selected.any()]
        heights = [float(score - np.median(of_orbits)) for score in lowest]
        return min((height for height in heights if height > 0), default=None)


def _positions_from(
    bounds: Float[np.ndarray, " orbits"],
    values: Float[np.ndarray, " patches"],
    orbit_sizes: Int[np.ndarray, " orbits"],
    side: Literal["left", "right"],
) -> Int[np.ndarray, " patches"]:
    """Count positions of all orbits whose bound is at least (side left) or above (side right) each of the values."""
    ranked = np.argsort(bounds, kind="stable")
    below = np.concatenate([[0], np.cumsum(orbit_sizes[ranked])])
    return below[-1] - below[np.searchsorted(bounds[ranked], values, side)]
