"""The ResNet of the published code (Wang et al., ICCV 2023), transcribed from its description, and its checkpoint."""

import pathlib

import torch
from torch import nn


class Block(nn.Module):
    """The published block: convolutions, each with a BatchNorm, as `layers` lists them, and a shortcut."""

    expansion = 1

    def __init__(self, before, planes, stride=1, shortcut=True):
        super().__init__()
        after = planes * self.expansion
        for index, (given, made, kernel, step) in enumerate(self.layers(before, planes, stride), 1):
            self.add_module(f"conv{index}", nn.Conv2d(given, made, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm2d(made))
        self.count = index
        self.shortcut = nn.Sequential()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        out = x
        for index in range(1, self.count + 1):
            out = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(out))
            out = torch.relu(out if index < self.count else out + self.shortcut(x))
        return out


class BasicBlock(Block):
    def layers(self, before, planes, stride):
        return (before, planes, 3, stride), (planes, planes, 3, 1)


class Bottleneck(Block):
    expansion = 4

    def layers(self, before, planes, stride):
        return (before, planes, 1, 1), (planes, planes, 3, stride), (planes, 4 * planes, 1, 1)


class ResNet(nn.Module):
    """Stem and stages stand a second time in `features`."""

    def __init__(self, block_en, num_blocks, num_class):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()
        before = 64
        for index, count in enumerate(num_blocks):
            planes, stage = 64 * 2**index, []
            for block in range(count):
                stage.append(block_en(before, planes, 2 if index and not block else 1, shortcut=True))
                before = planes * block_en.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*stage))
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        self.features = nn.Sequential(self.conv1, self.bn1, self.relu, *stages)
        self.classifier = nn.Linear(before, num_class)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def lightning(model):
    """A checkpoint as PyTorch Lightning writes it: a prefix, and the module itself among the hyper-parameters."""
    return {
        "epoch": 3,
        "state_dict": {f"backbone_model.{key}": value for key, value in model.state_dict().items()},
        "hyper_parameters": {"backbone_model": model, "lr": 0.01},
        "optimizer_states": [{"state": {0: torch.ones(2)}, "path": pathlib.PurePosixPath("a")}],
    }
