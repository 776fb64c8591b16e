"""The rule: a class for each kind of verdict, the confidence over classes and shares, and the sentences."""

import dataclasses

import numpy as np
import pytest

from fsjax.evaluation import graft_measures, verdict
from fsjax.evaluation.graft_results import KINDS, GraftRates, Triggers

# A shortcut by amplitude, far from every boundary.
RATES = {
    **{"share": 0.01, "psi": 0.9, "psi_ci": (0.85, 0.95), "p_value": 1e-9, "grafted": 0.9, "difference": 0.2},
    **{"amplitude": 0.9, "phase": 0.1, "zeroed": 0.1, "energy_ratio": 5.0},
    **{"largest_energy_ratio": 9.0, "radial_psi": 0.0, "equal_change_psi": 0.1, "low_pass_psi": 0.0},
}


def with_rates(rates, **values):
    """Measures of one class with other values."""
    return dataclasses.replace(rates, **{name: np.array(value, float) for name, value in values.items()})


FIELDS = [field.name for field in dataclasses.fields(GraftRates)]
AT = with_rates(GraftRates(**graft_measures.unknown(shares=1)["rates"]), **RATES)
SHORTCUT = {"at": AT, "tpr": 0.95, "fpr": 0.02, "pairs": 120, "base": 0.1, "level": 1e-3, "classes": 5}
NOTHING = {"psi": 0.1, "psi_ci": (0.05, 0.15), "p_value": 1.0, "grafted": 0.15, "amplitude": 0.1}
NEAR = ((0.37, 5.7), (0.37, 8.3), (0.25, 5.5), (0.35, 5.5))  # psi of low-pass, and times others' energy
LACKING = {0.59: "by absence", 0.7: "undecided", 0.91: "shortcut amplitude"}  # by the ratio to others' energy
LOW_PASS = {0.61: "shortcut amplitude", 0.62: "undecided", 0.91: "undecided", 0.93: "coarse"}
BARELY = {"psi": 0.55, "psi_ci": (0.45, 0.65), "p_value": 0.2}


def changed(**values):
    """Return the evidence with other values, also of measures."""
    rates = {name: values.pop(name) for name in list(values) if name in FIELDS}
    return SHORTCUT | {"at": with_rates(AT, **rates), **values}


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (SHORTCUT, "shortcut amplitude"),
        (changed(amplitude=0.2, phase=0.8), "shortcut phase"),
        (changed(amplitude=0.2, p_value=1e-3), "shortcut amplitude and phase"),
        (changed(phase=0.8), "shortcut amplitude and phase"),
        # Controls have half of psi at 0.45, and are a fifth from it at 0.36 and 0.54; low-pass has 0.85 of it at 0.765.
        *((changed(radial_psi=psi), kind) for psi, kind in ((0.35, "shortcut amplitude"), (0.55, "band"))),
        *((changed(radial_psi=psi), "undecided") for psi in (0.37, 0.44, 0.46, 0.53)),
        *((changed(low_pass_psi=psi), kind) for psi, kind in LOW_PASS.items()),
        (changed(low_pass_psi=0.37, largest_energy_ratio=5.5, zeroed=0.8), "coarse"),
        *((changed(low_pass_psi=0.37, largest_energy_ratio=ratio), "coarse") for ratio in (5.5, np.nan)),
        *((changed(low_pass_psi=psi, largest_energy_ratio=own), "undecided") for psi, own in NEAR),
        (changed(low_pass_psi=0.23, largest_energy_ratio=5.5), "shortcut amplitude"),
        *((changed(no_dc_psi=psi), kind) for psi, kind in ((0.3, "coarse"), (0.8, "shortcut amplitude"))),
        (changed(zeroed=0.8), "by absence"),
        # Zeros may be the class's own amplitude only where amplitudes carry it too.
        (changed(zeroed=0.8, amplitude=0.25, phase=0.8), "shortcut phase"),
        (changed(zeroed=0.8, amplitude=0.35, phase=0.8), "by absence"),
        # A default class, also where the phases of others' cues have to go.
        (changed(zeroed=0.95, amplitude=0.6, phase=0.9, base=0.7), "by absence"),
        *((changed(energy_ratio=ratio, largest_energy_ratio=2.0), kind) for ratio, kind in LACKING.items()),
        (changed(energy_ratio=0.1, largest_energy_ratio=9.0), "shortcut amplitude"),  # one orbit of its own
        (changed(energy_ratio=np.nan, largest_energy_ratio=np.nan), "shortcut amplitude"),
        # A phase carries no energy: the map may hold orbits of others' cues beside it.
        (changed(energy_ratio=0.2, largest_energy_ratio=1.0, amplitude=0.1, phase=0.8), "shortcut phase"),
        (changed(energy_ratio=0.5, largest_energy_ratio=1.0, amplitude=0.6, phase=0.9, base=0.7), "by absence"),
        (changed(equal_change_psi=0.55), "spread"),
        (changed(equal_change_psi=np.nan, radial_psi=np.nan), "shortcut amplitude"),
        (changed(psi=0.6, psi_ci=(0.52, 0.68), p_value=2e-3), "undecided"),
        (changed(**NOTHING), "spread"),
        (changed(**NOTHING, base=0.8), "default class"),
        # Its psi is 0.9, and has to be above that where the model says the class by default.
        (changed(base=0.8, p_value=0.5), "default class"),
        (changed(base=0.65, psi=1.0, grafted=1.0, amplitude=1.0, phase=0.6), "shortcut amplitude"),
        # With three classes q0 is 1/2 by chance, and with two it leaves out no class.
        (changed(base=0.74, psi=0.6, amplitude=0.9, classes=3), "shortcut amplitude"),
        (changed(base=0.74, p_value=0.5, psi_ci=(0.3, 0.4)), "default class"),
        # Of 120 pairs, the lower limit of q0 is 0.61, at or below 0.625 of five classes.
        (changed(base=0.7, p_value=0.5, psi_ci=(0.3, 0.4)), "undecided"),
        (changed(fpr=0.6), "not recognised"),
        (changed(tpr=0.4), "not recognised"),
        (changed(fpr=np.nan), "shortcut amplitude"),
        (changed(tpr=np.nan), "undecided"),
        (changed(at=None, pairs=0, why_none="too few"), "undecided"),
        (changed(**BARELY), "undecided"),
        # Of 120 others' images, 36 have an upper limit of 0.387, and 38 of 0.405.
        (changed(**BARELY, grafted=0.3), "spread"),
        (changed(**BARELY, grafted=38 / 120), "undecided"),
        (changed(grafted=0.3), "spread"),
    ],
)
def test_a_class_of_each_kind(evidence, expected):
    decision = verdict.decide(**evidence)
    assert decision.kind in KINDS and decision.reason
    assert f"{decision.kind} {decision.by}".strip() == expected


