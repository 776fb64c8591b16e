"""Operators of windows that move over an image: convolutions and pools."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from fsjax.models.pytorch.operators.registry import operator


def _many(value: int | Sequence[int], count: int) -> list[int]:
    """Return a number, or a list of one, once for each dimension."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


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
    stride, padding, dilation, more = (_many(of, count) for of in (stride, padding, dilation, output_padding))
    around, of_input = [(pad, pad) for pad in padding], [1] * count
    if transposed:
        # The gradient of a convolution: input and output change places, and the kernel is turned around.
        parts = jnp.split(weight, groups)
        weight = jnp.concatenate([jnp.swapaxes(jnp.flip(part, range(2, weight.ndim)), 0, 1) for part in parts])
        reach = [d * (size - 1) for d, size in zip(dilation, weight.shape[2:], strict=True)]
        around = [(r - pad, r - pad + m) for r, pad, m in zip(reach, padding, more, strict=True)]
        stride, of_input = [1] * count, stride
    y = lax.conv_general_dilated(x, weight, stride, around, of_input, dilation, feature_group_count=groups)
    return y if bias is None else y + bias.reshape(-1, *[1] * count)


@operator("conv1d", "conv2d")
def _conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    if isinstance(padding, str):
        reach = [d * (size - 1) for d, size in zip(_many(dilation, weight.ndim - 2), weight.shape[2:], strict=True)]
        around = [(r // 2, r - r // 2) if padding == "same" else (0, 0) for r in reach]
        x, padding = jnp.pad(x, [(0, 0), (0, 0), *around]), 0
    return _convolution(x, weight, bias, stride, padding, dilation, False, 0, groups)


def _windows(
    x: Array,
    size: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    start: int | float,
    reduce: Callable,
) -> Array:
    """Reduce windows of the last dimensions; with ceil_mode one that begins within the image or its padding counts."""
    count = len(size)
    stride, padding, dilation = (_many(of, count) for of in (stride or size, padding, dilation))
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
def _max_pool2d_with_indices(*arguments: Any) -> tuple:
    return (_max_pool2d(*arguments), None)


@operator("max_pool2d")
def _max_pool2d(
    x: Array, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Array:
    return _windows(x, _many(kernel_size, 2), stride, padding, dilation, ceil_mode, -np.inf, lax.max)


@operator("adaptive_max_pool2d")
def _adaptive_max_pool2d(x: Array, output_size: int | Sequence[int]) -> tuple:
    """Return the maxima of windows that cover each side, of equal sizes give or take one; the indices are left out."""
    for axis, m in zip((-2, -1), _many(output_size, 2), strict=True):
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
    size = _many(kernel_size, 2)
    sums = _windows(x, size, stride, padding, 1, ceil_mode, 0, lax.add)
    if divisor_override:
        return sums / divisor_override
    # How many numbers each window holds: of the image and its padding, but not beyond, where ceil_mode makes it reach.
    counts = np.ones(())
    sides = zip(x.shape[-2:], sums.shape[-2:], size, _many(stride or size, 2), _many(padding, 2), strict=True)
    for n, windows, window, step, pad in sides:
        start, beyond = np.arange(windows) * step - pad, pad if count_include_pad else 0
        inside = np.minimum(start + window, n + beyond) - np.maximum(start, -beyond)
        counts = np.multiply.outer(counts, inside)
    return sums / counts.astype(x.dtype)
