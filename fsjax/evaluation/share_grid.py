"""TPR and FPR at shares of the plane beside those of the maps: what each class's scores give when cut there."""

import numpy as np
from jaxtyping import Bool

from fsjax.data.dataset import Dataset
from fsjax.engine.engine import Engine
from fsjax.evaluation.confusion import false_positive_rate, true_positive_rate
from fsjax.evaluation.filtered import called
from fsjax.evaluation.statistics import numbers, wilson
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.classifier import Classifier
from fsjax.search import method_of

# Positions of masks that are made at once: those of 1,000 classes at 224 pixels are 5 x 10^7 at every share.
_AT_ONCE = 2**26


def shares_of(maps: DominantFrequencyMaps, asked: tuple[float, ...]) -> tuple[float, ...]:
    """The shares asked for that are none of the maps' own, ascending.

    None where the maps have no scores, or where these, cut at the maps' own shares by the method's rule, are other
    masks than the maps.
    """
    others = tuple(sorted(set(asked) - set(maps.shares)))
    if not others or maps.scores is None:
        return ()
    same = all(np.array_equal(masks_at(maps, share), maps.at(share)) for share in maps.shares)
    return others if same else ()


def masks_at(maps: DominantFrequencyMaps, share: float) -> Bool[np.ndarray, "classes height width"]:
    """The masks that the method makes of its scores at any share in (0, 1]."""
    rule = method_of(maps).mask
    assert maps.scores is not None, "masks are made of scores"
    return np.stack([rule(scores, share) for scores in maps.scores])


def measure(
    classifier: Classifier,
    engine: Engine,
    maps: DominantFrequencyMaps,
    images: Dataset,
    shares: tuple[float, ...],
) -> dict:
    """TPR, with its 95 % interval, and FPR of each class at each share, as JSON values.

    Args:
      classifier: that is judged.
      engine: of the same, that sums the statistic `called`.
      maps: with scores.
      images: that are filtered, all of them by each class's mask.
      shares: as `shares_of` gives them.

    Returns:
      `images` of each class, `shares`, and [shares][classes] `tpr`, `tpr_ci` and `fpr`.
    """
    classes = len(maps.classes)
    sizes, targets = np.bincount(images.labels, minlength=classes), np.arange(classes)
    found: dict = {"images": sizes.tolist(), "shares": list(shares), "tpr": [], "tpr_ci": [], "fpr": []}
    step = max(1, _AT_ONCE // maps.masks[0].size)
    for start in range(0, len(shares), step):
        part = shares[start : start + step]
        under = np.concatenate([masks_at(maps, share) for share in part])
        several = np.tile(targets, len(part))
        counts = called(engine, images, classifier.mean_std, under, several, label="evaluate other shares")
        for of_share in np.split(counts, len(part)):
            found["tpr"].append(numbers(true_positive_rate(of_share, targets, sizes)))
            found["tpr_ci"].append(numbers(wilson(np.diag(of_share), sizes)))
            found["fpr"].append(numbers(false_positive_rate(of_share, targets, sizes)))
    return found
