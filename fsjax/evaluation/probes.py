"""Probes: which top-ranked frequencies networks rely on after parts of a training, and probes/probes.json about them.

A probe searches a network and measures prefixes of each class's map, its frequencies with the largest scores.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.model import Model
from fsjax.evaluation import influence, verdict
from fsjax.evaluation.graft_outcomes import GRAFTS_A_PAIR, ClassGrafts, Grafter, GraftSample
from fsjax.evaluation.typed_json import ResultFile
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

Maps = Bool[np.ndarray, "maps height width"]
Planes = Float[np.ndarray, "maps height width"]
Plane = Float[np.ndarray, "height width"]
Values = Float[np.ndarray, " maps"]
# TPR from which a network recognises a class; otherwise psi says little about it.
RECOGNISED = 0.5
# An orbit only fills the map where its score, or its score over energy, is below this part of the map's largest.
_FAINT = 0.05
# Side of the planes for which the rule was made.
_SIDE = 32
# Numbers of orbits of the measured prefixes, each about sqrt 2 times the previous.
_COUNTS = np.unique(np.round(np.sqrt(2.0) ** np.arange(40))).astype(int)


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeRound:
    """One probe: a network trained for a part of the steps, under what earlier rounds had found.

    `base`, `swapped`, `psi` and `psi_ci` are as in `graft_results`, under the prefix that `measure` chooses. Without
    pairs of images they are NaN.
    """

    end: float  # share of the whole training that it went through
    own: bool  # whether it had a training of its own; otherwise it is the final training up to there
    accuracy: float  # on the test images
    base: Float[np.ndarray, " classes"]
    positions: tuple[int, ...]  # size of the prefix of each class
    swapped: Float[np.ndarray, " classes"]
    psi: Float[np.ndarray, " classes"]
    psi_ci: Float[np.ndarray, "classes 2"]
    used: tuple[bool, ...]  # whether the network uses the prefix
    operations: tuple[str, ...]  # that tells each class, '' = none
    became: Float[np.ndarray, " classes"]  # share of others' images that this operation turns into the class
    added: int  # positions that the prefixes in use add
    share: float  # of the plane that is grafted after this round


@dataclasses.dataclass(frozen=True, eq=False)
class Probes(ResultFile):
    """The content of probes/probes.json: rounds of trainings of their own, then the final training at some points.

    `exempt` classes have maps that are not grafted. In the final training `share` of the plane is grafted, and images
    meet the `operations` at random. `before` is the accuracy of the first round's network on the sets of config.ood, by
    name; None without the stage ood.
    """

    classes: tuple[str, ...]
    exempt: tuple[bool, ...]
    rounds: tuple[ProbeRound, ...]
    share: float
    operations: tuple[str, ...]
    before: dict[str, float] | None

    made_by, version = "the stage probe", 6

    @property
    def cost(self) -> float:
        """Images trained on, over the images of a standard training."""
        return 1 + sum(probe.end for probe in self.rounds if probe.own)

    @property
    def left(self) -> dict[str, str]:
        """Return what classes still rest on where the final training was probed last: class -> words."""
        if not self.rounds or (last := self.rounds[-1]).own:
            return {}
        found = {}
        for label, name in enumerate(self.classes):
            on = [f"few frequencies (psi {last.psi[label]:.2f})"] * (last.used[label] and not self.exempt[label])
            if operation := last.operations[label]:
                on.append(f"{operation}, which turns {100 * last.became[label]:.0f} % of others' images into it")
            if on:
                found[name] = " and ".join(on)
        return found


def result_file(directory: Path) -> Path:
    """Return the file of a workdir with the results of its probes."""
    return directory / "probes" / "probes.json"


class Measured(NamedTuple):
    """The prefix of each class's map with the largest `excess`, and its effect, as in ProbeRound."""

    prefixes: Bool[np.ndarray, "classes height width"]
    used: Bool[np.ndarray, " classes"]
    base: Float[np.ndarray, " classes"]
    swapped: Float[np.ndarray, " classes"]
    psi: Float[np.ndarray, " classes"]
    psi_ci: Float[np.ndarray, "classes 2"]


def decisive(maps: Maps, scores: Planes, energy: Plane) -> Maps:
    """Return maps without frequencies that matter little, or no more than their energy predicts.

    An orbit stays on three conditions. Its score in the graft search is at least a twentieth of the largest. Its share
    of the change of log-odds, among orbits that raise them, exceeds its share of the energy of differences between
    images (mean |F x|^2 of images without the mean image). The ratio of the two is at least a twentieth of the largest
    ratio left in the map. The lowest frequencies of photographs hold most of this energy: like any true cue they decide
    a part, and grafting them costs accuracy.
    """
    orbits, sizes = spectrum.orbits(*energy.shape), spectrum.orbit_sizes(*energy.shape)
    raising = np.maximum(spectrum.per_orbit(scores), 0)
    held = spectrum.per_orbit(energy) * sizes
    inside = spectrum.per_orbit(maps) & (raising >= _FAINT * raising.max(1, keepdims=True))
    total = max(held.sum(), 1e-30)  # 0 where all images are alike
    per_energy = raising / np.maximum(held, 1e-12 * total)
    mean = raising.sum(1, keepdims=True) / total
    largest = np.where(inside, per_energy, 0).max(1, keepdims=True)
    return (inside & (per_energy > mean) & (per_energy >= _FAINT * largest))[:, orbits]


