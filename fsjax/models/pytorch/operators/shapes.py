"""Operators that lay numbers out anew: shapes, parts, pads."""

import math
import operator as python_operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from fsjax.models.pytorch.operators.registry import OPERATORS, operator

OPERATORS.update(
    flip=jnp.flip,
    getitem=python_operator.getitem,
    permute=jnp.transpose,
    unsqueeze=jnp.expand_dims,
)


@operator("view", "_unsafe_view", "reshape", "view_copy")
def _view(x: Array, *shape: Any) -> Array:
    return x.reshape(*shape)


@operator("expand")
def _expand(x: Array, shape: Sequence[int], implicit: bool = False) -> Array:
    del implicit
    old = [1] * (len(shape) - x.ndim) + list(x.shape)
    return jnp.broadcast_to(x, [was if size == -1 else size for was, size in zip(old, shape, strict=True)])


@operator("flatten")
def _flatten(x: Array, first: int = 0, last: int = -1) -> Array:
    first, last = first % x.ndim, last % x.ndim
    return x.reshape(*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])


@operator("squeeze")
def _squeeze(x: Array, dim: Any = None) -> Array:
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(d % x.ndim for d in dims if x.shape[d] == 1))


@operator("t")
def _t(x: Array) -> Array:
    return x.T


@operator("transpose")
def _transpose(x: Array, a: int, b: int) -> Array:
    return jnp.swapaxes(x, a, b)


@operator("slice")
def _slice(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return lax.slice_in_dim(x, *slice(start, end).indices(x.shape[dim])[:2], step, dim)


@operator("select")
def _select(x: Array, dim: int, index: int) -> Array:
    return lax.index_in_dim(x, index, dim, keepdims=False)


@operator("narrow")
def _narrow(x: Array, dim: int, start: int, length: int) -> Array:
    return lax.slice_in_dim(x, start, start + length, axis=dim)


@operator("split_with_sizes")
def _split_with_sizes(x: Array, sizes: Sequence[int], dim: int = 0) -> list[Array]:
    return jnp.split(x, np.cumsum(sizes)[:-1].tolist(), dim)


@operator("split")
def _split(x: Array, size: Any, dim: int = 0) -> list[Array]:
    if isinstance(size, int):
        return jnp.split(x, range(size, x.shape[dim], size), dim)
    return _split_with_sizes(x, size, dim)


@operator("chunk")
def _chunk(x: Array, count: int, dim: int = 0) -> list[Array]:
    return _split(x, -(-x.shape[dim] // count), dim)


@operator("unbind")
def _unbind(x: Array, dim: int = 0) -> list[Array]:
    return [_select(x, dim, index) for index in range(x.shape[dim])]


@operator("cat")
def _cat(arrays: Sequence[Array], dim: int = 0) -> Array:
    return jnp.concatenate([x for x in arrays if x.shape != (0,)], dim)


@operator("stack")
def _stack(arrays: Sequence[Array], dim: int = 0) -> Array:
    return jnp.stack(arrays, dim)


@operator("repeat")
def _repeat(x: Array, counts: Sequence[int]) -> Array:
    return jnp.tile(x, counts)


@operator("roll")
def _roll(x: Array, shifts: Any, dims: Any = ()) -> Array:
    return jnp.roll(x, shifts, None if dims == () else dims)


@operator("constant_pad_nd")
def _constant_pad(x: Array, pad: Sequence[int], value: int | float = 0) -> Array:
    around = _padding(x, pad)
    return lax.pad(x, np.asarray(value, x.dtype), [(low, high, 0) for low, high in around])


@operator("reflection_pad2d", "reflection_pad1d")
def _reflection_pad(x: Array, pad: Sequence[int]) -> Array:
    return jnp.pad(x, _padding(x, pad), mode="reflect")


@operator("replication_pad2d", "replication_pad1d")
def _replication_pad(x: Array, pad: Sequence[int]) -> Array:
    return jnp.pad(x, _padding(x, pad), mode="edge")


def _padding(x: Array, pad: Sequence[int]) -> list[tuple[int, int]]:
    """Return PyTorch's padding, the last dimension's pair first, as a pair for each dimension."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    return [(0, 0)] * (x.ndim - len(pairs)) + pairs


@operator("pixel_shuffle")
def _pixel_shuffle(x: Array, factor: int) -> Array:
    n, channels, height, width = x.shape
    x = x.reshape(n, channels // factor**2, factor, factor, height, width)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, height * factor, width * factor)


@operator("pixel_unshuffle")
def _pixel_unshuffle(x: Array, factor: int) -> Array:
    n, channels, height, width = x.shape
    x = x.reshape(n, channels, height // factor, factor, width // factor, factor)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, height // factor, width // factor)
