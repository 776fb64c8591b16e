"""Convolutions that choose their arithmetic by shape on a CPU, where XLA's own are slow for many shapes.

`benchmarks/cost/convolutions.py` measures shapes in both forms. On other platforms every convolution is XLA's own.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# A sum of products, which adds arrays of outputs, wins where each position has at least so many input channels.
_CHANNELS_A_POSITION = 4
# Up to so many images, one product of patches beats a sum of products, for which XLA copies the kernel in parts.
_FEW_IMAGES = 32
# Largest number of pixels of a window that is pooled by shifts.
_POOLED = 32
# Largest number of taps of a depthwise kernel whose sum XLA computes together with what comes before and after.
_FUSED = 25
Pairs = tuple[tuple[int, int], ...]


class Windows(NamedTuple):
    """How a kernel moves over an image: a number, or the padding before and after, for each spatial dimension."""

    strides: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    **options: Any,
) -> Array:
    """Compute what jax.lax.conv_general_dilated computes from the same arguments; on a CPU, float32 may round apart.

    Two kinds of float32 convolutions leave XLA's own on a CPU. Depthwise ones are sums of shifted images. Those of
    1 x 1, of windows side by side and at few positions are matrix products or sums of them. Two-dimensional or not, all
    can be differentiated in reverse mode.
    """

    def own(lhs: Array, rhs: Array) -> Array:
        dilations = (lhs_dilation, rhs_dilation)
        groups = (feature_group_count, batch_group_count)
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, *dilations, dimension_numbers, *groups, **options
        )

    axes = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    count = lhs.ndim - 2
    windows = Windows(tuple(window_strides), tuple((a, b) for a, b in padding), tuple(rhs_dilation or [1] * count))
    dilated = any(step > 1 for step in lhs_dilation or ())
    if {lhs.dtype, rhs.dtype} != {np.dtype(np.float32)} or batch_group_count > 1 or dilated:
        return own(lhs, rhs)
    size, taps = [lhs.shape[axis] for axis in axes.lhs_spec[2:]], [rhs.shape[axis] for axis in axes.rhs_spec[2:]]
    way = _choose(lhs.shape[axes.lhs_spec[0]], size, taps, windows, rhs.shape[axes.rhs_spec[1]], feature_group_count)
    if way is None:
        return own(lhs, rhs)

    def on_cpu(lhs: Array, rhs: Array) -> Array:
        images = lhs.transpose(axes.lhs_spec[0], *axes.lhs_spec[2:], axes.lhs_spec[1])
        kernel = rhs.transpose(*axes.rhs_spec[2:], axes.rhs_spec[1], axes.rhs_spec[0])
        back = np.argsort([axes.out_spec[0], *axes.out_spec[2:], axes.out_spec[1]])
        return way(images, kernel, windows).transpose(back)

    return lax.platform_dependent(lhs, rhs, cpu=on_cpu, default=own)


def pool(images: Array, sides: Sequence[int], windows: Windows, largest: bool) -> Array:
    """Return the maxima or sums of windows of the given sides, as lax.reduce_window does, over all axes.

    Small windows are maxima or sums of shifted images, which XLA computes faster on a CPU. The gradient of a maximum is
    that of its first pixel, as PyTorch's.
    """
    start = np.asarray(-np.inf if largest else 0, images.dtype)
    if math.prod(sides) > _POOLED:
        reduce = lax.max if largest else lax.add
        strides, padding, dilation = windows
        return lax.reduce_window(images, start, reduce, sides, strides, padding, window_dilation=dilation)
    output = _positions(images.shape, sides, windows)
    padded = lax.pad(images, start, [(a, b, 0) for a, b in windows.padding])
    taps = (np.multiply(tap, windows.dilation).tolist() for tap in np.ndindex(*sides))
    shifted = (padded[_every(tap, windows.strides, output)] for tap in taps)
    return functools.reduce(lambda a, b: jnp.where((b > a) | (b != b), b, a) if largest else a + b, shifted)


def _choose(
    n: int, size: Sequence[int], taps: Sequence[int], windows: Windows, group: int, groups: int
) -> Callable | None:
    """Return the function (images, kernel, windows), channels last, that beats XLA's own on a CPU, or None.

    `n` is the number of images, `size` and `taps` are sides of the image and the kernel, `group` is the number of input
    channels of each group.
    """
    output = _positions(size, taps, windows)
    if math.prod(output) == 0 or math.prod(taps) == 0:
        return None
    if groups > 1:
        return _depthwise if group == 1 else None
    if math.prod(taps) == 1:
        return _products
    if tuple(windows.strides) == tuple(taps) and max(windows.dilation) == 1:
        return _one_product
    overlap = any(stride < side for stride, side in zip(windows.strides, taps, strict=True))
    few = math.prod(output) <= max(math.prod(taps), group // _CHANNELS_A_POSITION)
    if not (overlap and few):
        return None
    return _one_product if n <= _FEW_IMAGES and min(size) > 1 else _products


def _one_product(
    images: Float[Array, "n *size inputs"], kernel: Float[Array, "*taps inputs outputs"], windows: Windows
) -> Float[Array, "n *positions outputs"]:
    """Multiply all patches by the kernel; those side by side are cut without a copy for each tap."""
    sides, count = kernel.shape[:-2], images.ndim - 2
    output = _positions(images.shape[1:-1], sides, windows)
    if tuple(windows.strides) == sides:
        each = zip(images.shape[1:-1], output, sides, windows.padding, strict=True)
        padded = _pad(images, tuple((before, m * side - size - before) for size, m, side, (before, _) in each))
        split = padded.reshape(len(images), *np.stack([output, sides], 1).ravel(), images.shape[-1])
        split = split.transpose(0, *range(1, 2 * count, 2), *range(2, 2 * count + 1, 2), 2 * count + 1)
        patches = split.reshape(len(images), *output, math.prod(kernel.shape[:-1]))
    else:
        padded = _pad(images, windows.padding)
        taps = (np.multiply(tap, windows.dilation).tolist() for tap in np.ndindex(*sides))
        patches = jnp.concatenate([padded[:, *_every(tap, windows.strides, output)] for tap in taps], -1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _products(
    images: Float[Array, "n *size inputs"], kernel: Float[Array, "*taps inputs outputs"], windows: Windows
) -> Float[Array, "n *positions outputs"]:
    """Add a product for each tap of the kernel, of the pixels that it meets; padding is left out."""
    output, parts = _positions(images.shape[1:-1], kernel.shape[:-2], windows), []
    for tap in np.ndindex(*kernel.shape[:-2]):
        first, count, start = [], [], []
        for n, positions, place, stride, (before, _), apart in zip(
            images.shape[1:-1], output, tap, *windows, strict=True
        ):
            offset = place * apart - before
            first.append(max(0, -(offset // stride)))
            count.append(max(0, min(positions, (n - 1 - offset) // stride + 1) - first[-1]))
            start.append(first[-1] * stride + offset)
        if math.prod(count):
            product = images[:, *_every(start, windows.strides, count)] @ kernel[tap]
            around = tuple((a, o - a - m) for a, m, o in zip(first, count, output, strict=True))
            parts.append(_pad(product, around))
    if not parts:
        return jnp.zeros((len(images), *output, kernel.shape[-1]), images.dtype)
    return functools.reduce(jnp.add, parts)


def _depthwise(
    images: Float[Array, "n *size channels"], kernel: Float[Array, "*taps 1 outputs"], windows: Windows
) -> Float[Array, "n *positions outputs"]:
    several = kernel.shape[-1] // images.shape[-1]
    return _shifted_sum(windows, jnp.repeat(images, several, -1) if several > 1 else images, kernel[..., 0, :])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _shifted_sum(
    windows: Windows, images: Float[Array, "n *size channels"], kernel: Float[Array, "*taps channels"]
) -> Float[Array, "n *positions channels"]:
    """Add shifted images, each times the kernel's value for its shift.

    Its gradient by the images is such a sum itself; automatic differentiation would add an array for each shift.
    """
    output, padded = _positions(images.shape[1:-1], kernel.shape[:-1], windows), _pad(images, windows.padding)

    def shifted(padded: Float[Array, "... channels"]) -> Float[Array, "... channels"]:
        taps = {tap: _every(np.multiply(tap, windows.dilation).tolist(), windows.strides, output) for tap in places}
        return functools.reduce(jnp.add, (padded[..., *pixels, :] * kernel[tap] for tap, pixels in taps.items()))

    # Long sums in a loop: otherwise XLA computes them again within each operation that reads them.
    places = list(np.ndindex(*kernel.shape[:-1]))
    return shifted(padded) if len(places) <= _FUSED else lax.map(shifted, padded)


def _forward(windows: Windows, images: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _shifted_sum(windows, images, kernel), (images, kernel)


def _backward(windows: Windows, inputs: tuple[Array, Array], by_output: Array) -> tuple[Array, Array]:
    images, kernel = inputs
    sizes = zip(images.shape[1:-1], by_output.shape[1:-1], kernel.shape[:-1], *windows, strict=True)
    around = []
    for size, positions, taps, stride, (before, _), apart in sizes:
        around.append((apart * (taps - 1) - before, size + before - stride * (positions - 1) - 1, stride - 1))
    spread = lax.pad(by_output, np.zeros((), by_output.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    each = Windows((1,) * len(around), ((0, 0),) * len(around), windows.dilation)
    by_images = _shifted_sum(each, spread, jnp.flip(kernel, range(len(around))))
    _, pull_back = jax.vjp(functools.partial(_shifted_sum.fun, windows, images), kernel)
    return by_images, *pull_back(by_output)


_shifted_sum.defvjp(_forward, _backward)


def _positions(size: Sequence[int], taps: Sequence[int], windows: Windows) -> tuple[int, ...]:
    """Return the number of positions of a kernel of `taps` in an image of `size`, in each spatial dimension."""
    each = zip(size, taps, *windows, strict=True)
    return tuple(max(0, (n + sum(pads) - apart * (k - 1) - 1) // stride + 1) for n, k, stride, pads, apart in each)


def _pad(images: Array, padding: Pairs) -> Array:
    """Add zeros around images; negative padding cuts off."""
    return lax.pad(images, np.zeros((), images.dtype), [(0, 0, 0), *((a, b, 0) for a, b in padding), (0, 0, 0)])


def _every(first: Sequence[int], step: Sequence[int], count: Sequence[int]) -> tuple[slice, ...]:
    """Return the slice of `count` places from `first` on, in each dimension."""
    each = zip(first, step, count, strict=True)
    return tuple(slice(start, start + apart * (number - 1) + 1, apart) for start, apart, number in each)
