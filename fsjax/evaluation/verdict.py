"""The verdict on a class: whether few frequencies control it, and if not, what it is instead. The one rule.

`decide` judges a class from `Evidence`. Thresholds were frozen on development networks of benchmarks/planted/verdict.py
before the held-out run; docs/results.md has the scores.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Verdict

KINDS = ("shortcut", "band", "coarse", "by absence", "default class", "spread", "not recognised", "undecided")
# A map controls a class where its psi is above CONTROL.
CONTROL = 0.5
# A class is recognised where its TPR, unfiltered, is above its FPR by this much.
RECOGNISED = 0.5
# Others' images called the class, as they are, beyond which it is what the model says by default.
DEFAULT = 0.5
# Of what tells a class's images from others', a map of few frequencies holds at most this much.
FEW = 0.5
# False discovery rate, over the classes, at which psi is above CONTROL: one-sided, as a 95 % interval is.
RATE = 0.025
# A control carries as much as the map where its psi is this share of the map's.
AS_MUCH = 0.5


class AtShare(NamedTuple):
    """What grafting a class's map at one share did; names and units of `graft_results.GraftRates`."""

    share: float
    psi: float
    psi_ci: tuple[float, float]
    p_value: float
    grafted: float
    difference: float
    amplitude: float
    phase: float
    zeroed: float
    radial_psi: float
    equal_change_psi: float
    no_dc_psi: float


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of a class.

    Attributes:
      tpr, fpr: of its unfiltered images; fpr is NaN for an only class.
      pairs: of images that were grafted; 0 = none.
      why_none: where there are none, the reason.
      base: q0, of the kind that the shares are counted in.
      default: q0 where the recipient's own class is left out.
      shares: what the map did at each share, ascending.
    """

    tpr: float
    fpr: float
    pairs: int
    why_none: str
    base: float
    default: float
    shares: tuple[AtShare, ...]


class Decision(NamedTuple):
    """Kind, and for a shortcut what carries it; the index of the share it rests on, and the reason in words."""

    kind: str
    by: str
    at: int | None
    reason: str


def rule() -> str:
    """Return the rule as sentences for people."""
    return (
        f"The frequencies of the map are grafted from images of the class into images of other classes, and the other "
        f"way round. psi is the mean of two shares: of others' images that become the class, and of its own that are "
        f"lost. A class is a shortcut when psi is at least {CONTROL:g} with 95 % confidence (false discovery rate over "
        "the classes), masks outside the map that change images as much do less, random masks beside it with its "
        f"radial profile carry less than half of it, and the map holds at most {FEW:g} of what tells the images apart."
    )


def of_classes(
    names: tuple[str, ...],
    tpr: Float[np.ndarray, " classes"],
    fpr: Float[np.ndarray, " classes"],
    baseline: Baseline,
    shares: dict[str, GraftRates],
    curve: Curve | None,
    why_none: str,
) -> tuple[Verdict, ...]:
    """Return the verdict on each class; names, units and meaning as in `graft_results`."""
    smallest = np.full(len(names), np.nan) if curve is None else curve.smallest
    classes = evidence_of(tpr, fpr, baseline, shares, why_none)
    return tuple(
        _verdict(name, evidence, decision, of_class)
        for name, evidence, decision, of_class in zip(names, classes, decide(classes), smallest, strict=True)
    )


def evidence_of(
    tpr: Float[np.ndarray, " classes"],
    fpr: Float[np.ndarray, " classes"],
    baseline: Baseline,
    shares: dict[str, GraftRates],
    why_none: str,
) -> list[Evidence]:
    """Return what is known of each class."""
    return [
        Evidence(
            tpr=float(tpr[label]),
            fpr=float(fpr[label]),
            pairs=int(baseline.pairs[label]),
            why_none=why_none,
            base=float((baseline.base_plain if baseline.by_plain[label] else baseline.base)[label]),
            default=float(baseline.base[label]),
            shares=tuple(sorted(_at_share(float(share), rates, label) for share, rates in shares.items())),
        )
        for label in range(len(tpr))
    ]


def _at_share(share: float, rates: GraftRates, label: int) -> AtShare:
    low, high = rates.psi_ci[label]
    values = {name: float(getattr(rates, name)[label]) for name in AtShare._fields if name not in ("share", "psi_ci")}
    return AtShare(share=share, psi_ci=(float(low), float(high)), **values)


def _verdict(name: str, evidence: Evidence, decision: Decision, smallest: float) -> Verdict:
    at = None if decision.at is None else evidence.shares[decision.at]
    return Verdict(
        name=name,
        kind=decision.kind,
        by=decision.by,
        share=at and at.share,
        psi=at and at.psi,
        psi_ci=at.psi_ci if at else (),
        smallest=None if np.isnan(smallest) else float(smallest),
        sentence=f"{name}: {decision.kind}{' by ' + decision.by if decision.by else ''}: {decision.reason}.",
    )


def decide(classes: Sequence[Evidence]) -> list[Decision]:
    """Return the decision on each class of a model; together, since the confidence is over all of them."""
    return [_decide(evidence, level) for evidence, level in zip(classes, _levels(classes), strict=True)]


def _levels(classes: Sequence[Evidence]) -> list[bool]:
    """Return whether psi of each class is above CONTROL at any of its shares, at the false discovery rate."""
    smallest = [min([1.0, *(len(of.shares) * at.p_value for at in of.shares)]) if of.pairs else 1.0 for of in classes]
    return [bool(q <= RATE) for q in scipy.stats.false_discovery_control(smallest)] if smallest else []


def _decide(evidence: Evidence, is_above: bool) -> Decision:
    if np.isnan(evidence.tpr):
        return Decision("undecided", "", None, "there is no test image of it")
    margin = evidence.tpr - (0.0 if np.isnan(evidence.fpr) else evidence.fpr)
    if margin < RECOGNISED:
        reason = (
            f"the model calls {_percent(evidence.tpr)} of its images the class, and {_percent(evidence.fpr)} of others'"
        )
        return Decision("not recognised", "", None, reason)
    if not evidence.pairs:
        return Decision("undecided", "", None, evidence.why_none)
    at = next((i for i, of in enumerate(evidence.shares) if is_above and of.psi_ci[0] >= CONTROL), None)
    if at is not None:
        return _controlled(evidence, at)
    if evidence.default > DEFAULT:
        others = f"{_percent(evidence.default)} of others' images"
        reason = f"the model says it of {others} as they are, where their own class is left out"
        return Decision("default class", "", None, reason)
    last = len(evidence.shares) - 1
    largest = evidence.shares[last]
    if all(of.psi_ci[1] < CONTROL for of in evidence.shares):
        return Decision(
            "spread",
            "",
            last,
            f"grafting {_of_plane(largest.share)} moves {_percent(max(0.0, largest.psi))} of the way",
        )
    best = max(range(len(evidence.shares)), key=lambda i: evidence.shares[i].psi)
    return Decision("undecided", "", best, _too_few(evidence.shares[best], evidence.pairs, is_above))


def _controlled(evidence: Evidence, index: int) -> Decision:
    """Return the decision on a class whose map at this share controls it."""
    at = evidence.shares[index]
    moved = f"grafting {_of_plane(at.share)} moves {_percent(at.psi)} of the way"

    def decision(kind: str, reason: str, by: str = "") -> Decision:
        return Decision(kind, by, index, f"{moved}, {reason}")

    gain = at.grafted - evidence.base
    if at.equal_change_psi >= at.psi_ci[0]:
        return decision("spread", "but so do random frequencies that change images as much")
    if at.zeroed - evidence.base >= AS_MUCH * gain and at.amplitude - evidence.base >= AS_MUCH * gain:
        return decision("by absence", "and so does taking them away: the class lacks what others have")
    if at.difference > FEW:
        return decision("coarse", f"but they hold {_percent(at.difference)} of what tells the images apart")
    if at.no_dc_psi < AS_MUCH * at.psi:
        return decision("coarse", "but without DC they do not: it is the brightness")
    if at.radial_psi >= AS_MUCH * at.psi:
        return decision("band", "and so do other frequencies beside them")
    alone = [name for name in ("amplitude", "phase") if getattr(at, name) - evidence.base >= AS_MUCH * gain]
    by = alone[0] if len(alone) == 1 else "amplitude and phase"
    return decision("shortcut", "and other frequencies like them do not", by)


def _too_few(at: AtShare, pairs: int, is_above: bool) -> str:
    """Return in words how many pairs would decide, if psi stays what it is."""
    half = (at.psi_ci[1] - at.psi_ci[0]) / 2
    distance = max(abs(at.psi - CONTROL), 1e-3)
    needed = int(np.ceil(pairs * (half / distance) ** 2 * (1.0 if not is_above else 1.5)))
    shown = f"about {needed:,}" if needed < 100_000 else "more than 100,000"
    return f"psi is {at.psi:.2f} at {_of_plane(at.share)}, too near {CONTROL:g} for {pairs} pairs; {shown} would decide"


def _percent(rate: float) -> str:
    return "–" if np.isnan(rate) else f"{100 * rate:.0f} %"


def _of_plane(share: float) -> str:
    return f"{100 * share:.2g} % of the plane"
