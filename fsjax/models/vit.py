"""Vision transformers (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words").

The architecture, the names of submodules and the initialisation are those of timm's `VisionTransformer`, so a name in
its `state_dict` is a path here. timm draws weights from a normal truncated at 100 standard deviations: a normal.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fsjax.errors import InputError

_NORMAL = nnx.initializers.normal(0.02)
# Uniform in +-1/sqrt(fan_in): the default of PyTorch's convolution, which timm leaves as it is.
_TORCH_UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class VisionTransformer(nnx.Module):
    """A pre-norm transformer over patches, read at its class token.

    Args:
        patch: height and width of a patch in pixels.
        width: channels of a token.
        depth: number of blocks.
        heads: attention heads; divides width.
        mlp_ratio: hidden channels of a block's MLP, over width.
        num_classes: number of logits.
        image_size: height and width of the images in pixels; a multiple of patch, else InputError is raised.
        dtype: what is computed in; parameters are float32, and so are the softmax and LayerNorm's statistics.
        axis_name: unused, since nothing is taken over a batch; every builder is called with the same arguments.
        rngs: the source of the initial parameters.
    """

    def __init__(
        self,
        patch: int,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: int = 4,
        num_classes: int,
        image_size: int,
        dtype: jnp.dtype,
        axis_name: str | None,
        rngs: nnx.Rngs,
    ):
        del axis_name
        if image_size < patch or image_size % patch:
            raise InputError(
                f"data.image_size: {image_size} does not fit patches of {patch} pixels; accepted: multiples of {patch}"
            )
        tokens = (image_size // patch) ** 2 + 1
        self.patch_embed = PatchEmbed(patch, width, dtype=dtype, rngs=rngs)
        self.cls_token = nnx.Param(nnx.initializers.normal(1e-6)(rngs.params(), (1, 1, width), jnp.float32))
        self.pos_embed = nnx.Param(_NORMAL(rngs.params(), (1, tokens, width), jnp.float32))
        self.blocks = nnx.Dict({str(i): Block(width, heads, mlp_ratio, dtype=dtype, rngs=rngs) for i in range(depth)})
        self.norm = _layer_norm(width, dtype=dtype, rngs=rngs)
        self.head = _linear(width, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "images height width 3"], *, train: bool) -> Float[Array, "images classes"]:
        del train
        x = self.patch_embed(images)
        cls_token = jnp.broadcast_to(self.cls_token[...], (x.shape[0], 1, x.shape[2])).astype(x.dtype)
        x = jnp.concatenate([cls_token, x], axis=1) + self.pos_embed[...].astype(x.dtype)
        for i in range(len(self.blocks)):
            x = self.blocks[str(i)](x)
        # The last norm is by token, so the others need none.
        return self.head(self.norm(x[:, 0]))


class PatchEmbed(nnx.Module):
    """Patches, row by row, each to a token by one linear map."""

    def __init__(self, patch: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.proj = nnx.Conv(
            3,
            width,
            (patch, patch),
            strides=patch,
            padding="VALID",
            dtype=dtype,
            kernel_init=_TORCH_UNIFORM,
            rngs=rngs,
        )

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
        images, tokens, channels = x.shape
        head = channels // self.heads
        # Written out: training a small ViT on a CPU is a tenth faster than with jax.nn.dot_product_attention.
        q, k, v = self.qkv(x).reshape(images, tokens, 3, self.heads, head).transpose(2, 0, 3, 1, 4)
        similarity = (q * head**-0.5) @ k.swapaxes(2, 3)
        y = jax.nn.softmax(similarity.astype(jnp.float32)).astype(v.dtype) @ v
        return self.proj(y.swapaxes(1, 2).reshape(images, tokens, channels))


class Mlp(nnx.Module):
    """Two linear maps with the exact GELU between them."""

    def __init__(self, width: int, hidden: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.fc1 = _linear(width, hidden, dtype=dtype, rngs=rngs)
        self.fc2 = _linear(hidden, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "images tokens channels"]) -> Float[Array, "images tokens channels"]:
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


def _linear(width, out, *, dtype, rngs):
    return nnx.Linear(width, out, dtype=dtype, kernel_init=_NORMAL, rngs=rngs)


def _layer_norm(width, *, dtype, rngs):
    return nnx.LayerNorm(width, epsilon=1e-6, dtype=dtype, rngs=rngs)
