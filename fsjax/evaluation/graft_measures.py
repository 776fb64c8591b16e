"""Measure one class by grafts: under its maps at as few shares as a verdict needs, and under control masks."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fsjax.evaluation import influence, verdict
from fsjax.evaluation.graft_outcomes import CONTENTS, GRAFTS_A_PAIR, ClassGrafts
from fsjax.evaluation.graft_results import GraftRates
from fsjax.evaluation.influence import Influence, Outcomes
from fsjax.evaluation.statistics import wilson
from fsjax.fourier import masks, spectrum
from fsjax.fourier.spectrum import Mask, Masks, Plane
from fsjax.runtime.random_streams import Stream, generator

# Draws of each random control.
_RADIAL, _EQUAL_CHANGE = 2, 2
# A verdict rests on a map with this part of the psi at the largest share that it may rest on.
_MOST = 0.75


def unknown(shares: int) -> dict:
    """Return the measures of a class without grafts: all NaN."""
    fields = [field.name for field in dataclasses.fields(GraftRates)]
    rates = {name: np.full((2,) * name.endswith("_ci"), np.nan) for name in fields}
    shapes = {"psi": (shares,), "psi_ci": (shares, 2), "smallest": (), "smallest_ci": (2,)}
    curve = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    return {"base": np.array(np.nan), "made": np.array(np.nan), "rates": rates, "curve": curve}


def measure(
    grafts: ClassGrafts,
    maps: Masks,
    shares: tuple[float, ...],
    tested: int,
    level: float,
    seed: int,
    control: float,
    is_recognised: bool,
) -> dict:
    """Measure a class and return its part of `graft_results.Grafts`: base, made, rates, curve.

    `maps` of the class are at `shares`, and its verdict may rest on the first `tested`; `level` is the p-value at which
    psi is above `control`. The curve is NaN at shares that decide nothing. Controls and contents are NaN where
    the map does not control the class. A class that is not recognised is measured at the largest tested share alone.
    """
    known: dict[int, tuple[Outcomes, Influence]] = {}

    def effect(at: int) -> Influence:
        if at not in known:
            same = next((other for other in known if np.array_equal(maps[other], maps[at])), None)
            outcomes = grafts.outcomes(f"map{at}", maps[at][None]) if same is None else known[same][0]
            known[at] = outcomes, influence.measure(outcomes)
        return known[at][1]

    def psi(at: int) -> float:
        return float(effect(at).psi[0])

    def p_value(at: int) -> float:
        return float(effect(at).p_above(control)[0])

    def is_half(at: int) -> bool:
        return psi(at) >= verdict.CONTROL

    curve, p_values = unknown(len(maps))["curve"], [1.0]
    if is_recognised:
        at = rests_on(lambda share: p_value(share) <= level, psi, control, tested)
        p_values = [p_value(share) for share in known]
        if not any(map(is_half, known)):
            effect(len(maps) - 1)  # psi may reach a half at a share that is too large for a verdict
        if halves := [share for share in sorted(known) if is_half(share)]:
            first_reached(is_half, max((share for share in known if share < halves[0]), default=-1), halves[0])
        outcomes = influence.joined([known[share][0] for share in sorted(known)])
        curve["smallest"], curve["smallest_ci"] = influence.smallest_share(
            outcomes, tuple(shares[share] for share in sorted(known)), verdict.CONTROL, seed
        )
    else:
        at = tested - 1
    effects = effect(at)
    under_map, measured = known[at][0], list(known)
    curve["psi"][measured] = np.clip([effect(share).psi[0] for share in measured], -1, 1)
    curve["psi_ci"][measured] = np.clip([effect(share).interval()[0] for share in measured], -1, 1)
    images = grafts.donors, grafts.recipients, grafts.donors - grafts.recipients
    energies = [spectrum.energy(some) for some in images]
    rates = unknown(0)["rates"] | {
        "share": shares[at],
        "p_value": min(p_values),
        **{name: getattr(under_map, name).mean() for name in ("disrupted", "grafted", "swapped", "replaced")},
        **{name: np.clip(getattr(effects, name)[0], -1, 1) for name in ("sufficiency", "necessity", "psi")},
        "psi_ci": curve["psi_ci"][at],
        "swapped_ci": wilson(np.array(under_map.swapped.sum()), np.array(under_map.swapped.size)),
        **energy_measures(maps[at], *energies),
    }
    if min(p_values) <= level:
        # Named after the share, which depends on the level and so on the number of classes.
        rates |= dict(zip(CONTENTS, grafts.contents(f"content{at}", maps[at]).mean(-1), strict=True))
        rates |= _control_psi(grafts, f"controls{at}", control_masks(maps[at], energies[-1], grafts.label, seed))
        without_dc = maps[at] & _beyond_dc(maps[at])
        if (without_dc != maps[at]).any():
            outcomes = grafts.across_classes(f"no_dc{at}", without_dc, under_map)
            rates["no_dc_psi"] = np.clip(influence.measure(outcomes).psi[0], -1, 1)
    return {"base": grafts.base.mean(), "made": float(grafts.made), "rates": rates, "curve": curve}


def rests_on(is_above: Callable[[int], bool], psi: Callable[[int], float], control: float, tested: int) -> int:
    """Return the index of the share that a verdict rests on, of the first `tested`; ask about as few as possible.

    `is_above` says whether psi is above `control` with confidence. The largest such share of those asked about decides
    whether the map controls the class. The verdict rests on the smallest share whose psi reaches `control` and most of
    the psi there: it does not depend on the number of pairs, and leaves little of the cue to the control masks. Where
    psi falls with the share, it is a share that reaches this while the next smaller one does not. Without confidence
    at any share asked about, it is the one of these with the largest psi.
    """
    asked = sorted({(tested - 1) >> turn for turn in range((tested - 1).bit_length() + 1)})
    confident = next((at for at in reversed(asked) if is_above(at)), None)
    if confident is None:
        return max(asked, key=psi)
    enough = max(control, _MOST * psi(confident))
    return first_reached(lambda at: psi(at) >= enough, -1, confident)


def grafts_a_pair(tested: int) -> int:
    """Return how many grafts `measure` makes of a pair at most.

    Shares beyond the tested take no more, since such a class has no controls.
    """
    maps, controls = tested.bit_length() + 2, _RADIAL + _EQUAL_CHANGE + 1
    return 1 + GRAFTS_A_PAIR * (maps + controls) + 2 + len(CONTENTS)  # of nothing, and two without DC


def first_reached(reached: Callable[[int], bool], below: int, at: int) -> int:
    """Return by bisection an index that is reached while the one before is not; `at` is reached, `below` is not."""
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if reached(middle) else (middle, at)
    return at


def _control_psi(grafts: ClassGrafts, name: str, controls: dict[str, Masks]) -> dict[str, float]:
    """Return the mean psi of each kind of control."""
    under = influence.measure(grafts.outcomes(name, np.concatenate(list(controls.values()))))
    ends = np.cumsum([len(drawn) for drawn in controls.values()])
    psi = zip(controls, np.split(np.clip(under.psi, -1, 1), ends[:-1]), strict=True)
    return {f"{kind}_psi": float(values.mean()) for kind, values in psi}


def control_masks(mask: Mask, differences: Plane, label: int, seed: int) -> dict[str, Masks]:
    """Draw the controls of a class's map, which need not be constant on orbits.

    `radial` are random neighbours in radius, `equal_change` orbits outside the map, drawn until they hold as much of
    `differences`: the energy, mean |F x|^2, of the pairs' differences.
    """
    hermitian = mask | spectrum.conjugate(mask)
    differences, positions = np.where(_beyond_dc(mask), differences, 0), int(mask.sum())
    held = float(differences[mask].sum())
    rngs = [generator(seed, Stream.GRAFT_CONTROLS, label, positions, draw) for draw in range(_RADIAL + _EQUAL_CHANGE)]
    controls = {
        "radial": [masks.radial_neighbours(hermitian, rng) for rng in rngs[:_RADIAL]],
        "equal_change": [masks.outside(hermitian, differences, held, rng) for rng in rngs[_RADIAL:]],
        "low_pass": [masks.low_pass(mask.shape[0], mask.shape[1], positions)],
    }
    return {kind: np.array(drawn, bool).reshape(-1, *mask.shape) for kind, drawn in controls.items()}


def energy_measures(mask: Mask, of_class: Plane, of_others: Plane, differences: Plane) -> dict[str, float]:
    """Return the fields of GraftRates that energies give, DC left out; NaN where there is none to compare.

    Energies are mean |F x|^2 of images of the class, of other images, and of the differences of the pairs.
    """
    differences, inside = np.where(_beyond_dc(mask), differences, 0), mask & _beyond_dc(mask)
    own, others = of_class[inside].astype(float), of_others[inside].astype(float)
    logs = np.log(own / others) if inside.any() and own.all() and others.all() else np.array([np.nan])
    total = differences.sum()
    return {
        "difference": differences[mask].sum() / total if total else 0.0,
        "energy_ratio": np.exp(logs.mean()),
        "largest_energy_ratio": np.exp(logs.max()),
    }


def _beyond_dc(mask: Mask) -> Mask:
    return spectrum.radius(*mask.shape) > 0
