"""Operators on single numbers, on two arrays by broadcasting, on matrices, and reductions such as norms."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

from fsjax.models.pytorch import OPERATORS, operator

# Operators that JAX has under the same name.
_SAME = (
    "abs bitwise_and bitwise_or bitwise_xor ceil cos cosh cumsum exp exp2 expm1 floor fmod isinf isnan log log10 log1p "
    "log2 logical_and logical_not logical_or logical_xor maximum minimum reciprocal remainder round sign sin sinh sqrt "
    "tan tanh trunc where"
)
OPERATORS.update(
    {name: getattr(jnp, name) for name in _SAME.split()},
    _log_softmax=lambda x, dim, *_: jax.nn.log_softmax(x, axis=dim),
    _softmax=lambda x, dim, *_: jax.nn.softmax(x, axis=dim),
    _to_copy=lambda x, dtype=None, **_: x if dtype is None else x.astype(dtype),
    add=lambda x, y, alpha=1: jnp.add(x, y if alpha == 1 else alpha * y),
    alias=lambda x: x,
    atan=jnp.arctan,
    bitwise_not=jnp.invert,
    bmm=jnp.matmul,
    clamp=jnp.clip,
    clone=lambda x, **_: x,
    eq=jnp.equal,
    erf=jax.scipy.special.erf,
    ge=jnp.greater_equal,
    gelu=lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    gt=jnp.greater,
    hardtanh=jnp.clip,
    le=jnp.less_equal,
    leaky_relu=lambda x, slope=0.01: jnp.where(x > 0, x, slope * x),
    lift_fresh_copy=lambda x: x,
    lt=jnp.less,
    mm=jnp.matmul,
    mul=jnp.multiply,
    ne=jnp.not_equal,
    neg=jnp.negative,
    pow=jnp.power,
    relu=jax.nn.relu,
    rsqrt=lax.rsqrt,
    sigmoid=jax.nn.sigmoid,
    sub=lambda x, y, alpha=1: jnp.subtract(x, y if alpha == 1 else alpha * y),
)


@operator("div")
def _div(x: ArrayLike, y: ArrayLike, rounding_mode: str | None = None) -> Array:
    if rounding_mode is None:
        return jnp.true_divide(x, y)
    return jnp.floor_divide(x, y) if rounding_mode == "floor" else jnp.trunc(x / y).astype(jnp.result_type(x, y))


@operator("elu")
def _elu(x: Array, alpha: int | float = 1, scale: int | float = 1, input_scale: int | float = 1) -> Array:
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(input_scale * x, 0)))


@operator("addmm")
def _addmm(x: Array, a: Array, b: Array, beta: int | float = 1, alpha: int | float = 1) -> Array:
    product = jnp.matmul(a, b)
    return (product if alpha == 1 else alpha * product) + (x if beta == 1 else beta * x)


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
def _batch_norm_in_any_mode(x: Array, weight: Array | None, bias: Array | None, *rest: Any) -> tuple:
    """Normalise by the given statistics, or in training mode by the statistics of x (InstanceNorm)."""
    *statistics, is_training, momentum, epsilon = rest
    if is_training:
        axes = (0, *range(2, x.ndim))
        statistics = [x.mean(axes), x.var(axes)]
    return _batch_norm(x, weight, bias, *statistics, momentum, epsilon)


@operator("native_layer_norm")
def _layer_norm(
    x: Array, normalized_shape: Sequence[int], weight: Array | None, bias: Array | None, epsilon: float
) -> tuple:
    y = _standardise(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), epsilon)
    return (_affine(y, weight, bias, y.shape[x.ndim - len(normalized_shape) :]), None, None)


@operator("native_group_norm")
def _group_norm(
    x: Array, weight: Any, bias: Any, n: int, channels: int, positions: int, groups: int, epsilon: float
) -> tuple:
    del positions
    y = _standardise(x.reshape(n, groups, -1), (-1,), epsilon).reshape(x.shape)
    return (_affine(y, weight, bias, (channels, *[1] * (x.ndim - 2))), None, None)


def _affine(x: Array, weight: Array | None, bias: Array | None, shape: Sequence[int]) -> Array:
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def _standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


def _reduction(function: Callable) -> Callable:
    def reduce(x: Array, dim: Any = None, keepdim: bool = False, **options: Any) -> Array:
        return function(x, _axes(dim), keepdims=keepdim, **options)

    return reduce


_mean = _reduction(jnp.mean)
OPERATORS.update(amax=_reduction(jnp.max), amin=_reduction(jnp.min), any=_reduction(jnp.any))
OPERATORS.update(mean=_mean, sum=_reduction(jnp.sum))


@operator("max")
def _max(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Return the largest numbers along an axis, and where they are."""
    return jnp.max(x, dim, keepdims=keepdim), jnp.argmax(x, dim, keepdims=keepdim)


@operator("var")
def _var(x: Array, dim: Any = None, correction: int | float | None = None, keepdim: bool = False) -> Array:
    return jnp.var(x, _axes(dim), ddof=1 if correction is None else int(correction), keepdims=keepdim)


@operator("var_mean")
def _var_mean(x: Array, dim: Any = None, correction: int | float | None = None, keepdim: bool = False) -> tuple:
    return _var(x, dim, correction, keepdim), _mean(x, dim, keepdim)


@operator("linalg_vector_norm")
def _norm(x: Array, order: int | float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    del dtype
    if order != 2:
        raise NotImplementedError(f"a norm of order {order}")
    return jnp.sqrt(jnp.sum(x * x, _axes(dim), keepdims=keepdim))


def _axes(dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the axes of a reduction; None or an empty list stands for all axes."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return None
    return (dim,) if isinstance(dim, int) else tuple(dim)
