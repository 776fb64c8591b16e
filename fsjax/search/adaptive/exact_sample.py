"""Check estimated scores against the exact scores of patches drawn at random."""

import dataclasses

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.adaptive.successive_elimination import SuccessiveElimination
from fsjax.search.precision_check import rank_correlation

# Share of the sampled, estimated scores that have to lie within their bounds; with fewer no bound is believed.
LEAST_COVERED = 0.5

# Error of a loss in float32: all that is left where a patch changes nothing and its variance is 0.
_ROUNDING = 2e-6


@dataclasses.dataclass(frozen=True)
class SampleCheck:
    """How the estimates agree with the exact scores of the sample; the report keeps these fields.

    Attributes:
      spearman: rank correlation of the estimates with the exact scores.
      estimated: sampled patches whose score was not exact before.
      within_bounds: those of them whose exact score lies within its bounds.
      error_scale: root mean square of their errors, in standard errors.
      wrong_side: those of them that the exact scores move into or out of a share.
      wrong_at_most: upper 95 % bound of the proportion of such patches.
      iou: for each share, the expected intersection over union with exact removal, from standard errors that are
        scaled by `error_scale` where it is above 1.
      contradicted: whether the sample refutes the estimates.
    """

    spearman: float | None
    estimated: int
    within_bounds: int
    error_scale: float
    wrong_side: int
    wrong_at_most: float
    iou: list[float]
    contradicted: bool


def compare(elimination: SuccessiveElimination, ranking: Ranking, sample: Int[np.ndarray, " sampled"]) -> SampleCheck:
    """Evaluate the sampled patches on all images and compare their exact scores with the estimates of before."""
    mean, standard_error = elimination.mean.copy(), elimination.standard_error.copy()
    lower, upper = elimination.bounds()
    estimated = sample[~elimination.exact[sample]]
    elimination.complete(sample)
    exact = elimination.mean
    errors = (exact - mean)[estimated] / np.maximum(standard_error[estimated], _ROUNDING)
    error_scale = float(np.sqrt(np.mean(errors**2))) if len(estimated) else 0.0
    covered = (lower - _ROUNDING <= exact) & (exact <= upper + _ROUNDING)
    within_bounds = int(covered[estimated].sum())
    moved = ranking.patches_with((ranking.selected(mean) != ranking.selected(exact)).any(0))
    wrong, count = int(moved[estimated].sum()), len(estimated)
    return SampleCheck(
        spearman=rank_correlation(mean[sample], exact[sample]),
        estimated=count,
        within_bounds=within_bounds,
        error_scale=error_scale,
        wrong_side=wrong,
        wrong_at_most=float(scipy.stats.beta.ppf(0.95, wrong + 1, count - wrong)) if wrong < count else 1.0,
        iou=expected_iou(ranking, mean, standard_error * max(1.0, error_scale)),
        contradicted=wrong > 0 or within_bounds < LEAST_COVERED * count,
    )


def expected_iou(
    ranking: Ranking, mean: Float[np.ndarray, " patches"], standard_error: Float[np.ndarray, " patches"]
) -> list[float]:
    """Return each share's expected IoU with exact removal, in [0, 1], if the errors are normal and of this size.

    An orbit crosses the boundary with the probability that its error is as large as its distance from it. Those that
    leave and those that enter take each other's places, or those of orbits that are exact.
    """
    best = ranking.best_patches(mean)
    scores, errors = mean[best], standard_error[best]
    return [_expected_iou(scores, errors, selected) for selected in ranking.selected(mean)]


def _expected_iou(
    scores: Float[np.ndarray, " orbits"], errors: Float[np.ndarray, " orbits"], selected: Bool[np.ndarray, " orbits"]
) -> float:
    count = max(1, int(selected.sum()))
    if not selected.any() or selected.all():
        return 1.0
    distances = np.abs(scores - (scores[selected].min() + scores[~selected].max()) / 2)
    crosses, uncertain = np.zeros(len(scores)), errors > 0
    crosses[uncertain] = scipy.stats.norm.sf(distances[uncertain] / errors[uncertain])
    swaps = max(float(crosses[selected].sum()), float(crosses[~selected].sum()))
    return max(0.0, count - swaps) / (count + swaps)
