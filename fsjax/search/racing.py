"""A race of patches for the best shares of the plane: only a patch that may still change a map gets more images."""

import dataclasses
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax import masks, spectrum
from fsjax.search import estimates
from fsjax.search.gradient import patch_members

_AT_ONCE = 1024  # patches, for memory
# Of the distance of the lowest share's boundary from the median score: a patch whose standard error is larger is not
# ruled out. Losses rise by much on few images, and a sample without these looks both low and sure. On a CIFAR-10 class
# with heavy tails races without this missed an orbit in one order of the images of eight, and with it in none of 60.
_LARGEST_ERROR = 0.5


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


@runtime_checkable
class Losses(Protocol):
    """As `per_image.ClassLosses`: losses [1 + patches, images], the first row with nothing removed."""

    losses: Float[np.ndarray, "masks images"]
    ends: tuple[int, ...]

    def evaluate(self, masks: Int[np.ndarray, " chosen"], block: int) -> None: ...


class Race:
    """The scores of all patches, each estimated from as many blocks of images as it needed so far.

    No decision is kept: each follows from the bounds of the moment, so a patch whose bounds proved wrong comes back,
    and the ranking by the estimates is the one that was decided. What is undecided in the end is exact.

    Args:
      losses: of the class; those with nothing removed are known.
      ranking: what is to be decided.
      sizes: that the images were drawn in proportion to, in their order.
      confidence: half the width of the bounds, in standard errors.
      predicted: rises of the images, in their order; None = unknown.
    """

    def __init__(
        self,
        losses: Losses,
        ranking: Ranking,
        sizes: Float[np.ndarray, " images"],
        confidence: float,
        predicted: Float[np.ndarray, "patches images"] | None = None,
    ):
        self._losses, self._ranking, self._predicted = losses, ranking, predicted
        self._chances = [estimates.inclusion(sizes, end)[:end] for end in losses.ends]
        self._widths = np.array([estimates.multiplier(confidence, end) for end in losses.ends])
        self._means = None if predicted is None else predicted.mean(1, dtype=np.float64)
        patches = len(ranking.members)
        self.reached = np.full(patches, -1)
        self.mean, self.deviation = np.zeros(patches), np.zeros(patches)
        self.variate = np.zeros(patches, bool)
        self.rounds = 0
        self._advance(np.arange(patches))

    def run(self) -> None:
        """Evaluates until the bounds decide every share."""
        while len(found := np.flatnonzero(self._ranking.undecided(*self.bounds()) & ~self.exact)):
            self._advance(found)

    def complete(self, patches: Int[np.ndarray, " chosen"]) -> None:
        """Makes these patches' scores exact."""
        while len(found := patches[~self.exact[patches]]):
            self._advance(found)

    def widen(self, factor: float) -> None:
        """Makes the bounds wider by a factor: errors proved larger than the standard errors say."""
        self._widths = self._widths * factor

    @property
    def exact(self) -> Bool[np.ndarray, " patches"]:
        """Whether a patch's score rests on all images."""
        return self.reached == len(self._losses.ends) - 1

    def bounds(self) -> tuple[Float[np.ndarray, " patches"], Float[np.ndarray, " patches"]]:
        """Lower and upper bound of every score."""
        half = np.zeros(len(self.mean))
        np.multiply(self._widths[self.reached], self.deviation, out=half, where=~self.exact)
        upper = self.mean + half
        boundary = self._ranking.boundary(self.mean)
        if boundary is not None:
            upper[self.deviation > _LARGEST_ERROR * boundary] = np.inf
        return self.mean - half, upper

    def _advance(self, patches: np.ndarray) -> None:
        """One block more for these patches."""
        self.rounds += 1
        following = self.reached[patches] + 1
        for block in np.unique(following):
            chosen = patches[following == block]
            self._losses.evaluate(chosen + 1, int(block))
            self.reached[chosen] = block
            for start in range(0, len(chosen), _AT_ONCE):
                self._estimate(chosen[start : start + _AT_ONCE], int(block))

    def _estimate(self, patches: np.ndarray, block: int) -> None:
        end, losses = self._losses.ends[block], self._losses.losses
        rises = losses[patches + 1, :end].astype(np.float64) - losses[:1, :end]
        predicted = means = None
        if self._predicted is not None and self._means is not None:
            predicted, means = self._predicted[patches, :end].astype(np.float64), self._means[patches]
        found = estimates.estimate(rises, self._chances[block], losses.shape[1], predicted, means)
        self.mean[patches], self.deviation[patches], self.variate[patches] = found.mean, found.deviation, found.variate


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
