"""Successive elimination: patches get more images only while they may still be among the best shares of the plane.

Each patch is an arm of a bandit whose reward is its score; a step (a pull) evaluates it on the next images of the class
(Even-Dar et al., JMLR 7, 2006).
"""

import math
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.search.adaptive import estimates
from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.precision_check import rank_correlation

# Patches that are estimated at once, which limits memory.
_ESTIMATED_AT_ONCE = 1024
# Strength of patches that no image has a gradient along, so that ratios are finite.
_LEAST_STRENGTH = 1e-6
# Without trusted predictions a patch is not eliminated while its standard error is above this part of the distance from
# the median score to the lowest share's boundary. Few images carry most of the rise, and a sample without these looks
# both low and certain. On a CIFAR-10 class with heavy tails, searches without this rule missed an orbit in one of eight
# orders of the images; with it in none of 60.
_LARGEST_ERROR = 0.5
# Patches that start at least, where predictions say which.
_LEAST_STARTED = 32
# Patches that a round may start, as a part of those that have started: where the last of them prove small, the rest
# need not start.
_START_MORE = 0.25
# Least rank correlation of predicted and actual strengths, of the probes on their first images, for predictions to be
# trusted. With 16 probes its median is 0.95, and it is below 0.5 once in 6,000 draws, from six classes of CIFAR-10 and
# Caltech under ResNets; predictions that say nothing have more than 0.5 once in forty.
_LEAST_CORRELATION = 0.5


@runtime_checkable
class Losses(Protocol):
    """As `image_losses.ClassLosses`: losses [1 + patches, images], the first row with nothing removed."""

    losses: Float[np.ndarray, "masks images"]
    sample_sizes: tuple[int, ...]

    def evaluate(self, masks: Int[np.ndarray, " chosen"], step: int) -> None: ...


