"""How much a map rests on which images were searched: maps of bootstrap resamples of them beside it.

A resample draws as many images of a class as were searched, with replacement (Efron, Annals of Statistics 7 (1979) 1).
Its losses come from the search's own forward passes, in which an image counts as often as it was drawn. That tells of
the searched images alone: the model stays the same, so how much another training would change the map is not in it.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from fsjax import masks, spectrum
from fsjax.errors import InputError

# Bytes that the sums of a search may take: they are held whole.
_MOST = 2**30
# Middle part of the resamples that the limits hold between them.
_LEVEL = 0.95


def check_size(classes: int, mask_count: int, resamples: int) -> None:
    """Raises InputError where the sums of so many resamples are too many to hold."""
    each = classes * mask_count * 8
    if resamples and each * (1 + resamples) > _MOST:
        fitting = max(0, _MOST // each - 1)
        raise InputError(
            f"search.removal.resamples: {resamples}, whose sums of {classes} classes under {mask_count} masks would "
            f"take {each * (1 + resamples) / 2**30:.1f} GiB; accepted: {f'{fitting} or fewer' if fitting else '0'}"
        )


def weights(images: int, resamples: int, seed: int, label: int) -> Float[np.ndarray, "images replicates"]:
    """How often each of a class's images counts: once in replicate 0, then as drawn by seed for each resample."""
    drawn = np.random.default_rng([seed, 9, label]).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([np.ones((images, 1)), drawn.T], axis=1)


def measure(planes: Iterable[Float[np.ndarray, "replicates height width"]], shares: tuple[float, ...]) -> dict:
    """The IoU of the map of each resample with the map itself, as JSON values.

    Args:
      planes: of each class, the scores on all images and then those on each resample, constant on orbits.
      shares: of the maps, in (0, 1].

    Returns:
      `resamples`, `shares`, and `iou`: over the resamples its `mean`, and its `low` and `high`, the 2.5 and 97.5 %
      quantiles, [shares][classes] in [0, 1]; None for a map that keeps nothing.
    """
    found = np.array([_ious(of_class, shares) for of_class in planes])  # [classes, shares, resamples]
    tail = (1 - _LEVEL) / 2
    over = {
        "mean": found.mean(-1),
        "low": np.quantile(found, tail, axis=-1),
        "high": np.quantile(found, 1 - tail, axis=-1),
    }
    return {
        "resamples": found.shape[-1],
        "shares": list(shares),
        "iou": {name: np.where(np.isfinite(value), value, np.array(None)).T.tolist() for name, value in over.items()},
    }


def _ious(
    planes: Float[np.ndarray, "replicates height width"], shares: tuple[float, ...]
) -> Float[np.ndarray, "shares resamples"]:
    """Of one class; NaN where neither map keeps anything. The maps are those of masks.best_orbits, all at once."""
    height, width = planes.shape[1:]
    sizes = spectrum.orbit_sizes(height, width)
    order = np.argsort(-spectrum.per_orbit(planes.astype(np.float32)), axis=1, kind="stable")
    filled, found = np.cumsum(sizes[order], axis=1), []
    for share in shares:
        kept = np.zeros(order.shape, bool)
        np.put_along_axis(kept, order, filled <= masks.budget(share, height, width), axis=1)
        own, others = kept[0], kept[1:]
        both, either = (others & own) @ sizes, (others | own) @ sizes
        found.append(np.divide(both, either, out=np.full(len(others), np.nan), where=either > 0))
    return np.stack(found)
