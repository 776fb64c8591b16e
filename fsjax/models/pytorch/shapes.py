"""Operators that change shapes, take numbers from places, put numbers there, or make arrays."""

import operator as python_operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from fsjax.models.pytorch import OPERATORS, operator

OPERATORS.update(
    arange=lambda first, end=None, step=1, dtype=None: jnp.arange(first, end, step, dtype=dtype),
    copy=lambda x, source, *_: jnp.broadcast_to(source, x.shape).astype(x.dtype),
    embedding=lambda weight, index, *_: weight[index],
    empty=lambda shape, dtype=None: jnp.zeros(shape, dtype or jnp.float32),
    flip=jnp.flip,
    full=lambda shape, value, dtype=None: jnp.full(shape, value, dtype),
    full_like=lambda x, value, dtype=None: jnp.full_like(x, value, dtype=dtype),
    gather=lambda x, dim, index, sparse_grad=False: jnp.take_along_axis(x, index, axis=dim),
    getitem=python_operator.getitem,
    index=lambda x, indices: x[_places(indices)],
    index_select=lambda x, dim, index: jnp.take(x, index, axis=dim),
    permute=jnp.transpose,
    repeat=jnp.tile,
    scalar_tensor=lambda value, dtype=None: jnp.asarray(value, dtype),
    select=lambda x, dim, index: lax.index_in_dim(x, index, dim, keepdims=False),
    split_with_sizes=lambda x, sizes, dim=0: jnp.split(x, np.cumsum(sizes)[:-1].tolist(), dim),
    unsqueeze=jnp.expand_dims,
    view=lambda x, *shape: x.reshape(*shape),
    view_copy=lambda x, *shape: x.reshape(*shape),
)


@operator("expand")
def _expand(x: Array, shape: Sequence[int], implicit: bool = False) -> Array:
    del implicit
    old = [1] * (len(shape) - x.ndim) + list(x.shape)
    return jnp.broadcast_to(x, [was if size == -1 else size for was, size in zip(old, shape, strict=True)])


@operator("squeeze")
def _squeeze(x: Array, dim: Any = None) -> Array:
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(d % x.ndim for d in dims if x.shape[d] == 1))


@operator("slice")
def _slice(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return lax.slice_in_dim(x, *slice(start, end).indices(x.shape[dim])[:2], step, dim)


@operator("cat")
def _cat(arrays: Sequence[Array], dim: int = 0) -> Array:
    return jnp.concatenate([x for x in arrays if x.shape != (0,)], dim)


@operator("constant_pad_nd")
def _constant_pad(x: Array, pad: Sequence[int], value: int | float = 0) -> Array:
    # PyTorch lists the last dimension's pair first.
    pairs = [(pad[i], pad[i + 1], 0) for i in range(0, len(pad), 2)][::-1]
    return lax.pad(x, np.asarray(value, x.dtype), [(0, 0, 0)] * (x.ndim - len(pairs)) + pairs)


@operator("as_strided")
def _as_strided(x: Array, size: Sequence[int], places: np.ndarray) -> Array:
    """Take flat places, which the graph has in place of PyTorch's strides."""
    x = x.reshape(-1)
    return (x if np.array_equal(places, np.arange(x.size)) else x[places]).reshape(tuple(size))


@operator("index_put")
def _index_put(x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    place = jnp.asarray(x).at[_places(indices)]
    return place.add(values) if accumulate else place.set(values)


def _places(indices: Sequence[Array | None]) -> tuple:
    """Return an index of JAX; None takes all of its axis."""
    return tuple(slice(None) if index is None else index for index in indices)


@operator("slice_scatter")
def _slice_scatter(
    x: Array, source: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    place = [slice(None)] * x.ndim
    place[dim] = slice(start, end, step)
    return jnp.asarray(x).at[tuple(place)].set(source)