class SuccessiveElimination:
    """Scores of all patches, each estimated from as many images as it has needed so far.

    Trusted predictions say which patches start: the strongest. The scores of the others are extrapolated: they deviate
    from their predictions, in proportion to strength, as those of the weaker half of the started patches do.

    No decision is stored: each follows from the current bounds, so a patch whose bounds were wrong comes back, and the
    final ranking is the one that was decided. What is undecided in the end is exact.

    Args:
      losses: of the class; those with nothing removed are known.
      ranking: decides which patches matter.
      importance: of the images, in their order, which were drawn in proportion to it.
      confidence: half the width of the bounds, in standard errors.
      predicted: predicted rises of the images, in their order; None = none.
      probes: patches drawn at random, whose first images say whether the predictions are trusted; None = they are not.
      untrusted_images: sample size that every patch has at least where predictions are not trusted.

    Attributes:
      step: last step that each patch was evaluated in; -1 = it has not started.
      mean: estimated score of each patch, its mean rise.
      control_variate: whether the estimate uses the predictions.
      rounds: how often patches were evaluated.
    """

    def __init__(
        self,
        losses: Losses,
        ranking: Ranking,
        importance: Float[np.ndarray, " images"],
        confidence: float,
        predicted: Float[np.ndarray, "patches images"] | None = None,
        probes: Int[np.ndarray, " probes"] | None = None,
        untrusted_images: int = 1,
    ):
        self._losses, self._ranking, self._predicted = losses, ranking, predicted
        sizes, patches = losses.sample_sizes, len(ranking.members)
        self._inclusion = [estimates.inclusion_probabilities(importance, size)[:size] for size in sizes]
        # Of each step, and last, at index -1, of patches that have not started.
        sampled = [*sizes, _LEAST_STARTED // 2]
        self._multipliers = np.array([estimates.multiplier(confidence, size) for size in sampled])
        self._predicted_mean = np.zeros(patches) if predicted is None else predicted.mean(1, dtype=np.float64)
        self.step, self.rounds = np.full(patches, -1), 0
        self.mean, self.control_variate = np.zeros(patches), np.zeros(patches, bool)
        self._own_error = np.zeros(patches)  # by the patch's own sample
        self._scatter = np.full(patches, np.nan)  # of single images, as estimated last
        self._strengths = None if probes is None else self._trusted_strengths(probes)
        everyone = np.arange(patches)
        if self._strengths is None:
            for _ in range(1 + int(np.searchsorted(sizes[:-1], untrusted_images))):
                self._evaluate_next(everyone)
        else:
            selected = ranking.patches_with(np.logical_or.reduce(ranking.selected(self._strengths)))
            self._evaluate_next(self._strongest(everyone, max(_LEAST_STARTED, int(selected.sum()))))

    def run(self) -> None:
        """Evaluate patches until the bounds decide every share."""
        while len(undecided := np.flatnonzero(self._ranking.undecided(*self.bounds()) & ~self.exact)):
            started = self.step >= 0
            starting = self._strongest(undecided[~started[undecided]], math.ceil(_START_MORE * started.sum()))
            self._evaluate_next(np.concatenate([undecided[started[undecided]], starting]))

    def complete(self, patches: Int[np.ndarray, " chosen"]) -> None:
        """Evaluate these patches on all images, which makes their scores exact."""
        while len(remaining := patches[~self.exact[patches]]):
            self._evaluate_next(remaining)

    def widen(self, factor: float) -> None:
        """Widen the bounds by a factor, where errors proved larger than the standard errors say."""
        self._multipliers *= factor

    @property
    def exact(self) -> Bool[np.ndarray, " patches"]:
        """Whether each patch was evaluated on all images."""
        return self.step == len(self._losses.sample_sizes) - 1

    @property
    def standard_error(self) -> Float[np.ndarray, " patches"]:
        """Standard error of every score, 0 where it is exact.

        A sample without the few images that carry most of the rise looks more certain than it is. So where predictions
        are trusted a patch has at least the median scatter, in proportion to predicted strength.
        """
        known = np.isfinite(self._scatter)
        if self._strengths is None or not known.any():
            return self._own_error
        typical = np.median(self._scatter[known] / self._strengths[known])
        # 0 for exact patches, and at step -1, for those that have not started.
        least = typical * self._strengths * self._error_per_scatter(self.step)
        return np.maximum(self._own_error, least)

    def bounds(self) -> tuple[Float[np.ndarray, " patches"], Float[np.ndarray, " patches"]]:
        """Return the lower and the upper confidence bound of every score."""
        standard_error = self.standard_error
        # A large confidence has infinite multipliers, which are not to meet an error of 0.
        half, uncertain = np.zeros(len(self.mean)), standard_error > 0
        half[uncertain] = self._multipliers[self.step][uncertain] * standard_error[uncertain]
        upper = self.mean + half
        boundary = self._ranking.boundary(self.mean)
        if boundary is not None and self._strengths is None:
            upper[standard_error > _LARGEST_ERROR * boundary] = np.inf
        return self.mean - half, upper

    def _evaluate_next(self, patches: Int[np.ndarray, " chosen"]) -> None:
        """Evaluate the next step of each of these patches."""
        self.rounds += 1
        following = self.step[patches] + 1
        for step in np.unique(following).tolist():
            chosen = patches[following == step]
            self._losses.evaluate(chosen + 1, step)
            self.step[chosen] = step
            for start in range(0, len(chosen), _ESTIMATED_AT_ONCE):
                self._estimate(chosen[start : start + _ESTIMATED_AT_ONCE], step)
        if (self.step < 0).any():
            self._extrapolate()

    def _estimate(self, patches: Int[np.ndarray, " chosen"], step: int) -> None:
        size, images = self._losses.sample_sizes[step], self._losses.losses.shape[1]
        predicted = None if self._predicted is None else self._predicted[patches, :size].astype(float)
        rises, predicted_mean = self._rises(patches, size), self._predicted_mean[patches]
        result = estimates.estimate(rises, self._inclusion[step], images, predicted, predicted_mean)
        self.mean[patches], self._own_error[patches] = result.mean, result.standard_error
        self.control_variate[patches] = result.control_variate
        if size < images:
            self._scatter[patches] = result.standard_error / self._error_per_scatter(np.array([step]))

    def _extrapolate(self) -> None:
        """Set the scores of patches that have not started."""
        assert self._strengths is not None, "without trusted predictions every patch starts at once"
        rest, strengths = self.step < 0, self._strengths
        started = np.flatnonzero(~rest)
        weaker = started[np.argsort(strengths[started], kind="stable")[: len(started) // 2]]
        deviations = (self.mean[weaker] - self._predicted_mean[weaker]) / strengths[weaker]
        self.mean[rest] = self._predicted_mean[rest] + deviations.mean() * strengths[rest]
        self._own_error[rest] = deviations.std() * strengths[rest]
        self.control_variate[rest] = True

    def _trusted_strengths(self, probes: Int[np.ndarray, " probes"]) -> Float[np.ndarray, " patches"] | None:
        """Return the predicted strengths, where the probes move their first images as strongly as predicted."""
        if self._predicted is None:
            return None
        predicted = strengths(self._predicted)
        self._losses.evaluate(probes + 1, 0)
        actual = np.mean(self._rises(probes, self._losses.sample_sizes[0]) ** 2, axis=1)
        correlation = rank_correlation(predicted[probes], actual)
        return predicted if correlation is not None and correlation >= _LEAST_CORRELATION else None

    def _strongest(self, patches: Int[np.ndarray, " chosen"], count: int) -> Int[np.ndarray, " strongest"]:
        """Return the `count` of these patches with the strongest predictions; all of them without trusted ones."""
        if self._strengths is None:
            return patches
        return np.sort(patches[np.argsort(-self._strengths[patches], kind="stable")[:count]])

    def _rises(self, patches: Int[np.ndarray, " chosen"], size: int) -> Float[np.ndarray, "chosen sampled"]:
        losses = self._losses.losses
        return losses[patches + 1, :size].astype(np.float64) - losses[:1, :size]

    def _error_per_scatter(self, steps: Int[np.ndarray, " patches"]) -> Float[np.ndarray, " patches"]:
        """Return a mean's standard error after these steps where the scatter of single images is 1."""
        return np.sqrt(1 / np.array(self._losses.sample_sizes)[steps] - 1 / self._losses.losses.shape[1])


def strengths(predicted: Float[np.ndarray, "patches images"]) -> Float[np.ndarray, " patches"]:
    """Return how strongly each patch is predicted to move the images' losses, up or down; 1 on average over patches.

    Root mean squares over the images, which all count the same: an image that is recognised with certainty has
    next to no gradient, and its loss rises all the same once its frequencies are gone.
    """
    squares = np.zeros(len(predicted))
    for image in predicted.T:
        own = np.square(image, dtype=np.float64)
        squares += own / max(own.mean(), np.finfo(np.float64).tiny)
    return np.sqrt(np.maximum(_LEAST_STRENGTH**2, squares / predicted.shape[1]))
