"""Results out of distribution, as dataclasses: the content of ood/<method>.json (docs/files.md)."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fsjax.evaluation.ood.average_tpr import Point
from fsjax.evaluation.results import Rates
from fsjax.evaluation.typed_json import ResultFile
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True, eq=False)
class ControlRates:
    """TPR of each class under control masks of its map's size.

    Attributes:
      low_pass_tpr: under the lowest frequencies.
      highest_energy_tpr: under the frequencies in which the class's images have most energy.
      random_tpr: mean over random masks.
      radial_tpr: mean over random masks with the map's radial profile; NaN where it has none.
    """

    low_pass_tpr: Float[np.ndarray, " classes"]
    highest_energy_tpr: Float[np.ndarray, " classes"]
    random_tpr: Float[np.ndarray, " classes"]
    radial_tpr: Float[np.ndarray, " classes"]

    @classmethod
    def unknown(cls, classes: int) -> "ControlRates":
        """Return rates of maps that are not compared with controls: all NaN."""
        return cls(*np.full((4, classes), np.nan))

    @property
    def trivial_tpr(self) -> Float[np.ndarray, " classes"]:
        """Under the better trivial mask of each class."""
        return np.maximum(self.low_pass_tpr, self.highest_energy_tpr)


_CONTROL_NAMES = tuple(field.name for field in dataclasses.fields(ControlRates))


@dataclasses.dataclass(frozen=True, eq=False)
class SetRates:
    """Rates on the images of a set, or of a group of it, as they are and filtered by the map of each class.

    Attributes:
      images: of each class.
      accuracy: over all images, unfiltered.
      unfiltered: rates of the images as they are.
      filtered: rates under the maps.
      controls: TPR under control masks; None where maps are not compared with any.
    """

    images: Int[np.ndarray, " classes"]
    accuracy: float
    unfiltered: Rates
    filtered: Rates
    controls: ControlRates | None

    @property
    def control_rates(self) -> ControlRates:
        """Rates under the controls, all NaN without any."""
        return self.controls or ControlRates.unknown(len(self.images))


@dataclasses.dataclass(frozen=True, eq=False)
class InDistribution(SetRates):
    """Rates on the run's own test images, in distribution; average_tpr over its thresholds."""

    average_tpr: tuple[Point, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class SetResult(InDistribution):
    """Rates on a set or under an attack.

    Attributes:
      restricted: whether logits of classes that the set lacks are left out.
      made_of: the mapping and folder, or the attack.
      groups: placeholder -> folder -> rates, of sets that have groups, such as corruptions.
    """

    restricted: bool
    made_of: dict[str, Any]
    groups: dict[str, dict[str, SetRates]]


@dataclasses.dataclass(frozen=True, eq=False)
class OodResult(ResultFile):
    """The content of ood/<method>.json.

    Attributes:
      classes: display names in index order.
      share: of the plane that the maps keep.
      threshold: for the TPR under a class's map in distribution, by which pages group the classes.
      random_masks: of each kind on a set; None in a file of an earlier fsjax.
      searched_on: the split of the searched images; None as above.
      in_distribution: rates on the test images.
      sets: rates of each set or attack, by name.
    """

    classes: tuple[str, ...]
    share: float
    threshold: float
    random_masks: int | None
    searched_on: str | None
    in_distribution: InDistribution
    sets: dict[str, SetResult]

    stage = "ood"

    @staticmethod
    def from_version_1(content: Any) -> Any:
        """Return version 1 as version 2: there the rates of controls stand beside the others."""
        if not isinstance(content, dict):
            return content
        if "filtered" not in content or not isinstance(content.get("images"), list):
            return {name: OodResult.from_version_1(value) for name, value in content.items()}
        nothing = [None] * len(content["images"])
        controls = {name: content.get(name) or nothing for name in _CONTROL_NAMES}
        groups = OodResult.from_version_1(content.get("groups", {}))
        return content | {"controls": controls if "low_pass_tpr" in content else None, "groups": groups}


def result_file(directory: Path, method: str) -> Path:
    """Return the file with the results of a search method's maps."""
    return directory / "ood" / f"{method}.json"
