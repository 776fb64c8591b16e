"""Models of torchvision and timm by their names: the weights of a file, once each, or one line."""

import json

import jax
import numpy as np
import pytest
import timm
import torch

from fsjax.experiment import runner
from fsjax.experiment.workspace import Workspace
from fsjax.runtime.errors import InputError
from tests.helpers.small_run import small_config

SIZE = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A module of timm with five outputs, and a file of its weights."""
    torch.manual_seed(0)
    module = timm.create_model("test_convnext", num_classes=5).eval()
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(module.state_dict(), file)
    return module, file


def of(weights, **changes):
    normalised = {"data__mean": (0.5,) * 3, "data__std": (0.25,) * 3, "data__image_size": SIZE, "stages": "train"}
    return small_config(
        **{"model__name": "timm/test_convnext", "model__weights": str(weights), **normalised, **changes}
    )


def test_a_model_of_timm_is_converted_by_its_name(weights, tmp_path):
    module, file = weights
    runner.run(of(file), tmp_path)
    assert (tmp_path / "model.fsjax").is_file()
    assert json.loads((tmp_path / "weights.json").read_text())["outputs"] == 5
    classifier = Workspace(of(file), tmp_path).classifier
    images = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = module(images).numpy()
    found = jax.jit(classifier.model.apply)(classifier.model.params, np.moveaxis(images.numpy(), 1, -1))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    # The file is one for any run.
    runner.run(of(tmp_path / "model.fsjax", model__name="resnet20"), tmp_path / "again")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__name": "timm/test_convnex"},
            r"^model.name: got 'timm/test_convnex'; .*did you mean timm/test_convnext",
        ),
        ({"model__name": "timm/test_convnext2"}, r"^\S+model.pt, as timm/test_convnext2: .*Unexpected key"),
        (
            {"model__name": "torchvision/resnet18"},
            r"^\S+model.pt: got no fc.weight or fc.bias; expected weights of torch",
        ),
        ({"model__weights": ""}, r"^model.weights: got ''; expected a file of PyTorch weights of timm/test_convnext"),
        ({"data__mean": (), "data__std": ()}, r"^data.mean: got nothing; expected with model.weights"),
        ({"search__precision": "bfloat16"}, r"^search.precision: got 'bfloat16'; expected highest, since"),
    ],
)
def test_weights_of_another_model_are_one_line(weights, changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        runner.run(of(weights[1], **changes), tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "weights.json").exists()
