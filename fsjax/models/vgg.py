"""VGG with batch normalisation (Simonyan and Zisserman 2015, "Very Deep Convolutional Networks").

Submodules are named by their place in torchvision's sequences, so a name in its `state_dict` is a path here.
Initialisation is torchvision's too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

from fsjax.models.layers import HE_NORMAL, BatchNorm, conv, dropout, flat_average_pool, linear
from fsjax.runtime.errors import InputError

_NORMAL = nnx.initializers.normal(0.01)
_GRID = 7


class VGG(nnx.Module):
    """Stages of 3x3 convolutions with biases, each with BatchNorm and ReLU, and a 2x2 max-pool after every stage.

    Args:
        depths: convolutions in each stage.
        widths: channels of each stage.
        imagenet_head: True for torchvision's averages on a 7x7 grid and three linear layers with dropout; False for
            the form of the frequency-shortcut papers: the average over all positions and one linear layer.
        head_width: channels of each of the two hidden layers of torchvision's head.
        num_classes: and the others as in fsjax.models.MODELS; InputError where the pools leave no pixel.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        *,
        imagenet_head: bool,
        head_width: int = 4096,
        num_classes: int,
        image_size: int,
        **shared: Any,
    ):
        smallest = 2 ** len(depths)
        if image_size < smallest:
            raise InputError(
                f"data.image_size: got {image_size}; expected {smallest} or more for {len(depths)} pools of 2 x 2"
            )
        self.depths = tuple(depths)
        self.imagenet_head = imagenet_head
        self.features: nnx.Dict = nnx.Dict()
        channels = 3
        for stage, place in _places(self.depths):
            self.features[str(place)] = conv(channels, widths[stage], 3, 1, kernel_init=HE_NORMAL, **shared)
            channels = widths[stage]
            self.features[str(place + 1)] = BatchNorm(channels, **shared)
        arguments = {"kernel_init": _NORMAL, **shared}
        self.classifier: Any  # with the head of torchvision an nnx.Dict, else an nnx.Linear
        if imagenet_head:
            hidden = head_width
            sizes = {"0": (channels * _GRID**2, hidden), "3": (hidden, hidden), "6": (hidden, num_classes)}
            self.classifier = nnx.Dict({place: linear(*size, **arguments) for place, size in sizes.items()})
        else:
            self.classifier = linear(channels, num_classes, **arguments)

    def __call__(
        self, images: Float[Array, "images height width 3"], *, train: bool, keys: Key[Array, " images"] | None = None
    ) -> Float[Array, "images classes"]:
        x, before = images, 0
        for stage, place in _places(self.depths):
            if stage > before:
                x, before = _pool(x), stage
            x = jax.nn.relu(self.features[str(place + 1)](self.features[str(place)](x), train=train))
        x = _pool(x)
        if not self.imagenet_head:
            return self.classifier(x.mean(axis=(1, 2)))
        x = flat_average_pool(x, _GRID)
        x = dropout(jax.nn.relu(self.classifier["0"](x)), keys, 0)
        x = dropout(jax.nn.relu(self.classifier["3"](x)), keys, 1)
        return self.classifier["6"](x)


def _places(depths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(stage, place of the convolution): BatchNorm and ReLU take the two places after it, a stage's pool another."""
    place = 0
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            yield stage, place
            place += 3
        place += 1


def _pool(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    return nnx.max_pool(x, (2, 2), strides=(2, 2))
