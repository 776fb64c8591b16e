"""The rule: a class for each kind of verdict, the confidence over classes and shares, and what is said of them."""

import dataclasses

import numpy as np
import pytest

from fsjax.evaluation import verdict
from fsjax.evaluation.verdict import AtShare, Evidence

# A shortcut by amplitude, far from every boundary.
AT = AtShare(
    share=0.01,
    psi=0.9,
    psi_ci=(0.85, 0.95),
    p_value=1e-9,
    grafted=0.9,
    difference=0.2,
    amplitude=0.9,
    phase=0.1,
    zeroed=0.1,
    radial_psi=0.0,
    equal_change_psi=0.1,
    no_dc_psi=np.nan,
)
SHORTCUT = Evidence(tpr=0.95, fpr=0.02, pairs=120, why_none="", base=0.1, default=0.1, shares=(AT,))
NOTHING = AT._replace(psi=0.1, psi_ci=(0.05, 0.15), p_value=1.0, grafted=0.15, amplitude=0.1)


def changed(*shares, **values):
    """Return the evidence with other values; without shares those of AT are changed."""
    own = {name: values.pop(name) for name in list(values) if name in AtShare._fields}
    return dataclasses.replace(SHORTCUT, shares=shares or (AT._replace(**own),), **values)


def kind(evidence):
    (decision,) = verdict.decide([evidence])
    assert decision.kind in verdict.KINDS and decision.reason
    return " ".join(filter(None, (decision.kind, decision.by)))


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (SHORTCUT, "shortcut amplitude"),
        (changed(amplitude=0.2, phase=0.8), "shortcut phase"),
        (changed(amplitude=0.2), "shortcut amplitude and phase"),
        (changed(phase=0.8), "shortcut amplitude and phase"),
        (changed(radial_psi=0.5), "band"),
        (changed(difference=0.6), "coarse"),
        (changed(no_dc_psi=0.3), "coarse"),
        (changed(no_dc_psi=0.8), "shortcut amplitude"),
        (changed(zeroed=0.8), "by absence"),
        # What is set to 0 in others' images may be the class's own amplitude only where that carries it too.
        (changed(zeroed=0.8, amplitude=0.1, phase=0.8), "shortcut phase"),
        (changed(equal_change_psi=0.9), "spread"),
        (changed(NOTHING), "spread"),
        (changed(NOTHING, default=0.8), "default class"),
        # Frequencies that win over the recipient's own class are no default.
        (changed(default=0.8, base=0.0), "shortcut amplitude"),
        (changed(fpr=0.6), "not recognised"),
        (changed(tpr=0.4), "not recognised"),
        (changed(fpr=np.nan), "shortcut amplitude"),
        (changed(tpr=np.nan), "undecided"),
        (changed(pairs=0, why_none="too few"), "undecided"),
        (changed(psi=0.55, psi_ci=(0.45, 0.65), p_value=0.2), "undecided"),
    ],
)
def test_a_class_of_each_kind(evidence, expected):
    assert kind(evidence) == expected


def test_the_first_share_that_controls_the_class_decides():
    small, large = NOTHING, AT._replace(share=0.05, radial_psi=0.8)
    assert verdict.decide([changed(small, large)])[0].at == 1 and kind(changed(small, large)) == "band"
    assert verdict.decide([changed(AT, large)])[0].at == 0 and kind(changed(AT, large)) == "shortcut amplitude"


def test_confidence_is_over_shares_and_classes():
    barely = AT._replace(psi=0.6, psi_ci=(0.505, 0.695), p_value=0.02)
    assert kind(changed(barely)) == "shortcut amplitude"
    assert kind(changed(barely, barely._replace(share=0.05))) == "undecided"
    none = changed(NOTHING)
    assert [decision.kind for decision in verdict.decide([changed(barely), none, none])] == [
        "undecided",
        "spread",
        "spread",
    ]
    # A class among others that are shortcuts needs no more than the false discovery rate.
    assert verdict.decide([changed(barely), SHORTCUT, SHORTCUT])[0].kind == "shortcut"
    assert verdict.decide([]) == []


def test_an_undecided_class_says_how_many_pairs_would_decide():
    (decision,) = verdict.decide([changed(psi=0.55, psi_ci=(0.45, 0.65), p_value=0.2)])
    # Half the interval is .1 and has to become .05: four times the pairs.
    assert "about 480" in decision.reason and "psi is 0.55" in decision.reason
    (decision,) = verdict.decide([changed(pairs=0, why_none="there is no other class")])
    assert decision.reason == "there is no other class"
