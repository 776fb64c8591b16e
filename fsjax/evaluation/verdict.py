"""The verdict on a class: whether few frequencies control it, and if not, what it is instead. The one rule.

`decide` judges a class from `Evidence`. Its thresholds were frozen on development networks of
benchmarks/planted/verdict.py before the held-out run; docs/results/verdicts.md has the scores.

Examples:
  >>> rates = {name: 0.0 for name in AtShare._fields} | {"share": 0.01, "psi": 0.9, "psi_ci": (0.8, 1.0)}
  >>> at = AtShare(**rates | {"grafted": 0.9, "amplitude": 0.9, "energy_ratio": 8.0, "no_dc_psi": np.nan})
  >>> evidence = Evidence(tpr=0.95, fpr=0.02, pairs=120, why_none="", base=0.05, at=at, level=0.004)
  >>> decision = decide(evidence)  # a Decision
  >>> decision.kind, decision.by
  ('shortcut', 'amplitude')
  >>> rule().startswith("Frequencies of images of the class are grafted")
  True
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float

from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Verdict

# A map controls a class where its psi is above CONTROL.
CONTROL = 0.5
# A class is recognised where its TPR, unfiltered, is above its FPR by this much.
RECOGNISED = 0.5
# Others' images called the class, as they are, beyond which it is what the model says by default, unless psi is above
# COMPLETE: S rests on few pairs there, and what takes others' cues away brings such a class about.
DEFAULT, COMPLETE = 0.5, 0.9
# Of what tells a class's images from others', a map of few frequencies holds at most this much, unless its orbits stand
# out from those beside them by this factor of energy, and are not what low-pass would keep as well: the lowest
# frequencies of natural images stand out, too.
FEW, PROMINENT = 0.5, 16.0
# Chance that psi of any class at any share is taken to be above CONTROL where none is: one-sided, as of 95 % intervals.
RATE = 0.025
# A control carries as much as the map where its psi is this share of the map's.
AS_MUCH = 0.5
# The class lacks the map's frequencies where its energy there is below LESS of others' (geometric mean over the map),
# and at none of them above MORE of theirs: a map may hold others' cues beside its own.
LESS, MORE = 0.75, 3.0


class AtShare(NamedTuple):
    """What grafting a class's map at one share did; names and units of `graft_results.GraftRates`."""

    share: float
    psi: float
    psi_ci: tuple[float, float]
    p_value: float
    grafted: float
    difference: float
    prominence: float
    amplitude: float
    phase: float
    zeroed: float
    energy_ratio: float
    largest_energy_ratio: float
    radial_psi: float
    equal_change_psi: float
    no_dc_psi: float
    low_pass_psi: float


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of a class.

    Attributes:
      tpr, fpr: of its unfiltered images; NaN where there is no image to count.
      pairs: of images that were grafted; 0 = none.
      why_none: where there are none, the reason.
      base: q0, others' images called the class as they are, where their own class is left out.
      at: the share of `rests_on`; None without pairs.
      level: at which psi is above `control` there, as of `level`.
      low_pass: share of the plane that as many of the lowest frequencies need; NaN where they do not suffice.
    """

    tpr: float
    fpr: float
    pairs: int
    why_none: str
    base: float
    at: AtShare | None
    level: float
    low_pass: float = np.nan


class Decision(NamedTuple):
    """Kind, what carries a shortcut, and the reason in words."""

    kind: str
    by: str
    reason: str


def rule() -> str:
    """Return the rule as sentences for people."""
    return (
        "Frequencies of images of the class are grafted into images of other classes, and the other way round. psi is "
        "the mean of two shares: of others' images that become the class, and of its own that are lost. A class is a "
        f"shortcut where psi of its map is above {CONTROL:g} with 95 % confidence, over all classes and shares "
        "together, and neither random frequencies that change images as much, nor random ones beside the map with its "
        f"radial profile do the same, the map holds at most {100 * FEW:g} % of what tells the images apart (or stands "
        f"out from the frequencies beside it, by a factor of {PROMINENT:g} in energy, while low-pass of its size has "
        "not half of its psi), and the class is not told by what it lacks (there, setting these frequencies to 0 does "
        "the same, or the class has less energy than others)."
    )


def control(base: float) -> float:
    """Return what psi of a map has to be above to control a class whose q0 is `base`."""
    return COMPLETE if base > DEFAULT else CONTROL


def level(classes: int, shares: int) -> float:
    """Return the p-value at which psi of one class at one share is above `control`, of all of them (Bonferroni)."""
    return RATE / max(1, classes * shares)


def rests_on(
    psi: Float[np.ndarray, " shares"],
    p_value: Float[np.ndarray, " shares"],
    tested: Bool[np.ndarray, " shares"],
    level: float,
) -> int:
    """Return the index of the share that a verdict rests on: the first tested one where psi is above `control`.

    Without any, that of the largest psi of those tested, or of all where none is. The p-values are those of psi being
    at most `control`.
    """
    above = np.flatnonzero(tested & (p_value <= level))
    return int(above[0]) if len(above) else int(np.where(tested | ~tested.any(), psi, -np.inf).argmax())


def of_classes(
    names: tuple[str, ...],
    tpr: Float[np.ndarray, " classes"],
    fpr: Float[np.ndarray, " classes"],
    baseline: Baseline,
    rates: GraftRates,
    shares: int,
    curves: dict[str, Curve],
    why_none: str,
) -> tuple[Verdict, ...]:
    """Return the verdict on each class; names, units and meaning as in `graft_results`; `shares` were tested."""
    low_pass = curves["low_pass"].smallest if "low_pass" in curves else np.full(len(names), np.nan)
    verdicts = []
    for label, name in enumerate(names):
        pairs = int(baseline.pairs[label])
        evidence = Evidence(
            tpr=float(tpr[label]),
            fpr=float(fpr[label]),
            pairs=pairs,
            why_none=why_none,
            base=float(baseline.base[label]),
            at=_at_share(rates, label) if pairs else None,
            level=level(len(names), shares),
            low_pass=float(low_pass[label]),
        )
        verdicts.append(_verdict(name, evidence, decide(evidence), float(curves["map"].smallest[label])))
    return tuple(verdicts)


def _at_share(rates: GraftRates, label: int) -> AtShare:
    low, high = rates.psi_ci[label].tolist()
    numbers = {name: float(getattr(rates, name)[label]) for name in AtShare._fields if name != "psi_ci"}
    return AtShare(psi_ci=(low, high), **numbers)


def _verdict(name: str, evidence: Evidence, decision: Decision, smallest: float) -> Verdict:
    at = evidence.at
    return Verdict(
        name=name,
        kind=decision.kind,
        by=decision.by,
        share=at and at.share,
        psi=at and at.psi,
        psi_ci=at.psi_ci if at else (),
        smallest=None if np.isnan(smallest) else smallest,
        sentence=f"{name}: {decision.kind}{' by ' + decision.by if decision.by else ''}: {decision.reason}.",
    )


def decide(evidence: Evidence) -> Decision:
    """Return what a class is."""
    if np.isnan(evidence.tpr):
        return Decision("undecided", "", "there is no test image of it")
    if evidence.tpr - np.nan_to_num(evidence.fpr) < RECOGNISED:
        others = "" if np.isnan(evidence.fpr) else f", and {_percent(evidence.fpr)} of others'"
        return Decision("not recognised", "", f"the model says it of {_percent(evidence.tpr)} of its images{others}")
    at = evidence.at
    if at is None:
        return Decision("undecided", "", evidence.why_none)
    if at.p_value <= evidence.level:
        return _controlled(evidence, at)
    if evidence.base > DEFAULT:
        others = f"{_percent(evidence.base)} of others' images"
        reason = f"the model says it of {others} as they are, where their own class is left out"
        return Decision("default class", "", reason)
    if at.psi_ci[1] < CONTROL:
        return Decision("spread", "", f"of all maps tested, {_of_plane(at.share)} reach the largest psi, {at.psi:.2f}")
    return Decision("undecided", "", _too_few(at, evidence.pairs, evidence.level))


def _controlled(evidence: Evidence, at: AtShare) -> Decision:
    """Return the decision on a class whose map at this share controls it."""
    gain = at.grafted - evidence.base
    carries = {name: getattr(at, name) - evidence.base >= AS_MUCH * gain for name in ("amplitude", "phase", "zeroed")}
    # What the model says by default is told by what others have, whether or not amplitudes alone bring it about.
    by_default = evidence.base > DEFAULT
    controls = f"{_of_plane(at.share)} control it (psi {at.psi:.2f})"
    if at.equal_change_psi >= at.psi_ci[0]:
        return Decision("spread", "", f"{controls}, but so do random frequencies that change images as much")
    if carries["zeroed"] and (carries["amplitude"] or by_default):
        return Decision(
            "by absence", "", f"{controls} by what they lack: setting them to 0 in other images does it too"
        )
    if at.energy_ratio < LESS and at.largest_energy_ratio < MORE and (carries["amplitude"] or by_default):
        less = f"its images have {_percent(at.energy_ratio)} of others' energy there"
        return Decision("by absence", "", f"{controls} by what they lack: {less}")
    stands_out = at.prominence >= PROMINENT and not at.low_pass_psi >= AS_MUCH * at.psi
    if at.difference > FEW and not stands_out:
        return Decision("coarse", "", f"{controls}, but hold {_percent(at.difference)} of what tells the images apart")
    if at.no_dc_psi < AS_MUCH * at.psi:
        return Decision("coarse", "", f"{controls}, but not without DC: it is brightness or colour")
    if at.radial_psi >= AS_MUCH * at.psi:
        return Decision("band", "", f"{controls}, and so do other frequencies beside them")
    alone = [name for name in ("amplitude", "phase") if carries[name]]
    by = alone[0] if len(alone) == 1 else "amplitude and phase"
    beside = "" if np.isnan(evidence.low_pass) else f"; low-pass needs {100 * evidence.low_pass:.2g} %"
    return Decision("shortcut", by, f"{controls}, and others like them do not{beside}")


def _too_few(at: AtShare, pairs: int, level: float) -> str:
    """Return in words how many pairs would decide, if psi stays what it is."""
    two_sided = scipy.stats.norm.isf(0.025)
    error, distance = (at.psi_ci[1] - at.psi_ci[0]) / 2 / two_sided, max(abs(at.psi - CONTROL), 1e-3)
    wanted = scipy.stats.norm.isf(level) if at.psi > CONTROL else two_sided
    needed = int(float(f"{max(1.1 * pairs, pairs * (wanted * error / distance) ** 2):.2g}"))
    shown = f"about {needed:,}" if needed < 100_000 else "more than 100,000"
    return f"psi is {at.psi:.2f} at {_of_plane(at.share)}, too near {CONTROL:g} for {pairs} pairs; {shown} may decide"


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def _of_plane(share: float) -> str:
    return f"{100 * share:.2g} % of the plane"
