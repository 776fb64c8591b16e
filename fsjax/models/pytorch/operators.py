"""Operators on numbers, shapes and places, and reductions.

`OPERATORS` has the operators of PyTorch's exported graphs (core ATen) by name, without namespace and overload. Their
arguments are PyTorch's: arrays, numbers and nested lists, by place or by name. Arrays have their channels first,
arguments for memory layout are left out, and a `dtype` is NumPy's.
"""

import operator as python_operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

# Operators that JAX has under the same name.
_SAME = (
    "abs acos acosh angle asin asinh atan atan2 atanh bitwise_and bitwise_or bitwise_xor ceil "
    "copysign cos cosh cumprod cumsum exp exp2 expm1 flip floor fmod hypot i0 isinf isnan log log10 log1p log2 "
    "logical_and logical_not logical_or logical_xor maximum minimum reciprocal remainder round sign sin sinh tan tanh "
    "trunc where"
)
OPERATORS: dict[str, Callable] = {
    **{name: getattr(jnp, name) for name in _SAME.split()},
    "_conj": jnp.conj,
    "_log_softmax": lambda x, dim, *_: jax.nn.log_softmax(x, axis=dim),
    "_softmax": lambda x, dim, *_: jax.nn.softmax(x, axis=dim),
    "_to_copy": lambda x, dtype=None, **_: x if dtype is None else x.astype(dtype),
    "add": lambda x, y, alpha=1: jnp.add(x, y if alpha == 1 else alpha * y),
    "alias": lambda x: x,
    "arange": lambda first, end=None, step=1, dtype=None: jnp.arange(first, end, step, dtype=dtype),
    "bitwise_not": jnp.invert,
    "bmm": jnp.matmul,
    "cat": lambda arrays, dim=0: jnp.concatenate([x for x in arrays if x.shape != (0,)], dim),
    "clamp": jnp.clip,
    "celu": lambda x, alpha=1: _elu(x, alpha, 1, 1 / alpha),
    "clone": lambda x, **_: x,
    "complex": lax.complex,
    "copy": lambda x, source, *_: jnp.broadcast_to(source, x.shape).astype(x.dtype),
    "embedding": lambda weight, index, *_: weight[index],
    "empty": lambda shape, dtype=None: jnp.zeros(shape, dtype or jnp.float32),
    "eq": jnp.equal,
    "erf": lax.erf,
    "erfc": lax.erfc,
    "erfinv": lax.erf_inv,
    "folded": lambda x: (x,),  # in place of a BatchNorm that `graph` folds into a convolution
    "full": lambda shape, value, dtype=None: jnp.full(shape, value, dtype),
    "full_like": lambda x, value, dtype=None: jnp.full_like(x, value, dtype=dtype),
    "gather": lambda x, dim, index, sparse_grad=False: jnp.take_along_axis(x, index, axis=dim),
    "ge": jnp.greater_equal,
    "getitem": python_operator.getitem,
    "gt": jnp.greater,
    "hardtanh": jnp.clip,
    "index": lambda x, indices: x[_places(indices)],
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "le": jnp.less_equal,
    "leaky_relu": lambda x, slope=0.01: jnp.where(x > 0, x, slope * x),
    "lift_fresh_copy": lambda x: x,
    "lt": jnp.less,
    "mm": jnp.matmul,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "neg": jnp.negative,
    "permute": jnp.transpose,
    "polar": lambda size, angle: lax.complex(size * jnp.cos(angle), size * jnp.sin(angle)),
    "pow": lambda x, y: _square_root(x) if isinstance(y, float) and y == 0.5 else jnp.power(x, y),
    "relu": lambda x: jnp.where(x <= 0, 0, x),
    "repeat": jnp.tile,
    "rsqrt": lax.rsqrt,
    "scalar_tensor": lambda value, dtype=None: jnp.asarray(value, dtype),
    "select": lambda x, dim, index: lax.index_in_dim(x, index, dim, keepdims=False),
    "sigmoid": jax.nn.sigmoid,
    "softplus": lambda x, beta=1, threshold=20: jnp.where(x * beta > threshold, x, jax.nn.softplus(x * beta) / beta),
    "split_with_sizes": lambda x, sizes, dim=0: jnp.split(x, np.cumsum(sizes)[:-1].tolist(), dim),
    "sub": lambda x, y, alpha=1: jnp.subtract(x, y if alpha == 1 else alpha * y),
    "unsqueeze": jnp.expand_dims,
    "view": lambda x, *shape: x.reshape(*shape),
    "view_as_complex": lambda x: lax.complex(x[..., 0], x[..., 1]),
    "view_as_real": lambda x: jnp.stack([x.real, x.imag], -1),
    "view_copy": lambda x, *shape: x.reshape(*shape),
}


