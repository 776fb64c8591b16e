"""What the exact scores of patches drawn at random say of a race's estimates."""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.adaptive.successive_elimination import Race
from fsjax.search.precision_check import rank_correlation

# Of the sampled patches whose score was estimated: where fewer lie within their bounds, no bound is believed.
LEAST_COVERED = 0.5

# Of a loss in float32: where a patch changes nothing, errors are this and no variance.
_ROUNDING = 2e-6


def compare(race: Race, ranking: Ranking, sample: Int[np.ndarray, " drawn"]) -> dict:
    """Evaluates the sample on all images and compares it with what the race had estimated.

    Returns:
      JSON values: `spearman`, of the estimates with the exact scores; `estimated`, how many were not exact by then;
      `within_bounds`, how many of those; `error_scale`, the root mean square of their errors in standard errors;
      `wrong_side`, how many the exact value moves into or out of a share, and `wrong_at_most`, the upper 95 % bound of
      the share of such patches; `iou`, for each share the intersection over union with exact removal that the race's
      errors, scaled by the sample's, lead to expect; and whether the estimates are `contradicted`.
    """
    mean, deviation, open_ = race.mean.copy(), race.deviation.copy(), ~race.exact
    lower, upper = race.bounds()
    race.complete(sample)
    drawn = sample[open_[sample]]
    errors = race.mean[drawn] - mean[drawn]
    scale = float(np.sqrt(np.mean((errors / np.maximum(deviation[drawn], _ROUNDING)) ** 2))) if len(drawn) else 0.0
    moved = ranking.touched((ranking.inside(mean) != ranking.inside(race.mean)).any(0))[drawn]
    covered = (lower[drawn] - _ROUNDING <= race.mean[drawn]) & (race.mean[drawn] <= upper[drawn] + _ROUNDING)
    wrong, among = int(moved.sum()), len(drawn)
    return {
        "spearman": rank_correlation(mean[sample], race.mean[sample]),
        "estimated": among,
        "within_bounds": int(covered.sum()),
        "error_scale": scale,
        "wrong_side": wrong,
        "wrong_at_most": float(stats.beta.ppf(0.95, wrong + 1, among - wrong)) if wrong < among else 1.0,
        "iou": iou_of_errors(ranking, mean, deviation * max(1.0, scale)),
        "contradicted": wrong > 0 or int(covered.sum()) < LEAST_COVERED * among,
    }


def iou_of_errors(
    ranking: Ranking, mean: Float[np.ndarray, " patches"], deviation: Float[np.ndarray, " patches"]
) -> list[float]:
    """The agreement of each share with exact removal that normal errors of this size lead to expect, in [0, 1].

    An orbit crosses the boundary with the chance that its error is as large as its distance from there. Those that
    leave and those that enter take each other's places, or those of orbits that are exact.
    """
    scores, errors = ranking.of_orbits(mean), ranking.of_orbits(deviation)
    found = []
    for kept in ranking.inside(mean):
        swaps = 0.0
        if kept.any() and not kept.all():
            distances = np.abs(scores - (scores[kept].min() + scores[~kept].max()) / 2)
            chances = np.zeros(len(scores))
            chances[errors > 0] = stats.norm.sf(distances[errors > 0] / errors[errors > 0])
            swaps = max(float(chances[kept].sum()), float(chances[~kept].sum()))
        count = max(1, int(kept.sum()))
        found.append(max(0.0, count - swaps) / (count + swaps))
    return found