def prefixes(chosen: Bool[np.ndarray, "height width"], scores: Plane) -> Bool[np.ndarray, "n height width"]:
    """Return the orbits of a map with the largest scores: 1, 2, 3, 4, 6, 8, 11, 16, ... of them, and all."""
    ranks = masks.ranks(chosen, scores)
    return (ranks < _counts(int(np.isfinite(ranks).sum()))[:, None])[:, spectrum.orbits(*chosen.shape)]


def grafts_a_class(pairs: int, orbits: int) -> int:
    """Return how many grafts `measure` makes for a map with this many orbits."""
    return pairs * (1 + GRAFTS_A_PAIR * len(_counts(orbits)))


def measure(
    model: Model,
    maps: Maps,
    sample: GraftSample,
    *,
    scores: Planes,
    energy: Plane,
    share: float,
    memory_mib: int = 0,
    directory: Path | None = None,
) -> Measured:
    """Measure the prefixes of each class's map by grafts. Collective: processes share the classes.

    A shortcut needs few frequencies, while many have a part in any cue. So the chosen prefix exceeds most the control
    that its size needs: the rest of the map adds too little, such as frequencies of the true cue. Where many classes
    share a shortcut, psi stays low, since images with this cue and another true cue are predicted as neither class.
    Still its first frequencies decide. Unlike in a verdict, a network that predicts a class by default needs no larger
    psi: an overlooked shortcut stays in the training, and a false shortcut costs little.

    `energy` is as in `decisive`, a map may keep `share` of the plane, and memory and directory are as in Grafter.
    """
    count = len(maps)
    grafter = Grafter(model, sample, memory_mib, directory)
    values = np.full((count, 7), np.nan)
    labels = range(count)[parallel.share(count)]
    totals = np.cumsum([grafts_a_class(sample.pairs, int(spectrum.per_orbit(maps[label]).sum())) for label in labels])
    with Progress("probe grafts", int(totals[-1]) if len(totals) else 0, "grafts") as progress:
        for label, done in zip(labels, totals.tolist(), strict=True):
            pairs = sample.draw(label)
            if len(pairs):
                measured = prefixes(maps[label], scores[label])
                grafts = ClassGrafts(grafter, label, pairs, progress)
                outcomes = grafts.outcomes("prefixes", measured)
                influences, swapped = influence.measure(outcomes), outcomes.swapped.mean(-1)
                psi, low, high = np.clip([influences.psi, *influences.interval().T], -1, 1)
                held = (measured * energy).sum((1, 2)) / energy.sum()
                above = np.where(swapped >= RECOGNISED, excess(low, relative_sizes(measured, share), held), -np.inf)
                best = above.argmax()
                rates = grafts.base.mean(), swapped[best], psi[best], low[best], high[best]
                values[label] = spectrum.per_orbit(measured[best]).sum(), above[best] > 0, *rates
            progress.skip(done - progress.count)
    orbits, used, base, swapped, psi, *limits = parallel.merge(values).T
    orbits = np.where(np.isnan(orbits), np.inf, orbits)  # the whole map without pairs
    chosen = (masks.ranks(maps, scores) < orbits[:, None])[:, spectrum.orbits(*energy.shape)]
    return Measured(chosen, used == 1, base, swapped, psi, np.stack(limits, axis=1))


def excess(limit: Values, sizes: Values, held: Values) -> Values:
    """Return by how much maps exceed the control that they need, with 95 % confidence; 0 = just enough.

    A map with the lower limit of psi has to control `verdict.CONTROL` times its relative size. That comes on top of the
    energy e that it holds, which any cue would decide: psi - e, over 1 - e. And this has to be at least e again, since
    the few frequencies that hold much of a photograph's energy decide a part of any class. The excess is the log of the
    rest that this leaves to all other frequencies, over the rest that psi leaves: each halving counts the same.
    """
    needed = np.maximum(verdict.CONTROL * np.minimum(sizes, 1), held)
    left = np.maximum([(1 - held) * (1 - needed), 1 - limit], np.finfo(float).tiny)
    return np.log(left[0] / left[1])


def relative_sizes(maps: Maps, share: float) -> Values:
    """Return the size of each map over a whole map's at this share.

    Beyond 32 pixels a whole map grows with the side: a shortcut's few frequencies do not grow with the area.
    """
    height, width = maps.shape[1:]
    return maps.sum((1, 2)) / max(1, masks.budget(share, min(height, _SIDE), width))


def _counts(orbits: int) -> Int[np.ndarray, " n"]:
    """Return the numbers of orbits in the prefixes of a map with this many orbits."""
    return np.append(_COUNTS[: np.searchsorted(_COUNTS, orbits)], orbits)
