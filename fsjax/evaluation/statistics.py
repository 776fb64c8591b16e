"""Intervals for rates over a few images, rank correlations, and means over known values: pure functions of arrays."""

from collections.abc import Iterable

import numpy as np
import scipy
from jaxtyping import Float, Real


def wilson(successes: Real[np.ndarray, "*shape"], total: Real[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
    """Return the 95 % score interval of a proportion: lower and upper limit, in [0, 1]; NaN where the total is 0.

    Source: Wilson, JASA 22 (1927) 209.
    """
    z = scipy.stats.norm.ppf(0.975)
    total = np.where(total > 0, total, np.nan)
    share = successes / total
    centre = share + z**2 / (2 * total)
    half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    limits = np.stack([centre - half, centre + half], axis=-1) / (1 + z**2 / total)[..., None]
    # Exact at the ends, where rounding could leave the share outside its interval by 1e-17.
    limits[(successes == 0) & (total > 0), 0], limits[successes == total, 1] = 0, 1
    return limits


def bootstrap_interval(values: Real[np.ndarray, "n ..."]) -> Float[np.ndarray, "... 2"]:
    """Return the 95 % percentile interval of a mean over the first axis, whose n values are resampled [Efron 1979]."""
    weights = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), 2000)
    means = np.tensordot(weights, values.astype(float), 1) / len(values)
    return np.moveaxis(np.quantile(means, np.array([1 - 0.95, 1 + 0.95]) / 2, axis=0), 0, -1)


def mean(values: Iterable[int | float | None]) -> float | None:
    """Return the mean of the values, leaving out None and NaN; None without any."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def rank_correlation(scores: Float[np.ndarray, " n"], expected: Float[np.ndarray, " n"]) -> float | None:
    """Return Spearman's rank correlation, in [-1, 1]; None where one side is constant."""
    if np.ptp(scores) == 0 or np.ptp(expected) == 0:
        return None
    return float(scipy.stats.spearmanr(scores, expected).statistic)
