"""Agreement between two sets of maps: pairs of masks, their overlap, rank correlations of scores.

Examples:
  >>> scores = np.random.default_rng(0).normal(size=(8, 8))
  >>> value, interval = rank_correlations(scores, scores**3, seed=0)["kendall"]
  >>> round(value, 3), np.round(interval, 3).tolist()
  (1.0, [1.0, 1.0])
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

from fsjax.evaluation.rates import masks_at
from fsjax.evaluation.statistics import mean
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps, read_provenance
from fsjax.fourier.masks import chance_iou, iou
from fsjax.runtime import interrupt
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.imported import origin
from fsjax.search.patch_maps import stability_at_share

_RESAMPLES = 300


class Pairing(NamedTuple):
    """Two sets with equally many masks, compared one by one; `how` says in words where the masks come from."""

    left: DominantFrequencyMaps
    right: DominantFrequencyMaps
    how: str


def compare_maps(
    left: DominantFrequencyMaps, right: DominantFrequencyMaps, shares: tuple[float, ...], headline: float, seed: int
) -> tuple[dict[str, Any], Pairing]:
    """Return the content of compare.json (docs/files.md), and the compared masks.

    Args:
      left, right: maps that `published_maps.read_maps` has read.
      shares: where masks are cut from scores, if the sides have no share in common.
      headline: share of the main result, which is the nearest pair.
      seed: draws the bootstrap resamples of orbits.

    Raises:
      InputError: sides of different classes or planes.
    """
    classes, paired = class_names(left, right), pair(left, right, shares)
    pairs = list(zip(paired.left.shares, paired.right.shares, strict=True))
    content = {
        "left": _describe(left),
        "right": _describe(right),
        "classes": classes,
        "plane": left.masks.shape[2:],
        "masks": paired.how,
        "shares": [_overlap(paired, row) for row in range(len(pairs))],
        "headline": min(range(len(pairs)), key=lambda row: max(abs(share - headline) for share in pairs[row])),
        "scores": _correlations(left, right, seed),
    }
    return content, paired


def _describe(maps: DominantFrequencyMaps) -> dict[str, Any]:
    return {
        **maps.provenance["file"],
        "method": origin(maps),
        "searched_on": maps.searched_on,
        "images": maps.images.tolist() if maps.images.any() else None,
        "shares": maps.shares,
        "scores": maps.scores is not None,
    }


def pair(left: DominantFrequencyMaps, right: DominantFrequencyMaps, shares: tuple[float, ...]) -> Pairing:
    """Pair the masks at the shares that both sides have, else masks cut from both sides' scores at `shares`.

    Without scores either, the side with fewer masks keeps them, and each is paired with the nearest of the other side.
    """
    if common := sorted(set(left.shares) & set(right.shares)):
        return Pairing(_nearest(left, common), _nearest(right, common), "their own masks, at the shares that both have")
    if left.scores is not None and right.scores is not None:
        how = "masks cut from the scores of each side, since they have no share in common"
        return Pairing(_cut(left, shares), _cut(right, shares), how)
    fewer = list(left.shares if len(left.shares) <= len(right.shares) else right.shares)
    how = "their own masks, at the nearest shares, since they have none in common"
    return Pairing(_nearest(left, fewer), _nearest(right, fewer), how)


def _nearest(maps: DominantFrequencyMaps, shares: list[float]) -> DominantFrequencyMaps:
    indices = [maps.shares.index(maps.nearest(share)) for share in shares]
    return dataclasses.replace(maps, masks=maps.masks[indices], shares=tuple(maps.shares[index] for index in indices))


def _cut(maps: DominantFrequencyMaps, shares: tuple[float, ...]) -> DominantFrequencyMaps:
    ordered = tuple(sorted(shares))
    return dataclasses.replace(maps, masks=np.stack([masks_at(maps, share) for share in ordered]), shares=ordered)


def class_names(left: DominantFrequencyMaps, right: DominantFrequencyMaps) -> tuple[str, ...]:
    """Return the names of the classes, from a side that has names; raise InputError for other classes or planes."""
    sizes = [" x ".join(map(str, maps.masks.shape[2:])) for maps in (left, right)]
    if sizes[0] != sizes[1]:
        raise InputError(f"left has maps of {sizes[0]}, right of {sizes[1]}; expected maps of one size")
    different = left.classes != right.classes and left.named and right.named
    if different or len(left.classes) != len(right.classes):
        listed = [
            f"{len(names)} classes ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"
            for names in (left.classes, right.classes)
        ]
        raise InputError(
            f"left has maps of {listed[0]}, right of {listed[1]}; expected the same classes in the same order"
        )
    return left.classes if left.named else right.classes


def _overlap(paired: Pairing, row: int) -> dict[str, Any]:
    """Return the IoU of each class's two masks, with its values by chance and on resampled images."""
    sides = {"left": paired.left, "right": paired.right}
    masks = list(zip(paired.left.masks[row], paired.right.masks[row], strict=True))
    ious, chance = [iou(*pair) for pair in masks], [chance_iou(*pair) for pair in masks]

    def stability(maps: DominantFrequencyMaps) -> dict | None:
        file = maps.provenance["file"]["path"]
        return read_provenance(file, lambda: stability_at_share(maps, maps.shares[row])) or None

    return {
        **{side: maps.shares[row] for side, maps in sides.items()},
        "mean_iou": mean(ious),
        "mean_chance_iou": mean(chance),
        "iou": ious,
        "chance_iou": chance,
        "stability": {side: stability(maps) for side, maps in sides.items()},
        "positions": {side: maps.positions[row].tolist() for side, maps in sides.items()},
        "kept": {side: maps.kept[row].tolist() for side, maps in sides.items()},
    }


