"""AvgTPR over t: what shortcut classes keep, and the others, as the bar for a shortcut rises (METHOD 3)."""

import numpy as np
from jaxtyping import Bool, Float

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


def average_tpr(
    grouping: Float[np.ndarray, " classes"],
    filtered: Float[np.ndarray, " classes"],
    unfiltered: Float[np.ndarray, " classes"],
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> list[dict]:
    """Mean TPR of the classes above each threshold and of the others, with the share of classes in each.

    Source: Wang et al., CVPR 2025: c is a shortcut class at t when its in-distribution filtered TPR > t, and stays one
    out of distribution.

    Args:
      grouping: in-distribution TPR of each class under its own map, NaN where there is none.
      filtered: TPR of each class under its own map on the images in question, NaN where they lack it.
      unfiltered: TPR of each class on these images as they are.
      thresholds: t, in [0, 1].

    Returns:
      For each t {"threshold", "shortcut": {...}, "other": {...}}, each with `classes` (how many), `share` (of all that
      have both rates and a grouping), `filtered` and `unfiltered` (means; None where the group is empty).
    """
    known = np.isfinite(grouping) & np.isfinite(filtered) & np.isfinite(unfiltered)

    def group(members: Bool[np.ndarray, " classes"]) -> dict:
        count = int(members.sum())
        return {
            "classes": count,
            "share": count / int(known.sum()) if known.any() else None,
            "filtered": float(filtered[members].mean()) if count else None,
            "unfiltered": float(unfiltered[members].mean()) if count else None,
        }

    curve = []
    for threshold in thresholds:
        above = known & (grouping > threshold)
        curve.append({"threshold": threshold, "shortcut": group(above), "other": group(known & ~above)})
    return curve
