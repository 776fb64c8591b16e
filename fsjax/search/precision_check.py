"""Compare a search in TF32 or bfloat16 with float32 on a random sample of masks."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np
import scipy
from jaxtyping import Float

from fsjax.engine.engine import LazyArray
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.method import Problem
from fsjax.search.sweep import sweep

logger = logging.getLogger(__name__)

# Share of the sampled masks that are compared as the best.
TOP_SHARE = 0.05


def measure(
    problem: Problem,
    masks: LazyArray,
    sums: Float[np.ndarray, "classes masks"],
    weights: Callable[[int], Float[np.ndarray, " images"]] | None = None,
) -> dict:
    """Compare a sweep's scores with scores in 'highest' precision; the provenance of maps has it as "agreement".

    Args:
      problem: its options give the precision of the sweep and the number of sampled masks.
      masks: the masks of the sweep; a score is the difference from the first mask's sum.
      sums: the sums of the sweep.
      weights: the weights of the sweep.

    Returns:
      JSON values, none for a sweep in 'highest': `precision`; `masks`, the number of masks computed again; for each
      class `spearman`, the rank correlation of the scores, and `top_iou`.
    """
    precision = problem.options.precision
    if precision == "highest":
        return {}
    count = min(problem.options.agreement_masks, sums.shape[1] - 1)
    rng = generator(0, Stream.PRECISION_CHECK, count)
    sample = np.concatenate([[0], 1 + np.sort(rng.choice(sums.shape[1] - 1, count, replace=False))])
    in_highest = dataclasses.replace(problem, directory=problem.directory and problem.directory / "highest")
    model = problem.model.at("highest")
    reference = sweep(in_highest, masks[sample], weights=weights, model=model, label="search in highest")
    pairs = list(zip(*(losses[:, 1:] - losses[:, :1] for losses in (sums[:, sample], reference)), strict=True))
    spearman, iou = [rank_correlation(*pair) for pair in pairs], [top_iou(*pair) for pair in pairs]
    logger.info(
        "search: %s against 'highest' on %d masks: rank correlation %s, IoU of the best 5 %% %s over the classes",
        *(precision, len(sample), range_in_words(spearman), range_in_words(iou)),
    )
    return {"precision": precision, "masks": len(sample), "spearman": spearman, "top_iou": iou}


def range_in_words(values: Sequence[float | None]) -> str:
    """Return the range of a measure over the classes, in words."""
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