@pytest.mark.parametrize(
    ("kind", "low", "elsewhere", "expected"),
    [
        *((kind, 0.55, 0.4, "trigger") for kind in ("spread", "by absence", "default class")),
        *((kind, 0.55, 0.4, kind) for kind in ("shortcut", "band", "not recognised")),
        ("spread", 0.54, 0.0, "spread"),
        ("spread", 0.9, 0.41, "spread"),  # as any wave does
        ("spread", np.nan, np.nan, "spread"),  # no image to count
    ],
)
def test_a_trigger_is_said_where_grafts_leave_the_cue_open_and_other_waves_do_less(kind, low, elsewhere, expected):
    values = {"triggered": 0.8, "triggered_ci": [low, 0.9], "elsewhere": elsewhere, "frequency": 0.4123, "others": 0.1}
    arrays = {name: np.stack([np.zeros(np.shape(value)), value]) for name, value in values.items()}
    found = Triggers("", 0.35, np.zeros((2, 2), int), images=np.array([9, 9]), **arrays)
    before = verdict.Decision(kind, "a reason")
    after = verdict.or_trigger(before, found, 1)
    assert after.kind == expected in KINDS and verdict.or_trigger(before, found, 0) == before
    assert verdict.or_trigger(before, None, 1) == before
    if expected == "trigger":
        wave = "a faint wave of 0.41 cycles/pixel turns 80 % of other classes' images into it"
        assert after.reason == f"{wave}; other waves of its radius 40 %"


def test_confidence_is_over_all_classes_and_shares_and_a_default_class_needs_complete_control():
    assert verdict.level(10, 8) == pytest.approx(0.025 / 80) and verdict.level(1, 0) == 0.025
    for classes, most in ((2, 1.0), (3, 0.75), (5, 0.625), (1001, 0.5005)):
        assert verdict.control(most, classes) == 0.5 and verdict.control(most + 0.01, classes) == 0.9


def test_the_reason_says_how_many_pairs_may_decide_and_what_low_pass_does():
    reason = verdict.decide(**changed(**BARELY)).reason
    # The standard error is .1/1.96, and .05 has to be 3.09 of it, at the level of 1e-3.
    assert pytest.approx(1193, abs=1) == 120 * (0.1 / 1.95996 * 3.09023 / 0.05) ** 2
    assert "about 1,200" in reason and "psi is 0.55" in reason
    # Half the interval is .1 and has to become .05: four times the pairs.
    assert "about 480" in verdict.decide(**changed(psi=0.45, psi_ci=(0.35, 0.55), p_value=0.8)).reason
    for psi, said in ((0.249, "0.25"), (-0.001, "0.00")):
        assert f"low-pass of this size has psi {said}" in verdict.decide(**changed(low_pass_psi=psi)).reason
