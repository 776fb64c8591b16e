"""Results of the stage evaluate as dataclasses: the content of evaluation.json (docs/files.md), and its readers.

Rates are in [0, 1], and NaN where there is nothing to count, such as the FPR of a single class; null in the file.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.evaluation.agreement import Agreement
from fsjax.evaluation.graft_results import Grafts, Triggers
from fsjax.evaluation.typed_json import ResultFile
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True, eq=False)
class Unfiltered:
    """Rates of the test images as they are; the confusion matrix has a row for each true class."""

    accuracy: float
    tpr: Float[np.ndarray, " classes"]
    fpr: Float[np.ndarray, " classes"]
    confusion: Int[np.ndarray, "classes classes"]


@dataclasses.dataclass(frozen=True, eq=False)
class Rates:
    """Rates of each class with their 95 % Wilson intervals; its FPR rests on `others`, images of other classes."""

    tpr: Float[np.ndarray, " classes"]
    tpr_ci: Float[np.ndarray, "classes 2"]
    fpr: Float[np.ndarray, " classes"]
    fpr_ci: Float[np.ndarray, "classes 2"]
    others: Int[np.ndarray, " classes"]


@dataclasses.dataclass(frozen=True, eq=False)
class MapRates(Rates):
    """Rates under the maps at one share: each class's map keeps this many positions, and this share of the plane."""

    positions: Int[np.ndarray, " classes"]
    kept: Float[np.ndarray, " classes"]

    @property
    def kept_differs(self) -> bool:
        """Whether a class's map keeps at least a tenth less than another's, so that one share misleads."""
        return bool(self.positions.min() < 0.9 * self.positions.max() - 1)


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How well a class's scores rank its planted orbits (`evaluate.recovery`)."""

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
    """Measurements on the maps of one search method, which `searched_on` the split 'train' or 'test'.

    The search spent `forward_equivalents` image forward passes; a backward pass counts 2. `agreement` is None where
    config.search.precision is 'highest'. `shares` has the rates under the maps by share as text, `grid` the rates under
    masks cut from their scores on the first images of each class, `planted` recoveries by class. `grafts` is None where
    evaluate.pairs is 0.
    """

    searched_on: str
    forward_equivalents: int
    shares: dict[str, MapRates]
    grid: dict[str, MapRates]
    planted: dict[str, Recovery]
    grafts: Grafts | None
    agreement: Agreement | None = None

    def at(self, share: float) -> MapRates:
        """Return the rates under the maps at one of their shares; raises InputError for another share."""
        if (name := f"{share:g}") not in self.shares:
            at = f"at {100 * share:g} %"
            raise InputError(f"evaluation.json: no rates of the maps {at}; run the stage evaluate again")
        return self.shares[name]

    def nearest(self, share: float) -> float:
        """Return the share of the maps that is nearest to the given share."""
        return min(map(float, self.shares), key=lambda candidate: abs(candidate - share))


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation(ResultFile):
    """The content of evaluation.json: test images of each class, and results unfiltered and by search method.

    `planted` holds each class's reliance on its planted orbits; it is empty where none were planted. `triggers` are the
    same for all methods; None where evaluate.trigger_size or evaluate.pairs leaves them out.
    """

    classes: tuple[str, ...]
    images: Int[np.ndarray, " classes"]
    unfiltered: Unfiltered
    methods: dict[str, MethodEvaluation]
    planted: dict[str, Reliance]
    triggers: Triggers | None

    made_by, version = "the stage evaluate", 6


def read_evaluation(file: Path) -> Evaluation | None:
    """Read evaluation.json; None where it is missing. Raises InputError as `Evaluation.read`."""
    return Evaluation.read(file) if file.exists() else None


def read_method(file: Path, method: str) -> Evaluation:
    """Read evaluation.json; raises InputError also where it has no results of a search method."""
    evaluation = read_evaluation(file)
    if evaluation is None or method not in evaluation.methods:
        raise InputError(f"{file}: no results of {method}; run the stage evaluate first")
    return evaluation


def planted_positions(planted: dict[str, np.ndarray]) -> Bool[np.ndarray, "classes height width"]:
    """Return the planted positions of each class: fixed orbits, or the band whose orbits are raised at random."""
    return planted["fixed"] | planted["any"]
