"""How far a mask controls a class, from the outcomes of grafts: sufficiency, necessity, psi, and their intervals."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from fsjax.runtime.random_streams import Stream, generator

_RATES = ("disrupted", "grafted", "swapped", "replaced")
# 1 - d and w are at least this, so that a rate of 0 does not divide by 0.
_FLOOR = 0.02
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """Whether the model predicts the class, in every pair and under every mask; `donors`, `recipients` index images.

    `disrupted` and `grafted` are for the recipient with the mask's frequencies of another image of its class, and of
    the donor; both leave out the recipient's true class. `swapped` and `replaced` are for the donor with frequencies
    of another image of the class, and of the recipient.
    """

    disrupted: Bool[np.ndarray, "*masks n"]
    grafted: Bool[np.ndarray, "*masks n"]
    swapped: Bool[np.ndarray, "*masks n"]
    replaced: Bool[np.ndarray, "*masks n"]
    donors: Int[np.ndarray, " n"]
    recipients: Int[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Influence:
    """The effect of masks on the model's answer, each in [-1, 1] or so, and NaN without pairs.

    Attributes:
      sufficiency: S = (q - d) / (1 - d), with the rates q of `grafted` and d of `disrupted`: the share of recipients
        that become the class, beyond those that frequencies of their own class turn into it.
      necessity: N = (w - n) / w, with the rates w of `swapped` and n of `replaced`: the share of the class's images
        lost to frequencies of another class, beyond those lost to frequencies of the same class.
      psi: (S + N) / 2, the Shapley value of the mask's frequencies in the game of two players against the others.
      standard_error: of psi, clustered by donors and by recipients.
      centre: the middle of the intervals: psi shrunk towards 1/2 by one pair at 0 and another at 1.
    """

    sufficiency: Float[np.ndarray, "*masks"]
    necessity: Float[np.ndarray, "*masks"]
    psi: Float[np.ndarray, "*masks"]
    standard_error: Float[np.ndarray, "*masks"]
    centre: Float[np.ndarray, "*masks"]

    def interval(self) -> Float[np.ndarray, "*masks 2"]:
        """Return the 95 % limits of psi."""
        z = scipy.stats.norm.ppf(0.975)
        return self.centre[..., None] + z * self.standard_error[..., None] * np.array([-1, 1])

    def p_above(self, threshold: float) -> Float[np.ndarray, "*masks"]:
        """Return the one-sided p-value for psi at or below a threshold."""
        return scipy.stats.norm.sf((self.centre - threshold) / self.standard_error)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the outcomes of the same pairs under the masks of all parts, in their order."""
    return dataclasses.replace(
        parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _RATES}
    )


def measure(outcomes: Outcomes) -> Influence:
    """Return the influence of each mask, from the outcomes of all pairs.

    The delta method over pairs gives the standard error, as a sum of squares over clusters (Cameron, Gelbach and
    Miller, J. Bus. Econ. Stat. 29 (2011) 238). As in Agresti and Caffo (Am. Stat. 54 (2000) 280), a pair at 0 and a
    pair at 1 are added, so that rates of 0 and 1 have a width; they weigh by the number of distinct images.
    """
    disrupted, grafted, swapped, replaced = (np.asarray(getattr(outcomes, name), float) for name in _RATES)
    pairs = len(outcomes.donors)
    if not pairs:
        return Influence(*[np.full(grafted.shape[:-1], np.nan)] * 5)
    d, q, w, n = (array.mean(-1, keepdims=True) for array in (disrupted, grafted, swapped, replaced))
    sufficiency, necessity = parts(d, q, w, n)
    room, retained = np.maximum(1 - d, _FLOOR), np.maximum(w, _FLOOR)
    # What each pair adds to psi - its mean, to first order.
    to_sufficiency = (grafted - q) / room - (disrupted - d) * (1 - sufficiency) / room
    to_necessity = (swapped - w) * (1 - necessity) / retained - (replaced - n) / retained
    each = (to_sufficiency + to_necessity) / 2
    psi = (sufficiency + necessity)[..., 0] / 2
    by_donor, by_recipient = (_clustered(each, images) for images in (outcomes.donors, outcomes.recipients))
    squares = np.maximum(np.maximum(by_donor, by_recipient), by_donor + by_recipient - (each**2).sum(-1))
    distinct = min(len(np.unique(outcomes.donors)), len(np.unique(outcomes.recipients)))
    added = ((1 - psi) ** 2 + psi**2) * (pairs / distinct) ** 2
    weight = 2 * pairs / distinct
    return Influence(
        sufficiency=sufficiency[..., 0],
        necessity=necessity[..., 0],
        psi=psi,
        standard_error=np.sqrt(squares + added) / (pairs + weight),
        centre=(pairs * psi + weight / 2) / (pairs + weight),
    )


def parts(d: Any, q: Any, w: Any, n: Any) -> tuple[Any, Any]:
    """Return S and N from rates."""
    return (q - d) / np.maximum(1 - d, _FLOOR), (w - n) / np.maximum(w, _FLOOR)


def _clustered(each: Float[np.ndarray, "*masks n"], images: Int[np.ndarray, " n"]) -> Float[np.ndarray, "*masks"]:
    """Return the sum of squares, over images, of what all pairs with the image add."""
    _, cluster = np.unique(images, return_inverse=True)
    sums = each @ np.eye(cluster.max() + 1)[cluster]
    return (sums**2).sum(-1)


def smallest_share(
    outcomes: Outcomes, shares: tuple[float, ...], threshold: float, seed: int
) -> tuple[float, Float[np.ndarray, "2"]]:
    """Return the share of the plane at which psi reaches a threshold, and its 95 % interval over resampled images.

    Outcomes have a row for each share, ascending. The side with fewer images, donors or recipients, is resampled with
    all of its pairs. NaN stands for a share beyond the last.
    """
    sides = [np.unique(images, return_inverse=True) for images in (outcomes.donors, outcomes.recipients)]
    images, image = min(sides, key=lambda side: len(side[0]))
    equal = np.full(len(images), 1 / len(images))
    drawn = generator(seed, Stream.GRAFT_RESAMPLES).multinomial(len(images), equal, _RESAMPLES)
    weights = np.concatenate([np.ones((1, len(images))), drawn])[:, image]
    shares_of_pairs = (weights / weights.sum(-1, keepdims=True)).T
    rates = (np.asarray(getattr(outcomes, name), float) @ shares_of_pairs for name in _RATES)
    psi = np.mean(parts(*rates), axis=0).T
    # psi first reaches the threshold on a straight line over the logarithm of the share.
    logs, reached = np.log(shares), psi >= threshold
    first = reached.argmax(-1)
    before, rows = np.maximum(first - 1, 0), np.arange(len(psi))
    rise = psi[rows, first] - psi[rows, before]
    part = np.divide(threshold - psi[rows, before], rise, out=np.zeros(len(psi)), where=rise > 0)
    crossings = np.where(reached.any(-1), np.exp(logs[before] + part * (logs[first] - logs[before])), np.nan)
    # As infinity, shares that are not reached sort behind all others.
    limits = np.quantile(np.nan_to_num(crossings[1:], nan=np.inf), [0.025, 0.975], method="inverted_cdf")
    return float(crossings[0]), np.where(np.isfinite(limits), limits, np.nan)
