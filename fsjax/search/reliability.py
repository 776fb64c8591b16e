"""Reliability of maps: how strongly they depend on the searched images, and on a low precision.

Bootstrap resamples (Efron, Annals of Statistics 7, 1979) draw as many images of a class as were searched, with
replacement. A search that sums losses over images gets the resamples' maps from its own forward passes: an image counts
as often as it was drawn. The model stays the same, so the result does not say how much another training would change
the map. The provenance of maps has the result as "stability"; the field is config.search.resamples.

A search in TF32 or bfloat16 is compared with float32 on a random sample of masks, under "agreement".
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.engine.engine import LazyArray
from fsjax.fourier import masks, patches, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.method import Problem
from fsjax.search.sweep import sweep

logger = logging.getLogger(__name__)

# Resamples where config.search.resamples is -1.
DEFAULT_RESAMPLES = 20
# Limit of a search's sums in bytes, since they are all in memory.
_MOST_BYTES = 2**30
# Share of the resamples between the low and the high quantile.
_LEVEL = 0.95
# Share of the sampled masks that are compared as the best.
TOP_SHARE = 0.05


def resample_count(options: ConfigDict, method: str) -> int:
    """Return the resamples that config.search asks a method for; 0 where another method starts from its scores."""
    if options.method != method:
        return 0
    return options.resamples if options.resamples >= 0 else DEFAULT_RESAMPLES


def check_memory(classes: int, mask_count: int, resamples: int) -> None:
    """Raise InputError where the sums of all resamples take too much memory."""
    each = classes * mask_count * 8
    if resamples and each * (1 + resamples) > _MOST_BYTES:
        fitting = max(0, _MOST_BYTES // each - 1)
        raise InputError(
            f"search.resamples: got {resamples}, whose sums of {classes} classes under {mask_count} masks would "
            f"take {each * (1 + resamples) / 2**30:.1f} GiB; expected {f'{fitting} or fewer' if fitting else '0'}"
        )


def resample_weights(images: int, resamples: int, seed: int, label: int) -> Float[np.ndarray, "images replicates"]:
    """Return how often each of a class's images counts: once in replicate 0, then as drawn for each resample."""
    drawn = generator(seed, Stream.BOOTSTRAP, label).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([np.ones((images, 1)), drawn.T], axis=1)


def measure_stability(planes: Iterable[Float[np.ndarray, "replicates height width"]], options: ConfigDict) -> dict:
    """Return the IoU of each resample's map with the map itself, as JSON values.

    `planes` are the `patches.position_scores` of each class, on all images and then on each resample. Returns
    `resamples`, `shares`, and `iou`: its `mean` over the resamples and its `low` and `high`, the 2.5 and 97.5 %
    quantiles, [shares][classes] in [0, 1]; None for a map that keeps nothing.
    """
    shares, tail = tuple(sorted(options.shares)), (1 - _LEVEL) / 2
    ious = np.array([_class_ious(class_planes, shares, options.patch) for class_planes in planes])
    low, high = np.quantile(ious, (tail, 1 - tail), axis=-1)
    statistics = {"mean": ious.mean(-1), "low": low, "high": high}
    return {
        "resamples": ious.shape[-1],
        "shares": list(shares),
        "iou": {
            name: np.where(np.isfinite(values), values, np.array(None)).T.tolist()
            for name, values in statistics.items()
        },
    }


def _class_ious(
    planes: Float[np.ndarray, "replicates height width"], shares: tuple[float, ...], patch: int
) -> Float[np.ndarray, "shares resamples"]:
    """Return one class's IoUs, NaN where neither map keeps anything; the maps are cut as in `patch_maps.cut`."""
    planes, plane, ious = planes.astype(np.float32), planes.shape[1:], []
    scores, sizes = spectrum.per_orbit(planes), spectrum.orbit_sizes(*plane)
    for share in shares:
        positions = masks.budget(share, *plane)
        if patch == 1:
            chosen = masks.best(scores, sizes, positions)
        else:
            chosen = spectrum.per_orbit(np.stack([patches.best(scored, positions, patch) for scored in planes]))
        both, either = (chosen[1:] & chosen[0]) @ sizes, (chosen[1:] | chosen[0]) @ sizes
        ious.append(np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0))
    return np.stack(ious)


def stability_at_share(maps: DominantFrequencyMaps, share: float) -> dict:
    """Return `resamples` and each class's `mean`, `low` and `high` IoU at a share; empty where it was not measured.

    Raises:
      KeyError, TypeError, ValueError: the maps' provenance is not a search's.
    """
    summary = maps.provenance.get("stability")
    if not summary or share not in summary["shares"]:
        return {}
    index = summary["shares"].index(share)
    result: dict = {"resamples": int(summary["resamples"])}
    for name in ("mean", "low", "high"):
        values = summary["iou"][name][index]
        if len(values) != len(maps.classes):
            raise ValueError(f"stability of {len(values)} classes")
        result[name] = [None if value is None else float(value) for value in values]
    return result


def check_precision(
    problem: Problem,
    masks: LazyArray,
    sums: Float[np.ndarray, "classes masks"],
    weights: Callable[[int], Float[np.ndarray, " images"]] | None = None,
) -> dict:
    """Compare a sweep's scores with scores in 'highest' precision; the provenance of maps has it as "agreement".

    A score is the difference of a mask's sum and the first mask's. Returns JSON values, none for a sweep in 'highest':
    `precision`; `masks`, the number of masks computed again; for each class `spearman`, the rank correlation of the
    scores, and `top_iou`.
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
