"""Folding of BatchNorm, which is linear in evaluation mode, into the convolution before it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from fsjax.models.network import Network


class Identity(nnx.Module):
    """Takes the place of a folded BatchNorm."""

    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h w c"]:
        del train
        return x


def fold(network: Network, variables: dict) -> tuple[Callable, PyTree]:
    """Return a network for evaluation only, with BatchNorms folded into the convolutions that they follow.

    A BatchNorm `bnN` belongs to the `convN` beside it, and one numbered n in a sequence to the convolution n-1.

    Returns:
      (apply(params, images [n, H, W, C] float32 normalised) -> float32 logits, params). The logits are those of
      `network.apply` up to rounding: the scales are multiplied in float64 and rounded once. What was folded is NumPy's.
    """
    module = network.bind(variables)
    modules: dict[tuple, nnx.Module] = dict(nnx.iter_modules(module))
    for path, norm in modules.items():
        conv = modules.get((*path[:-1], _before(path[-1]))) if path else None
        if isinstance(norm, nnx.BatchNorm) and isinstance(conv, nnx.Conv):
            _absorb(conv, norm)
            setattr(modules.get(path[:-1], module), path[-1], Identity())
    graphdef, state = nnx.split(module)
    params = nnx.to_pure_dict(state)

    def apply(params: PyTree, images: Float[Array, "images height width channels"]) -> Float[Array, "images classes"]:
        return nnx.merge(graphdef, params)(network.seen(images), train=False).astype(jnp.float32)

    return apply, params


def _before(name: str) -> str:
    """Return the name of the convolution that a BatchNorm of this name follows."""
    return str(int(name) - 1) if name.isdigit() else name.replace("bn", "conv")


def _absorb(conv: nnx.Conv, norm: nnx.BatchNorm) -> None:
    """Make the convolution scale x (conv(x) - mean) + bias, where scale is divided by sqrt(variance + epsilon)."""
    # get_value: indexing a variable would make a JAX array of it first, and a second copy.
    scale, shift, mean, variance = (
        np.asarray(part.get_value(), np.float64)
        for part in (norm.scale, norm.bias, norm.mean, norm.var)
        if part is not None
    )
    scale = scale / np.sqrt(variance + norm.epsilon)
    before = 0 if conv.bias is None else np.asarray(conv.bias.get_value(), np.float64)
    # New variables: assigning to elements of the old ones would write into the caller's NumPy arrays.
    kernel: Any = (np.asarray(conv.kernel.get_value()) * scale).astype(np.float32)
    bias: Any = ((before - mean) * scale + shift).astype(np.float32)
    conv.kernel, conv.bias = nnx.Param(kernel), nnx.Param(bias)
    conv.use_bias = True
