"""What a network uses of each class's map: of its decisive frequencies, the beginning that controls most for its size.

Examples:
  >>> scores = np.ones((1, 8, 8))
  >>> whole = np.ones((1, 8, 8), bool)
  >>> energy = np.where(spectrum.radius(8, 8) < 0.2, 9.0, 1.0)
  >>> part = decisive(whole, scores, energy)
  >>> int(part.sum())  # all but the nine lowest
  55
  >>> beginnings(part[0], scores[0]).sum((1, 2)).tolist()
  [1, 3, 5, 7, 10, 14, 20, 30, 44, 55]
  >>> energy_held(part, energy).round(2).tolist()
  [0.4]
  >>> excess(np.array([0.4, 0.5]), np.array([0.2, 1.0]), np.zeros(2)).round(2).tolist()  # of a small map, a whole one
  [0.41, 0.0]
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.model import Model
from fsjax.evaluation import grafts, influence, verdict
from fsjax.evaluation.grafts import GRAFTS_A_PAIR, GraftSample
from fsjax.evaluation.influence import Outcomes
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

_RECOGNISED = 0.5
# Of the largest score of a map, or score over energy: what has less only fills the map.
_FAINT = 0.05
# The side of the planes on which it was chosen what a map of some size has to control.
_SIDE = 32
# Orbits of the beginnings of a map that are measured: each about sqrt 2 times as many as the one before.
_COUNTS = np.unique(np.round(np.sqrt(2.0) ** np.arange(40))).astype(int)


class Measured(NamedTuple):
    """What a network uses of each class's map, and what that does; rates are NaN without pairs of images.

    Attributes:
      maps: of the class's map the beginning with the largest `excess`.
      used: whether the network uses it, which is then above 0.
      base: q0, as in `influence`.
      swapped: w of that beginning.
      psi: of the same.
      psi_ci: its 95 % interval.
    """

    maps: Bool[np.ndarray, "classes height width"]
    used: Bool[np.ndarray, " classes"]
    base: Float[np.ndarray, " classes"]
    swapped: Float[np.ndarray, " classes"]
    psi: Float[np.ndarray, " classes"]
    psi_ci: Float[np.ndarray, "classes 2"]


def decisive(
    maps: Bool[np.ndarray, "classes height width"],
    scores: Float[np.ndarray, "classes height width"],
    energy: Float[np.ndarray, "height width"],
) -> Bool[np.ndarray, "classes height width"]:
    """Return maps without frequencies that only fill them, or that decide no more than their energy lets expect.

    The graft search splits a change of log-odds between all orbits. An orbit stays if it has a twentieth of the largest
    score or more, if its share of the change, among orbits that raise the log-odds, exceeds its share of the energy in
    which images differ, and if the ratio of the two is a twentieth or more of the largest in what is left of the map.
    The lowest frequencies of photographs hold most of this energy: they decide a part, as any true cue does, and
    grafting them costs accuracy.

    Args:
      maps: one a class.
      scores: of the graft search, in nats.
      energy: mean |F x|^2 of images without the mean image.
    """
    orbits, sizes = spectrum.orbits(*energy.shape), spectrum.orbit_sizes(*energy.shape)
    raising = np.maximum(spectrum.per_orbit(scores), 0)
    held = spectrum.per_orbit(energy) * sizes
    inside = spectrum.per_orbit(maps) & (raising >= _FAINT * raising.max(1, keepdims=True))
    total = max(held.sum(), 1e-30)  # where images are all alike
    per_energy = raising / np.maximum(held, 1e-12 * total)
    mean = raising.sum(1, keepdims=True) / total
    largest = np.where(inside, per_energy, 0).max(1, keepdims=True)
    return (inside & (per_energy > mean) & (per_energy >= _FAINT * largest))[:, orbits]


def beginnings(
    chosen: Bool[np.ndarray, "height width"], scores: Float[np.ndarray, "height width"]
) -> Bool[np.ndarray, "n height width"]:
    """Return the orbits of a map with the largest scores: 1, 2, 3, 4, 6, 8, 11, 16, ... of them, and all.

    Args:
      chosen: the map, constant on orbits; an empty one has one beginning, itself.
      scores: read at an orbit's first member.
    """
    ranks = masks.ranks(chosen, scores)
    return (ranks < _counts(int(np.isfinite(ranks).sum()))[:, None])[:, spectrum.orbits(*chosen.shape)]


def grafts_a_class(pairs: int, share: float, height: int, width: int) -> int:
    """Return how many grafts of so many pairs `measure` makes at most for a class whose map keeps a share."""
    orbits = (masks.budget(share, height, width) + 1) // 2
    return _grafts(pairs, orbits)


def measure(
    model: Model,
    maps: Bool[np.ndarray, "classes height width"],
    sample: GraftSample,
    *,
    scores: Float[np.ndarray, "classes height width"],
    energy: Float[np.ndarray, "height width"],
    share: float,
    memory_mib: int = 0,
    directory: Path | None = None,
) -> Measured:
    """Measure the beginnings of a map of each class by grafts. Collective: processes share the classes.

    What few frequencies decide is a shortcut, while many share in any cue. So each has to pay its way: the part that is
    used is the beginning that most exceeds what is asked of one of its size. What follows in the map adds too little,
    such as frequencies of the true cue behind those of a shortcut. Where many classes have the same shortcut, psi stays
    low, for who is shown it and another true cue says neither class; and still it is its first frequencies that decide.

    A network that says the class of anything is no exception, where a verdict would ask for more: a shortcut that is
    passed over stays in the training, and one that is none costs little.

    Args:
      model: the classifier.
      maps: one a class.
      sample: the images.
      scores: of the frequencies; a map begins with the largest.
      energy: mean |F x|^2 of images without the mean image.
      share: of the plane that a map may keep.
      memory_mib: as in config.run.
      directory: where outcomes are stored, so that a restart computes only the rest; None = nowhere.

    Raises:
      InputError: too little memory, or outcomes of another model in the directory.
      interrupt.Terminated: SIGTERM came; what is computed is saved.
    """
    count = len(maps)
    partial_results = PartialResults(directory, grafts.layout(model, sample.pairs, memory_mib), model.params)
    engine = grafts.make_engine(model, partial_results.layout)
    values = np.full((count, 7), np.nan)
    mine = parallel.share(count)
    own = range(count)[mine]
    of_each = [_grafts(sample.pairs, orbits) for orbits in spectrum.per_orbit(maps[mine]).sum(1).tolist()]
    with Progress("probe grafts", sum(of_each), "grafts") as progress:
        for label, done in zip(own, np.cumsum(of_each).tolist(), strict=True):
            drawn = sample.draw(label)
            if len(drawn):
                begun = beginnings(maps[label], scores[label])
                of_class = grafts.ClassGrafts(engine, sample, label, drawn, partial_results, progress)
                asked = size(begun, share), energy_held(begun, energy)
                best, *of_best = _best(of_class.under("beginnings", begun), *asked)
                values[label] = spectrum.per_orbit(begun[int(best)]).sum(), *of_best
            progress.skip(done - progress.count)
    first, used, base, swapped, psi, *limits = parallel.merge(values).T
    first = np.where(np.isnan(first), np.inf, first)  # the whole map without pairs
    parts = (masks.ranks(maps, scores) < first[:, None])[:, spectrum.orbits(*energy.shape)]
    return Measured(parts, used == 1, base, swapped, psi, np.stack(limits, axis=1))


def _best(outcomes: Outcomes, sizes: Float[np.ndarray, " n"], held: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 7"]:
    """Return which of n masks has the largest excess, whether it is above 0, q0, and w, psi and its limits of that."""
    influences, swapped = influence.measure(outcomes), outcomes.swapped.mean(-1)
    psi, low, high = np.clip([influences.psi, *influences.interval().T], -1, 1)
    above = np.where(learned(swapped), excess(low, sizes, held), -np.inf)
    best = above.argmax()
    of_best = (rates[best] for rates in (swapped, psi, low, high))
    return np.array([best, above[best] > 0, outcomes.base.mean(), *of_best])


def excess(
    limit: Float[np.ndarray, " n"], sizes: Float[np.ndarray, " n"], held: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return how far maps control a class beyond what is asked of them, with 95 % confidence; 0 = just as much.

    Asked is `verdict.CONTROL` times the map's size. It has to come on top of the energy that the map holds, which any
    cue would decide: psi - e, over 1 - e. And that has to be e once more, for the few frequencies that hold much of a
    photograph's energy decide a part of any class. The excess is the log of what this leaves to all other frequencies,
    over what psi leaves to them: where psi is 0.9, the half of the rest counts as much as where it is 0.

    Args:
      limit: the lower one of psi.
      sizes: of the maps, as `size` says; above 1 counts as 1.
      held: how much of the energy in which images differ each map holds, e, in [0, 1].
    """
    asked = np.maximum(verdict.CONTROL * np.minimum(sizes, 1), held)
    left = np.maximum([(1 - held) * (1 - asked), 1 - limit], np.finfo(float).tiny)
    return np.log(left[0] / left[1])


