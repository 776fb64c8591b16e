"""How alike the masks, and the scores, of two sets of maps are."""

from typing import Any

from fsjax.evaluation.statistics import mean
from fsjax.experiment.comparison.comparison import SIDES, Correlations, Overlap
from fsjax.experiment.comparison.pairing import Pairing
from fsjax.experiment.comparison.rank_correlation import RESAMPLES, rank_correlations
from fsjax.fourier.dfm import DominantFrequencyMaps, read_provenance
from fsjax.fourier.overlap import chance_iou, iou
from fsjax.runtime import interrupt
from fsjax.runtime.progress import Progress
from fsjax.search.bootstrap import stability_at_share


def overlap(paired: Pairing, row: int) -> Overlap:
    """Return how alike the masks of a pair of shares are, and what that is to be held against."""
    sides: dict[str, DominantFrequencyMaps] = {side: getattr(paired, side) for side in SIDES}
    masks = list(zip(paired.left.masks[row], paired.right.masks[row], strict=True))
    ious, chance = tuple(iou(*pair) for pair in masks), tuple(chance_iou(*pair) for pair in masks)
    return Overlap(
        left=paired.left.shares[row],
        right=paired.right.shares[row],
        mean_iou=mean(ious),
        mean_chance_iou=mean(chance),
        iou=ious,
        chance_iou=chance,
        stability={side: _stability(maps, row) for side, maps in sides.items()},
        positions={side: tuple(maps.positions[row].tolist()) for side, maps in sides.items()},
        kept={side: tuple(maps.kept[row].tolist()) for side, maps in sides.items()},
    )


def _stability(maps: DominantFrequencyMaps, row: int) -> dict | None:
    """Return the IoU of a side's maps with those of resampled images; None where its search has no resamples."""
    return read_provenance(maps.provenance["file"]["path"], lambda: stability_at_share(maps, maps.shares[row])) or None


def correlations(left: DominantFrequencyMaps, right: DominantFrequencyMaps, seed: int) -> Correlations | None:
    """Return the rank correlations of each class's scores; None where a side has no scores.

    Raises:
      interrupt.Terminated: SIGTERM came.
    """
    if left.scores is None or right.scores is None:
        return None
    of_classes = []
    with Progress("compare", len(left.scores), "classes") as progress:
        for planes in zip(left.scores, right.scores, strict=True):
            of_classes.append(rank_correlations(*planes, seed))
            progress.update(1)
            interrupt.check()
    fields: dict[str, Any] = {}
    for name in ("spearman", "kendall"):
        values = tuple(of_class[name].value for of_class in of_classes)
        intervals = tuple(of_class[name].interval for of_class in of_classes)
        fields |= {name: values, f"mean_{name}": mean(values), f"{name}_ci": intervals}
    return Correlations(RESAMPLES, **fields)
