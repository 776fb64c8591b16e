"""probes/probes.json: what networks trained for probing lean on, round by round, and what follows from it.

Examples:
  >>> probes = Probes.read(workdir / "probes" / "probes.json")
  >>> [found.used for found in probes.rounds], probes.share
  ([(True, True, False, False), (False, False, False, False)], 0.04)
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fsjax.data import pairs
from fsjax.engine.model import Model
from fsjax.evaluation import grafts, influence, verdict
from fsjax.evaluation.grafts import GraftSample
from fsjax.evaluation.typed_json import Between, Length, ResultFile
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

_SIGNED = Between(-1, 1)
_RECOGNISED = 0.5


class Measured(NamedTuple):
    """q0, w, psi and its 95 % interval of a map of each class; NaN without pairs of images."""

    base: Float[np.ndarray, " classes"]
    swapped: Float[np.ndarray, " classes"]
    psi: Float[np.ndarray, " classes"]
    psi_ci: Float[np.ndarray, "classes 2"]


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeRound:
    """One probe: a network that was trained for a part of the steps, under what earlier rounds had found.

    Attributes:
      end: how far it was trained, as a share of the whole training; None in files of version 2.
      own: whether it was a training of its own, and not the final one up to there; None in files of version 2.
      accuracy: of its network on the test images.
      base: q0 of each class, as in `graft_results.Baseline`; NaN here and below without pairs of images.
      swapped: w of the class's map, as in `graft_results.GraftRates`: where it is low, the network has not learned the
        class, and the round says little of it.
      psi: of the class's map.
      psi_ci: its 95 % interval.
      used: whether the network uses the map: the lower limit is above `verdict.CONTROL`, and w at least 1/2.
      added: positions of the plane that the maps in use add to what is grafted.
      share: of the plane that is grafted after this round.
    """

    end: float | None
    own: bool | None
    accuracy: float
    base: Float[np.ndarray, " classes"]
    swapped: Float[np.ndarray, " classes"]
    psi: Annotated[Float[np.ndarray, " classes"], _SIGNED]
    psi_ci: Annotated[Float[np.ndarray, "classes 2"], _SIGNED]
    used: Annotated[tuple[bool, ...], Length("classes")]
    added: int
    share: float


@dataclasses.dataclass(frozen=True, eq=False)
class Probes(ResultFile):
    """All rounds.

    Attributes:
      classes: display names.
      exempt: whether a class's maps were left out of what is grafted, by config.probe.exempt_classes.
      rounds: in order; trainings of their own, and then the final one at some points, unless nothing was found.
      share: of the plane that is grafted in the final training.
    """

    classes: tuple[str, ...]
    exempt: Annotated[tuple[bool, ...], Length("classes")]
    rounds: tuple[ProbeRound, ...]
    share: float

    stage, version = "probe", 3

    @property
    def cost(self) -> float | None:
        """The images trained on, over those of a standard training; None from files of version 2."""
        if any(one.own is None for one in self.rounds):
            return None
        return 1 + sum(one.end or 0 for one in self.rounds if one.own)

    @staticmethod
    def from_version_1(content: dict[str, Any]) -> dict[str, Any]:
        return content  # there was none


def result_file(directory: Path) -> Path:
    """Return the file of a workdir that holds what its probes found."""
    return directory / "probes" / "probes.json"


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
    with Progress("probe grafts", 6 * sample.pairs * len(own), "grafts") as progress:
        for number, label in enumerate(own, 1):
            drawn = pairs.draw(sample.labels, sample.usable, label, sample.pairs, sample.seed)
            if len(drawn):
                of_class = grafts.ClassGrafts(engine, sample, label, drawn, partial_results, progress)
                outcomes = of_class.under("map", maps[[label]])
                measured = influence.measure(outcomes)
                limits = np.clip([measured.psi, *measured.interval().T], -1, 1)
                values[label] = outcomes.base.mean(), outcomes.swapped.mean(), *limits[:, 0]
            progress.skip(6 * sample.pairs * number - progress.count)
    base, swapped, psi, *limits = parallel.merge(values).T
    return Measured(base, swapped, psi, np.stack(limits, axis=1))


def in_use(measured: Measured) -> Bool[np.ndarray, " classes"]:
    """Return whether each class's map controls it, with 95 % confidence; False where the network has not learned it.

    What controls a class here is `verdict.CONTROL`, also where the network says the class of anything and a verdict
    would ask for more: a shortcut that is passed over stays in the training, and one that is none costs little.
    """
    return (measured.psi_ci[:, 0] > verdict.CONTROL) & learned(measured.swapped)


def learned(swapped: Float[np.ndarray, " classes"]) -> Bool[np.ndarray, " classes"]:
    """Return whether a network recognises at least half of a class's images; else psi tells of what it says anyway."""
    return swapped >= _RECOGNISED
