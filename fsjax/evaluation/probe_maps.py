"""Which part of each class's map a network uses.

Examples:
  >>> scores = np.ones((1, 8, 8))
  >>> whole = np.ones((1, 8, 8), bool)
  >>> int(decisive(whole, scores, np.where(spectrum.radius(8, 8) < 0.2, 9.0, 1.0)).sum())  # all but the nine lowest
  55
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fsjax.engine.model import Model
from fsjax.evaluation import grafts, influence, verdict
from fsjax.evaluation.grafts import GraftSample
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

# Grafts of a pair of images: under the map, and under none.
GRAFTS_A_PAIR = 2 * grafts.GRAFTS_A_PAIR

_RECOGNISED = 0.5
# Of the largest score of a map, or score over energy: what has less only fills the map.
_FAINT = 0.05
# The side of the planes on which it was chosen what a map of some size has to control.
_SIDE = 32


class Measured(NamedTuple):
    """q0, w, psi and its 95 % interval of a map of each class; NaN without pairs of images."""

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


def measure(
    model: Model,
    maps: Bool[np.ndarray, "classes height width"],
    sample: GraftSample,
    *,
    memory_mib: int = 0,
    directory: Path | None = None,
) -> Measured:
    """Measure a map of each class by grafts. Collective: processes share the classes.

    Args:
      model: the classifier.
      maps: one a class.
      sample: the images.
      memory_mib: as in config.run.
      directory: where outcomes are stored, so that a restart computes only the rest; None = nowhere.

    Raises:
      InputError: too little memory, or outcomes of another model in the directory.
      interrupt.Terminated: SIGTERM came; what is computed is saved.
    """
    count = len(maps)
    partial_results = PartialResults(directory, grafts.layout(model, sample.pairs, memory_mib), model.params)
    engine = grafts.make_engine(model, partial_results.layout)
    values = np.full((count, 5), np.nan)
    own = range(count)[parallel.share(count)]
    with Progress("probe grafts", GRAFTS_A_PAIR * sample.pairs * len(own), "grafts") as progress:
        for number, label in enumerate(own, 1):
            drawn = sample.draw(label)
            if len(drawn):
                of_class = grafts.ClassGrafts(engine, sample, label, drawn, partial_results, progress)
                outcomes = of_class.under("decisive", maps[[label]])
                measured = influence.measure(outcomes)
                limits = np.clip([measured.psi, *measured.interval().T], -1, 1)
                values[label] = outcomes.base.mean(), outcomes.swapped.mean(), *limits[:, 0]
            progress.skip(GRAFTS_A_PAIR * sample.pairs * number - progress.count)
    base, swapped, psi, *limits = parallel.merge(values).T
    return Measured(base, swapped, psi, np.stack(limits, axis=1))


def size(maps: Bool[np.ndarray, "classes height width"], share: float) -> Float[np.ndarray, " classes"]:
    """Return how large each map is for `in_use`: 1 and more = as large as a whole one.

    Up to 32 pixels, for which the rule was made, a whole map has the positions of its budget. On larger planes the
    budget grows with the area, and the few frequencies that make a shortcut do not: a whole map grows with the side.

    Args:
      maps: one a class.
      share: of the plane that a map may keep.
    """
    height, width = maps.shape[1:]
    return maps.sum((1, 2)) / max(1, masks.budget(share, min(height, _SIDE), width))


def in_use(
    measured: Measured, sizes: Float[np.ndarray, " classes"], held: Float[np.ndarray, " classes"]
) -> Bool[np.ndarray, " classes"]:
    """Return whether each class's map controls it, with 95 % confidence; False where the network has not learned it.

    What controls a class here is `verdict.CONTROL` for a whole map, times the square of its size for the `decisive`
    part of one: where two frequencies alone decide every tenth image, they are a shortcut, while many of them share in
    any cue. It has to come on top of the energy that the map holds, which any cue would decide: psi - e, over 1 - e.
    And that has to be e once more, for the few frequencies that hold much of a photograph's energy decide a part of any
    class. A network that says the class of anything is no exception, where a verdict would ask for more: a shortcut
    that is passed over stays in the training, and one that is none costs little.

    Args:
      measured: psi and w of the maps.
      sizes: of the maps, as `size` says; above 1 counts as 1.
      held: how much of the energy in which images differ each map holds, e, in [0, 1].
    """
    asked = np.maximum(verdict.CONTROL * np.minimum(sizes, 1) ** 2, held)
    return (measured.psi_ci[:, 0] > held + (1 - held) * asked) & learned(measured.swapped)


def learned(swapped: Float[np.ndarray, " classes"]) -> Bool[np.ndarray, " classes"]:
    """Return whether a network recognises at least half of a class's images; else psi tells of what it says anyway."""
    return swapped >= _RECOGNISED
