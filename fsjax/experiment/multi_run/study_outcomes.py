"""The results of a study's runs, and means and spreads over seeds."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.ood.results import OodResult, SetRates, result_file
from fsjax.evaluation.results import MapRates, read_method
from fsjax.evaluation.statistics import mean
from fsjax.experiment.multi_run.study_grid import Cell
from fsjax.fourier import dfm
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.search.bootstrap import stability_at_share


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of one run, at the share that the study shows.

    Attributes:
      masks: the maps at this share.
      accuracy: of the test images, unfiltered.
      unfiltered_tpr: of the test images.
      rates: of the test images under the maps.
      above_threshold: share of classes whose TPR is above config.evaluate.threshold, the published criterion.
      psi: of each class's map at the share that its verdict rests on; NaN without grafts.
      smallest: share of the plane at which psi reaches 1/2; infinity where it does not, NaN without grafts.
      shortcut: 1 for a class whose verdict is shortcut, else 0; NaN where it is undecided.
      resampled: mean IoU of each class's map with those of resampled images; NaN where the search has no resamples.
      elsewhere: rates out of distribution, by the name of the set.
    """

    cell: Cell
    classes: tuple[str, ...]
    masks: Bool[np.ndarray, "classes height width"]
    accuracy: float
    unfiltered_tpr: Float[np.ndarray, " classes"]
    rates: MapRates
    above_threshold: float
    psi: Float[np.ndarray, " classes"]
    smallest: Float[np.ndarray, " classes"]
    shortcut: Float[np.ndarray, " classes"]
    resampled: Float[np.ndarray, " classes"]
    elsewhere: dict[str, SetRates]


def read(cell: Cell, share: float) -> Outcome:
    """Read a run's outcome from its workdir, at the share of its maps that is nearest to the given one."""
    method = cell.config.search.method
    file = dfm.file_in(cell.directory, method)
    maps = dfm.DominantFrequencyMaps.load(file)
    share = maps.nearest(share)
    evaluation = read_method(cell.directory / "evaluation.json", method)
    rates, unfiltered = evaluation.methods[method].at(share), evaluation.unfiltered
    psi, smallest, shortcut = _of_grafts(evaluation.methods[method].grafts, len(maps.classes))
    resampled = dfm.read_provenance(file, lambda: stability_at_share(maps, share))
    ood_file = result_file(cell.directory, method)
    return Outcome(
        cell=cell,
        classes=maps.classes,
        masks=maps.at(share),
        accuracy=unfiltered.accuracy,
        unfiltered_tpr=unfiltered.tpr,
        rates=rates,
        above_threshold=float((rates.tpr > cell.config.evaluate.threshold).mean()),
        psi=psi,
        smallest=smallest,
        shortcut=shortcut,
        resampled=np.array(resampled.get("mean", [None] * len(maps.classes)), float),
        elsewhere={**OodResult.read(ood_file).sets} if ood_file.exists() else {},
    )


def _of_grafts(grafts: Grafts | None, classes: int) -> Float[np.ndarray, "3 classes"]:
    """Return psi, smallest and shortcut of an Outcome."""
    if grafts is None:
        return np.full((3, classes), np.nan)
    smallest = grafts.curves["map"].smallest
    return np.stack(
        [
            grafts.rates.psi,
            np.where(np.isnan(smallest) & (grafts.baseline.pairs > 0), np.inf, smallest),
            [np.nan if of.kind == "undecided" else float(of.kind == "shortcut") for of in grafts.verdicts],
        ]
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """Mean over seeds, and their standard deviation (n - 1); None where there is no value, or only one."""

    mean: float | None
    spread: float | None


def measured(values: Iterable[float | None]) -> Measured:
    """Return mean and spread over seeds; values that are missing or NaN are left out."""
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return Measured(mean(known), float(np.std(known, ddof=1)) if len(known) > 1 else None)


def median(values: Iterable[float]) -> float | None:
    """Return the median of the values that are not NaN; None without any, and where it is infinite."""
    known = [value for value in values if not np.isnan(value)]
    found = np.median(known) if known else np.inf
    return float(found) if np.isfinite(found) else None


def stability(masks: Sequence[Bool[np.ndarray, "height width"]]) -> tuple[Measured, Measured]:
    """Return the IoU of each pair of one class's maps over seeds, and the IoU expected by chance for their sizes."""
    pairs = list(itertools.combinations(masks, 2))
    return measured([iou(*pair) for pair in pairs]), measured([chance_iou(*pair) for pair in pairs])
