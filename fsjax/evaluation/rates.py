"""True and false positive rates from counts of images."""

import numpy as np
from jaxtyping import Float, Int, Real

from fsjax.evaluation.results import Rates
from fsjax.evaluation.statistics import wilson


def class_rates(predicted: Real[np.ndarray, "classes classes"], sizes: Int[np.ndarray, " classes"]) -> Rates:
    """Return the rates of each class, NaN where there is no image to count.

    Args:
      predicted: images of each true class (columns) that are predicted as a class (rows), under that class's mask.
      sizes: images of each class.
    """
    correct = np.diagonal(predicted)
    fpr = ratio(predicted.sum(1) - correct, sizes.sum() - sizes)
    return Rates(ratio(correct, sizes), wilson(correct, sizes), fpr)


def ratio(part: Real[np.ndarray, "*rows n"], whole: Int[np.ndarray, " n"]) -> Float[np.ndarray, "*rows n"]:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
