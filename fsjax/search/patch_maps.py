"""Maps of methods that score patches of frequencies, and how strongly they depend on the searched images.

Bootstrap resamples (Efron, Annals of Statistics 7, 1979) draw as many images of a class as were searched, with
replacement. A search that sums over images gets the resamples' maps from its own passes: an image counts as often as it
was drawn. The model stays the same, so the result does not say how much another training would change the map.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.fourier import dfm, masks, patches
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.method import MaskRule, Problem

# A share with fewer whole patches is warned of: the next patch would change much of the map.
FEW = 4


def cut(
    problem: Problem,
    scores: Callable[[slice], Iterable[Float[np.ndarray, "replicates patches"]]],
    forward_equivalents: int,
    **provenance: Any,
) -> dfm.DominantFrequencyMaps:
    """Return the maps at config.search.shares from the scores of each class's patches.

    `scores` returns the replicates of a slice, class by class: 0 is on all images, the others on a resample each.
    """
    options, patch = problem.options, problem.options.patch

    def planes(replicates: slice) -> Iterator[Float[np.ndarray, "replicates height width"]]:
        return (patches.position_scores(rows, *problem.plane, patch) for rows in scores(replicates))

    stability = measure_stability(planes(slice(None)), options) if resample_count(options) else {}
    return dfm.from_scores(
        (plane for (plane,) in planes(slice(1))),
        tuple(options.shares),
        mask=rule(patch),
        **problem.attributes(
            forward_equivalents, **provenance, stability=stability, **({dfm.WHOLE_PATCHES: patch} if patch > 1 else {})
        ),
    )


def rule(patch: int) -> MaskRule:
    """Return (scores of a class, share in (0, 1]) -> its mask, of the best whole patches within the share."""
    if patch == 1:
        return masks.within_share
    return lambda scores, share: patches.best(scores, masks.budget(share, *scores.shape), patch)


def sides(plane: tuple[int, int]) -> list[int]:
    """Return the patch sizes that divide the plane, ascending."""
    return [side for side in range(1, min(plane) + 1) if not any(length % side for length in plane)]


def side_for(plane: tuple[int, int], most: int) -> int:
    """Return the smallest patch that leaves at most `most` a side, or the largest that leaves at least half as many."""
    fitting = [side for side in sides(plane) if min(plane) // side >= most // 2] or [1]
    return next((side for side in fitting if max(plane) // side <= most), fitting[-1])


def whole(share: float, plane: tuple[int, int], patch: int) -> int:
    """Return how many patches, with their conjugates, a share of the plane holds for certain."""
    return masks.budget(share, *plane) // patches.largest(*plane, patch)


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raise InputError for a share of config.search.shares that may hold no patch."""
    for share in options.shares:
        if not whole(share, plane, options.patch):
            # Rounded up, so that it has room for the patch.
            least = np.ceil(1e4 * patches.largest(*plane, options.patch) / (plane[0] * plane[1])) / 1e4
            fitting = [side for side in sides(plane) if side < options.patch and whole(share, plane, side)]
            other = f", or search.patch={fitting[-1]}" if fitting else ""
            raise InputError(
                f"search.shares: got {share:g}, {masks.budget(share, *plane)} of {plane[0]} x {plane[1]} frequencies, "
                f"which holds no patch of {options.patch} x {options.patch} frequencies with its conjugate; "
                f"expected {least:g} or more{other}"
            )


def few(shares: Iterable[float], plane: tuple[int, int], patch: int) -> list[str]:
    """Return a sentence for each share that has room for fewer than FEW whole patches."""
    counts = [(share, whole(share, plane, patch)) for share in sorted(shares)]
    return [
        f"A map at {100 * share:g} % is coarse: {count} of the patches of {patch} x {patch} frequencies fit at most. "
        "A larger share, or a smaller search.patch, shows more."
        for share, count in counts
        if count < FEW
    ]


def resample_count(options: ConfigDict) -> int:
    """Return the resamples of a class's images that config.search asks for."""
    return options.resamples if options.resamples >= 0 else 20


def resample_weights(images: int, resamples: int, seed: int, label: int) -> Float[np.ndarray, "images replicates"]:
    """Return how often each of a class's images counts: once in replicate 0, then as drawn for each resample."""
    drawn = generator(seed, Stream.BOOTSTRAP, label).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([np.ones((images, 1)), drawn.T], axis=1)


def measure_stability(planes: Iterable[Float[np.ndarray, "replicates height width"]], options: ConfigDict) -> dict:
    """Return the IoU of each resample's map with the map itself, as JSON values (docs/files.md).

    `planes` are the `patches.position_scores` of each class, on all images and then on each resample.
    """
    shares, chosen_by, tail = tuple(sorted(options.shares)), rule(options.patch), (1 - 0.95) / 2

    def class_ious(planes: Float[np.ndarray, "replicates height width"]) -> Float[np.ndarray, "shares resamples"]:
        planes = planes.astype(np.float32)  # as `dfm.from_scores` rounds them
        maps = ([chosen_by(scores, share) for scores in planes] for share in shares)
        return np.array([[masks.iou(own, other) for other in others] for own, *others in maps], float)

    ious = np.stack([class_ious(class_planes) for class_planes in planes])
    low, high = np.quantile(ious, (tail, 1 - tail), axis=-1)
    statistics = {"mean": ious.mean(-1), "low": low, "high": high}
    iou = {name: values.T.tolist() for name, values in statistics.items()}
    return {"resamples": ious.shape[-1], "shares": list(shares), "iou": iou}


def stability_at_share(maps: dfm.DominantFrequencyMaps, share: float) -> dict:
    """Return `resamples` and each class's `mean`, `low` and `high` IoU at a share; empty where it was not measured."""
    summary = maps.provenance.get("stability")
    if not summary or share not in summary["shares"]:
        return {}
    index = summary["shares"].index(share)
    rows = {name: summary["iou"][name][index] for name in ("mean", "low", "high")}
    return {"resamples": summary["resamples"], **rows}
