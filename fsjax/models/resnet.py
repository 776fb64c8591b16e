"""Residual networks (He et al. 2016, "Deep Residual Learning for Image Recognition").

Submodules and their order are torchvision's, so a name in its `state_dict` is a path here. So are padding (explicit,
since "SAME" shifts strided convolutions by a pixel), the place of the stride (the bottleneck's 3x3) and initialisation,
except that the bias of the last layer starts at zero.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from fsjax.models.layers import HE_NORMAL, TORCH_UNIFORM, BatchNorm, Images, Logits, conv, linear, max_pool
from fsjax.runtime.errors import InputError


class ResNet(nnx.Module):
    """A residual network; any image size from the first convolution's on, since it ends in an average over positions.

    `depths` are blocks in each stage, `widths` channels of each stage before the block's expansion; every stage but the
    first halves the resolution. Other arguments are as in fsjax.models.MODELS.

    imagenet_stem: True for a 7x7 convolution of stride 2 and a 3x3 max-pool of stride 2; False for the form that the
    frequency-shortcut papers train, also at 224 pixels: a 3x3 convolution of stride 1 and no pool.
    """

    def __init__(
        self,
        block: "Callable[..., BasicBlock | Bottleneck]",
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        *,
        imagenet_stem: bool,
        num_classes: int,
        image_size: int,
        **shared: Any,
    ):
        kernel = 7 if imagenet_stem else 3
        if image_size < kernel:
            expected = f"{kernel} or more for a ResNet whose first convolution is {kernel} x {kernel}"
            raise InputError(f"data.image_size: got {image_size}; expected {expected}")
        channels, self.imagenet_stem, self.stages = widths[0], imagenet_stem, len(depths)
        self.conv1 = _conv(3, channels, kernel, strides=2 if imagenet_stem else 1, **shared)
        self.bn1 = BatchNorm(channels, **shared)
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks: nnx.Dict = nnx.Dict()
            for i in range(depth):
                blocks[str(i)] = block(channels, width, stride=2 if stage > 0 and i == 0 else 1, **shared)
                channels = width * blocks[str(i)].expansion
            setattr(self, f"layer{stage + 1}", blocks)
        self.fc = linear(channels, num_classes, kernel_init=TORCH_UNIFORM, **shared)

    def __call__(self, images: Images, *, train: bool) -> Logits:
        x = jax.nn.relu(self.bn1(self.conv1(images), train=train))
        if self.imagenet_stem:
            x = max_pool(x, 3, 2, 1)
        for stage in range(self.stages):
            blocks = getattr(self, f"layer{stage + 1}")
            for i in range(len(blocks)):
                x = blocks[str(i)](x, train=train)
        return self.fc(x.mean(axis=(1, 2)))


class _Block(nnx.Module):
    """Convolutions, each with BatchNorm, and a shortcut, a 1x1 convolution where the shape changes (option B)."""

    def __init__(self, channels: int, convolutions: Sequence[tuple[int, int, int]], **shared: Any):
        """Make convolutions of (width, kernel, stride)."""
        before, strides = channels, 1
        self.depth = len(convolutions)
        for number, (width, kernel, stride) in enumerate(convolutions, 1):
            setattr(self, f"conv{number}", _conv(before, width, kernel, strides=stride, **shared))
            setattr(self, f"bn{number}", BatchNorm(width, **shared))
            before, strides = width, strides * stride
        projection = None
        if strides > 1 or channels != before:
            layer = _conv(channels, before, 1, strides=strides, **shared)
            projection = nnx.Dict({"0": layer, "1": BatchNorm(before, **shared)})
        self.downsample = projection

    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h2 w2 c2"]:
        y, shortcut = x, x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y), train=train)
            y = jax.nn.relu(y) if number < self.depth else y
        if self.downsample is not None:
            shortcut = self.downsample["1"](self.downsample["0"](x), train=train)
        return jax.nn.relu(y + shortcut)


class BasicBlock(_Block):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, *, stride: int, **shared: Any):
        super().__init__(channels, [(width, 3, stride), (width, 3, 1)], **shared)


class Bottleneck(_Block):
    """A 1x1, a 3x3 and a 1x1 convolution, the last to four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, *, stride: int, **shared: Any):
        super().__init__(channels, [(width, 1, 1), (width, 3, stride), (width * self.expansion, 1, 1)], **shared)


def _conv(channels: int, width: int, kernel: int, **arguments: Any) -> nnx.Conv:
    return conv(channels, width, kernel, kernel // 2, use_bias=False, kernel_init=HE_NORMAL, **arguments)
