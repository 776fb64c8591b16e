"""A classifier as the engine and the searches take it: one function, its parameters, and the shape of its images."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

# How forward passes can be computed: in float32, in float32 with TF32 products, or in bfloat16.
PRECISIONS = ("highest", "tensorfloat32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Model:
    """A classifier as a pure function with its parameters.

    Attributes:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: the first argument of `apply`.
      image_shape: (H, W, C).
      apply_bfloat16: the same function computed in bfloat16; None where there is no such form.
      matmul_precision: of matrix products and convolutions, as jax.default_matmul_precision takes it.
    """

    apply: Callable
    params: PyTree
    image_shape: tuple[int, int, int]
    apply_bfloat16: Callable | None = None
    matmul_precision: str = "highest"

    @property
    def num_logits(self) -> int:
        """K, which may be more than there are classes."""
        images = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)
        return jax.eval_shape(self.apply, self.params, images).shape[-1]

    def at(self, precision: str) -> "Model":
        """Return the model computed in one of PRECISIONS."""
        if precision != "bfloat16":
            return dataclasses.replace(self, matmul_precision=precision)
        assert self.apply_bfloat16 is not None, "config validation rejects bfloat16 for models without that form"
        return dataclasses.replace(self, apply=self.apply_bfloat16, matmul_precision="default")
