"""Folding of BatchNorm, which is linear in evaluation mode, into the convolution before it."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, PyTree, Shaped

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
      `apply` is the same object for equal networks.
    """
    module = network.bind(variables)
    modules: dict[tuple, nnx.Module] = dict(nnx.iter_modules(module))
    for path, norm in modules.items():
        conv = modules.get((*path[:-1], _before(path[-1]))) if path else None
        if isinstance(norm, nnx.BatchNorm) and isinstance(conv, nnx.Conv):
            _absorb(conv, norm)
            setattr(modules.get(path[:-1], module), path[-1], Identity())
    graphdef, state = nnx.split(module)
    return _make_apply(network, graphdef), nnx.to_pure_dict(state)


# The runs of a process that train equal networks, as those of a probe do, share what is traced and compiled.
@functools.lru_cache(maxsize=8)
def _make_apply(network: Network, graphdef: nnx.GraphDef) -> Callable:
    def apply(params: PyTree, images: Float[Array, "images height width channels"]) -> Float[Array, "images classes"]:
        return nnx.merge(graphdef, params)(network.seen(images), train=False).astype(jnp.float32)

    return apply


def _before(name: str) -> str:
    """Return the name of the convolution that a BatchNorm of this name follows."""
    return str(int(name) - 1) if name.isdigit() else name.replace("bn", "conv")


def folded(
    kernel: Shaped[np.ndarray, "*window outputs"],
    bias: Any,
    scale: Any,
    shift: Any,
    mean: Shaped[np.ndarray, " outputs"],
    variance: Shaped[np.ndarray, " outputs"],
    epsilon: float,
) -> tuple[Float32[np.ndarray, "*window outputs"], Float32[np.ndarray, " outputs"]]:
    """Return kernel and bias of a convolution with the BatchNorm behind it: scale * (conv(x) - mean) + shift.

    scale is divided by sqrt(variance + epsilon). bias, scale and shift: numbers of outputs, or one number for all.
    Computed in float64.
    """
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    scale = np.asarray(scale, np.float64) / np.sqrt(variance + epsilon)
    moved = (np.asarray(bias, np.float64) - mean) * scale + np.asarray(shift, np.float64)
    return (kernel * scale).astype(np.float32), moved.astype(np.float32)


def _absorb(conv: nnx.Conv, norm: nnx.BatchNorm) -> None:
    """Make the convolution what it and the BatchNorm do."""
    # get_value: indexing a variable would make a JAX array of it first, and a second copy.
    scale, shift, mean, variance = (
        np.asarray(part.get_value()) for part in (norm.scale, norm.bias, norm.mean, norm.var) if part is not None
    )
    before = 0 if conv.bias is None else np.asarray(conv.bias.get_value())
    # New variables: assigning to elements of the old ones would write into the caller's NumPy arrays.
    arrays: Any = folded(np.asarray(conv.kernel.get_value()), before, scale, shift, mean, variance, norm.epsilon)
    conv.kernel, conv.bias = map(nnx.Param, arrays)
    conv.use_bias = True
