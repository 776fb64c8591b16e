"""Rank correlations of two planes of scores, with bootstrap intervals."""

import dataclasses

import numpy as np
from jaxtyping import Float

from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator

RESAMPLES = 300
# Resampled weights held at once, in a few arrays of this size.
_WEIGHTS_AT_ONCE = 2**20


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
    left, right = (spectrum.per_orbit(np.maximum(plane, spectrum.conjugate(plane))) for plane in (left, right))
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return {"spearman": Correlation(None, None), "kendall": Correlation(None, None)}
    count, rng = len(left), generator(seed, Stream.RANK_CORRELATION)
    spearman, kendall = _Spearman(left, right), _Kendall(left, right)
    whole = np.ones((1, count))
    values = {"spearman": spearman(whole), "kendall": kendall(whole)}
    drawn: dict[str, list] = {name: [] for name in values}
    step = max(1, _WEIGHTS_AT_ONCE // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        picked = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        weights = np.bincount(picked.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
        for name, measure in (("spearman", spearman), ("kendall", kendall)):
            drawn[name].append(measure(weights))
    ends = {name: np.nanpercentile(np.concatenate(drawn[name]), [2.5, 97.5]).tolist() for name in values}
    return {name: Correlation(float(value[0]), tuple(ends[name])) for name, value in values.items()}


class _Spearman:
    """Spearman's rho of samples given by weights [samples, elements]: how often each element occurs.

    Samples are never sorted: ranks follow from the weights, summed in the order of all elements.
    """

    def __init__(self, left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]):
        self._groups = [_Ties(left), _Ties(right)]

    def __call__(self, weights: Float[np.ndarray, "samples n"]) -> Float[np.ndarray, " samples"]:
        total = weights.sum(1, keepdims=True)
        # The mean of midranks is always (total + 1) / 2.
        left, right = (groups.midranks(weights) - (total + 1) / 2 for groups in self._groups)
        weighted = weights * left
        covariance = (weighted * right).sum(1)
        spread = np.sqrt((weighted * left).sum(1) * (weights * right * right).sum(1))
        return np.divide(covariance, spread, out=np.full(len(weights), np.nan), where=spread > 0)


class _Kendall:
    """Kendall's tau-b of samples given by weights (Knight 1966, with weights).

    Discordant pairs are counted in a merge sort by the right score of elements in the order of the left score. This
    order is the same for all samples, so one sort counts them all.
    """

    def __init__(self, left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]):
        self._left, self._right, self._both = _Ties(left), _Ties(right), _Ties(left, right)
        self._order = np.lexsort((right, left))
        self._padded = 1 << (len(left) - 1).bit_length()
        ranks = np.full(self._padded, len(left))
        ranks[: len(left)] = np.unique(right, return_inverse=True)[1][self._order]
        self._merges = []
        size = 2
        while size <= self._padded:
            # Stable: of equal scores the one in the left half comes first, so that the pair is not counted.
            within = np.argsort(ranks.reshape(-1, size), axis=1, kind="stable")
            self._merges.append((size, within + size * np.arange(len(within))[:, None], within >= size // 2))
            size *= 2

    def __call__(self, weights: Float[np.ndarray, "samples n"]) -> Float[np.ndarray, " samples"]:
        total = weights.sum(1)
        pairs = total * (total - 1) / 2
        left, right, both = (ties.tied_pairs(weights) for ties in (self._left, self._right, self._both))
        signed = pairs - left - right + both - 2 * self._discordant(weights)
        spread = np.sqrt((pairs - left) * (pairs - right))
        return np.divide(signed, spread, out=np.full(len(weights), np.nan), where=spread > 0)

    def _discordant(self, weights: Float[np.ndarray, "samples n"]) -> Float[np.ndarray, " samples"]:
        ordered = np.zeros((len(weights), self._padded))
        ordered[:, : weights.shape[1]] = weights[:, self._order]
        count = np.zeros(len(weights))
        for size, order, in_right in self._merges:
            merged = ordered[:, order.ravel()].reshape(len(weights), -1, size)
            right = merged * in_right
            before = np.cumsum(merged - right, axis=2)
            count += (right * (before[:, :, -1:] - before)).sum((1, 2))
        return count


class _Ties:
    """Groups of equal elements, in ascending order, with their weights in each sample."""

    def __init__(self, *keys: Float[np.ndarray, " n"]):
        self._group = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)[1].ravel()
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.flatnonzero(np.diff(self._group[self._order], prepend=-1))

    def _weights(self, weights: Float[np.ndarray, "samples n"]) -> Float[np.ndarray, "samples groups"]:
        return np.add.reduceat(weights[:, self._order], self._starts, axis=1)

    def midranks(self, weights: Float[np.ndarray, "samples n"]) -> Float[np.ndarray, "samples n"]:
        of_groups = self._weights(weights)
        return (np.cumsum(of_groups, axis=1) - (of_groups - 1) / 2)[:, self._group]

    def tied_pairs(self, weights: Float[np.ndarray, "samples n"]) -> Float[np.ndarray, " samples"]:
        of_groups = self._weights(weights)
        return (of_groups * (of_groups - 1) / 2).sum(1)
