"""Layers that several networks share; `dtype`, `axis_name` and `rngs` are as in fsjax.models.MODELS."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from fsjax.models.convolution import Windows, conv_general_dilated, pool

# The inputs of a network, and its outputs.
Images = Float[Array, "images height width 3"]
Logits = Float[Array, "images classes"]
HE_NORMAL = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
# Uniform in +-1/sqrt(fan_in): the default of PyTorch's convolutions and linear layers.
TORCH_UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def conv(
    channels: int, width: int, kernel: int, padding: int, *, axis_name: str | None = None, **arguments: Any
) -> nnx.Conv:
    """Return a convolution with explicit padding, since "SAME" shifts strided ones; `arguments` are nnx.Conv's."""
    del axis_name
    own: dict[str, Any] = {"padding": ((padding, padding),) * 2, "conv_general_dilated": conv_general_dilated}
    return nnx.Conv(channels, width, (kernel, kernel), **own, **arguments)


def max_pool(x: Float[Array, "n h w c"], side: int, stride: int, padding: int) -> Float[Array, "n h2 w2 c"]:
    """Return the maxima of square windows; on a CPU they are computed from shifted images."""
    around = ((padding, padding), (padding, padding))
    windows = Windows((1, stride, stride, 1), ((0, 0), *around, (0, 0)), (1,) * 4)
    return lax.platform_dependent(
        x,
        cpu=lambda x: pool(x, (1, side, side, 1), windows, largest=True),
        default=lambda x: nnx.max_pool(x, (side, side), strides=(stride, stride), padding=around),
    )


def linear(channels: int, width: int, *, axis_name: str | None = None, **arguments: Any) -> nnx.Linear:
    """Return a linear layer; `arguments` are nnx.Linear's."""
    del axis_name
    return nnx.Linear(channels, width, **arguments)


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation in float32 for an input of any dtype; the output has that dtype.

    In training the running statistics become 0.9 of their old values plus 0.1 of the batch's. The batch's variance is
    biased; PyTorch keeps the unbiased variance, n/(n-1) times as large for n values a channel.
    """

    def __init__(self, channels: int, *, dtype: jnp.dtype, axis_name: str | None, rngs: nnx.Rngs):
        del dtype
        super().__init__(channels, momentum=0.9, epsilon=1e-5, axis_name=axis_name, rngs=rngs)

    def __call__(  # type: ignore[override]  # all our modules take `train`
        self, x: Float[Array, "n h w c"], *, train: bool
    ) -> Float[Array, "n h w c"]:
        return super().__call__(x, use_running_average=not train).astype(x.dtype)
