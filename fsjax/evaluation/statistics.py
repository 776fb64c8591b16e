"""Intervals and p-values for rates over a few images: pure functions over arrays."""

from collections.abc import Iterable, Sequence

import numpy as np
import scipy
from jaxtyping import Float, Real


def wilson(
    successes: Real[np.ndarray, "*shape"], total: Real[np.ndarray, "*shape"], level: float = 0.95
) -> Float[np.ndarray, "*shape 2"]:
    """Return the score interval of a proportion: lower and upper limit, in [0, 1]; NaN where the total is 0.

    Source: Wilson, JASA 22 (1927) 209.
    """
    z = scipy.stats.norm.ppf((1 + level) / 2)
    total = np.where(total > 0, total, np.nan)
    share = successes / total
    centre = share + z**2 / (2 * total)
    half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    limits = np.stack([centre - half, centre + half], axis=-1) / (1 + z**2 / total)[..., None]
    # Exact at the ends, where rounding could leave the share outside its interval by 1e-17.
    limits[(successes == 0) & (total > 0), 0], limits[successes == total, 1] = 0, 1
    return limits


def paired_difference(
    both: Real[np.ndarray, "*shape"],
    first: Real[np.ndarray, "*shape"],
    second: Real[np.ndarray, "*shape"],
    neither: Real[np.ndarray, "*shape"],
    level: float = 0.95,
) -> Float[np.ndarray, "*shape 2"]:
    """Return an interval for the difference of two proportions over the same images: two limits in [-1, 1].

    Source: Newcombe, Statistics in Medicine 17 (1998) 2635, method 10: Wilson's limits of either proportion, joined
    with the correlation of the two, which is shrunk where it is positive.

    Args:
      both: images that succeed under the first condition and under the second.
      first: under the first only.
      second: under the second only.
      neither: under neither. The result is NaN where all four are 0.
      level: of the interval.
    """
    both, first, second, neither = (np.asarray(counts, float) for counts in (both, first, second, neither))
    total, left, right = both + first + second + neither, both + first, both + second
    margins = np.sqrt(left * (total - left) * right * (total - right))
    cross = both * neither - first * second
    cross = np.where(cross > 0, np.maximum(cross - total / 2, 0), cross)
    correlation = np.divide(cross, margins, out=np.zeros(np.shape(cross)), where=margins > 0)

    size = np.where(total > 0, total, np.nan)
    shares = np.stack([left, right]) / size
    below, above = np.moveaxis(wilson(np.stack([left, right]), np.stack([total, total]), level), -1, 0)
    below, above = shares - below, above - shares

    def reach(of_one: np.ndarray, of_two: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(of_one**2 - 2 * correlation * of_one * of_two + of_two**2, 0))

    difference = shares[0] - shares[1]
    return np.stack([difference - reach(below[0], above[1]), difference + reach(above[0], below[1])], axis=-1)


def p_values(
    observed: Real[np.ndarray, "*shape"], null: Real[np.ndarray, " draws *shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return (1 + number of draws at least as large) / (1 + draws), in (0, 1]: one-sided, and never 0.

    Valid, P(p <= a) <= a, where under the null hypothesis the observed value is one more draw. Source: Davison and
    Hinkley, Bootstrap Methods and their Application (1997), 4.2.
    """
    return (1 + (null >= observed).sum(0)) / (1 + len(null))


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Return the smallest false discovery rate at which each test is still a discovery; NaN tests are not counted.

    It controls the rate for tests that are independent or positively dependent, as those that share their random
    masks are. Source: Benjamini and Hochberg, JRSS B 57 (1995) 289; Benjamini and Yekutieli, Annals of
    Statistics 29 (2001) 1165.
    """
    q, known = np.full(len(p), np.nan), np.isfinite(p)
    if known.any():
        q[known] = scipy.stats.false_discovery_control(p[known])
    return q


def mean(values: Iterable[int | float | None]) -> float | None:
    """Return the mean of the values that are neither None nor NaN; None without any."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def limits_text(limits: Sequence[float] | Float[np.ndarray, "2"]) -> str:
    """Return an interval as '[lower, upper]'; '' for one of NaN."""
    return "" if np.isnan(limits).any() else f"[{limits[0]:.3f}, {limits[1]:.3f}]"
