"""Measure one class by grafts: under its maps at every share, and under control masks of their size."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation import influence, verdict
from fsjax.evaluation.graft_outcomes import CONTENTS, ClassGrafts
from fsjax.evaluation.graft_results import GraftRates
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


def unknown(shares: int, kinds: tuple[str, ...] = KINDS) -> dict:
    """Return the measures of a class without pairs: all NaN."""
    fields = [field.name for field in dataclasses.fields(GraftRates)]
    rates = {name: np.full((2,) * name.endswith("_ci"), np.nan) for name in fields}
    shapes = {"psi": (shares,), "psi_ci": (shares, 2), "smallest": (), "smallest_ci": (2,)}
    curve = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    return {"base": np.array(np.nan), "rates": rates, "curves": dict.fromkeys(kinds, curve)}


def measure(
    grafts: ClassGrafts,
    maps: Masks,
    shares: tuple[float, ...],
    tested: tuple[bool, ...],
    kinds: tuple[str, ...],
    level: float,
    seed: int,
) -> dict:
    """Graft under every mask of a class and return the class's part of `graft_results.Grafts`: base, rates, curves.

    `maps` of the class are at `shares`; the rest is as in `judge_maps.Candidates`, and for `verdict.rests_on`.
    """
    images = grafts.donors, grafts.recipients, grafts.donors - grafts.recipients
    class_masks = ClassMasks(maps, seed, grafts.label, *map(spectrum.energy, images))
    outcomes, influences, curves = {}, {}, {}
    for kind in kinds:
        given = np.stack([class_masks.of_kind(kind, at) for at in range(len(maps))])
        outcomes[kind] = grafts.outcomes(kind, given)
        influences[kind] = influence.measure(outcomes[kind])
        smallest, limits = influence.smallest_share(outcomes[kind], shares, verdict.CONTROL, seed)
        psi, psi_ci = (np.clip(values, -1, 1) for values in (influences[kind].psi, influences[kind].interval()))
        curves[kind] = {"psi": psi, "psi_ci": psi_ci, "smallest": smallest, "smallest_ci": limits}
    under_map, effects = outcomes["map"], influences["map"]
    base = under_map.base.mean()
    p_value = effects.p_above(verdict.control(float(base)))
    at = verdict.rests_on(effects.psi, p_value, np.array(tested), level)
    swapped = under_map.swapped[at]
    rates = {
        "share": shares[at],
        "p_value": p_value[at],
        **{name: getattr(under_map, name)[at].mean() for name in ("grafted", "swapped", "replaced")},
        **{name: np.clip(getattr(effects, name)[at], -1, 1) for name in ("sufficiency", "necessity", "psi")},
        "psi_ci": curves["map"]["psi_ci"][at],
        "swapped_ci": wilson(np.array(swapped.sum()), np.array(swapped.size)),
        **dict(zip(CONTENTS, grafts.contents(f"content{at}", maps[at]).mean(-1), strict=True)),
        **_control_psi(grafts, class_masks, at),
        **class_masks.energy_measures(at),
    }
    return {"base": base, "rates": rates, "curves": curves}


def _control_psi(grafts: ClassGrafts, class_masks: "ClassMasks", at: int) -> dict[str, float]:
    """Return the mean psi of each kind of control at a share, by its index; NaN without any."""
    controls = class_masks.controls(at)
    # Named after the share, which depends on the level and so on the number of classes.
    under = influence.measure(grafts.outcomes(f"control{at}", np.concatenate(list(controls.values()))))
    ends = np.cumsum([len(drawn) for drawn in controls.values()])
    psi = zip(controls, np.split(np.clip(under.psi, -1, 1), ends[:-1]), strict=True)
    return {f"{kind}_psi": float(values.mean()) if len(values) else np.nan for kind, values in psi}


class ClassMasks:
    """The masks of one class: its maps at each share, which need not be constant on orbits, and controls drawn by seed.

    Energies are mean |F x|^2 of images of the class, of other images, and of the differences of the pairs.
    """

    def __init__(
        self, maps: Masks, seed: int, label: int, class_energy: Plane, others_energy: Plane, differences_energy: Plane
    ):
        self._maps, self._seed, self._label = maps, seed, label
        self._class_energy, self._others_energy = class_energy, others_energy
        self._plane = maps.shape[1], maps.shape[2]
        self._without_dc = spectrum.radius(*self._plane) > 0
        self._differences = np.where(self._without_dc, differences_energy, 0)
        self._radial = functools.cache(
            lambda at, draw: masks.radial_neighbours(self._hermitian(at), self._rng(at, draw))
        )

    def of_kind(self, kind: str, at: int) -> Mask:
        """Return the map at a share, by its index, or a mask of its size; `radial`: random neighbours in radius."""
        if kind in ("map", "radial"):
            return self._maps[at] if kind == "map" else self._radial(at, 0)
        positions = int(self._maps[at].sum())
        is_low_pass = kind == "low_pass"
        return (
            masks.low_pass(*self._plane, positions) if is_low_pass else masks.best_orbits(self._class_energy, positions)
        )

    def controls(self, at: int) -> dict[str, Masks]:
        """Return the controls of the map at a share that a verdict takes; lists may be empty.

        `equal_change` are orbits drawn outside the map until they hold as much of the pairs' differences.
        """
        mask = self._maps[at]
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
            **{kind: [self.of_kind(kind, at)] for kind in ("low_pass", "energy")},
        }
        return {kind: np.array(drawn, bool).reshape(-1, *self._plane) for kind, drawn in controls.items()}

    def energy_measures(self, at: int) -> dict[str, float]:
        """Return the fields of GraftRates that energies give, DC left out; NaN where there is none to compare."""
        mask, total = self._maps[at], self._differences.sum()
        own = self._differences[mask]
        beside = np.concatenate([self._differences[self._radial(at, draw)] for draw in range(_RADIAL)])
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

    def _hermitian(self, at: int) -> Mask:
        return self._maps[at] | spectrum.conjugate(self._maps[at])

    def _rng(self, at: int, draw: int) -> np.random.Generator:
        return generator(self._seed, Stream.GRAFT_CONTROLS, self._label, int(self._maps[at].sum()), draw)
