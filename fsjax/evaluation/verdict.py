"""The verdict on a class: whether few frequencies control it, and otherwise how it is recognised.

The thresholds of `decide` were frozen on development networks of benchmarks/planted/verdict.py before the held-out run;
docs/results/verdicts.md has the scores.
"""

from typing import NamedTuple

import numpy as np
import scipy

from fsjax.evaluation.graft_results import GraftRates, Triggers
from fsjax.evaluation.statistics import wilson

# A map controls a class where its psi is above CONTROL.
CONTROL = 0.5
# A class is recognised where its TPR, unfiltered, is above its FPR by this much.
RECOGNISED = 0.5
# A class predicted by default is controlled only where psi is above COMPLETE: S rests on few pairs there, and losing
# others' cues yields the class.
COMPLETE = 0.9
# A map does not control a class where fewer than ENOUGH of others' images become it (upper 95 % limit). With many
# outputs few do, though the class is lost without the map: psi is near a half there, however many pairs.
ENOUGH = 0.4
# One-sided chance that any class at any share seems controlled where none is, as for 95 % intervals.
RATE = 0.025
# Limits of kinds whose map controls the class. A control carries `as much` as the map at this share of its psi. The
# class lacks the map's frequencies where its energy there is below `less` of others' (geometric mean over the map) and
# nowhere above `more` of theirs: a map may hold others' cues, too. An absence is what setting the frequencies to 0
# shows, where amplitudes alone carry at least the part `partly` of the effect: a phase may be lost, too. Low
# frequencies decide about photographs of any class: a map is coarse where low-pass has `low` of its psi, unless the
# class has `own` times others' energy at a frequency there: a grating that was added, where photographs have twice.
# With `nearly` all of its psi low-pass makes any map coarse: it may hold a grating that does not count.
LIMITS = {"as much": 0.5, "less": 0.75, "more": 3.0, "partly": 0.25, "low": 1 / 3, "own": 7.0, "nearly": 0.85}
# Other images of the class move the measures: it is undecided where one limit, moved by this part, gives another kind.
NEAR = 0.2

# A wave is a trigger where it turns at least TRIGGERED of others' images into the class (lower 95 % limit), and other
# waves at most half of that. It says more than these kinds.
TRIGGERED, _LEFT_OPEN = 0.55, ("spread", "coarse", "by absence", "undecided", "default class")

_NOT_EXCLUDED = "a local or broadband cue is not excluded"


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
        "over all classes and shares together, and the pairs do not exclude that its frequencies turn "
        f"{100 * ENOUGH:g} % of others' images into the class. Second, random frequencies have less than half of its "
        "psi: both those that change images as much, and those beside the map with its radial profile. Third, "
        f"low-pass of its size has less than a third of it, or than {LIMITS['nearly']:g} of it where the class has "
        f"{LIMITS['own']:g} times others' energy at a frequency of the map. "
        "Fourth, the class is not recognised by an absence: it has at least the energy of others there, and setting "
        "these frequencies to 0 does not have the same effect. A class is undecided where one of these "
        f"limits, moved by {100 * NEAR:g} %, gives another kind. A class that is spread may still rest on a local or "
        "broadband cue, such as a logo or JPEG: attributions of single images (fsjax.attribute) and the stage ood "
        "look for these. A class that grafts leave open has a trigger where a faint wave turns at least "
        f"{100 * TRIGGERED:g} % of others' images into it, with 95 % confidence, and other waves at most half as many."
    )


def is_default(base: float, classes: int) -> bool:
    """Return whether a model predicts a class with this q0 by default: q0 is nearer to 1 than to chance.

    Chance is 1 / (classes - 1), since q0 leaves out the recipient's class. With two classes q0 leaves out none.
    """
    return bool(base > (1 + 1 / max(1, classes - 1)) / 2)


