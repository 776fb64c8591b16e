"""VGG: stages of convolutions and pools, an average over all positions, and a linear layer.

It follows Simonyan and Zisserman 2015 ("Very Deep Convolutional Networks"), with batch normalisation and the head that
the frequency-shortcut papers train. Submodules are named by their place in torchvision's sequences, so a name in its
`state_dict` is a path here. Initialisation is torchvision's.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from flax import nnx

from fsjax.models.layers import HE_NORMAL, BatchNorm, Images, Logits, conv, linear
from fsjax.runtime.errors import InputError

_NORMAL = nnx.initializers.normal(0.01)
_pool = functools.partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))


class VGG(nnx.Module):
    """Stages of 3x3 convolutions with biases, each with BatchNorm and ReLU, and a 2x2 max-pool after every stage.

    `depths` are convolutions in each stage, `widths` its channels. Raises InputError where the pools leave no pixel.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        *,
        num_classes: int,
        image_size: int,
        **shared: Any,
    ):
        smallest = 2 ** len(depths)
        if image_size < smallest:
            expected = f"{smallest} or more for {len(depths)} pools of 2 x 2"
            raise InputError(f"data.image_size: got {image_size}; expected {expected}")
        self.depths = tuple(depths)
        self.features: nnx.Dict = nnx.Dict()
        channels = 3
        for stage, place in _places(self.depths):
            self.features[str(place)] = conv(channels, widths[stage], 3, 1, kernel_init=HE_NORMAL, **shared)
            channels = widths[stage]
            self.features[str(place + 1)] = BatchNorm(channels, **shared)
        self.classifier = linear(channels, num_classes, kernel_init=_NORMAL, **shared)

    def __call__(self, images: Images, *, train: bool) -> Logits:
        x, before = images, 0
        for stage, place in _places(self.depths):
            if stage > before:
                x, before = _pool(x), stage
            x = jax.nn.relu(self.features[str(place + 1)](self.features[str(place)](x), train=train))
        return self.classifier(_pool(x).mean(axis=(1, 2)))


def _places(depths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(stage, place of the convolution): BatchNorm and ReLU take the two places after it, a stage's pool another."""
    place = 0
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            yield stage, place
            place += 3
        place += 1
