"""Mean rises of the loss over a class's images, estimated from a sample, with their standard errors.

Images are drawn without replacement, with probability in proportion to their importance and in one order, so every
larger sample contains the smaller ones: sequential Poisson sampling (Rosen, J. Stat. Planning and Inference 62, 1997;
Ohlsson, J. Official Statistics 14, 1998) with the regression estimator of survey sampling, which uses first-order
predictions as a control variate (Saerndal et al., Model Assisted Survey Sampling).
"""

import dataclasses

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Estimated means over all images.

    Attributes:
      mean: the estimates.
      standard_error: of each; 0 where the sample holds every image.
      control_variate: whether the estimate uses the predictions.
    """

    mean: Float[np.ndarray, " patches"]
    standard_error: Float[np.ndarray, " patches"]
    control_variate: Bool[np.ndarray, " patches"]


def estimate(
    rises: Float[np.ndarray, "patches sampled"],
    inclusion: Float[np.ndarray, " sampled"],
    images: int,
    predicted: Float[np.ndarray, "patches sampled"] | None = None,
    predicted_mean: Float[np.ndarray, " patches"] | None = None,
) -> Estimates:
    """Estimate each patch's mean rise over all images.

    Without predictions the estimate is (1/N) * sum(rise / inclusion). With them it is b * predicted_mean + (1/N) *
    sum((rise - b * predicted) / inclusion), b by least squares. A patch uses them where they leave less variance, after
    a correction for the degree of freedom that b costs.

    Args:
      rises: of the sampled images: at least 3 images, or all.
      inclusion: each sampled image's inclusion probability, in (0, 1].
      images: N, the number of images in all.
      predicted: predicted rises of the same patches and images.
      predicted_mean: predicted rises' mean over all images.
    """
    count = rises.shape[1]
    if count == images:
        return Estimates(rises.mean(1), np.zeros(len(rises)), np.zeros(len(rises), bool))
    exclusion = 1 - inclusion

    def centred(values: np.ndarray) -> np.ndarray:
        weighted = values / inclusion
        return weighted - (weighted @ exclusion / exclusion.sum())[:, None]

    mean = (rises / inclusion).sum(1) / images
    residuals = centred(rises)
    squares = residuals**2 @ exclusion
    variance, control_variate = squares * count / (count - 1), np.zeros(len(rises), bool)
    if predicted is not None:
        regressor = centred(predicted)
        spread, covariance = regressor**2 @ exclusion, (regressor * residuals) @ exclusion
        slope = np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0)
        remaining = np.maximum(squares - slope * covariance, 0) * count / (count - 2)
        control_variate = remaining < variance
        differences = (rises - slope[:, None] * predicted) / inclusion
        mean = np.where(control_variate, slope * predicted_mean + differences.sum(1) / images, mean)
        variance = np.where(control_variate, remaining, variance)
    return Estimates(mean, np.sqrt(variance) / images, control_variate)


def multiplier(confidence: float, sampled: int) -> float:
    """Return Student's quantile with the tail that `confidence` standard deviations leave of a normal distribution."""
    return float(scipy.stats.t.isf(scipy.stats.norm.sf(confidence), max(1, sampled - 2)))


def inclusion_probabilities(importance: Float[np.ndarray, " images"], count: int) -> Float[np.ndarray, " images"]:
    """Return each image's probability to be in a sample of `count`: in proportion to its importance, at most 1."""
    if count >= len(importance):
        return np.ones(len(importance))
    descending = np.sort(importance)[::-1]
    rest = np.cumsum(descending[::-1])[::-1]
    factors = (count - np.arange(count)) / rest[:count]
    certain = int(np.argmax(factors * descending[:count] <= 1))
    return np.minimum(1, factors[certain] * importance)


def sampling_order(importance: Float[np.ndarray, " images"], rng: np.random.Generator) -> Int[np.ndarray, " images"]:
    """Draw an order whose every prefix is a sample with the probabilities of `inclusion_probabilities`."""
    return np.argsort(rng.random(len(importance)) / importance, kind="stable")


def sample_sizes(images: int, first: int, growth: float) -> tuple[int, ...]:
    """Return the sample's size after each step: `first`, then larger by about the factor `growth`, at last all images.

    All steps but the last add multiples of `smallest_step` images, so that they fill a device's batches.
    """
    step, sizes = smallest_step(first), [min(first, images)]
    while sizes[-1] < images:
        sizes.append(min(images, step * max(sizes[-1] // step + 1, round(sizes[-1] * growth / step))))
    return tuple(sizes)


def smallest_step(first: int) -> int:
    """Return how many images the smallest step after a first one of this size adds."""
    return max(1, first // 2)