def size(maps: Bool[np.ndarray, "n height width"], share: float) -> Float[np.ndarray, " n"]:
    """Return how large each map is for `excess`: 1 and more = as large as a whole one.

    Up to 32 pixels, for which the rule was made, a whole map has the positions of its budget. On larger planes the
    budget grows with the area, and the few frequencies that make a shortcut do not: a whole map grows with the side.

    Args:
      maps: of some size.
      share: of the plane that a map may keep.
    """
    height, width = maps.shape[1:]
    return maps.sum((1, 2)) / max(1, masks.budget(share, min(height, _SIDE), width))


def energy_held(
    maps: Bool[np.ndarray, "n height width"], energy: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, " n"]:
    """Return the share of the energy that each map holds, in [0, 1]; NaN of none."""
    return (maps * energy).sum((1, 2)) / energy.sum()


def learned(swapped: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return whether a network recognises at least half of a class's images; else psi tells of what it says anyway."""
    return swapped >= _RECOGNISED


def _grafts(pairs: int, orbits: int) -> int:
    """Return how many grafts of so many pairs the beginnings of a map of so many orbits take, and the empty map."""
    return GRAFTS_A_PAIR * pairs * (1 + len(_counts(orbits)))


def _counts(orbits: int) -> Int[np.ndarray, " n"]:
    """Return how many orbits the beginnings of a map of so many have."""
    fewer = _COUNTS[: np.searchsorted(_COUNTS, orbits)]
    return np.append(fewer, orbits)