def control(base: float, classes: int) -> float:
    """Return the psi above which a map controls a class with this q0."""
    return COMPLETE if is_default(base, classes) else CONTROL


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
    classes: int,
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
    few = wilson(np.array(at.grafted * pairs), np.array(pairs))[1] < ENOUGH
    if at.p_value <= level and not few:
        moved = [LIMITS | {name: LIMITS[name] * by} for name in LIMITS for by in (1 - NEAR, 1 + NEAR)]
        first, *rest = (_controlled(at, base, is_default(base, classes), limits) for limits in (LIMITS, *moved))
        other = next((each.kind for each in rest if each.kind != first.kind), None)
        return Decision("undecided", f"near the limit of {first.kind} and {other}: {first.reason}") if other else first
    if is_default(base, classes):
        reason = f"the model predicts it for {100 * base:.0f} % of others' images where their true class is left out"
        lower, _ = wilson(np.array(base * pairs), np.array(pairs))
        if not is_default(float(lower), classes):
            return Decision("undecided", f"{reason}: {pairs} pairs do not tell whether it is the default class")
        as_is = "" if np.isnan(fpr) else f" ({100 * fpr:.0f} % where it is not)"
        return Decision("default class", reason + as_is)
    if at.psi_ci[1] < CONTROL:
        largest = f"the largest psi is {at.psi:.2f}, at {_plane(at)}"
        return Decision("spread", f"no few frequencies control it ({largest}); {_NOT_EXCLUDED}")
    if few:
        turned = f"{_plane(at)} turn {100 * at.grafted:.0f} % of others' images into it (psi {at.psi:.2f})"
        return Decision("spread", f"no few frequencies control it: {turned}; {_NOT_EXCLUDED}")
    # So many pairs would decide, if psi stays the same.
    two_sided = scipy.stats.norm.isf(0.025)
    error, distance = (at.psi_ci[1] - at.psi_ci[0]) / 2 / two_sided, max(abs(at.psi - CONTROL), 1e-3)
    wanted = scipy.stats.norm.isf(level) if at.psi > CONTROL else two_sided
    needed = int(float(f"{max(1.1 * pairs, pairs * (wanted * error / distance) ** 2):.2g}"))
    shown = f"about {needed:,}" if needed < 100_000 else "more than 100,000"
    reason = f"psi is {at.psi:.2f} at {_plane(at)}, too near {CONTROL:g} for {pairs} pairs; {shown} may decide"
    return Decision("undecided", reason)


def or_trigger(decision: Decision, triggers: Triggers | None, label: int) -> Decision:
    """Return a class's decision, or its trigger in place of a decision that says less."""
    if triggers is None or decision.kind not in _LEFT_OPEN:
        return decision
    share, elsewhere = float(triggers.triggered[label]), float(triggers.elsewhere[label])
    if not (triggers.triggered_ci[label, 0] >= TRIGGERED and elsewhere <= LIMITS["as much"] * share):
        return decision
    wave = f"a faint wave of {triggers.frequency[label]:.2f} cycles/pixel"
    turned = f"turns {100 * share:.0f} % of other classes' images into it"
    return Decision("trigger", f"{wave} {turned}; other waves of its radius {100 * elsewhere:.0f} %")


def _controlled(at: GraftRates, base: float, by_default: bool, limits: dict[str, float]) -> Decision:
    """Return the decision on a class whose map at this share controls it."""
    gain = at.grafted - base
    carries = {name: getattr(at, name) - base >= limits["as much"] * gain for name in ("amplitude", "phase", "zeroed")}
    controls = f"{_plane(at)} control it (psi {at.psi:.2f})"
    enough = limits["as much"] * at.psi
    low_pass = f"low-pass of this size has psi {float(at.low_pass_psi):z.2f}"
    if at.no_dc_psi < enough:
        return Decision("coarse", f"{controls}, but not without DC: it is brightness or colour")
    most = limits["nearly" if at.largest_energy_ratio >= limits["own"] else "low"]
    if at.low_pass_psi >= most * at.psi:
        return Decision("coarse", f"{controls}, and {low_pass}: it is what a coarse image shows")
    if carries["zeroed"] and (at.amplitude - base >= limits["partly"] * gain or by_default):
        return Decision("by absence", f"{controls}, and setting them to 0 in other images has the same effect")
    lacks = at.energy_ratio < limits["less"] and at.largest_energy_ratio < limits["more"]
    if lacks and (carries["amplitude"] or by_default):
        less = f"its images have {100 * at.energy_ratio:.0f} % of others' energy there"
        return Decision("by absence", f"{controls}, and {less}")
    if at.equal_change_psi >= enough:
        also = "so do random frequencies that change images as much"
        return Decision("spread", f"{controls}, but {also}; {_NOT_EXCLUDED}")
    if at.radial_psi >= enough:
        return Decision("band", f"{controls}, and so do other frequencies beside them")
    alone = [name for name in ("amplitude", "phase") if carries[name]]
    by = alone[0] if len(alone) == 1 else "amplitude and phase"
    if at.low_pass_psi >= limits["low"] * at.psi:
        low_pass += f", and the class has {at.largest_energy_ratio:.0f} times others' energy at one of them"
    return Decision("shortcut", f"{controls}, and others like them do not; {low_pass}", by)


def _plane(at: GraftRates) -> str:
    return f"{100 * at.share:.2g} % of the plane"
