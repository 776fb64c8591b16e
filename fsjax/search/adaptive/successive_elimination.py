"""A race of patches for the best shares of the plane: only a patch that may still change a map gets more images."""

import math
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.search.adaptive import estimates
from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.precision_check import rank_correlation

_AT_ONCE = 1024  # patches, for memory
# Of patches that no image has a gradient along, for ratios to be finite.
_LEAST_STRENGTH = 1e-6
# Where predictions are not gone by, of the distance of the lowest share's boundary from the median score: a patch whose
# standard error is larger is not ruled out. Losses rise by much on few images, and a sample without these looks both
# low and sure. On a CIFAR-10 class with heavy tails races without this missed an orbit in one order of the images of
# eight, and with it in none of 60.
_LARGEST_ERROR = 0.5
# Patches that begin the race at least, where predictions say which.
_LEAST_BEGUN = 32
# Each round lets so many more begin at most, of those that have: where the last of them prove small, the rest need not.
_BEGIN_MORE = 0.25
# Least rank correlation of predicted and actual strengths, of the probes on their first images, for predictions to say
# which patches begin. With 16 probes it is 0.95 in the median and less than 0.5 once in 6,000 draws, from six classes
# of CIFAR-10 and Caltech under ResNets; predictions that say nothing have more than 0.5 once in forty.
_LEAST_CORRELATION = 0.5


@runtime_checkable
class Losses(Protocol):
    """As `per_image.ClassLosses`: losses [1 + patches, images], the first row with nothing removed."""

    losses: Float[np.ndarray, "masks images"]
    ends: tuple[int, ...]

    def evaluate(self, masks: Int[np.ndarray, " chosen"], block: int) -> None: ...


