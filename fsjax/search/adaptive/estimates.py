"""Means over all images of a class, estimated from some of them, with their standard errors.

Images are drawn without replacement, with chances in proportion to how much each is expected to matter, and come in one
order: every longer sample holds the shorter ones. Rosen's and Ohlsson's sequential Poisson sampling (J. Official
Statistics 14, 1998) with the regression estimator of survey sampling (Saerndal et al., Model Assisted Survey Sampling).
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Means over all images, estimated from some.

    Attributes:
      mean: the estimates.
      deviation: their standard errors; 0 = every image was there.
      variate: whether the predictions are used.
    """

    mean: Float[np.ndarray, " patches"]
    deviation: Float[np.ndarray, " patches"]
    variate: Bool[np.ndarray, " patches"]


def estimate(
    rises: Float[np.ndarray, "patches sampled"],
    chances: Float[np.ndarray, " sampled"],
    images: int,
    predicted: Float[np.ndarray, "patches sampled"] | None = None,
    predicted_mean: Float[np.ndarray, " patches"] | None = None,
) -> Estimates:
    """The mean rise over all images, of each patch by itself.

    Without predictions it is (1/N) * sum(rise / chance). With them it is b * (their mean over all images) + (1/N) *
    sum((rise - b * prediction) / chance), b by least squares; they are used for a patch where that has less variance
    left, with the degree of freedom that b costs taken off.

    Args:
      rises: of the sampled images, at least 3, or all.
      chances: that each of them had to be in the sample, in (0, 1].
      images: N, how many there are.
      predicted: of the same patches and images.
      predicted_mean: over all images.
    """
    count = rises.shape[1]
    if count == images:
        return Estimates(rises.mean(1), np.zeros(len(rises)), np.zeros(len(rises), bool))
    open_share = 1 - chances

    def centred(values: np.ndarray) -> np.ndarray:
        weighted = values / chances
        return weighted - (weighted @ open_share / open_share.sum())[:, None]

    mean = (rises / chances).sum(1) / images
    around = centred(rises)
    squares = around**2 @ open_share
    variance, variate = squares * count / (count - 1), np.zeros(len(rises), bool)
    if predicted is not None:
        along = centred(predicted)
        spread, common = along**2 @ open_share, (along * around) @ open_share
        slope = np.divide(common, spread, out=np.zeros_like(common), where=spread > 0)
        left = np.maximum(squares - slope * common, 0) * count / (count - 2)
        variate = left < variance
        differences = (rises - slope[:, None] * predicted) / chances
        mean = np.where(variate, slope * predicted_mean + differences.sum(1) / images, mean)
        variance = np.where(variate, left, variance)
    return Estimates(mean, np.sqrt(variance) / images, variate)


def multiplier(confidence: float, sampled: int) -> float:
    """Student's quantile with the tail that `confidence` standard deviations leave of a normal distribution."""
    return float(stats.t.isf(stats.norm.sf(confidence), max(1, sampled - 2)))


def inclusion(sizes: Float[np.ndarray, " images"], count: int) -> Float[np.ndarray, " images"]:
    """The chance of each image to be among `count`, in proportion to these sizes and at most 1."""
    if count >= len(sizes):
        return np.ones(len(sizes))
    descending = np.sort(sizes)[::-1]
    rest = np.cumsum(descending[::-1])[::-1]
    factors = (count - np.arange(count)) / rest[:count]
    certain = int(np.argmax(factors * descending[:count] <= 1))
    return np.minimum(1, factors[certain] * sizes)


def order(sizes: Float[np.ndarray, " images"], rng: np.random.Generator) -> Int[np.ndarray, " images"]:
    """An order of which every beginning is a sample with the chances of `inclusion`."""
    return np.argsort(rng.random(len(sizes)) / sizes, kind="stable")


def block_ends(images: int, first: int, growth: float) -> tuple[int, ...]:
    """Where the blocks of images end: each makes the sample larger by about this factor.

    All but the last are of whole halves of the first one, so that a device's batches fill them.
    """
    step, ends = step_of(first), [min(first, images)]
    while ends[-1] < images:
        ends.append(min(images, step * max(ends[-1] // step + 1, round(ends[-1] * growth / step))))
    return tuple(ends)


def step_of(first: int) -> int:
    """Images of the smallest block that follows a first one of this size."""
    return max(1, first // 2)
