"""True and false positive rates from counts of images."""

import numpy as np
from jaxtyping import Float, Int, Real


def true_positive_rate(
    predicted: Real[np.ndarray, "masks classes"],
    targets: Int[np.ndarray, " masks"],
    sizes: Int[np.ndarray, " classes"],
) -> Float[np.ndarray, " masks"]:
    """Return the share of each mask's target class predicted as that class, in [0, 1]; NaN without images of it.

    Args:
      predicted: images of each true class that are predicted as the mask's target class.
      targets: target class of each mask.
      sizes: images of each class.
    """
    return ratio(predicted[np.arange(len(predicted)), targets], sizes[targets])


def false_positive_rate(
    predicted: Real[np.ndarray, "masks classes"],
    targets: Int[np.ndarray, " masks"],
    sizes: Int[np.ndarray, " classes"],
) -> Float[np.ndarray, " masks"]:
    """Return the share of the other classes' images predicted as the target class, in [0, 1]; NaN without any."""
    others = predicted.sum(1) - predicted[np.arange(len(predicted)), targets]
    return ratio(others, sizes.sum() - sizes[targets])


def ratio(part: Real[np.ndarray, "*rows n"], whole: Int[np.ndarray, " n"]) -> Float[np.ndarray, "*rows n"]:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
