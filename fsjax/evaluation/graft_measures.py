"""Measure one class by grafts: under its maps at as few shares as a verdict needs, and under control masks."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation import influence, verdict
from fsjax.evaluation.graft_outcomes import CONTENTS, ClassGrafts
from fsjax.evaluation.graft_results import GraftRates
from fsjax.evaluation.influence import Influence, Outcomes
from fsjax.evaluation.statistics import wilson
from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator

Mask = Bool[np.ndarray, "height width"]
Masks = Bool[np.ndarray, "masks height width"]
Plane = Float[np.ndarray, "height width"]

# Draws of each random control.
_RADIAL, _EQUAL_CHANGE = 3, 2
# Masks of a class beside its maps, at most: random ones, no DC, low-pass; contents cost as much as a mask.
MORE_MASKS = _RADIAL + _EQUAL_CHANGE + 2 + 1


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
    is_recognised: bool,
) -> dict:
    """Measure a class and return its part of `graft_results.Grafts`: base, made, rates, curve.

    `maps` of the class are at `shares`, and its verdict may rest on the first `tested`; `level` is the p-value at which
    psi is above `verdict.control`. The curve is NaN at shares that decide nothing. Controls and contents are NaN where
    the map does not control the class. A class that is not recognised is measured at the largest tested share alone.
    """
    known: dict[int, tuple[Outcomes, Influence]] = {}
    control = verdict.control(float(grafts.base.mean()))

    def effect(at: int) -> Influence:
        if at not in known:
            same = next((other for other in known if np.array_equal(maps[other], maps[at])), None)
            outcomes = grafts.outcomes(f"map{at}", maps[at][None]) if same is None else known[same][0]
            known[at] = outcomes, influence.measure(outcomes)
        return known[at][1]

    def psi(at: int) -> float:
        return float(effect(at).psi[0])

    def is_controlled(at: int) -> bool:
        return is_recognised and bool(effect(at).p_above(control)[0] <= level)

    def is_half(at: int) -> bool:
        return psi(at) >= verdict.CONTROL

    curve = unknown(len(maps))["curve"]
    if is_recognised:
        at = rests_on(is_controlled, psi, tested)
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
    controls = Controls(maps[at], seed, grafts.label, *map(spectrum.energy, images))
    rates = unknown(0)["rates"] | {
        "share": shares[at],
        "p_value": effects.p_above(control)[0],
        **{name: getattr(under_map, name).mean() for name in ("grafted", "swapped", "replaced")},
        **{name: np.clip(getattr(effects, name)[0], -1, 1) for name in ("sufficiency", "necessity", "psi")},
        "psi_ci": curve["psi_ci"][at],
        "swapped_ci": wilson(np.array(under_map.swapped.sum()), np.array(under_map.swapped.size)),
        **controls.energy_measures(),
    }
    if is_controlled(at):
        # Named after the share, which depends on the level and so on the number of classes.
        rates |= dict(zip(CONTENTS, grafts.contents(f"content{at}", maps[at]).mean(-1), strict=True))
        rates |= _control_psi(grafts, f"control{at}", controls.masks())
    return {"base": grafts.base.mean(), "made": float(grafts.made), "rates": rates, "curve": curve}


def rests_on(is_controlled: Callable[[int], bool], psi: Callable[[int], float], tested: int) -> int:
    """Return the index of the share that a verdict rests on, of the first `tested`; ask about as few as possible.

    It is the smallest at which the map controls the class, if the map does so at all larger ones; otherwise a share at
    which it does, and at the next smaller one does not. Where it does at none it is the share of the largest psi.
    """
    largest = next((at for at in reversed(range(tested)) if is_controlled(at)), None)
    return max(range(tested), key=psi) if largest is None else first_reached(is_controlled, -1, largest)


def first_reached(reached: Callable[[int], bool], below: int, at: int) -> int:
    """Return by bisection an index that is reached while the one before is not; `at` is reached, `below` is not."""
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if reached(middle) else (middle, at)
    return at


def _control_psi(grafts: ClassGrafts, name: str, controls: dict[str, Masks]) -> dict[str, float]:
    """Return the mean psi of each kind of control; NaN without any."""
    under = influence.measure(grafts.outcomes(name, np.concatenate(list(controls.values()))))
    ends = np.cumsum([len(drawn) for drawn in controls.values()])
    psi = zip(controls, np.split(np.clip(under.psi, -1, 1), ends[:-1]), strict=True)
    return {f"{kind}_psi": float(values.mean()) if len(values) else np.nan for kind, values in psi}


class Controls:
    """Controls of a class's map, which need not be constant on orbits, drawn by seed.

    Energies are mean |F x|^2 of images of the class, of other images, and of the differences of the pairs.
    """

    def __init__(
        self, mask: Mask, seed: int, label: int, class_energy: Plane, others_energy: Plane, differences_energy: Plane
    ):
        self._mask, self._hermitian = mask, mask | spectrum.conjugate(mask)
        self._class_energy, self._others_energy = class_energy, others_energy
        self._without_dc = spectrum.radius(*mask.shape) > 0
        self._differences = np.where(self._without_dc, differences_energy, 0)
        keys = seed, Stream.GRAFT_CONTROLS, label, int(mask.sum())
        self._draws = [generator(*keys, draw) for draw in range(_RADIAL + _EQUAL_CHANGE)]
        self._radial = [masks.radial_neighbours(self._hermitian, rng) for rng in self._draws[:_RADIAL]]

    def masks(self) -> dict[str, Masks]:
        """Return the masks of each kind that a verdict takes, which may be none.

        `radial` are random neighbours in radius, `equal_change` orbits drawn outside the map until they hold as much of
        the pairs' differences.
        """
        mask = self._mask
        held = float(self._differences[mask].sum())
        without_dc = mask & self._without_dc
        controls = {
            "radial": self._radial,
            "equal_change": [
                masks.outside(self._hermitian, self._differences, held, rng) for rng in self._draws[_RADIAL:]
            ],
            "no_dc": [without_dc] if (without_dc != mask).any() else [],
            "low_pass": [masks.low_pass(mask.shape[0], mask.shape[1], int(mask.sum()))],
        }
        return {kind: np.array(drawn, bool).reshape(-1, *mask.shape) for kind, drawn in controls.items()}

    def energy_measures(self) -> dict[str, float]:
        """Return the fields of GraftRates that energies give, DC left out; NaN where there is none to compare."""
        mask, total = self._mask, self._differences.sum()
        own = self._differences[mask]
        beside = np.concatenate([self._differences[drawn] for drawn in self._radial])
        inside = mask & self._without_dc
        of_class, of_others = (energy[inside].astype(float) for energy in (self._class_energy, self._others_energy))
        are_known = inside.any() and of_class.all() and of_others.all()
        logs = np.log(of_class / of_others) if are_known else np.array([np.nan])
        return {
            "difference": own.sum() / total if total else 0.0,
            "prominence": own.mean() / beside.mean() if own.sum() and beside.sum() else np.nan,
            "energy_ratio": np.exp(logs.mean()),
            "largest_energy_ratio": np.exp(logs.max()),
        }
