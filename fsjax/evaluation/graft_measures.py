"""Measure one class by grafts: under its maps at every share, and under control masks of their size."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation import influence, verdict
from fsjax.evaluation.graft_outcomes import CONTENTS, ClassGrafts
from fsjax.evaluation.graft_results import Curve, GraftRates
from fsjax.evaluation.influence import Influence, Outcomes
from fsjax.evaluation.statistics import wilson
from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator

Mask = Bool[np.ndarray, "height width"]
Masks = Bool[np.ndarray, "masks height width"]
Plane = Float[np.ndarray, "height width"]

# Kinds of masks with a psi at every share.
KINDS = ("map", "low_pass", "energy", "radial")
# Draws of each random control at the share that a verdict rests on.
_RADIAL, _EQUAL_CHANGE = 3, 2
# Masks of a class beside the kinds at every share, at most: the empty mask, controls, and the contents of the map.
MORE_MASKS = 1 + _RADIAL + _EQUAL_CHANGE + 1 + 2 + 1


@dataclasses.dataclass(frozen=True, eq=False)
class ClassMeasures:
    """The part of a class in `graft_results.Grafts`: q0, rates, and a curve for each kind of mask."""

    base: Float[np.ndarray, ""]
    rates: GraftRates
    curves: dict[str, Curve]


def unknown(shares: int, kinds: tuple[str, ...]) -> ClassMeasures:
    """Return the measures of a class without pairs: all NaN."""
    shapes = (shares,), (shares, 2), (), (2,)
    curves = {kind: Curve(*(np.full(shape, np.nan) for shape in shapes)) for kind in kinds}
    return ClassMeasures(np.array(np.nan), GraftRates.unknown(), curves)


def measure(
    grafts: ClassGrafts,
    maps: Masks,
    shares: tuple[float, ...],
    tested: tuple[bool, ...],
    kinds: tuple[str, ...],
    level: float,
    seed: int,
) -> ClassMeasures:
    """Graft under every mask of a class and return the measures.

    `maps` of the class are those at `shares`, and `tested` says where a verdict may rest on them; they need not be
    constant on orbits. Masks of `kinds` are grafted at every share, the map first; `level` is for `verdict.rests_on`.
    """
    images = grafts.donors, grafts.recipients, grafts.donors - grafts.recipients
    class_masks = ClassMasks(maps, seed, grafts.label, *map(spectrum.energy, images))
    outcomes = {kind: grafts.outcomes(kind, class_masks.at_every_share(kind)) for kind in kinds}
    influences = {kind: influence.measure(under_kind) for kind, under_kind in outcomes.items()}
    curves = {kind: _curve(outcomes[kind], influences[kind], shares, seed) for kind in kinds}
    base = outcomes["map"].base.mean()
    p_value = influences["map"].p_above(verdict.control(float(base)))
    at = verdict.rests_on(influences["map"].psi, p_value, np.array(tested), level)
    rates = {
        "share": shares[at],
        "p_value": p_value[at],
        **_map_rates(outcomes["map"], influences["map"], at),
        **dict(zip(CONTENTS, grafts.contents(f"content{at}", maps[at]).mean(-1), strict=True)),
        **_control_psi(grafts, class_masks, at),
        "difference": class_masks.share_of_difference(at),
        "prominence": class_masks.prominence(at),
        **dict(zip(("energy_ratio", "largest_energy_ratio"), class_masks.energy_ratios(at), strict=True)),
    }
    return ClassMeasures(np.array(base), GraftRates(**{name: np.array(rate) for name, rate in rates.items()}), curves)


def _curve(outcomes: Outcomes, influences: Influence, shares: tuple[float, ...], seed: int) -> Curve:
    smallest, limits = influence.smallest_share(outcomes, shares, verdict.CONTROL, seed)
    psi, psi_ci = (np.clip(values, -1, 1) for values in (influences.psi, influences.interval()))
    return Curve(psi, psi_ci, np.array(smallest), limits)


def _map_rates(outcomes: Outcomes, influences: Influence, at: int) -> dict[str, float | np.ndarray]:
    """Return the effects of the map at a share, by its index."""
    swapped = outcomes.swapped[at]
    return {
        **{name: getattr(outcomes, name)[at].mean() for name in ("grafted", "swapped", "replaced")},
        **{name: np.clip(getattr(influences, name)[at], -1, 1) for name in ("sufficiency", "necessity", "psi")},
        "psi_ci": np.clip(influences.interval()[at], -1, 1),
        "swapped_ci": wilson(np.array(swapped.sum()), np.array(swapped.size)),
    }


def _control_psi(grafts: ClassGrafts, class_masks: "ClassMasks", at: int) -> dict[str, float]:
    """Return the mean psi of each kind of control at a share, by its index; NaN without any."""
    controls = class_masks.controls(at)
    # Named after the share, which depends on the level and so on the number of classes.
    under = influence.measure(grafts.outcomes(f"control{at}", np.concatenate(list(controls.values()))))
    ends = np.cumsum([len(drawn) for drawn in controls.values()])
    psi = zip(controls, np.split(np.clip(under.psi, -1, 1), ends[:-1]), strict=True)
    return {f"{kind}_psi": float(values.mean()) if len(values) else np.nan for kind, values in psi}


@dataclasses.dataclass(frozen=True, eq=False)
class ClassMasks:
    """The masks of one class: its maps at each share, which need not be constant on orbits, and controls drawn by seed.

    Energies are mean |F x|^2 of images of the class, of other images, and of the differences of the pairs.
    """

    maps: Masks
    seed: int
    label: int
    class_energy: Plane
    others_energy: Plane
    differences_energy: Plane

    @functools.cached_property
    def _without_dc(self) -> Mask:
        return spectrum.radius(*self._plane) > 0

    @functools.cached_property
    def _differences(self) -> Plane:
        return np.where(self._without_dc, self.differences_energy, 0)

    @property
    def _plane(self) -> tuple[int, int]:
        return self.maps.shape[1], self.maps.shape[2]

    def at_every_share(self, kind: str) -> Masks:
        """Return the masks of one of KINDS: the map, or as many of the lowest frequencies or of highest class energy.

        `radial` masks are random: the map's nearest neighbours in radius.
        """
        make = {"map": lambda at: self.maps[at], "radial": lambda at: self._radial(at, 0)}
        make |= {"low_pass": self._low_pass, "energy": self._most_energy}
        return np.stack([make[kind](at) for at in range(len(self.maps))])

    def controls(self, at: int) -> dict[str, Masks]:
        """Return the controls of the map at a share, by its index, that a verdict takes; lists may be empty.

        `equal_change` are orbits drawn outside the map until they hold as much of the pairs' differences.
        """
        mask = self.maps[at]
        held = float(self._differences[mask].sum())
        changes = [
            masks.outside(self._hermitian(at), self._differences, held, self._rng(at, _RADIAL + draw))
            for draw in range(_EQUAL_CHANGE)
        ]
        without_dc = mask & self._without_dc
        controls = {
            "radial": [self._radial(at, draw) for draw in range(_RADIAL)],
            "equal_change": changes,
            "no_dc": [without_dc] if (without_dc != mask).any() else [],
            "low_pass": [self._low_pass(at)],
            "energy": [self._most_energy(at)],
        }
        return {kind: np.array(drawn, bool).reshape(-1, *self._plane) for kind, drawn in controls.items()}

    def share_of_difference(self, at: int) -> float:
        """Return e, the share of the energy of the pairs' differences in the map, DC left out."""
        total = self._differences.sum()
        return float(self._differences[self.maps[at]].sum() / total) if total else 0.0

    def energy_ratios(self, at: int) -> tuple[float, float]:
        """Return the energy of the class over others' at a position, DC left out: geometric mean and largest.

        NaN for a map of DC alone, and where either side has no energy at a position.
        """
        mask = self.maps[at] & self._without_dc
        own, theirs = (energy[mask].astype(float) for energy in (self.class_energy, self.others_energy))
        if not mask.any() or not own.all() or not theirs.all():
            return np.nan, np.nan
        logs = np.log(own / theirs)
        return float(np.exp(logs.mean())), float(np.exp(logs.max()))

    def prominence(self, at: int) -> float:
        """Return how much of the difference a position of the map holds, over its radial controls; NaN without any."""
        own = self._differences[self.maps[at]]
        beside = np.concatenate([self._differences[self._radial(at, draw)] for draw in range(_RADIAL)])
        return float(own.mean() / beside.mean()) if own.sum() and beside.sum() else np.nan

    def _low_pass(self, at: int) -> Mask:
        return masks.low_pass(*self._plane, int(self.maps[at].sum()))

    def _most_energy(self, at: int) -> Mask:
        return masks.best_orbits(self.class_energy, int(self.maps[at].sum()))

    @functools.cached_property
    def _radial(self) -> Callable[[int, int], Mask]:
        """Draw a radial control of the map at a share; a repeated call does not draw again."""
        return functools.cache(lambda at, draw: masks.radial_neighbours(self._hermitian(at), self._rng(at, draw)))

    def _hermitian(self, at: int) -> Mask:
        return self.maps[at] | spectrum.conjugate(self.maps[at])

    def _rng(self, at: int, draw: int) -> np.random.Generator:
        return generator(self.seed, Stream.GRAFT_CONTROLS, self.label, int(self.maps[at].sum()), draw)