def _correlations(left: DominantFrequencyMaps, right: DominantFrequencyMaps, seed: int) -> dict[str, Any] | None:
    """Return the rank correlations of each class's scores; None where a side has no scores."""
    if left.scores is None or right.scores is None:
        return None
    by_class = []
    with Progress("compare", len(left.scores), "classes") as progress:
        for planes in zip(left.scores, right.scores, strict=True):
            by_class.append(rank_correlations(*planes, seed))
            progress.update(1)
            interrupt.check()
    content: dict[str, Any] = {"resamples": _RESAMPLES}
    for name in ("spearman", "kendall"):
        values, intervals = zip(*(measured[name] for measured in by_class), strict=True)
        content |= {name: values, f"mean_{name}": mean(values), f"{name}_ci": intervals}
    return content


def rank_correlations(
    left: Float[np.ndarray, "height width"],
    right: Float[np.ndarray, "height width"],
    seed: int,
    resamples: int = _RESAMPLES,
) -> dict[str, tuple[float | None, tuple[float, float] | None]]:
    """Return Spearman's rho and Kendall's tau-b of two planes of scores, over orbits, each with its 95 % interval.

    An orbit has the larger score of its members: the published code may remove half of an orbit and leave the score 0
    for the other half. The intervals are the middle 95 % over bootstrap resamples of the orbits, the same for
    both measures. Resamples treat orbits as independent; neighbours are not, and for patches the intervals are too
    narrow. A side of equal scores has no ranks: both are then None.
    """
    planes = [spectrum.per_orbit(np.maximum(plane, spectrum.conjugate(plane))) for plane in (left, right)]
    # Ranks from 0: SciPy sorts whole numbers faster than scores, and gives the same values.
    ranks = np.stack([np.unique(scores, return_inverse=True)[1] for scores in planes])
    if not ranks.any(1).all():
        return {"spearman": (None, None), "kendall": (None, None)}
    drawn = generator(seed, Stream.RANK_CORRELATION).integers(ranks.shape[1], size=(resamples, ranks.shape[1]))
    measures = {
        "spearman": lambda sample: scipy.stats.spearmanr(*sample).statistic,
        "kendall": lambda sample: scipy.stats.kendalltau(*sample, method="asymptotic").statistic,
    }
    measured: dict[str, tuple[float | None, tuple[float, float] | None]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)  # such a resample counts as missing
        for name, measure in measures.items():
            low, high = np.nanpercentile([measure(ranks[:, rows]) for rows in drawn], [2.5, 97.5])
            measured[name] = float(measure(ranks)), (float(low), float(high))
    return measured
