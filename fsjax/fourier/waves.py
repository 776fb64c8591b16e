"""The cosine and sine wave of an orbit over the pixels, and their amplitudes in an image."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int


def make(
    positions: Int[Array, "n 2"] | Int[np.ndarray, "n 2"], height: int, width: int
) -> Float[Array, "n 2 height width"]:
    """Return cosine and sine, over the pixels, of the frequency at each (row, column) of the centred plane."""
    # From a table, since the angle of a high frequency far from the corner has a larger rounding error.
    turns = [
        (positions[:, axis, None] - size // 2) * np.arange(size) % size for axis, size in enumerate((height, width))
    ]
    tables = [np.exp(2j * np.pi * np.arange(size) / size).astype(np.complex64) for size in (height, width)]
    vertical, horizontal = (jnp.asarray(table)[turn] for table, turn in zip(tables, turns, strict=True))
    exponentials = vertical[:, :, None] * horizontal[:, None, :]
    return jnp.stack([exponentials.real, exponentials.imag], axis=1)


def amplitudes(
    spectrum: Complex[Array, "images height half channels"],
    positions: Int[Array, "n 2"] | Int[np.ndarray, "n 2"],
    width: int,
) -> Float[Array, "n images channels 2"]:
    """Return the amplitudes of the two waves of each position's orbit in each image.

    An image minus these waves equals the image filtered by a mask without that orbit. positions: (row, column) on the
    centred plane, of either member of an orbit. width: W, which a half spectrum does not determine.
    """
    height = spectrum.shape[1]
    row, column = positions[:, 0] - height // 2, positions[:, 1] - width // 2
    conjugated = column < 0  # a half spectrum holds the other member
    coefficients = spectrum[:, jnp.where(conjugated, -row, row) % height, jnp.where(conjugated, -column, column)]
    coefficients = jnp.moveaxis(jnp.where(conjugated[:, None], coefficients.conj(), coefficients), 1, 0)
    self_conjugate = (2 * row % height == 0) & (2 * column % width == 0)
    coefficients = coefficients * (jnp.where(self_conjugate, 1, 2) / (height * width))[:, None, None]
    return jnp.stack([coefficients.real, -coefficients.imag], axis=-1)
