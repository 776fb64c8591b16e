"""Check on a random sample of masks whether a search in TF32 or bfloat16 finds what one in float32 finds."""

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import scipy
from jaxtyping import Float

from fsjax.engine.engine import LazyArray
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.method import Problem
from fsjax.search.sweep import sweep

logger = logging.getLogger(__name__)

# Share of the sampled masks whose best are compared.
TOP_SHARE = 0.05


def measure(
    problem: Problem,
    masks: LazyArray,
    sums: Float[np.ndarray, "classes masks"],
    weights: Callable[[int], Float[np.ndarray, " images"]] | None = None,
) -> dict:
    """Compare a sweep's scores with those in 'highest' precision; files of maps keep the result as "agreement".

    Args:
      problem: its options give the precision of the sweep and how many masks are sampled.
      masks: of the sweep, as are `sums` and `weights`; scores are differences from the first one.

    Returns:
      JSON values, none where the sweep was made in 'highest': `precision`; `masks`, the number of masks computed again;
      for each class `spearman`, the rank correlation of the scores, and `top_iou`, the intersection over union of the
      best 5 % of the sample by either, at least one mask.
    """
    precision = problem.options.precision
    if precision == "highest":
        return {}
    count = min(problem.options.agreement_masks, sums.shape[1] - 1)
    rng = generator(0, Stream.PRECISION_CHECK, count)
    sample = np.concatenate([[0], 1 + np.sort(rng.choice(sums.shape[1] - 1, count, replace=False))])

    in_highest = dataclasses.replace(problem, directory=problem.directory and problem.directory / "highest")
    reference = sweep(in_highest, masks[sample], weights=weights, precision="highest", label="search in highest")
    scores, expected = (losses[:, 1:] - losses[:, :1] for losses in (sums[:, sample], reference))
    report = {
        "precision": precision,
        "masks": len(sample),
        "spearman": [rank_correlation(*pair) for pair in zip(scores, expected, strict=True)],
        "top_iou": [top_iou(*pair) for pair in zip(scores, expected, strict=True)],
    }
    logger.info(
        "search: %s against 'highest' on %d masks: rank correlation %s, IoU of the best 5 %% %s over the classes",
        *(precision, len(sample), range_in_words(report["spearman"]), range_in_words(report["top_iou"])),
    )
    return report


def range_in_words(values: list[float | None]) -> str:
    """Word the range of a measure over the classes."""
    known = [value for value in values if value is not None]
    return f"{min(known):.3f} to {max(known):.3f}" if known else "undefined"


def rank_correlation(scores: np.ndarray, expected: np.ndarray) -> float | None:
    """Return Spearman's rank correlation, in [-1, 1]; None where one side is constant."""
    if np.ptp(scores) == 0 or np.ptp(expected) == 0:
        return None
    return float(scipy.stats.spearmanr(scores, expected).statistic)


def top_iou(scores: np.ndarray, expected: np.ndarray) -> float:
    """Return the intersection over union of the best 5 % by either, at least one mask, in [0, 1]."""
    count = max(1, round(TOP_SHARE * len(scores)))
    best, truth = (set(np.argsort(-values, kind="stable")[:count]) for values in (scores, expected))
    return len(best & truth) / len(best | truth)
