"""Operators on the planes of images: convolutions, pools and resizing."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fsjax.models.layers import averaging_matrix
from fsjax.models.pytorch import operator


@operator("convolution")
def _convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    transposed: bool,
    output_padding: int | Sequence[int],
    groups: int,
) -> Array:
    count = weight.ndim - 2
    stride, padding, dilation, more = (_repeat(value, count) for value in (stride, padding, dilation, output_padding))
    around, input_dilation = [(pad, pad) for pad in padding], [1] * count
    if transposed:
        # The gradient of a convolution: input and output change places, and the kernel is reversed.
        parts = jnp.split(weight, groups)
        weight = jnp.concatenate([jnp.swapaxes(jnp.flip(part, range(2, weight.ndim)), 0, 1) for part in parts])
        reach = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]
        around = [(r - pad, r - pad + m) for r, pad, m in zip(reach, padding, more, strict=True)]
        stride, input_dilation = [1] * count, stride
    y = lax.conv_general_dilated(x, weight, stride, around, input_dilation, dilation, feature_group_count=groups)
    return y if bias is None else y + bias.reshape(-1, *[1] * count)


def _reduce_windows(
    x: Array,
    size: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    start: int | float,
    reduce: Callable,
) -> Array:
    """Reduce windows of the last dimensions; ceil_mode adds windows that begin within the image or its padding."""
    count = len(size)
    stride, padding, dilation = (_repeat(value, count) for value in (stride or size, padding, dilation))
    around = []
    for n, window, step, pad, apart in zip(x.shape[-count:], size, stride, padding, dilation, strict=True):
        free = n + 2 * pad - apart * (window - 1) - 1
        windows = free // step + 1
        if ceil_mode and free % step and windows * step < n + pad:
            windows += 1
        around.append((pad, max((windows - 1) * step - free + pad, 0)))
    lead = x.ndim - count
    return lax.reduce_window(
        x,
        np.asarray(start, x.dtype),
        reduce,
        (*[1] * lead, *size),
        (*[1] * lead, *stride),
        [*[(0, 0)] * lead, *around],
        window_dilation=(*[1] * lead, *dilation),
    )


@operator("max_pool2d_with_indices")
def _max_pool2d(
    x: Array, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple:
    size = _repeat(kernel_size, 2)
    return (_reduce_windows(x, size, stride, padding, dilation, ceil_mode, -np.inf, lax.max), None)


@operator("adaptive_max_pool2d")
def _adaptive_max_pool2d(x: Array, output_size: int | Sequence[int]) -> tuple:
    """Return the maxima of windows that cover each side, with sizes that differ by 1 at most; without the indices."""
    for axis, m in zip((-2, -1), _repeat(output_size, 2), strict=True):
        n = x.shape[axis]
        edges = [(k * n // m, -(-(k + 1) * n // m)) for k in range(m)]
        x = jnp.stack([lax.slice_in_dim(x, *edge, axis=axis).max(axis) for edge in edges], axis)
    return (x, None)


@operator("avg_pool2d")
def _avg_pool2d(
    x: Array,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    size = _repeat(kernel_size, 2)
    sums = _reduce_windows(x, size, stride, padding, 1, ceil_mode, 0, lax.add)
    if divisor_override:
        return sums / divisor_override
    # Numbers of the image and its padding in each window; with ceil_mode a window may reach beyond them.
    counts = np.ones(())
    sides = zip(x.shape[-2:], sums.shape[-2:], size, _repeat(stride or size, 2), _repeat(padding, 2), strict=True)
    for n, windows, window, step, pad in sides:
        start, beyond = np.arange(windows) * step - pad, pad if count_include_pad else 0
        inside = np.minimum(start + window, n + beyond) - np.maximum(start, -beyond)
        counts = np.multiply.outer(counts, inside)
    return sums / counts.astype(x.dtype)


def _repeat(value: int | Sequence[int], count: int) -> list[int]:
    """Return a number, or a list with a single number, once for each dimension."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


@operator("_adaptive_avg_pool2d")
def _adaptive_avg_pool2d(x: Array, output_size: int | Sequence[int]) -> Array:
    sizes = _repeat(output_size, 2)
    matrices = (averaging_matrix(n, m).astype(np.float32) for n, m in zip(x.shape[-2:], sizes, strict=True))
    return _resize(x, *matrices)


@operator("upsample_bilinear2d")
def _bilinear(x: Array, *options: Any) -> Array:
    return _interpolate(x, *options, taps=(0, 1), weights=lambda t: np.stack([1 - t, t]), first=0.0)


@operator("upsample_bicubic2d")
def _bicubic(x: Array, *options: Any) -> Array:
    return _interpolate(x, *options, taps=(-1, 0, 1, 2), weights=_cubic_weights, first=-np.inf)


@operator("upsample_nearest2d")
def _nearest(x: Array, output_size: Any, scale_factors: Any = None) -> Array:
    matrices = []
    for n, m, scale in _sizes(x, output_size, scale_factors):
        chosen = np.minimum(np.floor(np.arange(m) * np.float32(scale)).astype(int), n - 1)
        matrices.append(np.eye(n, dtype=np.float32)[chosen])
    return _resize(x, *matrices)


def _resize(x: Array, rows: Float[np.ndarray, "h height"], columns: Float[np.ndarray, "w width"]) -> Array:
    """Multiply images by a matrix for rows and a matrix for columns."""
    return jnp.einsum("...hw,ih,jw->...ij", x, rows, columns)


def _sizes(x: Array, output_size: Any, scale_factors: Any) -> list[tuple[int, int, float]]:
    """Return for height and width the size before, the size after, and the step between samples."""
    before = x.shape[-2:]
    if output_size is not None:
        return [(n, m, n / m) for n, m in zip(before, output_size, strict=True)]
    return [(n, int(n * factor), 1 / factor) for n, factor in zip(before, scale_factors, strict=True)]


def _interpolate(
    x: Array,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
    *,
    taps: tuple[int, ...],
    weights: Callable[[np.ndarray], np.ndarray],
    first: float,
) -> Array:
    """Resize images with the taps of PyTorch around each place, at least `first`; edges are repeated."""
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
    return _resize(x, *matrices)


def _cubic_weights(t: np.ndarray) -> np.ndarray:
    """Return the weights of four taps, Keys' cubic convolution with a = -0.75."""
    a = -0.75

    def near(d: np.ndarray) -> np.ndarray:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return np.stack([far(t + 1), near(t), near(1 - t), far(2 - t)])
