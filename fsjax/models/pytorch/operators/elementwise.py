"""Operators of each number alone, or of two arrays by broadcasting."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

from fsjax.models.pytorch.operators.registry import OPERATORS, operator

# Those that NumPy and JAX have under the same name.
_SAME = (
    "abs bitwise_and bitwise_or bitwise_xor ceil cos cosh exp exp2 expm1 floor floor_divide fmod isinf isnan log log10 "
    "log1p log2 logical_and logical_not logical_or logical_xor maximum minimum reciprocal remainder round sign sin "
    "sinh sqrt square tan tanh trunc where"
)
OPERATORS.update(
    {name: getattr(jnp, name) for name in _SAME.split()},
    **{name: getattr(jax.nn, name) for name in ("relu", "relu6", "selu", "sigmoid", "silu", "mish")},
    atan=jnp.arctan,
    bitwise_not=jnp.invert,
    clamp_max=jnp.minimum,
    clamp_min=jnp.maximum,
    eq=jnp.equal,
    erf=jax.scipy.special.erf,
    ge=jnp.greater_equal,
    gt=jnp.greater,
    le=jnp.less_equal,
    lt=jnp.less,
    mul=jnp.multiply,
    ne=jnp.not_equal,
    neg=jnp.negative,
    pow=jnp.power,
    rsqrt=lax.rsqrt,
)


@operator("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "dropout", "feature_dropout")
def _same(x: Array, *_: Any, **__: Any) -> Array:
    return x


@operator("_to_copy", "to")
def _to(x: Array, dtype: Any = None, **_: Any) -> Array:
    return x if dtype is None else x.astype(dtype)


@operator("add")
def _add(x: ArrayLike, y: ArrayLike, alpha: int | float = 1) -> Array:
    return jnp.add(x, y if alpha == 1 else alpha * y)


@operator("sub")
def _sub(x: ArrayLike, y: ArrayLike, alpha: int | float = 1) -> Array:
    return jnp.subtract(x, y if alpha == 1 else alpha * y)


@operator("rsub")
def _rsub(x: ArrayLike, y: ArrayLike, alpha: int | float = 1) -> Array:
    return _sub(y, x, alpha)


@operator("div")
def _div(x: ArrayLike, y: ArrayLike, rounding_mode: str | None = None) -> Array:
    if rounding_mode is None:
        return jnp.true_divide(x, y)
    return jnp.floor_divide(x, y) if rounding_mode == "floor" else jnp.trunc(x / y).astype(jnp.result_type(x, y))


@operator("gelu")
def _gelu(x: Array, approximate: str = "none") -> Array:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@operator("clamp", "hardtanh")
def _clamp(x: Array, least: int | float | None = None, most: int | float | None = None) -> Array:
    return jnp.clip(x, least, most)


@operator("hardsigmoid")
def _hardsigmoid(x: Array) -> Array:
    return jnp.clip(x + 3, 0, 6) / 6


@operator("hardswish")
def _hardswish(x: Array) -> Array:
    return x * _hardsigmoid(x)


@operator("leaky_relu")
def _leaky_relu(x: Array, slope: int | float = 0.01) -> Array:
    return jnp.where(x > 0, x, slope * x)


@operator("prelu", "_prelu_kernel")
def _prelu(x: Array, slope: Array) -> Array:
    return jnp.where(x > 0, x, slope * x)


@operator("elu")
def _elu(x: Array, alpha: int | float = 1, scale: int | float = 1, input_scale: int | float = 1) -> Array:
    return scale * jnp.where(x > 0, x, alpha * jnp.expm1(jnp.minimum(input_scale * x, 0)))


@operator("masked_fill")
def _masked_fill(x: Array, mask: Array, value: Any) -> Array:
    return jnp.where(mask, value, x)


@operator("softplus")
def _softplus(x: Array, beta: int | float = 1, threshold: int | float = 20) -> Array:
    return jnp.where(beta * x > threshold, x, jax.nn.softplus(beta * x) / beta)