def operator(name: str) -> Callable[[Callable], Callable]:
    """Register a function under the name of the operator that it computes."""
    return lambda function: OPERATORS.setdefault(name, function)


@operator("sqrt")
def _square_root(x: Array) -> Array:
    """Return the root. Its gradient at 0 is 0, as of PyTorch's norms and standard deviations, which become roots."""
    return jnp.where(x == 0, x, jnp.sqrt(jnp.where(x == 0, 1, x)))


@operator("gelu")
def _gelu(x: Array, approximate: str = "none") -> Array:
    return _exact_gelu(x) if approximate == "none" else jax.nn.gelu(x)


@jax.custom_jvp
def _exact_gelu(x: Array) -> Array:
    """Return x Phi(x), by erf as PyTorch does. JAX's own, by erfc, keeps eight arrays for its gradient."""
    return x * _normal_cdf(x)


@_exact_gelu.defjvp
def _exact_gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    share = _normal_cdf(x)
    return x * share, tangent * (share + x * jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi).astype(x.dtype))


def _normal_cdf(x: Array) -> Array:
    return (1 + lax.erf(x * np.sqrt(0.5).astype(x.dtype))) / 2


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
    x: Array, weight: Array | None, bias: Array | None, mean: Array, variance: Array, _momentum: float, epsilon: float
) -> tuple:
    shape = (-1, *[1] * (x.ndim - 2))
    scale = lax.rsqrt(variance + epsilon) if weight is None else weight * lax.rsqrt(variance + epsilon)
    y = (x - mean.reshape(shape)) * scale.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape), mean, variance)


def _reduction(function: Callable) -> Callable:
    def reduce(x: Array, dim: Any = None, keepdim: bool = False, **options: Any) -> Array:
        return function(x, _axes(dim), keepdims=keepdim, **options)

    return reduce


_mean = _reduction(jnp.mean)
OPERATORS.update(amax=_reduction(jnp.max), amin=_reduction(jnp.min), any=_reduction(jnp.any))
OPERATORS.update(mean=_mean, prod=_reduction(jnp.prod), sum=_reduction(jnp.sum))


@operator("sort")
def _sort(x: Array, dim: int = -1, descending: bool = False, **_: bool | None) -> tuple[Array, Array]:
    """Return the numbers in order along an axis, and where they are."""
    if x.ndim == 0:
        return x, jnp.zeros((), jnp.int32)
    places = jnp.argsort(x, dim, descending=descending)
    return jnp.take_along_axis(x, places, dim), places


@operator("topk")
def _topk(x: Array, k: int, dim: int = -1, largest: bool = True, *_: bool) -> tuple[Array, ...]:
    return tuple(lax.slice_in_dim(y, 0, k, axis=dim) for y in _sort(x, dim, largest))


@operator("kthvalue")
def _kth_value(x: Array, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Array, ...]:
    return tuple(lax.index_in_dim(y, k - 1, dim, keepdim) for y in _sort(x, dim))


