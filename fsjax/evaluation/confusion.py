"""Confusion matrix, TPR and FPR of an unfiltered test set."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int, Real


def confusion(
    predictions: Iterable[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n outputs"]]],
    labels: Int[np.ndarray, " images"],
    classes: int,
) -> Int[np.ndarray, "classes classes"]:
    """Counts of images by true class (rows) and predicted class (columns).

    Args:
      predictions: (indices, logits) batches that cover the labels.
      labels: true class of each image.
      classes: how many there are. Images predicted as an output beyond them are in no column.
    """
    counts = np.zeros((classes, classes), np.int64)
    for indices, logits in predictions:
        predicted = logits.argmax(-1)
        known = predicted < classes
        np.add.at(counts, (labels[indices][known], predicted[known]), 1)
    return counts


def true_positive_rate(
    called: Real[np.ndarray, "masks classes"], targets: Int[np.ndarray, " masks"], sizes: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " masks"]:
    """Share of each mask's target class still called that class, in [0, 1]; NaN where the class has no image.

    Args:
      called: images of each true class that are called the mask's target class.
      targets: target class of each mask.
      sizes: images of each class.
    """
    return share(called[np.arange(len(called)), targets], sizes[targets])


def false_positive_rate(
    called: Real[np.ndarray, "masks classes"], targets: Int[np.ndarray, " masks"], sizes: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " masks"]:
    """Share of the images of other classes called the mask's target class, in [0, 1]; NaN where there are none."""
    others = called.sum(1) - called[np.arange(len(called)), targets]
    return share(others, sizes.sum() - sizes[targets])


def share(part: Real[np.ndarray, "*rows n"], whole: Int[np.ndarray, " n"]) -> Float[np.ndarray, "*rows n"]:
    """part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
