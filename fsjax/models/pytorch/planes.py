"""Operators on the planes of images: convolutions, pools, resizing and Fourier transforms."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from fsjax.models.pytorch.operators import OPERATORS, operator

# NumPy's names for PyTorch's normalisations 0 (none), 1 (by the root) and 2 (by the number) of a forward transform;
# reversed, for an inverse transform.
_NORMS = ("backward", "ortho", "forward")


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
    x: Array, size: list[int], stride: Any, padding: Any, dilation: Any, ceil_mode: bool, start: float, reduce: Callable
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


def _average_pool(count: int) -> Callable:
    """Return the average pool over windows of the last `count` axes."""

    def pool(
        x: Array,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        size = _repeat(kernel_size, count)
        sums = _reduce_windows(x, size, stride, padding, 1, ceil_mode, 0.0, lax.add)
        if divisor_override:
            return sums / divisor_override
        # Numbers of the image and its padding in each window; with ceil_mode a window may reach beyond them.
        counts, steps = np.ones(()), _repeat(stride or size, count)
        sides = zip(x.shape[-count:], sums.shape[-count:], size, steps, _repeat(padding, count), strict=True)
        for n, windows, window, step, pad in sides:
            start, beyond = np.arange(windows) * step - pad, pad if count_include_pad else 0
            inside = np.minimum(start + window, n + beyond) - np.maximum(start, -beyond)
            counts = np.multiply.outer(counts, inside)
        return sums / counts.astype(x.dtype)

    return pool


OPERATORS.update(avg_pool2d=_average_pool(2), avg_pool3d=_average_pool(3))


def _antialiased(method: str) -> Callable:
    """Return the resizing that averages over the pixels that an output pixel stands for, as Pillow does."""

    def resize(x: Array, size: Sequence[int] | None, align_corners: bool, factors: Any = None) -> Array:
        del align_corners
        if size is None:
            size = [int(n * factor) for n, factor in zip(x.shape[-2:], factors, strict=True)]
        scale = factors or [m / n for m, n in zip(size, x.shape[-2:], strict=True)]
        shape, axes = (*x.shape[:-2], *size), (x.ndim - 2, x.ndim - 1)
        return jax.image.scale_and_translate(x, shape, axes, jnp.asarray(scale), jnp.zeros(2), method)

    return resize


OPERATORS.update(_upsample_bilinear2d_aa=_antialiased("linear"), _upsample_bicubic2d_aa=_antialiased("cubic"))


@operator("_fft_c2c")
def _fft(x: Array, dim: Sequence[int], normalization: int, forward: bool) -> Array:
    transform, norms = (jnp.fft.fftn, _NORMS) if forward else (jnp.fft.ifftn, _NORMS[::-1])
    return transform(x, axes=dim, norm=norms[normalization])


@operator("_fft_r2c")
def _real_fft(x: Array, dim: Sequence[int], normalization: int, onesided: bool) -> Array:
    return (jnp.fft.rfftn if onesided else jnp.fft.fftn)(x, axes=dim, norm=_NORMS[normalization])


@operator("_fft_c2r")
def _inverse_real_fft(x: Array, dim: Sequence[int], normalization: int, last_size: int) -> Array:
    sizes = [*(x.shape[axis] for axis in dim[:-1]), last_size]
    return jnp.fft.irfftn(x, sizes, dim, _NORMS[::-1][normalization])


def _repeat(value: int | Sequence[int], count: int) -> list[int]:
    """Return a number, or a list with a single number, once for each dimension."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values
