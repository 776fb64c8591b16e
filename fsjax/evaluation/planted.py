"""Score maps against orbits that were planted in a synthetic data set."""

import numpy as np
from jaxtyping import Bool, Float

from fsjax.evaluation.results import Recovery
from fsjax.fourier import spectrum


def positions(planted: dict[str, np.ndarray]) -> Bool[np.ndarray, "classes height width"]:
    """Return the planted positions of each class: fixed orbits, or the band whose orbits are raised at random."""
    return planted["fixed"] | planted["any"]


def recovery(scores: Float[np.ndarray, "height width"], planted: Bool[np.ndarray, "height width"]) -> Recovery:
    """Return precision and recall of the k best orbits, k the number planted, and average precision.

    At k precision and recall are equal. Average precision is the mean, over the planted orbits, of the precision at
    each one's rank; ties are ranked in orbit order, as in the maps.
    """
    order = np.argsort(-spectrum.per_orbit(scores), kind="stable")
    is_planted = spectrum.per_orbit(planted)[order]
    count = int(is_planted.sum())
    hits = int(is_planted[:count].sum())
    ranks = np.flatnonzero(is_planted) + 1
    return Recovery(
        planted_orbits=count,
        found=hits,
        precision=hits / count,
        recall=hits / count,
        average_precision=float(np.mean(np.arange(1, count + 1) / ranks)),
        chance=count / len(order),
    )