class Race:
    """The scores of all patches, each estimated from as many blocks of images as it needed so far.

    Predictions say which patches begin: the strongest. Scores of the others are guessed: they are taken to be off their
    predictions by as much, in proportion to strength, as those of the weaker half of the patches that have begun are.

    No decision is kept: each follows from the bounds of the moment, so a patch whose bounds proved wrong comes back,
    and the ranking by the estimates is the one that was decided. What is undecided in the end is exact.

    Args:
      losses: of the class; those with nothing removed are known.
      ranking: what is to be decided.
      sizes: that the images were drawn in proportion to, in their order.
      confidence: half the width of the bounds, in standard errors.
      predicted: rises of the images, in their order; None = unknown.
      probes: patches drawn at random, whose first images say whether the predictions are to be gone by; None = every
        patch begins.
      unguided: images that a patch has at least where every patch begins, at most those of the class: nothing but its
        own images says what it does.
    """

    def __init__(
        self,
        losses: Losses,
        ranking: Ranking,
        sizes: Float[np.ndarray, " images"],
        confidence: float,
        predicted: Float[np.ndarray, "patches images"] | None = None,
        probes: Int[np.ndarray, " probes"] | None = None,
        unguided: int = 1,
    ):
        self._losses, self._ranking, self._predicted = losses, ranking, predicted
        self._chances = [estimates.inclusion(sizes, end)[:end] for end in losses.ends]
        self._widths = np.array([estimates.multiplier(confidence, end) for end in losses.ends])
        self._means = None if predicted is None else predicted.mean(1, dtype=np.float64)
        self._strengths = None if probes is None else self._trusted_strengths(probes)
        self._guess_width = estimates.multiplier(confidence, _LEAST_BEGUN // 2)
        patches = len(ranking.members)
        self.reached = np.full(patches, -1)
        self.mean, self._deviation = np.zeros(patches), np.zeros(patches)
        self._scatter = np.full(patches, np.nan)  # of single images, as far as it was estimated last
        self.variate = np.zeros(patches, bool)
        self.rounds = 0
        everyone = np.arange(patches)
        if self._strengths is None:
            for _ in range(1 + int(np.searchsorted(losses.ends[:-1], unguided))):
                self._advance(everyone)
        else:
            inside = ranking.touched(ranking.inside(self._strengths).sum(0) > 0)
            self._advance(self._strongest(everyone, max(_LEAST_BEGUN, int(inside.sum()))))

    def run(self) -> None:
        """Evaluates until the bounds decide every share."""
        while len(found := np.flatnonzero(self._ranking.undecided(*self.bounds()) & ~self.exact)):
            begun = self.reached >= 0
            more = math.ceil(_BEGIN_MORE * begun.sum())
            self._advance(np.concatenate([found[begun[found]], self._strongest(found[~begun[found]], more)]))

    def complete(self, patches: Int[np.ndarray, " chosen"]) -> None:
        """Makes these patches' scores exact."""
        while len(found := patches[~self.exact[patches]]):
            self._advance(found)

    def widen(self, factor: float) -> None:
        """Makes the bounds wider by a factor: errors proved larger than the standard errors say."""
        self._widths, self._guess_width = self._widths * factor, self._guess_width * factor

    @property
    def exact(self) -> Bool[np.ndarray, " patches"]:
        """Whether a patch's score rests on all images."""
        return self.reached == len(self._losses.ends) - 1

    @property
    def deviation(self) -> Float[np.ndarray, " patches"]:
        """Standard error of every score, 0 where it is exact.

        A sample that lacks the few images on which the loss rises by much looks surer than it is: where predictions are
        gone by, no patch is taken to scatter less, for its predicted strength, than half of the others do.
        """
        known = np.isfinite(self._scatter)
        if self._strengths is None or not known.any():
            return self._deviation
        typical = np.median(self._scatter[known] / self._strengths[known])
        least = typical * self._strengths * self._of_scatter(self.reached)
        return np.where((self.reached < 0) | self.exact, self._deviation, np.maximum(self._deviation, least))

    def bounds(self) -> tuple[Float[np.ndarray, " patches"], Float[np.ndarray, " patches"]]:
        """Lower and upper bound of every score."""
        half, deviation = np.zeros(len(self.mean)), self.deviation
        widths = np.where(self.reached < 0, self._guess_width, self._widths[self.reached])
        np.multiply(widths, deviation, out=half, where=~self.exact)
        upper = self.mean + half
        boundary = self._ranking.boundary(self.mean)
        if boundary is not None and self._strengths is None:
            upper[deviation > _LARGEST_ERROR * boundary] = np.inf
        return self.mean - half, upper

    def _of_scatter(self, blocks: Int[np.ndarray, " patches"]) -> Float[np.ndarray, " patches"]:
        """The standard error of a mean up to the ends of these blocks, of the scatter of single images."""
        return np.sqrt(1 / np.array(self._losses.ends)[blocks] - 1 / self._losses.losses.shape[1])

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
        self._guess()

    def _trusted_strengths(self, probes: np.ndarray) -> Float[np.ndarray, " patches"] | None:
        """Those of all patches, where the probes move their first images as strongly as predicted."""
        if self._predicted is None:
            return None
        found, end = strengths(self._predicted), self._losses.ends[0]
        self._losses.evaluate(probes + 1, 0)
        correlation = rank_correlation(found[probes], np.mean(self._rises(probes, end) ** 2, axis=1))
        return found if correlation is not None and correlation >= _LEAST_CORRELATION else None

    def _strongest(self, patches: np.ndarray, count: int) -> np.ndarray:
        """So many of these patches at most, those of the strongest predictions; all where nothing is predicted."""
        if self._strengths is None:
            return patches
        return np.sort(patches[np.argsort(-self._strengths[patches], kind="stable")[:count]])

    def _guess(self) -> None:
        """The scores of patches that have not begun."""
        rest = self.reached < 0
        if self._strengths is None or self._means is None or not rest.any():
            return
        begun = np.flatnonzero(~rest)
        weaker = begun[np.argsort(self._strengths[begun], kind="stable")[: len(begun) // 2]]
        off = (self.mean[weaker] - self._means[weaker]) / self._strengths[weaker]
        self.mean[rest] = self._means[rest] + off.mean() * self._strengths[rest]
        self._deviation[rest] = off.std() * self._strengths[rest]
        self.variate[rest] = True

    def _estimate(self, patches: np.ndarray, block: int) -> None:
        end, predicted, means = self._losses.ends[block], None, None
        if self._predicted is not None and self._means is not None:
            predicted, means = self._predicted[patches, :end].astype(np.float64), self._means[patches]
        images = self._losses.losses.shape[1]
        found = estimates.estimate(self._rises(patches, end), self._chances[block], images, predicted, means)
        self.mean[patches], self._deviation[patches], self.variate[patches] = found.mean, found.deviation, found.variate
        if end < images:
            self._scatter[patches] = found.deviation / self._of_scatter(np.array([block]))

    def _rises(self, patches: np.ndarray, end: int) -> Float[np.ndarray, "patches images"]:
        """Of the first images."""
        losses = self._losses.losses
        return losses[patches + 1, :end].astype(np.float64) - losses[:1, :end]


def strengths(predicted: Float[np.ndarray, "patches images"]) -> Float[np.ndarray, " patches"]:
    """How strongly each patch is predicted to move the images' losses, up or down; 1 on average over the patches.

    Root mean squares over the images, of which each counts the same: the loss of an image that is recognised for sure
    has next to no gradient, and rises all the same once its frequencies are gone.
    """
    squares = np.zeros(len(predicted))
    for image in predicted.T:
        own = np.square(image, dtype=np.float64)
        squares += own / max(own.mean(), np.finfo(np.float64).tiny)
    return np.sqrt(np.maximum(_LEAST_STRENGTH**2, squares / predicted.shape[1]))
