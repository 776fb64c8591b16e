"""TPR and FPR at further shares of the plane, under masks that are cut from the maps' scores there."""

import numpy as np
from jaxtyping import Bool

from fsjax.data.dataset import Dataset
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation.filtered import filtered_rates
from fsjax.evaluation.results import Grid
from fsjax.fourier.dfm import WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.search import mask_rule, patch_maps

# Positions of all masks in memory: those of 1,000 classes at 224 pixels are 5 x 10^7 at every share.
_MASK_POSITIONS = 2**26


def shares_of(maps: DominantFrequencyMaps, requested: tuple[float, ...]) -> tuple[float, ...]:
    """Return the requested shares that the maps do not have, ascending; without those that hold no whole patch.

    Empty where the maps have no scores, or where scores cut at the maps' own shares by the method's rule give other
    masks than the maps.
    """
    plane, patch = maps.masks.shape[2:], maps.provenance.get(WHOLE_PATCHES, 1)
    hold = [share for share in requested if patch == 1 or patch_maps.whole(share, plane, patch)]
    further = tuple(sorted(set(hold) - set(maps.shares)))
    if not further or maps.scores is None:
        return ()
    same = all(np.array_equal(masks_at(maps, share), maps.at(share)) for share in maps.shares)
    return further if same else ()


def masks_at(maps: DominantFrequencyMaps, share: float) -> Bool[np.ndarray, "classes height width"]:
    """Return the masks that the method cuts from its scores at any share in (0, 1]."""
    rule = mask_rule(maps)
    assert maps.scores is not None, "masks are made of scores"
    return np.stack([rule(scores, share) for scores in maps.scores])


def measure(
    classifier: Model,
    engine: Engine,
    maps: DominantFrequencyMaps,
    images: Dataset,
    shares: tuple[float, ...],
) -> Grid:
    """Return the rates of each class at the shares of `shares_of`; all images are filtered by each class's mask.

    The engine sums the statistic `predicted_target`. Collective: every process must call this.
    """
    rates, step = [], max(1, _MASK_POSITIONS // maps.masks[0].size)
    for start in range(0, len(shares), step):
        masks = np.stack([masks_at(maps, share) for share in shares[start : start + step]])
        rates += filtered_rates(engine, images, classifier.mean_std, masks, label="evaluate other shares")
    tpr, tpr_ci, fpr = (np.stack([getattr(at, name) for at in rates]) for name in ("tpr", "tpr_ci", "fpr"))
    return Grid(np.bincount(images.labels, minlength=len(maps.classes)), shares, tpr, tpr_ci, fpr)
