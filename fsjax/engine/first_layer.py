"""A model cut behind its first convolution. That is linear: what is removed from an image can go through it alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Float, PyTree


class Cut(NamedTuple):
    """apply(params, images) = rest(params, first(params, images)), for any number of images.

    Attributes:
      image: (H, W, C).
      features: (h, w, d), what the convolution makes of an image.
      first: (params, images [n, H, W, C]) -> features [n, h, w, d]; linear in the images: the bias is in `rest`.
      rest: (params, features) -> logits [n, K].
    """

    image: tuple[int, int, int]
    features: tuple[int, ...]
    first: Callable
    rest: Callable


def cut(apply: Callable, params: PyTree, image: tuple[int, int, int]) -> Cut | None:
    """The model behind its first convolution, found in its jaxpr.

    None where that is not what takes the images, or where something else takes them too: a model in bfloat16, which
    rounds them first, is not cut.

    Args:
      apply: (params, images [n, H, W, C] float32) -> logits [n, K].
      params: only their shapes are used.
      image: (H, W, C).
    """

    def trace(count: int) -> ClosedJaxpr:
        return jax.make_jaxpr(apply)(params, jax.ShapeDtypeStruct((count, *image), jnp.float32))

    def place(closed: ClosedJaxpr) -> int:
        index = _first_convolution(closed)
        assert index is not None, "found with one image, it is found with any number"
        return index

    def first(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, " n *features"]:
        closed = trace(len(images))
        equations = closed.jaxpr.eqns[: place(closed) + 1]
        until = closed.jaxpr.replace(eqns=equations, outvars=equations[-1].outvars)
        (features,) = jax.core.eval_jaxpr(until, closed.consts, *jax.tree.leaves(params), images)
        return features

    def rest(params: PyTree, features: Float[Array, " n *features"]) -> Float[Array, "n classes"]:
        closed = trace(len(features))
        equations = list(closed.jaxpr.eqns)
        outputs = equations.pop(place(closed)).outvars
        behind = closed.jaxpr.replace(eqns=equations, invars=[*closed.jaxpr.invars[:-1], *outputs])
        (logits,) = jax.core.eval_jaxpr(behind, closed.consts, *jax.tree.leaves(params), features)
        return logits

    closed = trace(1)
    index = _first_convolution(closed)
    return None if index is None else Cut(image, closed.jaxpr.eqns[index].outvars[0].aval.shape[1:], first, rest)


def _first_convolution(closed: ClosedJaxpr) -> int | None:
    """Index of the equation that takes the images, the last argument; None where it is not one such convolution."""
    images = closed.jaxpr.invars[-1]
    takers = [index for index, equation in enumerate(closed.jaxpr.eqns) if _takes(equation, images)]
    if len(takers) != 1 or any(variable is images for variable in closed.jaxpr.outvars):
        return None
    equation = closed.jaxpr.eqns[takers[0]]
    if equation.primitive.name != "conv_general_dilated" or equation.invars[0] is not images:
        return None
    axes = equation.params["dimension_numbers"]
    image_by_image = axes.lhs_spec[0] == axes.out_spec[0] == 0 and equation.params["batch_group_count"] == 1
    return takers[0] if image_by_image else None


def _takes(equation: JaxprEqn, variable: Var) -> bool:
    return any(one is variable for one in equation.invars if not isinstance(one, Literal))
