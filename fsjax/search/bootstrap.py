"""Bootstrap resamples show how strongly a map depends on the searched images (Efron, Annals of Statistics 7, 1979).

A resample draws as many images of a class as were searched, with replacement. A search that sums losses over images
gets the resamples' maps from its own forward passes: an image counts as often as it was drawn. The model stays the
same, so the result does not say how much another training would change the map.

The provenance of maps has the result as "stability"; the field is config.search.resamples.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.fourier import masks, patches, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator

# Resamples where config.search.resamples is -1.
DEFAULT = 20
# Limit of a search's sums in bytes, since they are all in memory.
_MOST_BYTES = 2**30
# Share of the resamples between the low and the high quantile.
_LEVEL = 0.95


def resample_count(options: ConfigDict, method: str) -> int:
    """Return the resamples that config.search asks a method for; 0 where another method starts from its scores."""
    if options.method != method:
        return 0
    return options.resamples if options.resamples >= 0 else DEFAULT


def check_size(classes: int, mask_count: int, resamples: int) -> None:
    """Raise InputError where the sums of all resamples take too much memory."""
    each = classes * mask_count * 8
    if resamples and each * (1 + resamples) > _MOST_BYTES:
        fitting = max(0, _MOST_BYTES // each - 1)
        raise InputError(
            f"search.resamples: got {resamples}, whose sums of {classes} classes under {mask_count} masks would "
            f"take {each * (1 + resamples) / 2**30:.1f} GiB; expected {f'{fitting} or fewer' if fitting else '0'}"
        )


def weights(images: int, resamples: int, seed: int, label: int) -> Float[np.ndarray, "images replicates"]:
    """Return how often each of a class's images counts: once in replicate 0, then as drawn for each resample."""
    drawn = generator(seed, Stream.BOOTSTRAP, label).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([np.ones((images, 1)), drawn.T], axis=1)


def measure(planes: Iterable[Float[np.ndarray, "replicates height width"]], options: ConfigDict) -> dict:
    """Return the IoU of each resample's map with the map itself, as JSON values.

    Args:
      planes: the `patches.position_scores` of each class, on all images and then on each resample.
      options: config.search; its shares and patch say how maps are cut.

    Returns:
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
      KeyError, TypeError, ValueError: the maps' provenance is not what a search leaves.
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
