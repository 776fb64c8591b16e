"""A Lightning checkpoint of ours goes into the module of the published code, transcribed from its description."""

import inspect

import numpy as np
import torch
from torch import nn

from benchmarks.parity.torch_models import randomise
from fsjax.models import MODELS, lightning_checkpoint, state_dict
from fsjax.models.naming import OURS
from fsjax.models.trained import TrainedNetwork
from fsjax.runtime import torch_files
from tests.helpers.resnet8 import RESNET8

SIZE = 8


class Block(nn.Module):
    def __init__(self, before, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(before, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + self.shortcut(x))


class PublishedResNet(nn.Module):
    """With three stages of one block; stem and stages stand a second time in `features`."""

    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        self.layer1 = nn.Sequential(Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2))
        self.layer3 = nn.Sequential(Block(32, 64, 2))
        self.features = nn.Sequential(self.conv1, self.bn1, self.relu, self.layer1, self.layer2, self.layer3)
        self.classifier = nn.Linear(64, classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Model(nn.Module):
    """The LightningModule, with what `load_from_checkpoint` gives it."""

    def __init__(self, backbone_model, lr, num_class, dataset, masks, p):
        super().__init__()
        self.backbone_model, self.lr, self.num_class, self.masks, self.p = backbone_model, lr, num_class, masks, p

    @classmethod
    def load_from_checkpoint(cls, path, **given):
        content = torch.load(path, weights_only=True)
        accepted = inspect.signature(cls).parameters
        stored = {name: value for name, value in content["hyper_parameters"].items() if name in accepted}
        model = cls(**stored, **given)
        model.load_state_dict(content["state_dict"], strict=True)
        return model


def test_the_published_module_loads_the_checkpoint_and_gives_the_same_logits(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "resnet8", RESNET8)
    source = PublishedResNet(5).eval()
    randomise(source)
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    network, variables, *_ = state_dict.to_variables(dict(state), "resnet8", SIZE, "source")
    trained = TrainedNetwork(network, variables, (np.zeros(3), np.ones(3)), tuple("abcde"), OURS, copied=False)
    arguments = {"lr": 0.01, "num_class": 5, "dataset": "cifar", "image_size": SIZE, "masks": "maps.pkl", "p": 0.3}
    lightning_checkpoint.write(tmp_path / "resnet8.ckpt", trained, "resnet8", arguments)
    model = Model.load_from_checkpoint(tmp_path / "resnet8.ckpt", backbone_model=PublishedResNet(5)).eval()
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.backbone_model(images), source(images))
    assert (model.lr, model.num_class, model.masks, model.p) == (0.01, 5, "maps.pkl", 0.3)
    # What Lightning asks of a file of its own.
    content = torch.load(tmp_path / "resnet8.ckpt", weights_only=True)
    expected = {"state_dict", "pytorch-lightning_version", "epoch", "global_step", "hparams_name", "hyper_parameters"}
    assert expected < content.keys() and not content["optimizer_states"]
    # And our own reader takes it back.
    again = torch_files.read(tmp_path / "resnet8.ckpt")
    assert again.keys() == {f"backbone_model.{key}" for key in state}
    for key, array in state.items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(again[f"backbone_model.{key}"], array)
