"""The verdict on a class: whether its map is a frequency shortcut. The rule, and every word about it."""

import dataclasses

import numpy as np
from jaxtyping import Float

from fsjax.evaluation.results import Controls, MapRates
from fsjax.evaluation.statistics import limits_text

# False discovery rate, over the classes, at which a map does better than random masks.
RATE = 0.05

_ABSENT = "there is no test image of it."


def rule(threshold: float) -> str:
    """Return the rule as a sentence for people."""
    return (
        f"A class is a shortcut when its TPR is at least {threshold:g}, random masks of the map's size seldom do as "
        f"well (q ≤ {RATE:g}: false discovery rate over the classes), and the margin, its TPR minus that of the best "
        "trivial mask (low-pass or highest energy) on the same images, is positive over its whole interval."
    )


def unmet(tpr: float, q_value: float, margin_ci: Float[np.ndarray, "2"], threshold: float) -> list[str]:
    """Return, in words, what a class with a q-value lacks to be a shortcut; nothing for a shortcut."""
    reasons = []
    if not tpr >= threshold:
        reasons.append(f"the TPR is below {threshold:g}")
    if not q_value <= RATE:
        reasons.append(f"random masks of its size may do as well (q = {q_value:.3f})")
    if not margin_ci[0] > 0:
        reasons.append(f"the trivial mask {'does better' if margin_ci[1] < 0 else 'may do as well'}")
    return reasons


def decide(tpr: Float[np.ndarray, " classes"], controls: Controls, threshold: float) -> tuple[bool | None, ...]:
    """Return whether each class is a shortcut; None without a q-value.

    Args:
      tpr: of each class's map on all test images.
      controls: of the maps.
      threshold: for the TPR, in [0, 1].
    """
    return tuple(
        None if np.isnan(q_value) else not unmet(of_class, q_value, margin_ci, threshold)
        for of_class, q_value, margin_ci in zip(tpr, controls.q_value, controls.margin_ci, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on a class in words: 'shortcut', 'no shortcut', 'no verdict' or 'no controls', and its numbers."""

    name: str
    shortcut: bool | None
    kind: str
    claim: str

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.name}: {self.kind}: {self.claim}"


def describe(names: tuple[str, ...], rates: MapRates, share: float, threshold: float) -> list[Verdict]:
    """Return the verdict on each class in words, from the rates under their maps at a share in (0, 1]."""
    kinds = {True: "shortcut", False: "no shortcut", None: "no verdict" if rates.controls else "no controls"}
    return [
        Verdict(name, shortcut, kinds[shortcut], _claim(rates, label, share, threshold))
        for label, (name, shortcut) in enumerate(zip(names, rates.shortcut, strict=True))
    ]


def _claim(rates: MapRates, label: int, share: float, threshold: float) -> str:
    controls, tpr, fpr = rates.controls, rates.tpr[label], rates.fpr[label]
    if np.isnan(tpr):
        return _ABSENT
    filtered = [f"{100 * share:g} % of the frequencies give TPR {tpr:.3f}", limits_text(rates.tpr_ci[label])]
    measured = " ".join(filter(None, filtered)) + ("" if np.isnan(fpr) else f", FPR {fpr:.3f}")
    if controls is None:
        return f"{measured}; without controls, other masks of its size may do as well."
    margin, margin_ci = controls.margin[label], controls.margin_ci[label]
    trivial = f"the best trivial mask ({controls.best_trivial[label]}) gives {controls.trivial_tpr[label]:.3f}"
    compared = f"a margin of {margin:+.3f} {limits_text(margin_ci)}"
    reasons = unmet(tpr, controls.q_value[label], margin_ci, threshold) if rates.shortcut[label] is False else []
    return f"{measured}; {trivial}, {'; '.join([compared, *reasons])}."