@operator("median")
def _median(x: Array, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the lower median along an axis, and where it is; without an axis the median of all numbers."""
    if dim is None:
        return jnp.sort(x.reshape(-1))[(x.size - 1) // 2]
    return _kth_value(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def _extreme(value: Callable, place: Callable) -> Callable:
    """Return an operator of an axis, (largest numbers, where they are), or of all numbers, the largest."""

    def reduce(x: Array, dim: int | None = None, keepdim: bool = False) -> Any:
        return value(x) if dim is None else (value(x, dim, keepdims=keepdim), place(x, dim, keepdims=keepdim))

    return reduce


OPERATORS["argmax"] = lambda x, dim=None, keepdim=False: jnp.argmax(x, dim, keepdims=keepdim)
OPERATORS["argmin"] = lambda x, dim=None, keepdim=False: jnp.argmin(x, dim, keepdims=keepdim)
OPERATORS.update(max=_extreme(jnp.max, jnp.argmax), min=_extreme(jnp.min, jnp.argmin))


@operator("var")
def _var(x: Array, dim: Any = None, correction: int | float | None = None, keepdim: bool = False) -> Array:
    return jnp.var(x, _axes(dim), ddof=1 if correction is None else int(correction), keepdims=keepdim)


@operator("var_mean")
def _var_mean(x: Array, dim: Any = None, correction: int | float | None = None, keepdim: bool = False) -> tuple:
    return _var(x, dim, correction, keepdim), _mean(x, dim, keepdim)


def _axes(dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the axes of a reduction; None or an empty list stands for all axes."""
    return (dim,) if isinstance(dim, int) else tuple(dim or ()) or None


@operator("expand")
def _expand(x: Array, shape: Sequence[int], **_: bool) -> Array:
    old = [1] * (len(shape) - x.ndim) + list(x.shape)
    return jnp.broadcast_to(x, [was if size == -1 else size for was, size in zip(old, shape, strict=True)])


@operator("squeeze")
def _squeeze(x: Array, dim: Any = None) -> Array:
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(d % x.ndim for d in dims if x.shape[d] == 1))


@operator("slice")
def _slice(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return lax.slice_in_dim(x, *slice(start, end).indices(x.shape[dim])[:2], step, dim)


@operator("constant_pad_nd")
def _constant_pad(x: Array, pad: Sequence[int], value: int | float = 0) -> Array:
    # PyTorch lists the last dimension's pair first.
    pairs = [(pad[i], pad[i + 1], 0) for i in range(0, len(pad), 2)][::-1]
    return lax.pad(x, np.asarray(value, x.dtype), [(0, 0, 0)] * (x.ndim - len(pairs)) + pairs)


@operator("as_strided")
def _as_strided(x: Array, size: Sequence[int], places: np.ndarray) -> Array:
    """Take flat places, which the graph has in place of PyTorch's strides."""
    x = x.reshape(-1)
    return (x if np.array_equal(places, np.arange(x.size)) else x[places]).reshape(size)


@operator("index_put")
def _index_put(x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    place = jnp.asarray(x).at[_places(indices)]
    return place.add(values) if accumulate else place.set(values)


@operator("scatter")
def _scatter(x: Array, dim: int, index: Array, source: ArrayLike) -> Array:
    """Write each number of `source` to its place along an axis."""
    return x.at[_along(dim, index)].set(jnp.broadcast_to(source, x.shape)[tuple(map(slice, index.shape))])


@operator("scatter_add")
def _scatter_add(x: Array, dim: int, index: Array, source: Array) -> Array:
    return x.at[_along(dim, index)].add(source[tuple(map(slice, index.shape))])


def _along(dim: int, index: Array) -> tuple:
    """Return an index of JAX for an index along one axis."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[dim] = index
    return tuple(places)


def _places(indices: Sequence[Array | None]) -> tuple:
    """Return an index of JAX; None takes all of its axis."""
    return tuple(slice(None) if index is None else index for index in indices)
