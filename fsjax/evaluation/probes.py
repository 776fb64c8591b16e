"""probes/probes.json: what networks trained for probing lean on, round by round, and what follows from it.

Examples:
  >>> probes = Probes.read(workdir / "probes" / "probes.json")
  >>> [found.used for found in probes.rounds], probes.share
  ([(True, True, False, False), (False, False, False, False)], 0.04)
"""

import dataclasses
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from fsjax.evaluation.typed_json import Between, Length, ResultFile
from fsjax.runtime.storage import Path

_SIGNED = Between(-1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeRound:
    """One probe: a network that was trained for a part of the steps, under what earlier rounds had found.

    Attributes:
      end: how far it was trained, as a share of the whole training; None in files of version 2.
      own: whether it was a training of its own, and not the final one up to there; None in files of version 2.
      accuracy: of its network on the test images.
      base: q0 of each class, as in `graft_results.Baseline`; NaN here and below without pairs of images.
      positions: how many of the plane are in the part of the class's map that `probe_maps.measure` chooses; None in
        files of version 4.
      swapped: w of that part, as in `graft_results.GraftRates`: where it is low, the network has not learned the class,
        and the round says little of it.
      psi: of the same.
      psi_ci: its 95 % interval.
      used: whether the network uses that part, as `probe_maps.measure` says.
      added: positions of the plane that the maps in use add to what is grafted.
      share: of the plane that is grafted after this round.
    """

    end: float | None
    own: bool | None
    accuracy: float
    base: Float[np.ndarray, " classes"]
    positions: Annotated[tuple[int, ...], Length("classes")] | None
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
      before: accuracy of the first round's network on the sets of config.ood, by name; None where the run has no stage
        ood, and in files of version 3.
    """

    classes: tuple[str, ...]
    exempt: Annotated[tuple[bool, ...], Length("classes")]
    rounds: tuple[ProbeRound, ...]
    share: float
    before: dict[str, float] | None

    stage, version = "probe", 5

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
