"""Select the orbits of each share's budget, from scores of patches that are known within bounds."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import masks, patches, spectrum


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A plane's orbits, ranked by the scores of the patches that contain them.

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

    def orbit_means(self, values: Float[np.ndarray, " patches"]) -> Float[np.ndarray, " orbits"]:
        """Average the values of the patches that contain each orbit."""
        flat, count = self.members.ravel(), len(self.orbit_sizes) + 1
        totals = np.bincount(flat, np.repeat(values, self.members.shape[1]), count)
        return (totals / np.maximum(1, np.bincount(flat, minlength=count)))[:-1]

    def selected(self, scores: Float[np.ndarray, " patches"]) -> Bool[np.ndarray, "shares orbits"]:
        """Select the best orbits within each budget."""
        means = self.orbit_means(scores)
        return np.stack([masks.best(means, self.orbit_sizes, budget) for budget in self.budgets])

    def undecided(
        self, lower: Float[np.ndarray, " patches"], upper: Float[np.ndarray, " patches"]
    ) -> Bool[np.ndarray, " patches"]:
        """Find patches with an orbit that scores within these bounds can put on either side of a budget."""
        return self.patches_with(
            undecided(self.orbit_means(lower), self.orbit_means(upper), self.orbit_sizes, self.budgets)
        )

    def patches_with(self, orbits: Bool[np.ndarray, " orbits"]) -> Bool[np.ndarray, " patches"]:
        """Find patches that contain one of these orbits."""
        return np.append(orbits, False)[self.members].any(1)

    def boundary(self, scores: Float[np.ndarray, " patches"]) -> float | None:
        """Return how far above the median the lowest positive boundary of a budget lies; None if there is none."""
        of_orbits = self.orbit_means(scores)
        lowest = [of_orbits[selected].min() for selected in self.selected(scores) if selected.any()]
        heights = [float(score - np.median(of_orbits)) for score in lowest]
        return min((height for height in heights if height > 0), default=None)


def undecided(
    lower: Float[np.ndarray, " orbits"],
    upper: Float[np.ndarray, " orbits"],
    orbit_sizes: Int[np.ndarray, " orbits"],
    budgets: tuple[int, ...],
) -> Bool[np.ndarray, " orbits"]:
    """Find orbits that may be inside or outside the best ones of some budget, as `masks.best_orbits` takes them.

    An orbit is inside if all that may rank before it fit into the budget together with it, and outside if those that
    surely do leave no room for it.

    Args:
      lower: bound of each score.
      upper: bound of each score; equal to the lower one where it is exact.
      orbit_sizes: positions of each orbit.
      budgets: in positions.
    """
    most = _positions_from(upper, lower, orbit_sizes, "left")
    least = _positions_from(lower, upper, orbit_sizes, "right") + orbit_sizes
    return np.any([(most > budget) & (least <= budget) for budget in budgets], axis=0)


def _positions_from(
    bounds: np.ndarray, values: np.ndarray, orbit_sizes: np.ndarray, side: Literal["left", "right"]
) -> np.ndarray:
    """Count positions of all orbits whose bound is at least (side left) or above (side right) each of the values."""
    ranked = np.argsort(bounds, kind="stable")
    below = np.concatenate([[0], np.cumsum(orbit_sizes[ranked])])
    return below[-1] - below[np.searchsorted(bounds[ranked], values, side)]
