"""The arrays that a callable closes over, taken out of it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, Shaped

from fsjax.runtime.errors import InputError

_JIT = ("jit", "pjit")


def hoist(function: Callable, shape: tuple[int, ...]) -> tuple[Callable, list[Array]]:
    """(apply(arrays, images), arrays): the callable with the arrays that it closes over as an argument.

    Left inside, they would be compiled in as constants: slow to compile, and anew for every set of weights. Arrays
    that functions under jit close over are found too; ones inside the loops and branches of lax stay where they are.

    Args:
      function: of one float32 array, for any length of its first axis.
      shape: of that array, first axis left out.
    """
    arrays = [jnp.asarray(const) for const in _consts(_trace(function, (1, *shape)))]

    def apply(arrays: list[Array], images: Shaped[Array, "images ..."]) -> Shaped[Array, "..."]:
        closed = _trace(function, images.shape)
        if [const.shape for const in _consts(closed)] != [array.shape for array in arrays]:
            raise InputError(
                "logits_fn: closes over other arrays for another number of images; expected the same for any number"
            )
        (result,) = _evaluate(closed.jaxpr, iter(arrays), [images])
        return result

    return apply, arrays


def _trace(function: Callable, shape: tuple[int, ...]) -> ClosedJaxpr:
    return jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, jnp.float32))


def _consts(closed: ClosedJaxpr) -> list[Any]:
    """Arrays, in the order in which _evaluate meets them."""
    found = list(closed.consts)
    for equation in closed.jaxpr.eqns:
        if equation.primitive.name in _JIT:
            found += _consts(equation.params["jaxpr"])
    return found


def _evaluate(jaxpr: Jaxpr, arrays: Iterator[Array], arguments: list[Any]) -> list[Any]:
    """Runs a jaxpr, functions under jit inlined, taking every constant from `arrays`."""
    values = dict(zip(jaxpr.constvars, [next(arrays) for _ in jaxpr.constvars], strict=True))
    values |= zip(jaxpr.invars, arguments, strict=True)

    def read(variable):
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        if equation.primitive.name in _JIT:
            inner = equation.params["jaxpr"].jaxpr
            outputs = _evaluate(inner, arrays, [read(variable) for variable in equation.invars])
        else:
            # As a jaxpr of one equation: how a primitive is called is JAX's own matter and changes with its versions.
            inputs = list(dict.fromkeys(variable for variable in equation.invars if not isinstance(variable, Literal)))
            alone = jaxpr.replace(constvars=[], invars=inputs, outvars=equation.outvars, eqns=[equation])
            outputs = jax.core.eval_jaxpr(alone, [], *(read(variable) for variable in inputs))
        values |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]
