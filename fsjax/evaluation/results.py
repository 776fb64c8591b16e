"""What the stage evaluate measured, as dataclasses: the content of evaluation.json (docs/files.md).

Rates are in [0, 1], and NaN where there is nothing to count, such as the FPR of an only class; null in the file.

Examples:
  >>> evaluation = result.evaluation  # an Evaluation
  >>> evaluation.images.tolist(), evaluation.unfiltered.confusion.shape  # of an Unfiltered: a row for each true class
  ([15, 15, 15], (3, 3))
  >>> of_method = evaluation.methods["removal"]  # a MethodEvaluation
  >>> of_method.at(0.05).positions.tolist(), of_method.at(0.05).tpr_ci.shape  # MapRates at a share of the maps
  ([3, 3, 2], (3, 2))
  >>> of_method.grid.tpr.shape  # a Grid: [shares, classes]
  (9, 3)
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.typed_json import ResultFile
from fsjax.evaluation.version_1 import from_version_1
from fsjax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Unfiltered:
    """Rates of the test images as they are; the confusion matrix has a row for each true class."""

    accuracy: float
    tpr: Float[np.ndarray, " classes"]
    fpr: Float[np.ndarray, " classes"]
    confusion: Int[np.ndarray, "classes classes"]


@dataclasses.dataclass(frozen=True, eq=False)
class Rates:
    """Rates of each class, with the 95 % Wilson interval of its TPR."""

    tpr: Float[np.ndarray, " classes"]
    tpr_ci: Float[np.ndarray, "classes 2"]
    fpr: Float[np.ndarray, " classes"]


@dataclasses.dataclass(frozen=True, eq=False)
class MapRates(Rates):
    """Rates under the maps at one share.

    Attributes:
      positions: how many each class's map keeps.
      kept: the same as a share of the plane; None in a file of an earlier fsjax.
    """

    positions: Int[np.ndarray, " classes"]
    kept: Float[np.ndarray, " classes"] | None = None

    @property
    def kept_differs(self) -> bool:
        """Whether a class's map keeps clearly less than another's, by more than a tenth, so that one share misleads."""
        return self.kept is not None and bool(self.positions.min() < 0.9 * self.positions.max() - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Rates of masks that are cut from the maps' scores at further shares, on the first images of each class."""

    images: Int[np.ndarray, " classes"]
    shares: tuple[float, ...]
    tpr: Float[np.ndarray, "shares classes"]
    tpr_ci: Float[np.ndarray, "shares classes 2"]
    fpr: Float[np.ndarray, "shares classes"]


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How well a class's scores rank its planted orbits (evaluation.planted.recovery)."""

    planted_orbits: int
    found: int
    precision: float
    recall: float
    average_precision: float
    chance: float


@dataclasses.dataclass(frozen=True)
class Reliance:
    """How much the classifier uses a class's planted orbits, which are fixed or a random half in each image."""

    fixed: bool
    tpr_without: float | None
    tpr_alone: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class MethodEvaluation:
    """What was measured of the maps of one search method.

    Attributes:
      searched_on: the split of the searched images, 'train' or 'test'.
      forward_equivalents: image forward passes that the search spent; a backward pass counts 2.
      shares: rates under the maps, by share as text; see `at`.
      grid: None without further shares.
      planted: class name -> recovery of its planted orbits; empty where none were planted or maps have no scores.
      grafts: what grafts measured, and the verdicts; None in a file of an earlier fsjax, or where evaluate.pairs is 0.
    """

    searched_on: str
    forward_equivalents: int
    shares: dict[str, MapRates]
    grid: Grid | None
    planted: dict[str, Recovery]
    grafts: Grafts | None

    def at(self, share: float) -> MapRates:
        """Return the rates under the maps at one of their shares; raises InputError where there are none."""
        if (name := f"{share:g}") not in self.shares:
            raise InputError(
                f"evaluation.json: no rates of the maps at {100 * share:g} %; run the stage evaluate again"
            )
        return self.shares[name]

    def nearest(self, share: float) -> float:
        """Return that of the maps' shares which is nearest to one."""
        return min(map(float, self.shares), key=lambda own: abs(own - share))


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation(ResultFile):
    """The content of evaluation.json.

    Attributes:
      classes: display names in index order.
      images: test images of each class.
      unfiltered: rates of the test images as they are.
      methods: what was measured of the maps, by search method.
      planted: class name -> reliance on its planted orbits; empty where none were planted.
    """

    classes: tuple[str, ...]
    images: Int[np.ndarray, " classes"]
    unfiltered: Unfiltered
    methods: dict[str, MethodEvaluation]
    planted: dict[str, Reliance]

    stage, version = "evaluate", 3
    from_version_1 = staticmethod(from_version_1)
