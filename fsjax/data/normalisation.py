"""Normalise images by the mean and standard deviation of their pixels."""

from collections.abc import Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Float64, Num

from fsjax.data.dataset import Dataset
from fsjax.engine.model import NORMALISED
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError

Levels = Sequence[float] | Num[Array, " means"] | Num[np.ndarray, " means"]


@overload
def normalise(
    images: Num[Array, "*batch channels"], mean: Levels, std: Levels
) -> Float32[Array, "*batch channels"]: ...
@overload
def normalise(
    images: Num[np.ndarray, "*batch channels"], mean: Levels, std: Levels
) -> Float32[np.ndarray, "*batch channels"]: ...
def normalise(images: Any, mean: Levels, std: Levels) -> Any:
    """Return (images / 255 - mean) / std by channel, in float32; NORMALISED for mean and std returns images unchanged.

    images: grey levels in [0, 255]. mean, std: of pixels in [0, 1]. NumPy normalises NumPy arrays: JAX would compile
    four programs for each number of images.
    """
    library: Any = jnp if isinstance(images, jax.Array) else np
    images = library.asarray(images, np.float32)
    if not len(mean):
        return images
    return (images / np.float32(255) - library.asarray(mean, np.float32)) / library.asarray(std, np.float32)


def parse_mean_std(mean_std: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel as arrays; None = NORMALISED; raise InputError for others."""
    if mean_std is None:
        return NORMALISED
    try:
        mean, std = (np.atleast_1d(np.asarray(values, float)) for values in mean_std)
    except (TypeError, ValueError):
        mean = std = np.empty(0)
    levels = np.stack([mean, std]) if mean.shape == std.shape else np.empty(0)
    if levels.ndim != 2 or not levels.size or not np.isfinite(levels).all() or not (std > 0).all():
        expected = "the mean and the std of pixels in [0, 1], a number for each channel"
        raise InputError(f"mean_std: got {mean_std!r}; expected {expected}")
    return mean, std


def measure_mean_std(dataset: Dataset) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Return mean and population standard deviation of each channel, of pixels scaled to [0, 1]. Collective.

    The sums are integers, so their order is free. Raises InputError where a channel is constant.
    """
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    at_once = max(1, 2**24 // dataset.image_size**2 // 3)
    mine = range(len(dataset))[parallel.share(len(dataset))]
    for start in mine[::at_once]:
        pixels = dataset.images(np.arange(start, min(start + at_once, mine.stop))).reshape(-1, 3)
        total += pixels.sum(0, dtype=np.int64)
        squares += np.square(pixels, dtype=np.uint16).sum(0, dtype=np.int64)
    # Processes exchange floats, which hold whole numbers up to 2^53; so each sum travels in two halves.
    high, low = parallel.total(np.stack(np.divmod(np.stack([total, squares]), 2**32)))
    total, squares = high * 2**32 + low
    count = len(dataset) * dataset.image_size**2
    spread = [count * int(q) - int(s) ** 2 for s, q in zip(total, squares, strict=True)]  # Python integers: no overflow
    if not all(spread):
        raise InputError("data.mean, data.std: got (), and the images have a constant colour channel; expected values")
    return total / count / 255, np.sqrt(np.array(spread, float)) / count / 255
