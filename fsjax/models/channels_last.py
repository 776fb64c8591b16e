"""Compute a function of images with channels last on a CPU, where it has them first, as PyTorch's modules do.

XLA's convolutions and pools on a CPU want channels last. It transposes images before and after each of them, and
kernels at each call, which takes as long as the products. Here no value is transposed before an operation needs it so.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jaxtyping import Array, PyTree

from fsjax.models.convolution import Windows, conv_general_dilated, pool

# Primitives of JAX that compute each number from the numbers at its place.
_ELEMENTWISE = (
    "abs add and ceil clamp convert_element_type copy cos div eq erf erfc exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le log log1p logistic lt max min mul ne neg not or pow rem round rsqrt select_n sign sin sqrt square "
    "stop_gradient sub tanh xor"
)
_REDUCTIONS = "reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum"
_JIT = ("jit", "pjit")


def channels_last_on_cpu(function: Callable) -> Callable:
    """Return a function that computes the same; it has one output. Other platforms run `function` itself."""

    def on_cpu(*arguments: PyTree) -> Array:
        closed = jax.make_jaxpr(function)(*arguments)
        leaves = [_natural(jnp.asarray(leaf)) for leaf in jax.tree.leaves(arguments)]
        (result,) = evaluate(closed.jaxpr, map(_natural, closed_over(closed)), leaves, _apply, _natural)
        return result.array_in(range(result.array.ndim))

    return lambda *arguments: lax.platform_dependent(*arguments, cpu=on_cpu, default=function)


def closed_over(closed: ClosedJaxpr) -> list[Any]:
    """Return the arrays that a function and the jitted functions in it close over, in the order of `evaluate`."""
    jitted = [equation.params["jaxpr"] for equation in closed.jaxpr.eqns if equation.primitive.name in _JIT]
    return [*closed.consts, *(const for inner in jitted for const in closed_over(inner))]


def evaluate_equation(jaxpr: Jaxpr, equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    """Return the outputs of an equation of a jaxpr.

    It is evaluated as a jaxpr of one equation: how a primitive is called is internal to JAX and changes with versions.
    """
    pairs = zip(equation.invars, inputs, strict=True)
    read = {variable: value for variable, value in pairs if not isinstance(variable, Literal)}
    single = jaxpr.replace(constvars=[], invars=list(read), outvars=equation.outvars, eqns=[equation])
    return jax.core.eval_jaxpr(single, [], *read.values())


def evaluate(
    jaxpr: Jaxpr,
    consts: Iterator[Any],
    arguments: Sequence[Any],
    compute: Callable = evaluate_equation,
    hold: Callable = lambda literal: literal,
) -> list[Any]:
    """Evaluate a jaxpr with jitted functions inlined; every closed-over array comes from `consts`.

    compute: evaluates an equation. hold: makes a value of a literal.
    """
    values = dict(zip(jaxpr.constvars, [next(consts) for _ in jaxpr.constvars], strict=True))
    values |= zip(jaxpr.invars, arguments, strict=True)

    def read(variable: Any) -> Any:
        return hold(variable.val) if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        if equation.primitive.name in _JIT:
            outputs = evaluate(equation.params["jaxpr"].jaxpr, consts, inputs, compute, hold)
        else:
            outputs = compute(jaxpr, equation, inputs)
        values |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


class _Value(NamedTuple):
    """A value of the function, stored with its axes in another order: axis i of `array` is the value's `order[i]`."""

    array: Any
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[i] for i in np.argsort(self.order))

    def array_in(self, order: Sequence[int]) -> Any:
        """Return the value as an array with its axes in an order."""
        places = [self.order.index(axis) for axis in order]
        sides = [self.array.shape[place] for place in places]
        moved = [place for place, side in zip(places, sides, strict=True) if side != 1]
        return jnp.reshape(self.array, sides) if moved == sorted(moved) else self.array.transpose(places)

    def stored(self, each: Sequence) -> list:
        """Return what there is for each axis of the value, in the order in which it is stored."""
        return [each[axis] for axis in self.order]


class _Broadcast(NamedTuple):
    """A value that repeats an array, whose axis i is the value's `axes[i]`; it is repeated where it is read."""

    repeated: Any
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(range(len(self.shape)))

    @property
    def array(self) -> Any:
        return self.array_in(self.order)

    def array_in(self, order: Sequence[int]) -> Any:
        places = [list(order).index(axis) for axis in self.axes]
        sides = [self.shape[axis] for axis in order]
        return lax.broadcast_in_dim(jnp.transpose(self.repeated, np.argsort(places).tolist()), sides, sorted(places))

    def stored(self, each: Sequence) -> list:
        return list(each)


def _natural(array: Any) -> _Value:
    return _Value(array, tuple(range(np.ndim(array))))


