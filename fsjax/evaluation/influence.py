"""How far a mask controls a class, from the outcomes of grafts: sufficiency, necessity, psi, and their intervals.

Examples:
  >>> told = np.array([True, True, True, False])  # whether the model says the class, in each of four pairs
  >>> pairs = {"donors": np.arange(4), "recipients": np.arange(4)}
  >>> outcomes = Outcomes(base=~told, grafted=told[None], swapped=told[None], replaced=~told[None], **pairs)
  >>> influence = measure(outcomes)  # an Influence; S and N are `parts` of the rates
  >>> influence.sufficiency.round(2).tolist(), influence.necessity.round(2).tolist(), influence.psi.round(2).tolist()
  ([0.67], [0.67], [0.67])
  >>> np.allclose(parts(0.25, 0.75, 0.75, 0.25), (influence.sufficiency[0], influence.necessity[0]))
  True
  >>> influence.interval().shape  # [masks, 2]
  (1, 2)
"""

import dataclasses
from typing import Any

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

RATES = ("base", "grafted", "swapped", "replaced")
# 1 - q0 and w are at least this, so that a rate of 0 does not divide by 0.
_FLOOR = 0.02


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """Whether the model says the class, in every pair and under every mask.

    Attributes:
      base: of the recipient as it is. Here and in `grafted` the recipient's own class is left out.
      grafted: of the recipient with the mask's frequencies of the donor.
      swapped: of the donor with the mask's frequencies of another image of the class.
      replaced: of the donor with the mask's frequencies of the recipient.
      donors, recipients: which image of the data set each is.
    """

    base: Bool[np.ndarray, " n"]
    grafted: Bool[np.ndarray, "*masks n"]
    swapped: Bool[np.ndarray, "*masks n"]
    replaced: Bool[np.ndarray, "*masks n"]
    donors: Int[np.ndarray, " n"]
    recipients: Int[np.ndarray, " n"]

    def of_masks(self, rows: list[int]) -> "Outcomes":
        """Return the outcomes under some of the masks."""
        under = {name: getattr(self, name)[rows] for name in ("grafted", "swapped", "replaced")}
        return dataclasses.replace(self, **under)

    def rates(
        self, weights: Float[np.ndarray, "*resamples n"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return q0 [*resamples], and q, w and n [*masks, *resamples], of pairs with weights that add up to 1."""
        base, *others = (np.asarray(getattr(self, name), float) @ np.moveaxis(weights, -1, 0) for name in RATES)
        return base, *others


@dataclasses.dataclass(frozen=True, eq=False)
class Influence:
    """What masks do to the model's answer, each in [-1, 1] or so, and NaN without pairs.

    Attributes:
      sufficiency: S = (q - q0) / (1 - q0), where q is the rate of `grafted` and q0 that of `base`: how many of the
        recipients that can be made the class become it.
      necessity: N = (w - n) / w, where w is the rate of `swapped` and n that of `replaced`: how many of the class's
        images are lost by frequencies of another class, beyond those lost by frequencies of their own.
      psi: (S + N) / 2, the Shapley value of the mask's frequencies in the game of two players against the others.
      standard_error: of psi, clustered by donors and by recipients.
      centre: psi shrunk towards 1/2 by one pair at 0 and one at 1, from which intervals reach out.
    """

    sufficiency: Float[np.ndarray, "*masks"]
    necessity: Float[np.ndarray, "*masks"]
    psi: Float[np.ndarray, "*masks"]
    standard_error: Float[np.ndarray, "*masks"]
    centre: Float[np.ndarray, "*masks"]

    def interval(self, level: float = 0.95) -> Float[np.ndarray, "*masks 2"]:
        """Return two limits of psi."""
        z = scipy.stats.norm.ppf((1 + level) / 2)
        return self.centre[..., None] + z * self.standard_error[..., None] * np.array([-1, 1])

    def p_above(self, threshold: float) -> Float[np.ndarray, "*masks"]:
        """Return the one-sided p-value of psi being at most a threshold."""
        return scipy.stats.norm.sf((self.centre - threshold) / self.standard_error)


def measure(outcomes: Outcomes) -> Influence:
    """Return what each mask does, from the outcomes of all pairs.

    The standard error is that of the delta method over pairs, as a sum of squares over clusters (Cameron, Gelbach and
    Miller, J. Bus. Econ. Stat. 29 (2011) 238). Like Agresti and Caffo (Am. Stat. 54 (2000) 280) it counts a pair at 0
    and one at 1 beside those seen, so that rates of 0 and 1 have a width; they weigh by the number of distinct images.
    """
    base, grafted, swapped, replaced = (np.asarray(getattr(outcomes, name), float) for name in RATES)
    pairs = base.size
    if not pairs:
        return Influence(*[np.full(grafted.shape[:-1], np.nan)] * 5)
    q0, q, w, n = (array.mean(-1, keepdims=True) for array in (base, grafted, swapped, replaced))
    sufficiency, necessity = parts(q0, q, w, n)
    room, kept = np.maximum(1 - q0, _FLOOR), np.maximum(w, _FLOOR)
    # What each pair adds to psi - its mean, to first order.
    of_sufficiency = (grafted - q) / room - (base - q0) * (1 - sufficiency) / room
    of_necessity = (swapped - w) * (1 - necessity) / kept - (replaced - n) / kept
    each = (of_sufficiency + of_necessity) / 2
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


def parts(q0: Any, q: Any, w: Any, n: Any) -> tuple[Any, Any]:
    """Return S and N from rates, numbers or arrays."""
    return (q - q0) / np.maximum(1 - q0, _FLOOR), (w - n) / np.maximum(w, _FLOOR)


def _clustered(each: Float[np.ndarray, "*masks n"], images: Int[np.ndarray, " n"]) -> Float[np.ndarray, "*masks"]:
    """Return the sum over images of the square of what all pairs with the image add."""
    _, cluster = np.unique(images, return_inverse=True)
    sums = each @ np.eye(cluster.max() + 1)[cluster]
    return (sums**2).sum(-1)
