"""The classifiers that can be trained or searched, by name.

vit_micro is meant for a CPU: 400 training steps of 128 images of 32x32 take vit_micro_patch4 two minutes on two cores,
vit_micro_patch8 half a minute. vit_nano compiles quickly and learns little: it serves to try a pipeline.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp

from fsjax.models.network import Network
from fsjax.models.resnet import BasicBlock, Bottleneck, ResNet
from fsjax.models.vgg import VGG
from fsjax.models.vit import VisionTransformer
from fsjax.runtime.errors import check_known

__all__ = ["MODELS", "Network", "build"]

_RESNETS: dict[str, tuple] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
_VGGS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_PATCHES = (4, 8, 14, 16, 32)
_VITS = {
    "vit_nano": partial(VisionTransformer, width=16, depth=1, heads=2, mlp_ratio=2),
    "vit_micro": partial(VisionTransformer, width=64, depth=4, heads=4, mlp_ratio=2),
    "vit_tiny": partial(VisionTransformer, width=192, depth=12, heads=3),
    "vit_small": partial(VisionTransformer, width=384, depth=12, heads=6),
    "vit_base": partial(VisionTransformer, width=768, depth=12, heads=12),
    "vit_large": partial(VisionTransformer, width=1024, depth=24, heads=16),
}

# name -> builder, called with
#   num_classes: number of logits;
#   image_size: height and width of the images in pixels;
#   dtype: of computation; parameters and statistics are float32;
#   axis_name: the mapped axis over which BatchNorm takes its statistics in training;
#   rngs: the source of the initial parameters.
# "_cifar" is the form that the frequency-shortcut papers train at any image size: ResNets with a 3x3 stem and no pool,
# and VGGs with an average over all positions. "_imagenet" is torchvision's form. "_gap" is a ViT without a class token
# that averages over patches.
MODELS: dict[str, Callable] = {
    "resnet8": partial(ResNet, BasicBlock, (1, 1, 1), (16, 32, 64), imagenet_stem=False),
    "resnet20": partial(ResNet, BasicBlock, (3, 3, 3), (16, 32, 64), imagenet_stem=False),
    "resnet10w16_imagenet": partial(ResNet, BasicBlock, (1, 1, 1, 1), (16, 32, 64, 128), imagenet_stem=True),
    **{f"{name}_cifar": partial(ResNet, *form, imagenet_stem=False) for name, form in _RESNETS.items()},
    **{f"{name}_imagenet": partial(ResNet, *form, imagenet_stem=True) for name, form in _RESNETS.items()},
    **{f"{name}_cifar": partial(VGG, depths) for name, depths in _VGGS.items()},
    **{
        f"{name}_patch{n}{form}": partial(vit, n, class_token=not form)
        for form in ("", "_gap")
        for name, vit in _VITS.items()
        for n in _PATCHES
    },
}


@functools.lru_cache(maxsize=64)
def build(name: str, *, num_classes: int, image_size: int, dtype: Any = jnp.float32) -> Network:
    """Return the classifier of this name, a key of MODELS, without its arrays; it computes in float32 or bfloat16.

    image_size: pixels a side; for a ViT a multiple of its patch, for a VGG 32 or more.
    Raises InputError for an unknown name, and an image size that does not fit the model.
    """
    check_known("model.name", name, sorted(MODELS))
    network = Network(MODELS[name], num_classes, image_size, jnp.dtype(dtype))
    network.graphdef  # noqa: B018 - refuses what does not fit here rather than at the first call
    return network
