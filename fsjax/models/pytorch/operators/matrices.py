"""Operators of matrices: products and attention."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fsjax.models.pytorch.operators.registry import OPERATORS, operator

OPERATORS.update(dict.fromkeys(("mm", "bmm", "matmul"), jnp.matmul), dot=jnp.dot)


@operator("addmm", "baddbmm")
def _addmm(x: Array, a: Array, b: Array, beta: int | float = 1, alpha: int | float = 1) -> Array:
    product = jnp.matmul(a, b)
    return (product if alpha == 1 else alpha * product) + (x if beta == 1 else beta * x)


@operator("linear")
def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    product = jnp.matmul(x, weight.T)
    return product if bias is None else product + bias


@operator("einsum")
def _einsum(equation: str, arrays: Sequence[Array], **_: Any) -> Array:
    return jnp.einsum(equation, *arrays)


@operator(
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_attention_math",
)
def _attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: int | float = 0,
    is_causal: bool = False,
    scale: int | float | None = None,
    **_: Any,
) -> Array:
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ jnp.swapaxes(key, -1, -2)
    if is_causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    if attn_mask is not None:
        is_bool = attn_mask.dtype == bool
        scores = jnp.where(attn_mask, scores, -jnp.inf) if is_bool else scores + attn_mask
    return jax.nn.softmax(scores, axis=-1) @ value
