"""Operators that reduce dimensions: norms, softmax, means and sums."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from fsjax.models.pytorch.operators.registry import operator


@operator("_native_batch_norm_legit_no_training")
def _batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, variance: Array, momentum: float, epsilon: float
) -> tuple:
    del momentum
    shape = (-1, *[1] * (x.ndim - 2))
    scale = lax.rsqrt(variance + epsilon) if weight is None else weight * lax.rsqrt(variance + epsilon)
    y = (x - mean.reshape(shape)) * scale.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape), mean, variance)


@operator("_native_batch_norm_legit", "native_batch_norm")
def _batch_norm_of(x: Array, weight: Array | None, bias: Array | None, *rest: Any) -> tuple:
    """Normalise by given statistics; where there are none, or it says so, by those of these numbers (InstanceNorm)."""
    *statistics, is_training, momentum, epsilon = rest
    if is_training:
        axes = (0, *range(2, x.ndim))
        statistics = [x.mean(axes), x.var(axes)]
    return _batch_norm(x, weight, bias, *statistics, momentum, epsilon)


@operator("native_layer_norm")
def _layer_norm(
    x: Array, normalized_shape: Sequence[int], weight: Array | None, bias: Array | None, epsilon: float
) -> tuple:
    y = _normalised(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), epsilon)
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias, None, None)


@operator("layer_norm")
def _only_layer_norm(
    x: Array, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Array:
    return _layer_norm(x, normalized_shape, weight, bias, eps)[0]


@operator("native_group_norm")
def _group_norm(
    x: Array, weight: Any, bias: Any, n: int, channels: int, positions: int, groups: int, epsilon: float
) -> tuple:
    del positions
    y = _normalised(x.reshape(n, groups, -1), (-1,), epsilon).reshape(x.shape)
    shape = (channels, *[1] * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape), None, None)


@operator("group_norm")
def _only_group_norm(x: Array, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Array:
    return _group_norm(x, weight, bias, *x.shape[:2], 0, groups, eps)[0]


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


@operator("_softmax", "softmax")
def _softmax(x: Array, dim: int, *_: Any, **__: Any) -> Array:
    return jax.nn.softmax(x, axis=dim)


@operator("_log_softmax", "log_softmax")
def _log_softmax(x: Array, dim: int, *_: Any, **__: Any) -> Array:
    return jax.nn.log_softmax(x, axis=dim)


def _axes(dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the dimensions of a reduction; none or an empty list are all of them."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return None
    return (dim,) if isinstance(dim, int) else tuple(dim)


@operator("mean")
def _mean(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.mean(x, _axes(dim), keepdims=keepdim, dtype=dtype)


@operator("sum")
def _sum(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.sum(x, _axes(dim), keepdims=keepdim, dtype=dtype)


@operator("amax")
def _amax(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    return jnp.max(x, _axes(dim), keepdims=keepdim)


@operator("max")
def _max(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Return the largest numbers along an axis, and where they are."""
    return jnp.max(x, dim, keepdims=keepdim), jnp.argmax(x, dim, keepdims=keepdim)


@operator("amin")
def _amin(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    return jnp.min(x, _axes(dim), keepdims=keepdim)


@operator("any")
def _any(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    return jnp.any(x, _axes(dim), keepdims=keepdim)


@operator("var")
def _var(x: Array, dim: Any = None, correction: int | float | None = None, keepdim: bool = False) -> Array:
    return jnp.var(x, _axes(dim), ddof=1 if correction is None else int(correction), keepdims=keepdim)


@operator("var_mean")
def _var_mean(x: Array, dim: Any = None, correction: int | float | None = None, keepdim: bool = False) -> tuple:
    return _var(x, dim, correction, keepdim), _mean(x, dim, keepdim)


@operator("linalg_vector_norm", "norm")
def _norm(x: Array, order: int | float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    del dtype
    if order != 2:
        raise NotImplementedError(f"a norm of order {order}")
    return jnp.sqrt(jnp.sum(x * x, _axes(dim), keepdims=keepdim))


@operator("cumsum")
def _cumsum(x: Array, dim: int, dtype: Any = None) -> Array:
    return jnp.cumsum(x, dim, dtype=dtype)
