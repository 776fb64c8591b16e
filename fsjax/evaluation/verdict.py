"""The verdict on a class: whether few frequencies control it, and otherwise how it is recognised.

The thresholds of `decide` were frozen on development networks of benchmarks/planted/verdict.py before the held-out run;
docs/results/verdicts.md has the scores.
"""

from typing import NamedTuple

import numpy as np
import scipy

from fsjax.evaluation.graft_results import GraftRates

# A map controls a class where its psi is above CONTROL.
CONTROL = 0.5
# A class is recognised where its TPR, unfiltered, is above its FPR by this much.
RECOGNISED = 0.5
# A model predicts a class by default where it does so for more than DEFAULT of others' images as they are. Such a class
# is controlled only where psi is above COMPLETE: S rests on few pairs there, and losing others' cues yields the class.
DEFAULT, COMPLETE = 0.5, 0.9
# A map of few frequencies holds at most FEW of the energy that tells the images apart. It may hold more where its
# orbits stand out from their neighbours by a factor of PROMINENT and low-pass does not do as well: the lowest
# frequencies of natural images stand out, too.
FEW, PROMINENT = 0.5, 16.0
# One-sided chance that any class at any share seems controlled where none is, as for 95 % intervals.
RATE = 0.025
# A control carries as much as the map where its psi is this share of the map's.
AS_MUCH = 0.5
# The class lacks the map's frequencies where its energy there is below LESS of others' (geometric mean over the map)
# and nowhere above MORE of theirs: a map may hold others' cues beside the class's.
LESS, MORE = 0.75, 3.0


class Decision(NamedTuple):
    kind: str
    reason: str
    by: str = ""  # the carrier of a shortcut: amplitude, phase, or both


def rule() -> str:
    """Return the rule as sentences for people."""
    return (
        "Frequencies of images of the class are grafted into images of other classes, and the other way round. psi is "
        "the mean of two shares: others' images that become the class, and images of the class that are lost. A class "
        f"is a shortcut if it meets four conditions. First, psi of its map is above {CONTROL:g} with 95 % confidence, "
        "over all classes and shares together. Second, random frequencies do less: both those that change images as "
        "much, and those beside the map with its radial profile. Third, the map holds at most "
        f"{100 * FEW:g} % of what tells the images apart. It may hold more if it exceeds the energy beside it by a "
        f"factor of {PROMINENT:g}, while low-pass of its size has less than half of its psi. Fourth, the class is not "
        "recognised by an absence: it has at least the energy of others there, and setting these frequencies to 0 "
        "does not have the same effect."
    )


def control(base: float) -> float:
    """Return the psi above which a map controls a class with this q0."""
    return COMPLETE if base > DEFAULT else CONTROL


def level(classes: int, shares: int) -> float:
    """Return the p-value for psi above `control` at one share of one class, corrected for all (Bonferroni)."""
    return RATE / max(1, classes * shares)


def is_recognised(tpr: float, fpr: float) -> bool:
    """Return whether a model recognises a class with these unfiltered rates; an unknown FPR counts as 0."""
    return bool(tpr - np.nan_to_num(fpr) >= RECOGNISED)


def decide(
    at: GraftRates | None,
    *,
    tpr: float,
    fpr: float,
    base: float,
    pairs: int,
    level: float,
    why_none: str = "",
) -> Decision:
    """Return the kind of a class, with the reason.

    `at` are the measures at the share that the verdict rests on; None without pairs, and `why_none` is the reason. tpr
    and fpr are unfiltered, NaN where unknown. `base` is q0, `level` the p-value at which psi is above `control`.
    """
    if np.isnan(tpr):
        return Decision("undecided", "it has no test image")
    if not is_recognised(tpr, fpr):
        others = "" if np.isnan(fpr) else f", and for {100 * fpr:.0f} % of others'"
        return Decision("not recognised", f"the model predicts it for {100 * tpr:.0f} % of its images{others}")
    if at is None:
        return Decision("undecided", why_none)
    if at.p_value <= level:
        return _controlled(at, base)
    if base > DEFAULT:
        others = f"{100 * base:.0f} % of others' images"
        reason = f"the model predicts it for {others} as they are, where their true class is left out"
        return Decision("default class", reason)
    if at.psi_ci[1] < CONTROL:
        return Decision("spread", f"no tested map controls it; the largest psi is {at.psi:.2f}, at {_plane(at)}")
    # So many pairs would decide, if psi stays the same.
    two_sided = scipy.stats.norm.isf(0.025)
    error, distance = (at.psi_ci[1] - at.psi_ci[0]) / 2 / two_sided, max(abs(at.psi - CONTROL), 1e-3)
    wanted = scipy.stats.norm.isf(level) if at.psi > CONTROL else two_sided
    needed = int(float(f"{max(1.1 * pairs, pairs * (wanted * error / distance) ** 2):.2g}"))
    shown = f"about {needed:,}" if needed < 100_000 else "more than 100,000"
    reason = f"psi is {at.psi:.2f} at {_plane(at)}, too near {CONTROL:g} for {pairs} pairs; {shown} may decide"
    return Decision("undecided", reason)


def _controlled(at: GraftRates, base: float) -> Decision:
    """Return the decision on a class whose map at this share controls it."""
    gain = at.grafted - base
    carries = {name: getattr(at, name) - base >= AS_MUCH * gain for name in ("amplitude", "phase", "zeroed")}
    # Others' frequencies decide about a class predicted by default, whether or not amplitudes alone bring it about.
    by_default = base > DEFAULT
    controls = f"{_plane(at)} control it (psi {at.psi:.2f})"
    if at.equal_change_psi >= at.psi_ci[0]:
        return Decision("spread", f"{controls}, but so do random frequencies that change images as much")
    if carries["zeroed"] and (carries["amplitude"] or by_default):
        return Decision("by absence", f"{controls}, and setting them to 0 in other images has the same effect")
    if at.energy_ratio < LESS and at.largest_energy_ratio < MORE and (carries["amplitude"] or by_default):
        less = f"its images have {100 * at.energy_ratio:.0f} % of others' energy there"
        return Decision("by absence", f"{controls}, and {less}")
    stands_out = at.prominence >= PROMINENT and not at.low_pass_psi >= AS_MUCH * at.psi
    if at.difference > FEW and not stands_out:
        return Decision("coarse", f"{controls}, but hold {100 * at.difference:.0f} % of what tells the images apart")
    if at.no_dc_psi < AS_MUCH * at.psi:
        return Decision("coarse", f"{controls}, but not without DC: it is brightness or colour")
    if at.radial_psi >= AS_MUCH * at.psi:
        return Decision("band", f"{controls}, and so do other frequencies beside them")
    alone = [name for name in ("amplitude", "phase") if carries[name]]
    by = alone[0] if len(alone) == 1 else "amplitude and phase"
    beside = f"low-pass of this size has psi {float(at.low_pass_psi):z.2f}"
    return Decision("shortcut", f"{controls}, and others like them do not; {beside}", by)


def _plane(at: GraftRates) -> str:
    return f"{100 * at.share:.2g} % of the plane"
