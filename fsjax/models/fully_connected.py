"""Pooling and dropout around the linear layers of AlexNet and VGG; they have no arrays."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


def flat_average_pool(x: Float[Array, "n height width channels"], side: int) -> Float[Array, "n features"]:
    """Average over a grid of `side` x `side` cells, flattened as in PyTorch: by channel, row and column.

    The cells are those of torch.nn.AdaptiveAvgPool2d: they overlap where `side` does not divide the height, and repeat
    pixels where it is larger.
    """
    if x.shape[1:3] != (side, side):
        rows, columns = (jnp.asarray(_cells(length, side), x.dtype) for length in x.shape[1:3])
        x = jnp.einsum("rh,nhwc,sw->nrsc", rows, x, columns)
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def dropout(x: Float[Array, "n features"], keys: Key[Array, " n"] | None, layer: int) -> Float[Array, "n features"]:
    """Set each feature to 0 with probability 1/2 and double the others; without keys return x.

    An image's draws depend on its own key and on `layer`, the layer's place in the model, not on the number of devices.
    """
    if keys is None:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), shape=x.shape[1:]))(keys)
    return jnp.where(keep, 2 * x, 0)


def _cells(length: int, side: int) -> Float[np.ndarray, "{side} {length}"]:
    """Row i averages the pixels from i * length / side, rounded down, to (i + 1) * length / side, rounded up."""
    pixels, cell = np.arange(length), np.arange(side)[:, None]
    inside = (pixels >= cell * length // side) & (pixels < -(-(cell + 1) * length // side))
    return inside / inside.sum(axis=1, keepdims=True)
