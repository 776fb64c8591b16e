"""How alike two sets of maps are: the overlap of their masks beside chance, and rank correlations of their scores."""

import dataclasses
import textwrap
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy

from fsjax.evaluation.rates import masks_at
from fsjax.evaluation.statistics import mean
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import chance_iou, iou
from fsjax.fourier.spectrum import Plane
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.imported import origin
from fsjax.search.patch_maps import stability_at_share

_RESAMPLES = 300

# A rank correlation and its 95 % interval; None where a side has no ranks.
Correlation = tuple[float | None, tuple[float, float] | None]


def compare_maps(
    left: DominantFrequencyMaps, right: DominantFrequencyMaps, shares: tuple[float, ...], headline: float, seed: int
) -> tuple[dict[str, Any], tuple[DominantFrequencyMaps, DominantFrequencyMaps]]:
    """Return the content of compare.json (docs/files.md), and both sides with the compared masks.

    Both sides come from `published_maps.read_maps`. Masks are cut from scores at `shares` if the sides have no share in
    common. The main result is the pair nearest to `headline`; the seed draws bootstrap resamples of orbits.
    """
    classes, (ours, theirs, how) = class_names(left, right), pair(left, right, shares)
    pairs = list(zip(ours.shares, theirs.shares, strict=True))
    content = {
        "left": _describe(left),
        "right": _describe(right),
        "classes": classes,
        "plane": left.masks.shape[2:],
        "masks": how,
        "shares": [_overlap(ours, theirs, row) for row in range(len(pairs))],
        "headline": min(range(len(pairs)), key=lambda row: max(abs(share - headline) for share in pairs[row])),
        "scores": _correlations(left, right, seed),
    }
    return content, (ours, theirs)


def _describe(maps: DominantFrequencyMaps) -> dict[str, Any]:
    return {
        **maps.provenance["file"],
        "method": origin(maps),
        "searched_on": maps.searched_on,
        "images": maps.images.tolist() if maps.images.any() else None,
        "shares": maps.shares,
        "scores": maps.scores is not None,
    }


def class_names(left: DominantFrequencyMaps, right: DominantFrequencyMaps) -> tuple[str, ...]:
    """Return the names of the classes, from a side that has names; raise InputError for other classes or planes."""
    have = [
        "{} classes ({}) at {} x {}".format(
            len(maps.classes), textwrap.shorten(", ".join(maps.classes), 100, placeholder=" ..."), *maps.masks.shape[2:]
        )
        for maps in (left, right)
    ]
    other_names = left.classes != right.classes and left.named and right.named
    if other_names or left.masks.shape[1:] != right.masks.shape[1:]:
        raise InputError(f"left has {have[0]}, right {have[1]}; expected the same classes in one order, at one size")
    return left.classes if left.named else right.classes


def pair(
    left: DominantFrequencyMaps, right: DominantFrequencyMaps, shares: tuple[float, ...]
) -> tuple[DominantFrequencyMaps, DominantFrequencyMaps, str]:
    """Return both sides with equally many masks, which are compared one by one, and where they come from in words.

    These are the masks at the shares that both sides have, else masks cut from both sides' scores at `shares`.
    Without scores either, each mask of the side with fewer meets the nearest mask of the other side.
    """
    if common := sorted(set(left.shares) & set(right.shares)):
        return _at(left, common), _at(right, common), "their own masks, at the shares that both have"
    if left.scores is not None and right.scores is not None:
        how = "masks cut from the scores of each side, since they have no share in common"
        return _at(left, sorted(shares), masks_at), _at(right, sorted(shares), masks_at), how
    fewer = min(left.shares, right.shares, key=len)
    how = "their own masks, at the nearest shares, since they have none in common"
    nearest = [_at(maps, [maps.nearest(share) for share in fewer]) for maps in (left, right)]
    return nearest[0], nearest[1], how


def _at(
    maps: DominantFrequencyMaps, shares: Iterable[float], mask: Callable[..., np.ndarray] = DominantFrequencyMaps.at
) -> DominantFrequencyMaps:
    return dataclasses.replace(maps, masks=np.stack([mask(maps, share) for share in shares]), shares=tuple(shares))


def _overlap(left: DominantFrequencyMaps, right: DominantFrequencyMaps, row: int) -> dict[str, Any]:
    """Return the IoU of each class's two masks, with its values by chance and on resampled images."""
    sides = {"left": left, "right": right}
    masks = list(zip(left.masks[row], right.masks[row], strict=True))
    ious, chance = [iou(*pair) for pair in masks], [chance_iou(*pair) for pair in masks]
    return {
        **{side: maps.shares[row] for side, maps in sides.items()},
        "mean_iou": mean(ious),
        "mean_chance_iou": mean(chance),
        "iou": ious,
        "chance_iou": chance,
        "stability": {side: stability_at_share(maps, maps.shares[row]) or None for side, maps in sides.items()},
        "positions": {side: maps.positions[row].tolist() for side, maps in sides.items()},
        "kept": {side: maps.kept[row].tolist() for side, maps in sides.items()},
    }


def _correlations(left: DominantFrequencyMaps, right: DominantFrequencyMaps, seed: int) -> dict[str, Any] | None:
    """Return the rank correlations of each class's scores; None where a side has no scores."""
    if left.scores is None or right.scores is None:
        return None
    by_class = [rank_correlation(*planes, seed) for planes in zip(left.scores, right.scores, strict=True)]
    values, intervals = zip(*by_class, strict=True)
    return {"resamples": _RESAMPLES, "spearman": values, "mean_spearman": mean(values), "spearman_ci": intervals}


def rank_correlation(left: Plane, right: Plane, seed: int, resamples: int = _RESAMPLES) -> Correlation:
    """Return Spearman's rho of two planes of scores, over orbits, with its 95 % interval; None for equal scores.

    An orbit has the larger score of its members: the published code may remove half of an orbit and leave the score 0
    for the other half. The interval is the middle 95 % over bootstrap resamples of the orbits. These treat orbits as
    independent; neighbours are not, and for patches the interval is too narrow.

    Examples:
      >>> scores = np.random.default_rng(0).normal(size=(8, 8))
      >>> value, interval = rank_correlation(scores, scores**3, seed=0)
      >>> round(value, 3), np.round(interval, 3).tolist()
      (1.0, [1.0, 1.0])
    """
    planes = [spectrum.per_orbit(np.maximum(plane, spectrum.conjugate(plane))) for plane in (left, right)]
    # Ranks from 0: SciPy sorts whole numbers faster than scores, and gives the same values.
    ranks = np.stack([np.unique(scores, return_inverse=True)[1] for scores in planes])
    if not ranks.any(1).all():
        return None, None
    drawn = generator(seed, Stream.RANK_CORRELATION).integers(ranks.shape[1], size=(resamples, ranks.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)  # such a resample counts as missing
        resampled = [scipy.stats.spearmanr(*ranks[:, rows]).statistic for rows in drawn]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(scipy.stats.spearmanr(*ranks).statistic), (float(low), float(high))
