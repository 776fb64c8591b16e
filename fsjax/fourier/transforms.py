"""Inverse transforms of half spectra: an FFT, or products with DFT matrices.

A TPU computes an FFT by DFT products, always in the highest precision. By XLA's estimate, two real products take a
third to a fifth of its cycles; they follow the precision of other products.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float


def by_products(
    spectrum: Complex[Array, "*batch height half channels"], height: int, width: int
) -> Float[Array, "*batch height width channels"]:
    """Return the real images of half spectra, by two products with matrices of cosines and sines."""
    rows, columns = _waves(height), _waves(width)
    # A column counts for its conjugate too, except the two columns that are their own conjugates.
    halves = np.full(width // 2 + 1, 2.0)
    halves[0] = 1
    if width % 2 == 0:
        halves[-1] = 1
    # Real and imaginary part of the sum over rows, then the real part of the sum over columns.
    row_matrices = np.stack([[rows.real, -rows.imag], [rows.imag, rows.real]]).astype(np.float32)
    half = (columns[: len(halves)] * halves[:, None]).astype(np.complex64)
    column_matrices = np.stack([half.real, -half.imag])
    parts = jnp.stack([spectrum.real, spectrum.imag])
    summed = jnp.einsum("abyv,b...vkc->a...ykc", row_matrices, parts)
    return jnp.einsum("akx,a...ykc->...yxc", column_matrices, summed)


def _waves(length: int) -> np.ndarray:
    """Return exp(2 pi i k x / n) / n, [n, n], from angles below a turn."""
    numbers = np.arange(length)
    return np.exp(2j * np.pi * (np.outer(numbers, numbers) % length) / length) / length


def chosen(name: str) -> str:
    """Return the name of INVERSES for a value of config.search.transform: 'auto' is dft on a TPU, and fft elsewhere."""
    return {"auto": "dft" if jax.default_backend() == "tpu" else "fft"}.get(name, name)


# Name -> (half spectra, H, W) -> images.
INVERSES: dict[str, Callable[..., Float[Array, "*batch height width channels"]]] = {
    "fft": lambda spectrum, height, width: jnp.fft.irfft2(spectrum, s=(height, width), axes=(-3, -2)),
    "dft": by_products,
}
