"""Closure conversion: lift the arrays that a function closes over into an argument."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, Shaped

from fsjax.runtime.errors import InputError

_JIT = ("jit", "pjit")


def convert_closure(function: Callable, shape: tuple[int, ...]) -> tuple[Callable, list[Array]]:
    """Return (apply(arrays, images), arrays): the function with the arrays that it closes over as an argument.

    Left inside, they would be compiled in as constants: slow to compile, and again for every set of weights. Arrays
    that nested jitted functions close over are lifted too; those inside loops and branches of jax.lax stay there.

    Args:
      function: of one float32 array, for any length of its first axis.
      shape: of that array without the first axis.
    """
    arrays = [jnp.asarray(const) for const in _consts(_trace(function, (1, *shape)))]

    def apply(arrays: list[Array], images: Shaped[Array, "images ..."]) -> Shaped[Array, "..."]:
        closed = _trace(function, images.shape)
        if [const.shape for const in _consts(closed)] != [array.shape for array in arrays]:
            raise InputError(
                "logits_fn: got other closed-over arrays for another number of images; expected the same for any number"
            )
        (result,) = _evaluate(closed.jaxpr, iter(arrays), [images])
        return result

    return apply, arrays


def _trace(function: Callable, shape: tuple[Any, ...]) -> ClosedJaxpr:
    """Return the jaxpr for images of a shape, whose number jax.export leaves open."""
    return jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, jnp.float32))


def _consts(closed: ClosedJaxpr) -> list[Any]:
    """Return the closed-over arrays in the order in which _evaluate meets them."""
    consts = list(closed.consts)
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name in _JIT:
            consts += _consts(equation.params["jaxpr"])
    return consts


def _evaluate(jaxpr: Jaxpr, arrays: Iterator[Array], arguments: list[Any]) -> list[Any]:
    """Evaluate a jaxpr with nested jitted functions inlined, taking every constant from `arrays`."""
    values = dict(zip(jaxpr.constvars, [next(arrays) for _ in jaxpr.constvars], strict=True))
    values |= zip(jaxpr.invars, arguments, strict=True)

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        if equation.primitive.name in _JIT:
            inner = equation.params["jaxpr"].jaxpr
            outputs = _evaluate(inner, arrays, [read(variable) for variable in equation.invars])
        else:
            # As a jaxpr of one equation: how a primitive is called is internal to JAX and changes with its versions.
            inputs = list(dict.fromkeys(variable for variable in equation.invars if not isinstance(variable, Literal)))
            single = jaxpr.replace(constvars=[], invars=inputs, outvars=equation.outvars, eqns=[equation])
            outputs = jax.core.eval_jaxpr(single, [], *(read(variable) for variable in inputs))
        values |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]
