"""The stage compare: how alike two sets of maps are, by their masks and by the ranks of their scores."""

import dataclasses
import logging
import textwrap
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax import search
from fsjax.evaluation.rates import masks_at
from fsjax.evaluation.statistics import mean
from fsjax.experiment.stage import Stage, Workspace
from fsjax.fourier import published_maps, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import chance_iou, iou
from fsjax.report import figures, html
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import CheckFailed, InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path
from fsjax.search.imported import origin
from fsjax.search.patch_maps import stability_at_share

logger = logging.getLogger(__name__)

_RESAMPLES = 300

# A rank correlation and its 95 % interval; None where a side has no ranks.
Correlation = tuple[float | None, tuple[float, float] | None]


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that a comparison cannot use."""
    search.check_shares(config.search.shares)
    _side_files(config)


def _side_files(config: ConfigDict) -> list[Path]:
    """Return the files of the left and the right maps."""
    for side in ("left", "right"):
        if not config.get(side):
            raise InputError(f"{side}: got nothing; expected a workdir with maps, a file of maps or a pickle of maps")
    return [published_maps.maps_file(config.left), published_maps.maps_file(config.right)]


def _run(workspace: Workspace) -> None:
    """Write compare.json and the page; raise CheckFailed if the maps overlap less than config.min_iou."""
    config, shares = workspace.config, tuple(workspace.config.search.shares)
    left, right = (published_maps.read_maps(file, classes=None, shares=shares) for file in _side_files(config))
    comparison, masks = compare_maps(left, right, shares, config.report.share, config.seed)
    comparison["min_iou"] = config.min_iou

    def write() -> None:
        files.write_json(workspace.directory / "compare.json", comparison)
        write_page(workspace.directory, comparison, masks)

    parallel.decide(write)
    main, least = comparison["shares"][comparison["headline"]], config.min_iou
    share = " and ".join(dict.fromkeys(f"{100 * share:g} %" for share in (main["left"], main["right"])))
    value = "undefined, as no mask keeps anything" if main["mean_iou"] is None else f"{main['mean_iou']:.4g}"
    logger.info("compare: mean IoU %s at %s of the plane", value, share)
    if least > 0 and (main["mean_iou"] is None or main["mean_iou"] < least):
        raise CheckFailed(
            f"compare: the mean IoU at {share} of the plane is {value}; expected {least:g} or more (min_iou)"
        )


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
    by_class = [rank_correlations(*planes, seed) for planes in zip(left.scores, right.scores, strict=True)]
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
) -> dict[str, Correlation]:
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
    measured: dict[str, Correlation] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)  # such a resample counts as missing
        for name, measure in measures.items():
            low, high = np.nanpercentile([measure(ranks[:, rows]) for rows in drawn], [2.5, 97.5])
            measured[name] = float(measure(ranks)), (float(low), float(high))
    return measured


def write_page(
    directory: Path, comparison: dict[str, Any], masks: tuple[DominantFrequencyMaps, DominantFrequencyMaps]
) -> None:
    """Write report/compare.html and report/figures/compare.png in the workdir; `masks` are the compared maps."""
    main, count = comparison["shares"][comparison["headline"]], figures.MOST_CLASSES
    titles = [
        f"{name}\nIoU {'–' if iou is None else f'{iou:.2f}'}"
        for name, iou in zip(comparison["classes"][:count], main["iou"], strict=False)
    ]
    drawn = [maps.masks[comparison["headline"]][:count] for maps in masks]
    figure = figures.difference_grid(*drawn, titles, ("left", "right"))
    html.write_page(directory, "compare", {"compare": figure}, drawn=len(titles), main=main, **comparison)


STAGE = Stage(
    name="compare",
    fields=("left", "right", "min_iou", "seed", "search.shares", "report.share"),
    check=check,
    outputs=lambda workspace: [workspace.directory / "compare.json", workspace.directory / "report" / "compare.html"],
    run=_run,
    reads=lambda workspace: _side_files(workspace.config),
    shown=("min_iou", "report"),
)
