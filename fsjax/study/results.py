"""What the runs of a study found, and the mean and spread over its seeds."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fsjax import dfm, workdir
from fsjax.evaluate.controls import best_trivial
from fsjax.evaluate.statistics import mean
from fsjax.ood.stage import result_file
from fsjax.overlap import chance_iou, iou
from fsjax.search.stability import at_share
from fsjax.storage import Path
from fsjax.study.grid import Cell


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one run found, at the share that the study shows.

    Attributes:
      cell: the run.
      classes: display names.
      kept: the maps.
      accuracy: on the test images, in [0, 1].
      unfiltered: TPR of each class on the test images as they are; NaN where there are none.
      tpr: of each class under its map.
      fpr: of the other classes' images under it.
      above: share of the classes whose TPR is above config.evaluate.threshold, the published criterion.
      trivial: TPR of each class under the better trivial mask of its map's size; NaN without controls.
      resampled: mean IoU of each class's map with those of resampled images; NaN where the search did not tell.
      shortcut: 1 for each class that is a shortcut by its controls, too, and 0 for others; NaN without a verdict.
      elsewhere: the same out of distribution, by the name of a set.
    """

    cell: Cell
    classes: tuple[str, ...]
    kept: Bool[np.ndarray, "classes height width"]
    accuracy: float
    unfiltered: Float[np.ndarray, " classes"]
    tpr: Float[np.ndarray, " classes"]
    fpr: Float[np.ndarray, " classes"]
    above: float
    trivial: Float[np.ndarray, " classes"]
    resampled: Float[np.ndarray, " classes"]
    shortcut: Float[np.ndarray, " classes"]
    elsewhere: dict[str, "Elsewhere"]


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """What a model and its maps do on another set: accuracy, and TPR of each class as it is and under its map.

    `trivial` is the TPR under the better trivial mask of the map's size; NaN without controls.
    """

    accuracy: float | None
    unfiltered: Float[np.ndarray, " classes"]
    tpr: Float[np.ndarray, " classes"]
    trivial: Float[np.ndarray, " classes"]


def read(cell: Cell, share: float) -> Outcome:
    """A run's outcome from its workdir, of its search method at the share nearest to the one asked for."""
    method = cell.config.search.method
    file = cell.directory / "dfm" / f"{method}.npz"
    maps = dfm.DominantFrequencyMaps.load(file)
    evaluation = workdir.read_json(cell.directory / "evaluation.json")
    share = maps.nearest(share)
    rates, unfiltered = evaluation[method][f"{share:g}"], evaluation["unfiltered"]
    tpr, nothing = np.array(rates["tpr"], float), [None] * len(maps.classes)
    stable = dfm.told(file, lambda: at_share(maps, share))
    return Outcome(
        cell=cell,
        classes=maps.classes,
        kept=maps.at(share),
        accuracy=unfiltered["accuracy"],
        unfiltered=np.array(unfiltered["tpr"], float),
        tpr=tpr,
        fpr=np.array(rates["fpr"], float),
        above=float((tpr > cell.config.evaluate.threshold).mean()),
        trivial=best_trivial(rates, len(maps.classes)),
        resampled=np.array(stable.get("mean", nothing), float),
        shortcut=np.array(rates.get("shortcut", nothing), float),
        elsewhere=_elsewhere(result_file(cell.directory, method)),
    )


def _elsewhere(file: Path) -> dict[str, Elsewhere]:
    sets = workdir.read_json(file)["sets"] if file.exists() else {}
    return {
        name: Elsewhere(
            accuracy=found["accuracy"],
            unfiltered=np.array(found["unfiltered"]["tpr"], float),
            tpr=np.array(found["filtered"]["tpr"], float),
            trivial=best_trivial(found, len(found["filtered"]["tpr"])),
        )
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
