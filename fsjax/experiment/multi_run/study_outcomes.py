"""The results of a study's runs, and means and spreads over seeds."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation.controls import beside
from fsjax.evaluation.ood.evaluate import result_file
from fsjax.evaluation.statistics import mean
from fsjax.experiment.multi_run.study_grid import Cell
from fsjax.fourier import dfm
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share


@dataclasses.dataclass(frozen=True)
class SetRates:
    """Rates of a model and its maps on one set of images; NaN for a class that the set lacks, or without a value.

    Attributes:
      accuracy: on all images of the set, in [0, 1].
      unfiltered: TPR on the images as they are.
      tpr: TPR under the class's map.
      interval: its 95 % interval.
      fpr: share of the other classes' images that are called the class under its map.
      controls: TPR under the control masks, by their names in controls.beside.
    """

    accuracy: float | None
    unfiltered: Float[np.ndarray, " classes"]
    tpr: Float[np.ndarray, " classes"]
    interval: Float[np.ndarray, "classes 2"]
    fpr: Float[np.ndarray, " classes"]
    controls: dict[str, Float[np.ndarray, " classes"]]

    @classmethod
    def from_json(cls, unfiltered: dict, filtered: dict, controls: dict) -> "SetRates":
        """Read the rates on unfiltered images, under the maps, and under the control masks."""
        return cls(
            accuracy=unfiltered["accuracy"],
            unfiltered=np.array(unfiltered["tpr"], float),
            tpr=np.array(filtered["tpr"], float),
            interval=np.array(filtered["tpr_ci"], float),
            fpr=np.array(filtered["fpr"], float),
            controls=beside(controls, len(filtered["tpr"])),
        )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of one run, at the share that the study shows.

    Attributes:
      cell: the run.
      classes: display names.
      masks: the maps at this share.
      rates: on the test images.
      above_threshold: share of classes whose TPR is above config.evaluate.threshold, the published criterion.
      resampled: mean IoU of each class's map with those of resampled images; NaN where the search has no resamples.
      shortcut: 1 for a class that is a shortcut by its controls as well, else 0; NaN without a verdict.
      elsewhere: rates out of distribution, by the name of the set.
    """

    cell: Cell
    classes: tuple[str, ...]
    masks: Bool[np.ndarray, "classes height width"]
    rates: SetRates
    above_threshold: float
    resampled: Float[np.ndarray, " classes"]
    shortcut: Float[np.ndarray, " classes"]
    elsewhere: dict[str, SetRates]


def read(cell: Cell, share: float) -> Outcome:
    """Read a run's outcome from its workdir, at the share of its maps that is nearest to the given one."""
    method = cell.config.search.method
    file = cell.directory / "dfm" / f"{method}.npz"
    maps = dfm.DominantFrequencyMaps.load(file)
    evaluation = files.read_json(cell.directory / "evaluation.json")
    share = maps.nearest(share)
    filtered, missing = evaluation[method][f"{share:g}"], [None] * len(maps.classes)
    rates = SetRates.from_json(evaluation["unfiltered"], filtered, filtered)
    resampled = dfm.told(file, lambda: at_share(maps, share))
    return Outcome(
        cell=cell,
        classes=maps.classes,
        masks=maps.at(share),
        rates=rates,
        above_threshold=float((rates.tpr > cell.config.evaluate.threshold).mean()),
        resampled=np.array(resampled.get("mean", missing), float),
        shortcut=np.array(filtered.get("shortcut", missing), float),
        elsewhere=_elsewhere(result_file(cell.directory, method)),
    )


def _elsewhere(file: Path) -> dict[str, SetRates]:
    sets = files.read_json(file)["sets"] if file.exists() else {}
    return {
        name: SetRates.from_json({"accuracy": own["accuracy"], **own["unfiltered"]}, own["filtered"], own)
        for name, own in sets.items()
    }


@dataclasses.dataclass(frozen=True)
class Measured:
    """Mean over seeds, and their standard deviation (n - 1); None where there is no value, or only one."""

    mean: float | None
    spread: float | None


def measured(values: Iterable[float | None]) -> Measured:
    """Return mean and spread over seeds; values that are missing or NaN are left out."""
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return Measured(mean(known), float(np.std(known, ddof=1)) if len(known) > 1 else None)


def stability(masks: Sequence[Bool[np.ndarray, "height width"]]) -> tuple[Measured, Measured]:
    """Return the IoU of each pair of one class's maps over seeds, and the IoU expected by chance for their sizes."""
    pairs = list(itertools.combinations(masks, 2))
    return measured([iou(*pair) for pair in pairs]), measured([chance_iou(*pair) for pair in pairs])
