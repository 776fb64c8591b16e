"""The results of a study's runs, and means and spreads over seeds."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation import evaluation_file
from fsjax.evaluation.ood.results import OodResult, result_file
from fsjax.evaluation.results import ControlRates, Rates
from fsjax.evaluation.statistics import mean
from fsjax.experiment.multi_run.study_grid import Cell
from fsjax.fourier import dfm
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share


@dataclasses.dataclass(frozen=True)
class SetOutcome:
    """What a model and its maps do on a set of images; NaN for a class that the set lacks."""

    accuracy: float
    unfiltered_tpr: Float[np.ndarray, " classes"]
    filtered: Rates  # under the maps
    controls: ControlRates


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of one run, at the share that the study shows.

    Attributes:
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
    rates: SetOutcome
    above_threshold: float
    resampled: Float[np.ndarray, " classes"]
    shortcut: Float[np.ndarray, " classes"]
    elsewhere: dict[str, SetOutcome]


def read(cell: Cell, share: float) -> Outcome:
    """Read a run's outcome from its workdir, at the share of its maps that is nearest to the given one."""
    method = cell.config.search.method
    file = cell.directory / "dfm" / f"{method}.npz"
    maps = dfm.DominantFrequencyMaps.load(file)
    share = maps.nearest(share)
    evaluation = evaluation_file.read_method(cell.directory / "evaluation.json", method)
    rates, unfiltered = evaluation.methods[method].at(share), evaluation.unfiltered
    resampled = dfm.read_provenance(file, lambda: at_share(maps, share))
    return Outcome(
        cell=cell,
        classes=maps.classes,
        masks=maps.at(share),
        rates=SetOutcome(unfiltered.accuracy, unfiltered.tpr, rates, rates.control_rates),
        above_threshold=float((rates.tpr > cell.config.evaluate.threshold).mean()),
        resampled=np.array(resampled.get("mean", [None] * len(maps.classes)), float),
        shortcut=np.array(rates.shortcut, float),
        elsewhere=_elsewhere(result_file(cell.directory, method)),
    )


def _elsewhere(file: Path) -> dict[str, SetOutcome]:
    sets = OodResult.read(file).sets if file.exists() else {}
    return {
        name: SetOutcome(of_set.accuracy, of_set.unfiltered.tpr, of_set.filtered, of_set.control_rates)
        for name, of_set in sets.items()
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
