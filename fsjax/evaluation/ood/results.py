"""Results out of distribution: the content of ood/<method>.json (docs/files.md), and AvgTPR over thresholds."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.evaluation.results import Rates
from fsjax.evaluation.typed_json import ResultFile
from fsjax.runtime.storage import Path

# Thresholds of AvgTPR.
THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


@dataclasses.dataclass(frozen=True)
class Group:
    """Some of the classes with both rates: number, share of all of these, and mean TPRs; None where undefined."""

    classes: int
    share: float | None
    filtered: float | None
    unfiltered: float | None


@dataclasses.dataclass(frozen=True)
class Point:
    """The classes above a threshold, which the source calls shortcut classes, and the other classes."""

    threshold: float
    shortcut: Group
    other: Group


def average_tpr(
    grouping: Float[np.ndarray, " classes"],
    filtered: Float[np.ndarray, " classes"],
    unfiltered: Float[np.ndarray, " classes"],
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> tuple[Point, ...]:
    """Return the mean TPR of the classes above each threshold and of the other classes.

    Source: Wang et al., CVPR 2025: c is a shortcut class at t when its in-distribution filtered TPR, `grouping`, is
    above t, also out of distribution. The other rates are on a set. NaN = unknown; thresholds are in [0, 1].
    """
    known = np.isfinite(grouping) & np.isfinite(filtered) & np.isfinite(unfiltered)

    def group(members: Bool[np.ndarray, " classes"]) -> Group:
        count = int(members.sum())
        return Group(
            classes=count,
            share=count / int(known.sum()) if known.any() else None,
            filtered=float(filtered[members].mean()) if count else None,
            unfiltered=float(unfiltered[members].mean()) if count else None,
        )

    return tuple(Point(t, group(known & (grouping > t)), group(known & ~(grouping > t))) for t in thresholds)


@dataclasses.dataclass(frozen=True, eq=False)
class ControlRates:
    """TPR of each class under control masks of its map's size."""

    low_pass_tpr: Float[np.ndarray, " classes"]
    highest_energy_tpr: Float[np.ndarray, " classes"]  # frequencies with the highest energy in the class's images
    random_tpr: Float[np.ndarray, " classes"]  # mean over random masks
    radial_tpr: Float[np.ndarray, " classes"]  # mean over random masks with the map's radial profile, NaN without

    @property
    def trivial_tpr(self) -> Float[np.ndarray, " classes"]:
        """Under the better trivial mask of each class."""
        return np.maximum(self.low_pass_tpr, self.highest_energy_tpr)


@dataclasses.dataclass(frozen=True, eq=False)
class SetRates:
    """Rates on a set or a group of its images, unfiltered and filtered by the map of each class."""

    images: Int[np.ndarray, " classes"]
    accuracy: float  # unfiltered
    unfiltered: Rates
    filtered: Rates
    controls: ControlRates | None

    @property
    def control_rates(self) -> ControlRates:
        """Rates under the controls, all NaN without controls."""
        return self.controls or ControlRates(*np.full((4, len(self.images)), np.nan))


@dataclasses.dataclass(frozen=True, eq=False)
class InDistribution(SetRates):
    """Rates on the run's own test images, in distribution; average_tpr over its thresholds."""

    average_tpr: tuple[Point, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class SetResult(InDistribution):
    """Rates on a set or under an attack."""

    restricted: bool  # whether logits of classes that the set lacks are ignored
    made_of: dict[str, Any]  # the mapping and folder, or the attack
    groups: dict[str, dict[str, SetRates]]  # placeholder -> folder -> rates


@dataclasses.dataclass(frozen=True, eq=False)
class OodResult(ResultFile):
    """The content of ood/<method>.json."""

    classes: tuple[str, ...]  # display names in index order
    share: float  # of the plane that the maps keep
    threshold: float  # in-distribution TPR under a class's map; pages group the classes by it
    random_masks: int  # of each kind on a set
    searched_on: str  # the split of the searched images
    in_distribution: InDistribution
    sets: dict[str, SetResult]

    made_by, version = "the stage ood", 3


def result_file(directory: Path, method: str) -> Path:
    """Return the file with the results of a search method's maps."""
    return directory / "ood" / f"{method}.json"
