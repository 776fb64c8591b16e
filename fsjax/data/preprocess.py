"""Normalising of images."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Num


def normalise(
    images: Num[Array, "*batch channels"] | Num[np.ndarray, "*batch channels"],
    mean: Sequence[float] | Num[Array, " means"] | Num[np.ndarray, " means"],
    std: Sequence[float] | Num[Array, " means"] | Num[np.ndarray, " means"],
) -> Float32[Array, "*batch channels"]:
    """Return (images / 255 - mean) / std by channel, in float32; images are in [0, 255], with any leading axes.

    With `engine.model.NORMALISED` for mean and std the images come back unchanged.
    """
    if not len(mean):
        return jnp.asarray(images, jnp.float32)
    images = jnp.asarray(images, jnp.float32) / 255
    return (images - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
