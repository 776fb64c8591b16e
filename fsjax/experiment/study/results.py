"""What the runs of a study found, and the mean and spread over its seeds."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation.controls import beside
from fsjax.evaluation.ood.evaluate import result_file
from fsjax.evaluation.statistics import mean
from fsjax.experiment.study.grid import Cell
from fsjax.fourier import dfm
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share


@dataclasses.dataclass(frozen=True)
class Rates:
    """What a model and its maps do on a set; of each class, NaN where the set lacks it or nothing is known.

    Attributes:
      accuracy: on all its images, in [0, 1].
      unfiltered: TPR on the images as they are.
      tpr: under the class's map.
      interval: the 95 % interval of that.
      fpr: of the other classes' images under it.
      controls: TPR under what the map is held against, as controls.beside names it.
    """

    accuracy: float | None
    unfiltered: Float[np.ndarray, " classes"]
    tpr: Float[np.ndarray, " classes"]
    interval: Float[np.ndarray, "classes 2"]
    fpr: Float[np.ndarray, " classes"]
    controls: dict[str, Float[np.ndarray, " classes"]]

    @classmethod
    def of(cls, unfiltered: dict, filtered: dict, controls: dict) -> "Rates":
        """As JSON has them: of the images as they are, under the maps, and under what these are held against."""
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
    """What one run found, at the share that the study shows.

    Attributes:
      cell: the run.
      classes: display names.
      kept: the maps.
      rates: on the test images.
      above: share of the classes whose TPR is above config.evaluate.threshold, the published criterion.
      resampled: mean IoU of each class's map with those of resampled images; NaN where the search did not tell.
      shortcut: 1 for each class that is a shortcut by its controls, too, and 0 for others; NaN without a verdict.
      elsewhere: rates out of distribution, by the name of a set.
    """

    cell: Cell
    classes: tuple[str, ...]
    kept: Bool[np.ndarray, "classes height width"]
    rates: Rates
    above: float
    resampled: Float[np.ndarray, " classes"]
    shortcut: Float[np.ndarray, " classes"]
    elsewhere: dict[str, Rates]


def read(cell: Cell, share: float) -> Outcome:
    """A run's outcome from its workdir, of its search method at the share nearest to the one asked for."""
    method = cell.config.search.method
    file = cell.directory / "dfm" / f"{method}.npz"
    maps = dfm.DominantFrequencyMaps.load(file)
    evaluation = files.read_json(cell.directory / "evaluation.json")
    share = maps.nearest(share)
    found, nothing = evaluation[method][f"{share:g}"], [None] * len(maps.classes)
    rates = Rates.of(evaluation["unfiltered"], found, found)
    stable = dfm.told(file, lambda: at_share(maps, share))
    return Outcome(
        cell=cell,
        classes=maps.classes,
        kept=maps.at(share),
        rates=rates,
        above=float((rates.tpr > cell.config.evaluate.threshold).mean()),
        resampled=np.array(stable.get("mean", nothing), float),
        shortcut=np.array(found.get("shortcut", nothing), float),
        elsewhere=_elsewhere(result_file(cell.directory, method)),
    )


def _elsewhere(file: Path) -> dict[str, Rates]:
    sets = files.read_json(file)["sets"] if file.exists() else {}
    return {
        name: Rates.of({"accuracy": found["accuracy"], **found["unfiltered"]}, found["filtered"], found)
        for name, found in sets.items()
    }


@dataclasses.dataclass(frozen=True)
class Measured:
    """Mean over seeds, and their standard deviation (n - 1); None where there is no value, or only one."""

    mean: float | None
    spread: float | None


def measured(values: Iterable[float | None]) -> Measured:
    """Mean and spread of what the seeds gave; a value that is missing or NaN is left out."""
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return Measured(mean(known), float(np.std(known, ddof=1)) if len(known) > 1 else None)


def stability(masks: Sequence[Bool[np.ndarray, "height width"]]) -> tuple[Measured, Measured]:
    """IoU of every two of the maps that seeds gave one class, and what chance gives maps of their sizes."""
    pairs = list(itertools.combinations(masks, 2))
    return measured([iou(*pair) for pair in pairs]), measured([chance_iou(*pair) for pair in pairs])
