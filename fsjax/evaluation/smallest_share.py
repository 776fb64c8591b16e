"""The smallest share of the plane that controls a class, with its interval."""

import numpy as np
from jaxtyping import Float

from fsjax.evaluation import influence
from fsjax.evaluation.influence import Outcomes
from fsjax.runtime.random_streams import Stream, generator

_RESAMPLES = 200


def smallest_share(
    outcomes: Outcomes, shares: tuple[float, ...], threshold: float, seed: int
) -> tuple[float, Float[np.ndarray, "2"]]:
    """Return the share at which psi reaches a threshold, and its 95 % interval over resampled images.

    Resampled are the donors or the recipients, with all of their pairs: those of which there are fewer. Where the
    threshold is reached before the first share, the first share stands for it. It is NaN where it is not reached; so is
    a limit that lies beyond the last share.

    Args:
      outcomes: a row for each share, ascending.
      shares: of the plane.
      threshold: of psi.
      seed: of the resamples.
    """
    sides = [np.unique(images, return_inverse=True) for images in (outcomes.donors, outcomes.recipients)]
    images, image = min(sides, key=lambda side: len(side[0]))
    equal = np.full(len(images), 1 / len(images))
    drawn = generator(seed, Stream.GRAFT_RESAMPLES).multinomial(len(images), equal, _RESAMPLES)
    weights = np.concatenate([np.ones((1, len(images))), drawn])[:, image]
    psi = np.mean(influence.parts(*outcomes.rates(weights / weights.sum(-1, keepdims=True))), axis=0)
    crossings = _crossings(psi.T, shares, threshold)
    # As infinity, shares that are not reached sort behind all others.
    limits = np.quantile(np.nan_to_num(crossings[1:], nan=np.inf), [0.025, 0.975], method="inverted_cdf")
    return float(crossings[0]), np.where(np.isfinite(limits), limits, np.nan)


def _crossings(
    psi: Float[np.ndarray, "n shares"], shares: tuple[float, ...], threshold: float
) -> Float[np.ndarray, " n"]:
    """Return the share at which psi first reaches the threshold, on a straight line over the logarithm of the share."""
    logs, reached = np.log(shares), psi >= threshold
    first = reached.argmax(-1)
    before, rows = np.maximum(first - 1, 0), np.arange(len(psi))
    rise = psi[rows, first] - psi[rows, before]
    part = np.divide(threshold - psi[rows, before], rise, out=np.zeros(len(psi)), where=rise > 0)
    crossing = np.exp(logs[before] + part * (logs[first] - logs[before]))
    return np.where(reached.any(-1), crossing, np.nan)
