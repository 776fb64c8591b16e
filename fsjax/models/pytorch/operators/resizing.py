"""Operators that resize images: a matrix for rows and one for columns, with the taps of PyTorch's interpolation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fsjax.models.pytorch.operators.registry import operator


@operator("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool2d(x: Array, output_size: int | Sequence[int]) -> Array:
    sizes = [output_size] * 2 if isinstance(output_size, int) else output_size
    return _resized(x, *(_averages(n, m) for n, m in zip(x.shape[-2:], sizes, strict=True)))


@operator("upsample_bilinear2d")
def _bilinear(x: Array, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Array:
    return _interpolated(
        x, output_size, scale_factors, align_corners, (0, 1), lambda t: np.stack([1 - t, t]), first=0.0
    )


@operator("upsample_bicubic2d")
def _bicubic(x: Array, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Array:
    return _interpolated(x, output_size, scale_factors, align_corners, (-1, 0, 1, 2), _cubic, first=-np.inf)


@operator("upsample_nearest2d")
def _nearest(x: Array, output_size: Any, scale_factors: Any = None) -> Array:
    matrices = []
    for n, m, scale in _sizes(x, output_size, scale_factors):
        chosen = np.minimum(np.floor(np.arange(m) * np.float32(scale)).astype(int), n - 1)
        matrices.append(np.eye(n, dtype=np.float32)[chosen])
    return _resized(x, *matrices)


def _resized(x: Array, rows: Float[np.ndarray, "h height"], columns: Float[np.ndarray, "w width"]) -> Array:
    return jnp.einsum("...hw,ih,jw->...ij", x, rows, columns)


def _averages(size: int, parts: int) -> Float[np.ndarray, "parts size"]:
    """Return the matrix that averages `size` numbers in `parts` windows, which overlap where they have to."""
    matrix = np.zeros((parts, size), np.float32)
    for part in range(parts):
        first, end = part * size // parts, -(-(part + 1) * size // parts)
        matrix[part, first:end] = 1 / (end - first)
    return matrix


def _sizes(x: Array, output_size: Any, scale_factors: Any) -> list[tuple[int, int, float]]:
    """Return for height and width the size before, the size after, and the step between samples."""
    before = x.shape[-2:]
    if output_size is not None:
        return [(n, m, n / m) for n, m in zip(before, output_size, strict=True)]
    return [(n, int(n * factor), 1 / factor) for n, factor in zip(before, scale_factors, strict=True)]


def _interpolated(
    x: Array,
    output_size: Any,
    scale_factors: Any,
    align_corners: bool,
    taps: tuple[int, ...],
    weights: Callable[[np.ndarray], np.ndarray],
    *,
    first: float,
) -> Array:
    """Return images resized by taps around each place, at least `first`; beyond an edge lies the edge."""
    matrices = []
    for n, m, scale in _sizes(x, output_size, scale_factors):
        if align_corners:
            place = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
        else:
            place = np.maximum((np.arange(m) + 0.5) * scale - 0.5, first)
        start = np.floor(place).astype(int)
        matrix = np.zeros((m, n))
        for tap, weight in zip(taps, weights(place - start), strict=True):
            np.add.at(matrix, (np.arange(m), np.clip(start + tap, 0, n - 1)), weight)
        matrices.append(matrix.astype(np.float32))
    return _resized(x, *matrices)


def _cubic(t: np.ndarray) -> np.ndarray:
    """Return the weights of four taps, Keys' cubic convolution with a = -0.75."""
    a = -0.75

    def near(d: np.ndarray) -> np.ndarray:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return np.stack([far(t + 1), near(t), near(1 - t), far(2 - t)])
