"""ResNet-8: ResNet-20 with one block a stage, for what any residual network shows."""

from functools import partial

from fsjax.models.resnet import BasicBlock, ResNet

RESNET8 = partial(ResNet, BasicBlock, (1, 1, 1), (16, 32, 64), imagenet_stem=False)
