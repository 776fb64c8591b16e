"""Rank correlations of two planes of scores, with bootstrap intervals.

Examples:
  >>> scores = np.random.default_rng(0).normal(size=(8, 8))
  >>> rank_correlations(scores, 2 * scores, seed=0)["spearman"]  # a Correlation
  Correlation(value=1.0, interval=(1.0, 1.0))
"""

import dataclasses
import itertools
import math

import numpy as np
import scipy
from jaxtyping import Float, Int

from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator

RESAMPLES = 300


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A rank correlation, in [-1, 1], with its 95 % bootstrap interval; None where a side has no ranks."""

    value: float | None
    interval: tuple[float, float] | None


def rank_correlations(
    left: Float[np.ndarray, "height width"],
    right: Float[np.ndarray, "height width"],
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Correlation]:
    """Return Spearman's rho and Kendall's tau-b of two planes of scores, over orbits.

    An orbit's score is the larger one of its members: the published code may remove half of an orbit and leave the
    score 0 for the other. The intervals are the middle 95 % over resamples of the orbits, drawn with replacement by
    seed, the same for both measures. The resamples treat orbits as independent. Neighbours are not, and those of one
    patch least of all: there the intervals are too narrow.
    """
    planes = [spectrum.per_orbit(np.maximum(plane, spectrum.conjugate(plane))) for plane in (left, right)]
    ranks = np.stack([np.unique(scores, return_inverse=True)[1] for scores in planes])
    if not ranks.any(1).all():
        return {"spearman": Correlation(None, None), "kendall": Correlation(None, None)}
    count, rng = ranks.shape[1], generator(seed, Stream.RANK_CORRELATION)
    drawn = (ranks[:, rng.integers(count, size=count)] for _ in range(resamples))
    values, *resampled = [(_spearman(*sample), _kendall(*sample)) for sample in itertools.chain([ranks], drawn)]
    ends = np.nanpercentile(resampled, [2.5, 97.5], axis=0).T.tolist()
    return {
        name: Correlation(value, tuple(interval))
        for name, value, interval in zip(("spearman", "kendall"), values, ends, strict=True)
    }


def _spearman(left: Int[np.ndarray, " n"], right: Int[np.ndarray, " n"]) -> float:
    """Return Spearman's rho; NaN where a side is constant. All sums are exact: midranks are halves of whole numbers."""
    left, right = (_midranks(side) - (len(side) + 1) / 2 for side in (left, right))
    spread = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / spread) if spread else np.nan


def _midranks(ranks: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    ties = np.bincount(ranks)
    return (np.cumsum(ties) - (ties - 1) / 2)[ranks]


def _kendall(left: Int[np.ndarray, " n"], right: Int[np.ndarray, " n"]) -> float:
    """Return Kendall's tau-b; NaN where a side is constant."""
    ties = [np.bincount(side) for side in (left, right)]
    untied = [math.comb(len(left), 2) - (tied * (tied - 1) / 2).sum() for tied in ties]
    spread = np.sqrt(untied[0] * untied[1])
    if not spread:
        return np.nan
    # Concordant less discordant pairs are a whole number, which SciPy divides in two steps.
    return float(np.rint(scipy.stats.kendalltau(left, right, method="asymptotic").statistic * spread) / spread)
