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
      planes: of each class, the `patches.position_scores` on all images and then those on each resample.
      options: config.search, of which the shares and the patch say how maps are cut.

    Returns:
      `resamples`, `shares`, and `iou`: over the resamples its `mean`, and its `low` and `high`, the 2.5 and 97.5 %
      quantiles, [shares][classes] in [0, 1]; None for a map that keeps nothing.
    """
    shares = tuple(sorted(options.shares))
    return _summary(np.array([_ious(of_class, shares, options.patch) for of_class in planes]), shares)


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


def _summary(ious: Float[np.ndarray, "classes shares resamples"], shares: tuple[float, ...]) -> dict:
    tail = (1 - _LEVEL) / 2
    statistics = {
        "mean": ious.mean(-1),
        "low": np.quantile(ious, tail, axis=-1),
        "high": np.quantile(ious, 1 - tail, axis=-1),
    }
    return {
        "resamples": ious.shape[-1],
        "shares": list(shares),
        "iou": {name: np.where(np.isfinite(of), of, np.array(None)).T.tolist() for name, of in statistics.items()},
    }


def _ious(
    planes: Float[np.ndarray, "replicates height width"], shares: tuple[float, ...], patch: int
) -> Float[np.ndarray, "shares resamples"]:
    """Return one class's IoUs, NaN where neither map keeps anything; the maps are those of patch_maps.cut."""
    planes, plane, ious = planes.astype(np.float32), planes.shape[1:], []
    scores, sizes = spectrum.per_orbit(planes), spectrum.orbit_sizes(*plane)
    for share in shares:
        positions = masks.budget(share, *plane)
        if patch == 1:
            chosen = masks.best(scores, sizes, positions)
        else:
            chosen = spectrum.per_orbit(np.stack([patches.best(one, positions, patch) for one in planes]))
        own, others = chosen[0], chosen[1:]
        both, either = (others & own) @ sizes, (others | own) @ sizes
        ious.append(np.divide(both, either, out=np.full(len(others), np.nan), where=either > 0))
    return np.stack(ious)
