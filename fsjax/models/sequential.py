"""AlexNet and VGG: convolutions and pools in a sequence, then linear layers.

AlexNet follows Krizhevsky 2014 ("One weird trick for parallelizing convolutional neural networks"); VGG, with batch
normalisation, follows Simonyan and Zisserman 2015 ("Very Deep Convolutional Networks"). Submodules are named by their
place in torchvision's sequences, so a name in its `state_dict` is a path here. Initialisation is torchvision's, except
that AlexNet's biases start at zero.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from flax import nnx

from fsjax.models import layers
from fsjax.models.layers import BatchNorm, Images, Keys, Logits, conv, dropout, flat_average_pool, linear
from fsjax.runtime.errors import InputError

# (channels, kernel, stride, padding) of each convolution of AlexNet.
_IMAGENET = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
_CIFAR = ((96, 3, 2, 1), (256, 3, 1, 1), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1))
_POOLED = (0, 1, 4)
# Pixels that leave the last pool one position in torchvision's form, and the size of the CIFAR form.
_SMALLEST, _CIFAR_SIZE = 63, 32
_NORMAL = nnx.initializers.normal(0.01)
_pool = functools.partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
# Cells a side of the averages before the linear layers of a VGG.
_GRID = 7


class AlexNet(nnx.Module):
    """Five convolutions with ReLU, max-pools of stride 2 after the first, second and fifth, and three linear layers.

    imagenet: True for torchvision's, from 63 pixels on: 3x3 pools, averages on a 6x6 grid, biases and no BatchNorm.
    False for the form of the frequency-shortcut papers, for 32 pixels: 3x3 convolutions, each with ReLU and then
    BatchNorm, 2x2 pools, and no biases. head_width: channels of each hidden linear layer.
    """

    def __init__(self, *, imagenet: bool, head_width: int = 4096, num_classes: int, image_size: int, **shared: Any):
        if imagenet and image_size < _SMALLEST:
            raise InputError(f"data.image_size: got {image_size}; expected {_SMALLEST} or more for AlexNet")
        if not imagenet and image_size != _CIFAR_SIZE:
            raise InputError(f"data.image_size: got {image_size}; expected {_CIFAR_SIZE} for AlexNet's CIFAR form")
        self.imagenet = imagenet
        self.window, self.grid = (3, 6) if imagenet else (2, 2)
        self.features: nnx.Dict = nnx.Dict()
        arguments = {"use_bias": imagenet, "kernel_init": layers.TORCH_UNIFORM, **shared}
        channels, place = 3, 0
        for number, (width, kernel, stride, padding) in enumerate(_IMAGENET if imagenet else _CIFAR):
            self.features[str(place)] = conv(channels, width, kernel, padding, strides=stride, **arguments)
            if not imagenet:
                self.features[str(place + 2)] = BatchNorm(width, **shared)
            channels, place = width, self._place_after(number, place)
        self.classifier = _head(("1", "4", "6"), channels * self.grid**2, head_width, num_classes, **arguments)

    def __call__(self, images: Images, *, train: bool, keys: Keys | None = None) -> Logits:
        x, place = images, 0
        for number in range(len(_IMAGENET)):
            x = jax.nn.relu(self.features[str(place)](x))
            if not self.imagenet:
                x = self.features[str(place + 2)](x, train=train)
            if number in _POOLED:
                x = nnx.max_pool(x, (self.window, self.window), strides=(2, 2))
            place = self._place_after(number, place)
        x = flat_average_pool(x, self.grid)
        x = jax.nn.relu(self.classifier["1"](dropout(x, keys, 0)))
        x = jax.nn.relu(self.classifier["4"](dropout(x, keys, 1)))
        return self.classifier["6"](x)

    def _place_after(self, number: int, place: int) -> int:
        """Return the place of the next convolution; ReLU, BatchNorm and pool have places between."""
        return place + (2 if self.imagenet else 3) + (number in _POOLED)


class VGG(nnx.Module):
    """Stages of 3x3 convolutions with biases, each with BatchNorm and ReLU, and a 2x2 max-pool after every stage.

    `depths` are convolutions in each stage, `widths` its channels. Raises InputError where the pools leave no pixel.

    imagenet_head: True for torchvision's averages on a 7x7 grid and three linear layers with dropout, two of them with
    `head_width` channels; False for the form of the frequency-shortcut papers: the average over all positions and one
    linear layer.
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
            expected = f"{smallest} or more for {len(depths)} pools of 2 x 2"
            raise InputError(f"data.image_size: got {image_size}; expected {expected}")
        self.depths, self.imagenet_head = tuple(depths), imagenet_head
        self.features: nnx.Dict = nnx.Dict()
        channels = 3
        for stage, place in _places(self.depths):
            self.features[str(place)] = conv(channels, widths[stage], 3, 1, kernel_init=layers.HE_NORMAL, **shared)
            channels = widths[stage]
            self.features[str(place + 1)] = BatchNorm(channels, **shared)
        arguments = {"kernel_init": _NORMAL, **shared}
        self.classifier: Any  # with the head of torchvision an nnx.Dict, else an nnx.Linear
        if imagenet_head:
            self.classifier = _head(("0", "3", "6"), channels * _GRID**2, head_width, num_classes, **arguments)
        else:
            self.classifier = linear(channels, num_classes, **arguments)

    def __call__(self, images: Images, *, train: bool, keys: Keys | None = None) -> Logits:
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


def _head(places: Sequence[str], inputs: int, hidden: int, outputs: int, **arguments: Any) -> nnx.Dict:
    """Return three linear layers by their places in torchvision's sequence."""
    sizes = ((inputs, hidden), (hidden, hidden), (hidden, outputs))
    return nnx.Dict({place: linear(*size, **arguments) for place, size in zip(places, sizes, strict=True)})


def _places(depths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(stage, place of the convolution): BatchNorm and ReLU take the two places after it, a stage's pool another."""
    place = 0
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            yield stage, place
            place += 3
        place += 1
