"""AvgTPR over t: mean TPR of the classes whose TPR under their map is above t in distribution, and of the others."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


@dataclasses.dataclass(frozen=True)
class Group:
    """Some of the classes that have both rates; None where there is no class to average over.

    Attributes:
      classes: how many there are.
      share: of all classes that have both rates.
      filtered: mean TPR under the classes' own maps.
      unfiltered: mean TPR on images as they are.
    """

    classes: int
    share: float | None
    filtered: float | None
    unfiltered: float | None


@dataclasses.dataclass(frozen=True)
class Point:
    """The classes above a threshold, which the source calls shortcut classes, and the other classes."""

    threshold: float
    shortcut: Group
    other: Group


def average_tpr(
    grouping: Float[np.ndarray, " classes"],
    filtered: Float[np.ndarray, " classes"],
    unfiltered: Float[np.ndarray, " classes"],
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> tuple[Point, ...]:
    """Return the mean TPR of the classes above each threshold and of the others.

    Source: Wang et al., CVPR 2025: c is a shortcut class at t when its in-distribution filtered TPR > t, and stays one
    out of distribution.

    Args:
      grouping: in-distribution TPR of each class under its own map, NaN where there is none.
      filtered: TPR of each class under its own map on the images in question, NaN where they lack it.
      unfiltered: TPR of each class on these images as they are.
      thresholds: t, in [0, 1].
    """
    known = np.isfinite(grouping) & np.isfinite(filtered) & np.isfinite(unfiltered)

    def group(members: Bool[np.ndarray, " classes"]) -> Group:
        count = int(members.sum())
        return Group(
            classes=count,
            share=count / int(known.sum()) if known.any() else None,
            filtered=float(filtered[members].mean()) if count else None,
            unfiltered=float(unfiltered[members].mean()) if count else None,
        )

    return tuple(
        Point(threshold, group(known & (grouping > threshold)), group(known & ~(grouping > threshold)))
        for threshold in thresholds
    )
