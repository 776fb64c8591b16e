"""Models of torchvision and timm by their names: the weights of a file, once each, or one line."""

import json

import jax
import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.models import published_weights
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
    found = jax.jit(classifier.apply)(classifier.params, np.moveaxis(images.numpy(), 1, -1))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


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


def published(module, folder, **changes):
    """Write a folder as timm publishes one, and return it."""
    folder.mkdir()
    safetensors.torch.save_file(module.state_dict(), folder / "model.safetensors")
    about = {
        "architecture": "test_convnext",
        "num_classes": 5,
        "global_pool": "avg",
        "model_args": {"num_classes": 5, "in_chans": 3, "global_pool": "avg"},
        "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.25, 0.25, 0.25]},
    }
    (folder / "config.json").write_text(json.dumps(about | changes))
    return folder


def test_a_published_folder_gives_mean_and_std_and_arguments_of_the_model(weights, tmp_path):
    """A largest number in place of a mean, which no key shows."""
    folder = published(weights[0], tmp_path / "hub", global_pool="max", model_args={"global_pool": "max"})
    module, (mean, std) = published_weights.read_module(of(folder, data__mean=(), data__std=()))
    assert (mean.tolist(), std.tolist()) == ([0.4, 0.5, 0.6], [0.25] * 3)
    expected = timm.create_model("test_convnext", num_classes=5, global_pool="max").eval()
    expected.load_state_dict(weights[0].state_dict())
    images = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(module(images), expected(images))


@pytest.mark.parametrize(
    ("about", "changes", "message"),
    [
        ({}, {}, r"^data.mean: got \(0.5, 0.5, 0.5\); expected \(0.4, 0.5, 0.6\), as \S+config.json says"),
        (
            {"model_args": {"checkpoint_path": "x.pt"}},
            {"data__mean": (), "data__std": ()},
            r"^model.weights: .* with 'checkpoint_path'",
        ),
        (
            {"model_args": {"img_size": 10**6}},
            {"data__mean": (), "data__std": ()},
            r"^data.image_size: got 32; expected 1000000, as ",
        ),
        (
            {"model_args": {"class_token": True}},
            {"data__mean": (), "data__std": ()},
            r"timm/test_convnext does not take .*class_token",
        ),
    ],
)
def test_what_a_config_json_says_otherwise_is_one_line(weights, about, changes, message, tmp_path):
    folder = published(weights[0], tmp_path / "hub", **about)
    with pytest.raises(InputError, match=message):
        runner.run(of(folder, **changes), tmp_path / "run")


def test_a_pool_that_no_key_shows_is_refused(tmp_path):
    module = timm.create_model("test_vit", num_classes=5, img_size=SIZE)
    arguments = {"img_size": SIZE}
    folder = published(module, tmp_path / "hub", architecture="test_vit", global_pool="avg", model_args=arguments)
    config = of(folder, model__name="timm/test_vit", data__mean=(), data__std=())
    with pytest.raises(InputError, match=r"^model.name: got timm/test_vit of global_pool 'token'; expected 'avg', as"):
        runner.run(config, tmp_path / "run")
