"""Vision transformers (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words").

The architecture, the names of submodules and the initialisation follow timm's `VisionTransformer`, so a name in
its `state_dict` is a path here. timm draws weights from a normal truncated at 100 standard deviations: a normal.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fsjax.models.layers import TORCH_UNIFORM, Images, Logits, conv
from fsjax.runtime.errors import InputError

_NORMAL = nnx.initializers.normal(0.02)
_linear = functools.partial(nnx.Linear, kernel_init=_NORMAL)
_layer_norm = functools.partial(nnx.LayerNorm, epsilon=1e-6)


class VisionTransformer(nnx.Module):
    """A pre-norm transformer over patches of `patch` x `patch` pixels; the softmax and LayerNorms are float32.

    Raises InputError where the patch does not divide the image. Arguments not listed are as in fsjax.models.MODELS.

    Args:
        width, depth, heads: channels of a token, blocks, and attention heads, which divide the width.
        mlp_ratio: hidden channels of a block's MLP, over width.
        class_token: True to read the logits at a class token; False at the average over the patches, which the last
            LayerNorm, `fc_norm`, then normalises: timm's form with global_pool='avg' and no class token.
    """

    def __init__(
        self,
        patch: int,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: int = 4,
        class_token: bool = True,
        num_classes: int,
        image_size: int,
        dtype: jnp.dtype,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        del axis_name
        if image_size < patch or image_size % patch:
            raise InputError(f"data.image_size: got {image_size}; expected a multiple of the patch, {patch} pixels")
        self.class_token = class_token
        tokens = (image_size // patch) ** 2 + class_token
        self.patch_embed = PatchEmbed(patch, width, dtype=dtype, rngs=rngs)
        if class_token:
            self.cls_token = nnx.Param(nnx.initializers.normal(1e-6)(rngs.params(), (1, 1, width), jnp.float32))
        self.pos_embed = nnx.Param(_NORMAL(rngs.params(), (1, tokens, width), jnp.float32))
        self.blocks = nnx.Dict({str(i): Block(width, heads, mlp_ratio, dtype=dtype, rngs=rngs) for i in range(depth)})
        self.last_norm = "norm" if class_token else "fc_norm"
        setattr(self, self.last_norm, _layer_norm(width, dtype=dtype, rngs=rngs))
        self.head = _linear(width, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, images: Images, *, train: bool) -> Logits:
        del train
        x = self.patch_embed(images)
        if self.class_token:
            cls_token = jnp.broadcast_to(self.cls_token[...], (x.shape[0], 1, x.shape[2])).astype(x.dtype)
            x = jnp.concatenate([cls_token, x], axis=1)
        x = x + self.pos_embed[...].astype(x.dtype)
        for i in range(len(self.blocks)):
            x = self.blocks[str(i)](x)
        norm = getattr(self, self.last_norm)
        # The last norm works token by token, so only the class token needs it.
        return self.head(norm(x[:, 0] if self.class_token else x.mean(axis=1)))


def interpolate_positions(
    pos_embed: Float[np.ndarray, "1 tokens width"], tokens_per_side: int, prefix: int
) -> Float[np.ndarray, "1 new_tokens width"]:
    """Interpolate the position embeddings of a ViT for another number of patches.

    Bicubic, with wider taps where it shrinks, as `timm.layers.resample_abs_pos_embed`, in float64.
    The `prefix` tokens before the n * n patches stay unchanged: 1 with a class token, else 0. Raises InputError where
    the tokens after the prefix are not a square of patches.
    """
    patches = pos_embed.shape[1] - prefix
    side = math.isqrt(max(patches, 0))
    if not side or side**2 != patches:
        expected = f"a square of patches, and {prefix} before them"
        raise InputError(f"pos_embed: got {pos_embed.shape[1]} tokens; expected {expected}")
    square = pos_embed[0, prefix:].astype(np.float64).reshape(side, side, -1)
    with jax.enable_x64(True):
        resized = jax.image.resize(square, (tokens_per_side, tokens_per_side, square.shape[2]), "cubic")
    new = np.asarray(resized).reshape(1, tokens_per_side**2, -1).astype(pos_embed.dtype)
    return np.concatenate([pos_embed[:, :prefix], new], axis=1)


class PatchEmbed(nnx.Module):
    """Patches, row by row, each to a token by one linear map."""

    def __init__(self, patch: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        # PyTorch's default, which timm does not change.
        self.proj = conv(3, width, patch, 0, strides=patch, kernel_init=TORCH_UNIFORM, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "images height width 3"]) -> Float[Array, "images patches channels"]:
        x = self.proj(images)
        return x.reshape(x.shape[0], -1, x.shape[3])


class Block(nnx.Module):
    """Attention, then an MLP, each after a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.norm1 = _layer_norm(width, dtype=dtype, rngs=rngs)
        self.attn = Attention(width, heads, dtype=dtype, rngs=rngs)
        self.norm2 = _layer_norm(width, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(width, width * mlp_ratio, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "images tokens channels"]) -> Float[Array, "images tokens channels"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nnx.Module):
    """Multi-head self-attention; queries, keys and values, in this order, come from one linear map."""

    def __init__(self, width: int, heads: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = _linear(width, 3 * width, dtype=dtype, rngs=rngs)
        self.proj = _linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "images tokens channels"]) -> Float[Array, "images tokens channels"]:
        # A product for each part gives the heads. A reshape of one product, as in PyTorch, would copy them, which takes
        # a TPU a fifth of ViT-B's time. On a CPU a small ViT trains a tenth faster than with jax.nn's attention.
        kernel, bias = self._by_head(self.qkv, (x.shape[2], 3, self.heads, -1), (3, self.heads, 1, -1), x.dtype)
        q, k, v = (jnp.einsum("ntc,chd->nhtd", x, kernel[:, part]) + bias[part] for part in range(3))
        similarity = jnp.einsum("nhqd,nhkd->nhqk", q * q.shape[3] ** -0.5, k)
        weights = jax.nn.softmax(similarity.astype(jnp.float32)).astype(v.dtype)
        y = jnp.einsum("nhqk,nhkd->nhqd", weights, v)
        kernel, bias = self._by_head(self.proj, (self.heads, -1, x.shape[2]), (-1,), x.dtype)
        return jnp.einsum("nhtd,hdc->ntc", y, kernel) + bias

    @staticmethod
    def _by_head(layer: nnx.Linear, kernel: tuple, bias: tuple, dtype: jnp.dtype) -> tuple[Array, Array]:
        """Return the arrays of a linear layer in these shapes."""
        assert layer.bias is not None, "each layer of a ViT has one"
        # Without jit the arrays are NumPy's.
        return jnp.asarray(layer.kernel[...], dtype).reshape(kernel), jnp.asarray(layer.bias[...], dtype).reshape(bias)


class Mlp(nnx.Module):
    """Two linear maps with the exact GELU between them."""

    def __init__(self, width: int, hidden: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.fc1 = _linear(width, hidden, dtype=dtype, rngs=rngs)
        self.fc2 = _linear(hidden, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "images tokens channels"]) -> Float[Array, "images tokens channels"]:
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))