def _apply(jaxpr: Jaxpr, equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    """Return the outputs of an equation, in the order of its inputs where it can be computed in any."""
    name, params = equation.primitive.name, equation.params
    if not inputs or len(equation.outvars) != 1:
        return _as_it_stands(jaxpr, equation, inputs)
    first, shape = inputs[0], getattr(equation.outvars[0].aval, "shape", ())
    if name == "conv_general_dilated":
        return [_convolution(inputs, params)]
    if name == "transpose":
        return [_Value(first.array, tuple(np.argsort(params["permutation"])[list(first.order)].tolist()))]
    if name in ("reshape", "squeeze", "broadcast_in_dim") and _full(first.shape) == _full(shape):
        return [_with_ones(first, shape)]
    if name == "broadcast_in_dim":
        return [_Broadcast(first.array_in(range(len(first.order))), params["broadcast_dimensions"], shape)]
    if name in _ELEMENTWISE.split():
        # Images, and not a bias along them, say in which order.
        order = next((value.order for value in inputs if list(value.order) != sorted(value.order)), first.order)
        order = order if len(order) == len(shape) else tuple(range(len(shape)))
        arrays = [value.array_in(order) if value.order else value.array for value in inputs]
        return [_Value(evaluate_equation(jaxpr, equation, arrays)[0], order)]
    if name == "custom_jvp_call" and len(inputs) == 1 and _elementwise(params["call_jaxpr"].jaxpr):
        (array,) = evaluate_equation(jaxpr, equation, [first.array.reshape(shape)])
        return [_Value(array.reshape(first.array.shape), first.order)]
    if name in _REDUCTIONS.split():
        axes = [axis for axis in range(len(first.order)) if axis not in params["axes"]]
        places = tuple(i for i, axis in enumerate(first.order) if axis in params["axes"])
        array = getattr(lax, name)(first.array, places)
        return [_Value(array, tuple(axes.index(axis) for axis in first.order if axis in axes))]
    if name in ("reduce_window_max", "reduce_window_sum"):
        keys = ("window_dimensions", "window_strides", "padding", "window_dilation")
        if all(step == 1 for step in params["base_dilation"]) and jnp.issubdtype(first.array.dtype, jnp.floating):
            sides, *windows = (tuple(first.stored(params[key])) for key in keys)
            return [_Value(pool(first.array, sides, Windows(*windows), name.endswith("max")), first.order)]
    if name == "slice":
        strides = params["strides"] or [1] * len(shape)
        ends = (first.stored(each) for each in (params["start_indices"], params["limit_indices"], strides))
        return [_Value(lax.slice(first.array, *ends), first.order)]
    if name == "pad":
        return [_Value(lax.pad(first.array, inputs[1].array, first.stored(params["padding_config"])), first.order)]
    if name == "concatenate":
        arrays = [value.array_in(first.order) for value in inputs]
        return [_Value(lax.concatenate(arrays, first.order.index(params["dimension"])), first.order)]
    return _as_it_stands(jaxpr, equation, inputs)


def _elementwise(jaxpr: Jaxpr) -> bool:
    """Return whether a function computes each number from the numbers at its place."""
    return all(
        _elementwise(equation.params["jaxpr"].jaxpr) if name in _JIT else name in _ELEMENTWISE.split()
        for equation in jaxpr.eqns
        for name in [equation.primitive.name]
    )


def _as_it_stands(jaxpr: Jaxpr, equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    """Return the outputs of an equation whose inputs are in their own order."""
    arrays = [value.array_in(range(len(value.order))) for value in inputs]
    return [_natural(array) for array in evaluate_equation(jaxpr, equation, arrays)]


def _convolution(inputs: list[Any], params: dict[str, Any]) -> _Value:
    images, kernel, out = (
        (axes[0], *axes[2:], axes[1]) if which != "rhs" else (*axes[2:], axes[1], axes[0])
        for which, axes in zip(("lhs", "rhs", "out"), params["dimension_numbers"], strict=True)
    )
    count = len(images) - 2
    last = (0, count + 1, *range(1, count + 1))
    params = {**params, "dimension_numbers": lax.ConvDimensionNumbers(last, (count + 1, count, *range(count)), last)}
    return _Value(conv_general_dilated(inputs[0].array_in(images), inputs[1].array_in(kernel), **params), out)


def _full(shape: Sequence[int]) -> list[int]:
    """Return the sides that are not 1."""
    return [side for side in shape if side != 1]


def _with_ones(value: Any, shape: Sequence[int]) -> _Value:
    """Return a value in a shape that differs by sides of 1."""
    new = iter(axis for axis, side in enumerate(shape) if side != 1)
    renamed = {axis: next(new) for axis, side in enumerate(value.shape) if side != 1}
    ones = [axis for axis, side in enumerate(shape) if side == 1]
    order = (*ones, *(renamed[axis] for axis in value.order if axis in renamed))
    return _Value(jnp.reshape(value.array, [shape[axis] for axis in order]), order)
