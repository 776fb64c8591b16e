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
    """Return the share at which psi reaches a threshold, and its 95 % interval over resampled pairs.

    Where it is reached before the first share, the first share stands for it. It is NaN where it is not reached; so is
    a limit that lies beyond the last share.

    Args:
      outcomes: a row for each share, ascending.
      shares: of the plane.
      threshold: of psi.
      seed: of the resamples.
    """
    pairs = len(outcomes.donors)
    drawn = generator(seed, Stream.GRAFT_RESAMPLES).multinomial(pairs, np.full(pairs, 1 / pairs), _RESAMPLES)
    weights = np.concatenate([np.ones((1, pairs)), drawn]) / pairs
    psi = np.mean(influence.parts(*outcomes.rates(weights)), axis=0)
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
