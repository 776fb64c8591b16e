"""What two masks have in common, and what they would have by chance; pure functions."""

import functools

import numpy as np
from jaxtyping import Bool
from scipy.stats import hypergeom

from fsjax.fourier import spectrum


def iou(left: Bool[np.ndarray, "height width"], right: Bool[np.ndarray, "height width"]) -> float | None:
    """Intersection over union of the positions kept, in [0, 1]; None where neither keeps any."""
    union = int((left | right).sum())
    return int((left & right).sum()) / union if union else None


def chance_iou(left: Bool[np.ndarray, "height width"], right: Bool[np.ndarray, "height width"]) -> float | None:
    """The IoU to expect of two masks of these sizes that have nothing to do with each other; None for empty ones.

    Counted in orbits where both masks are constant on them, since then whole orbits are what was chosen, else in
    positions.
    """
    if spectrum.is_hermitian(left) and spectrum.is_hermitian(right):
        left, right = spectrum.per_orbit(left), spectrum.per_orbit(right)
    return expected_iou(left.size, int(left.sum()), int(right.sum()))


@functools.lru_cache(maxsize=4096)
def expected_iou(total: int, left: int, right: int) -> float | None:
    """E[k / (left + right - k)], k the overlap of two random sets of these sizes among `total` things.

    k is hypergeometric, so the expectation is a finite sum; None where both sets are empty.
    """
    if not left + right:
        return None
    overlap = np.arange(max(0, left + right - total), min(left, right) + 1)
    return float((hypergeom.pmf(overlap, total, left, right) * overlap / (left + right - overlap)).sum())
