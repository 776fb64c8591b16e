"""Operators that take numbers from places, put them there, or make them."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fsjax.models.pytorch.operators.registry import operator


@operator("index", "_unsafe_index")
def _index(x: Array, indices: Sequence[Array | None]) -> Array:
    return x[_places(indices)]


@operator("index_put", "_unsafe_index_put")
def _index_put(x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    place = jnp.asarray(x).at[_places(indices)]
    return place.add(values) if accumulate else place.set(values)


def _places(indices: Sequence[Array | None]) -> tuple:
    """Return an index of JAX; None takes all of its axis."""
    return tuple(slice(None) if index is None else index for index in indices)


@operator("as_strided")
def _as_strided(x: Array, size: Sequence[int], places: np.ndarray) -> Array:
    """Take flat places, which the graph has in place of PyTorch's strides."""
    x = x.reshape(-1)
    return (x if np.array_equal(places, np.arange(x.size)) else x[places]).reshape(tuple(size))


@operator("index_select")
def _index_select(x: Array, dim: int, index: Array) -> Array:
    return jnp.take(x, index, axis=dim)


@operator("gather")
def _gather(x: Array, dim: int, index: Array, sparse_grad: bool = False) -> Array:
    del sparse_grad
    return jnp.take_along_axis(x, index, axis=dim)


@operator("embedding")
def _embedding(weight: Array, index: Array, *_: Any) -> Array:
    return weight[index]


@operator("slice_scatter")
def _slice_scatter(
    x: Array, source: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    place = [slice(None)] * x.ndim
    place[dim] = slice(start, end, step)
    return jnp.asarray(x).at[tuple(place)].set(source)


@operator("select_scatter")
def _select_scatter(x: Array, source: Array, dim: int, index: int) -> Array:
    return jnp.asarray(x).at[(slice(None),) * (dim % x.ndim) + (index,)].set(source)


@operator("copy")
def _copy(x: Array, source: Array, *_: Any) -> Array:
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)


@operator("tril")
def _tril(x: Array, diagonal: int = 0) -> Array:
    return jnp.tril(x, diagonal)


@operator("triu")
def _triu(x: Array, diagonal: int = 0) -> Array:
    return jnp.triu(x, diagonal)


@operator("full")
def _full(shape: Sequence[int], value: Any, dtype: Any = None) -> Array:
    return jnp.full(shape, value, dtype)


@operator("full_like")
def _full_like(x: Array, value: Any, dtype: Any = None) -> Array:
    return jnp.full_like(x, value, dtype=dtype)


@operator("zeros", "empty")
def _zeros(shape: Sequence[int], dtype: Any = None) -> Array:
    return jnp.zeros(shape, dtype or jnp.float32)


@operator("ones")
def _ones(shape: Sequence[int], dtype: Any = None) -> Array:
    return jnp.ones(shape, dtype or jnp.float32)


@operator("zeros_like", "empty_like")
def _zeros_like(x: Array, dtype: Any = None) -> Array:
    return jnp.zeros_like(x, dtype=dtype)


@operator("ones_like")
def _ones_like(x: Array, dtype: Any = None) -> Array:
    return jnp.ones_like(x, dtype=dtype)


@operator("arange")
def _arange(first: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Array:
    return jnp.arange(first, end, step, dtype=dtype)


@operator("linspace")
def _linspace(start: int | float, end: int | float, steps: int, dtype: Any = None) -> Array:
    return jnp.linspace(start, end, steps, dtype=dtype)


@operator("scalar_tensor")
def _scalar_tensor(value: Any, dtype: Any = None) -> Array:
    return jnp.asarray(value, dtype)
