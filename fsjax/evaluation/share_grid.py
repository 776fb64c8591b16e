"""TPR and FPR at further shares of the plane, under masks that are cut from the maps' scores there."""

import numpy as np
from jaxtyping import Bool

from fsjax.data.dataset import Dataset
from fsjax.engine.engine import Engine
from fsjax.evaluation.filtered import predicted_counts
from fsjax.evaluation.rates import false_positive_rate, true_positive_rate
from fsjax.evaluation.results import Grid
from fsjax.evaluation.statistics import wilson
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.classifier import Classifier
from fsjax.search import method_of

# Positions of all masks in memory: those of 1,000 classes at 224 pixels are 5 x 10^7 at every share.
_MASK_POSITIONS = 2**26


def shares_of(maps: DominantFrequencyMaps, requested: tuple[float, ...]) -> tuple[float, ...]:
    """Return the requested shares that the maps do not have, ascending.

    Empty where the maps have no scores, or where scores cut at the maps' own shares by the method's rule give other
    masks than the maps.
    """
    further = tuple(sorted(set(requested) - set(maps.shares)))
    if not further or maps.scores is None:
        return ()
    same = all(np.array_equal(masks_at(maps, share), maps.at(share)) for share in maps.shares)
    return further if same else ()


def masks_at(maps: DominantFrequencyMaps, share: float) -> Bool[np.ndarray, "classes height width"]:
    """Return the masks that the method cuts from its scores at any share in (0, 1]."""
    rule = method_of(maps).mask
    assert maps.scores is not None, "masks are made of scores"
    return np.stack([rule(scores, share) for scores in maps.scores])


def measure(
    classifier: Classifier,
    engine: Engine,
    maps: DominantFrequencyMaps,
    images: Dataset,
    shares: tuple[float, ...],
) -> Grid:
    """Return the rates of each class at each share. Collective: every process must call this.

    Args:
      classifier: that is judged.
      engine: of the same; sums the statistic `predicted_target`.
      maps: with scores.
      images: all of them are filtered by each class's mask.
      shares: as `shares_of` returns them.
    """
    classes = len(maps.classes)
    sizes, targets = np.bincount(images.labels, minlength=classes), np.arange(classes)
    tpr, tpr_ci, fpr = [], [], []
    step = max(1, _MASK_POSITIONS // maps.masks[0].size)
    for start in range(0, len(shares), step):
        group = shares[start : start + step]
        masks = np.concatenate([masks_at(maps, share) for share in group])
        label = "evaluate other shares"
        counts = predicted_counts(engine, images, classifier.mean_std, masks, np.tile(targets, len(group)), label=label)
        for of_share in np.split(counts, len(group)):
            tpr.append(true_positive_rate(of_share, targets, sizes))
            tpr_ci.append(wilson(np.diag(of_share), sizes))
            fpr.append(false_positive_rate(of_share, targets, sizes))
    return Grid(sizes, shares, np.stack(tpr), np.stack(tpr_ci), np.stack(fpr))
