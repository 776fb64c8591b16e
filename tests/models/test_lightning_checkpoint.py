"""A Lightning checkpoint of ours goes into the module of the published code, transcribed from its description."""

import dataclasses
import inspect
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.parity.torch_models import randomise, torch_resnet
from fsjax.models import lightning_checkpoint, state_dict
from fsjax.models.naming import OURS
from fsjax.runtime import torch_files
from tests.helpers.published_resnet import BasicBlock, Bottleneck, ResNet

SIZE, CLASSES, SLOW = 8, 5, pytest.mark.slow


class Model(nn.Module):
    """The LightningModule, with what `load_from_checkpoint` gives it."""

    def __init__(self, backbone_model, lr, num_class, dataset, masks, p):
        super().__init__()
        self.backbone_model, self.lr, self.num_class, self.masks, self.p = backbone_model, lr, num_class, masks, p

    @classmethod
    def load_from_checkpoint(cls, path, **given):
        content = torch.load(path, weights_only=False)
        accepted = inspect.signature(cls).parameters
        stored = {name: value for name, value in content["hyper_parameters"].items() if name in accepted}
        model = cls(**{**stored, **given})
        model.load_state_dict(content["state_dict"], strict=True)
        return model


@pytest.fixture
def published_packages(monkeypatch):
    """The packages of the published code, as they are where its scripts run."""
    monkeypatch.setitem(sys.modules, "backbone.resnet", types.SimpleNamespace(ResNet=ResNet))
    blocks = types.SimpleNamespace(BasicBlock=BasicBlock, Bottleneck=Bottleneck)
    monkeypatch.setitem(sys.modules, "blocks.resnet.Blocks", blocks)


@pytest.mark.usefixtures("published_packages")
@pytest.mark.parametrize(
    ("name", "block", "blocks"),
    [("resnet18_cifar", BasicBlock, [2] * 4), pytest.param("resnet50_cifar", Bottleneck, [3, 4, 6, 3], marks=SLOW)],
)
def test_the_published_script_loads_the_checkpoint_and_gives_the_same_logits(tmp_path, name, block, blocks):
    source = ResNet(block, blocks, CLASSES).eval()
    randomise(source)
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    file = written(tmp_path, name, state)
    model = Model.load_from_checkpoint(file).eval()  # as Compute_DFM_CIFAR.py does
    assert isinstance(model.backbone_model, ResNet)
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.backbone_model(images), source(images))
    assert (model.lr, model.num_class, model.masks, model.p) == (0.01, CLASSES, "maps", 0.3)
    # What Lightning asks of a file of its own.
    content = torch.load(file, weights_only=False)
    expected = {"state_dict", "pytorch-lightning_version", "epoch", "global_step", "hparams_name", "hyper_parameters"}
    assert expected < content.keys() and not content["optimizer_states"]
    # And our own reader takes it back.
    again = torch_files.read(file)
    assert again.keys() == {f"backbone_model.{key}" for key in state}
    for key, array in state.items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(again[f"backbone_model.{key}"], array)


def test_a_network_that_the_published_code_does_not_have_is_given_by_the_caller(tmp_path):
    state = {key: value.numpy() for key, value in torch_resnet("resnet20").state_dict().items()}
    file = written(tmp_path, "resnet20", state)
    assert "backbone_model" not in torch.load(file, weights_only=True)["hyper_parameters"]


def written(folder, name, state):
    """The file of a state dict of the model of a name."""
    trained = state_dict.to_network(dict(state), name, SIZE, "source")
    trained = dataclasses.replace(trained, classes=tuple("abcde"), naming=OURS, copied=False)
    arguments = {"lr": 0.01, "num_class": CLASSES, "dataset": "cifar", "image_size": SIZE, "masks": "maps", "p": 0.3}
    lightning_checkpoint.write(folder / f"{name}.ckpt", trained, name, arguments)
    return folder / f"{name}.ckpt"
