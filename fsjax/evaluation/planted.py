"""How well maps find orbits that were planted, and whether the classifier uses those at all (METHOD 5)."""

import numpy as np
from jaxtyping import Bool, Float

from fsjax.fourier import spectrum


def recovery(
    scores: Float[np.ndarray, "height width"], planted: Bool[np.ndarray, "height width"]
) -> dict[str, int | float]:
    """Precision and recall of the k best orbits, k the number planted, and average precision over the whole ranking.

    At k both are the same number: as many are found as are planted. Average precision is the mean, over the planted
    orbits, of the precision at each one's rank; ties go in orbit order, as in the maps.
    """
    orbits = spectrum.orbits(*scores.shape)
    first = np.unique(orbits, return_index=True)[1]
    order = np.argsort(-scores.ravel()[first], kind="stable")
    hits = planted.ravel()[first][order]
    count = int(hits.sum())
    found = int(hits[:count].sum())
    ranks = np.flatnonzero(hits) + 1
    return {
        "planted_orbits": count,
        "found": found,
        "precision": found / count,
        "recall": found / count,
        "average_precision": float(np.mean(np.arange(1, count + 1) / ranks)),
        "chance": count / len(first),
    }
