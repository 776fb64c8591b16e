"""Overlap of two masks, and the overlap expected by chance.

Examples:
  >>> left, right = np.zeros((2, 8, 8), bool)
  >>> left[4, 3:6] = right[3:6, 4] = True
  >>> iou(left, right), round(chance_iou(left, right), 3)
  (0.2, 0.04)
  >>> round(expected_iou(total=34, left=2, right=2), 3)  # of 34 orbits
  0.04
"""

import functools

import numpy as np
import scipy
from jaxtyping import Bool

from fsjax.fourier import spectrum


def iou(left: Bool[np.ndarray, "height width"], right: Bool[np.ndarray, "height width"]) -> float | None:
    """Return the intersection over union of the kept positions, in [0, 1]; None where both masks are empty."""
    union = int((left | right).sum())
    return int((left & right).sum()) / union if union else None


def chance_iou(left: Bool[np.ndarray, "height width"], right: Bool[np.ndarray, "height width"]) -> float | None:
    """Return the IoU expected of two independent masks of these sizes; None where both are empty.

    Counted in orbits where both masks are constant on them, since then whole orbits were chosen, else in positions.
    """
    if spectrum.is_hermitian(left) and spectrum.is_hermitian(right):
        left, right = spectrum.per_orbit(left), spectrum.per_orbit(right)
    return expected_iou(left.size, int(left.sum()), int(right.sum()))


@functools.lru_cache(maxsize=4096)
def expected_iou(total: int, left: int, right: int) -> float | None:
    """Return E[k / (left + right - k)], k the overlap of two random sets of these sizes among `total` elements.

    k is hypergeometric, so the expectation is a finite sum; None where both sets are empty.
    """
    if not left + right:
        return None
    overlap = np.arange(max(0, left + right - total), min(left, right) + 1)
    return float((scipy.stats.hypergeom.pmf(overlap, total, left, right) * overlap / (left + right - overlap)).sum())
