"""Weights as timm publishes them, for networks of ours and for modules by name: PyTorch's logits, or one line."""

import json
import logging

import jax
import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from benchmarks.parity.torch_models import randomise
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.models import published_weights, state_dict
from fsjax.models.network import fold
from fsjax.models.source import model_source
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config

NAMES, SIZE = ("a", "b", "c"), 16
NONE = {"data__mean": (), "data__std": ()}


def vit(**options):
    """The smallest ViT of ours, as timm makes it."""
    size = {"img_size": SIZE, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 2}
    module = timm.models.VisionTransformer(num_classes=3, **size, **options)
    randomise(module)
    return module.eval()


@torch.no_grad()
def logits(module, images):
    return module(images).numpy()


def publish(module, folder, **content):
    """Write a folder as timm publishes one, and return it."""
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file(module.state_dict(), folder / "model.safetensors")
    if content:
        (folder / "config.json").write_text(json.dumps(content))
    return folder


def of(folder, name, size=SIZE, **changes):
    given = {"model__name": name, "model__weights": str(folder), "data__image_size": size, "stages": "train"}
    return small_config(**{**given, "data__mean": (0.5,) * 3, "data__std": (0.25,) * 3, **changes})


# A network of ours


@pytest.fixture
def folder(tmp_path):
    """Weights of a small ViT of timm, and what its logits are."""
    torch.manual_seed(0)
    module, images = vit(), torch.randn(3, 3, SIZE, SIZE)
    np.savez(tmp_path / "check.npz", images=images.numpy(), logits=logits(module, images))
    return publish(module, tmp_path)


def test_logits_that_are_pytorchs_are_told_and_others_refused(folder, caplog):
    check = folder / "check.npz"
    config = of(folder, "vit_nano_patch8", model__check=str(check))
    with caplog.at_level(logging.INFO):
        model_source(of(folder, "vit_nano_patch8")).record(folder, NAMES)
        assert ", 3 outputs; unchecked (model.check)" in caplog.text
        model_source(config).record(folder, NAMES)
    assert f", 3 outputs; logits match {check}, to " in caplog.text
    with np.load(check) as file:
        images, expected = file["images"], file["logits"]
    (folder / "weights.json").unlink()
    for content, message in (
        ({"images": images, "logits": expected + 2e-3 * expected.std()}, r"that differ from PyTorch's in \S+ by 0"),
        ({"images": images[:, ::-1], "logits": expected}, r"logits that differ from PyTorch's"),
        ({"images": np.moveaxis(images, 1, -1), "logits": expected}, r"got images \[3, 16, 16, 3\] of float32 "),
        ({"images": images, "logits": expected[:, :2]}, r" and logits \[3, 2\] in"),
        ({"images": images * np.nan, "logits": expected}, "logits that differ from PyTorch's in .* by nan"),
        ({"images": images}, "no key 'logits'"),
    ):
        np.savez(check, **content)
        refused(message, model_source(config).record, folder, NAMES)
        assert not (folder / "weights.json").exists()


CONFIGS = {
    "other blocks": ({"architecture": "resnetaa50"}, "got vit_nano_patch8; expected timm/resnetaa50, since"),
    "other model": ({"architecture": "resnet50.a1_in1k"}, "got vit_nano_patch8; expected resnet50_imagenet, since"),
    "wider blocks": ({"architecture": "wide_resnet50_2.racm"}, "vit_nano_patch8; expected timm/wide_resnet50_2"),
    "pool": ({"global_pool": "avg"}, "got vit_nano_patch8 of global_pool 'token'; expected 'avg', as"),
    "argument": ({"model_args": {"img_size": 16, "act_layer": "quick_gelu"}}, "with 'act_layer'; expected none"),
    "mean": ({"pretrained_cfg": {"mean": [0.4, 0.4, 0.4]}}, r"got \(0.5, 0.5, 0.5\); expected \(0.4, 0.4, 0.4\), as"),
}
TIMM = {
    "architecture": "vit_nano_patch8_224.random",
    "global_pool": "token",
    "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 224, 224]},
}


@pytest.fixture
def small(monkeypatch):
    """Let timm have our smallest ViT."""
    smallest = (r"vit_nano_patch(\d+)_\d+", "vit_nano_patch{}")
    monkeypatch.setattr(published_weights, "_OURS", (*published_weights._OURS, smallest))


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_beside_the_weights_that_says_another_model_is_one_line(kind, folder, small):
    changes, message = CONFIGS[kind]
    (folder / "config.json").write_text(json.dumps({**TIMM, **changes}))
    said = refused(message, model_source(of(folder, "vit_nano_patch8")).record, folder, NAMES)
    assert str(folder / "config.json") in said


def test_a_config_beside_the_weights_gives_mean_and_std(folder, small):
    (folder / "config.json").write_text(json.dumps(TIMM))
    model_source(of(folder, "vit_nano_patch8", **NONE)).record(folder, NAMES)
    record = json.loads((folder / "weights.json").read_text())
    assert (record["mean"], record["std"]) == ([0.5] * 3, [0.25] * 3)
    for other in ({"model": {"name": "a run of ours"}}, ["no object"]):
        (folder / "config.json").write_text(json.dumps(other))
        model_source(of(folder, "vit_nano_patch8")).record(folder, NAMES)


def test_vits_without_a_class_token_normalise_the_average():
    """timm's other form, which averages the normalised tokens, is refused."""
    images, name = torch.randn(2, 3, SIZE, SIZE), "vit_nano_patch8_gap"
    module, other = (vit(class_token=False, global_pool="avg", fc_norm=fc_norm) for fc_norm in (True, False))
    state, others = ({key: value.numpy() for key, value in each.state_dict().items()} for each in (module, other))
    imported = state_dict.to_network(state, name, None, "model.pt")
    apply, params = fold(imported.network, imported.variables)
    expected = logits(module, images)
    found = jax.jit(apply)(params, np.moveaxis(images.numpy(), 1, -1))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    message = r"missing: fc_norm\.bias, fc_norm\.weight; not expected: norm\.bias, norm"
    refused(message, state_dict.to_network, others, name, SIZE, "model.pt")


# A module of timm by its name

CONVNEXT = {
    "architecture": "test_convnext",
    "global_pool": "avg",
    "model_args": {"num_classes": 5, "in_chans": 3, "global_pool": "avg"},
    "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.25, 0.25, 0.25]},
}


@pytest.fixture(scope="module")
def convnext(tmp_path_factory):
    """A module of timm with five outputs, and a folder of its weights."""
    torch.manual_seed(0)
    module = timm.create_model("test_convnext", num_classes=5).eval()
    return module, publish(module, tmp_path_factory.mktemp("weights"))


def named(folder, name="timm/test_convnext", **changes):
    return of(folder, name, 32, **changes)


def test_a_model_of_timm_is_converted_by_its_name(convnext, tmp_path):
    module, folder = convnext
    runner.run(named(folder), tmp_path)
    assert json.loads((tmp_path / "weights.json").read_text())["outputs"] == 5
    classifier = Workspace(named(folder), tmp_path).classifier
    images = torch.randn(3, 3, 32, 32)
    expected = logits(module, images)
    found = jax.jit(classifier.apply)(classifier.params, np.moveaxis(images.numpy(), 1, -1))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_published_folder_gives_mean_and_std_and_arguments_of_the_model(convnext, tmp_path):
    """A largest number in place of a mean, which no key shows."""
    content = {**CONVNEXT, "global_pool": "max", "model_args": {"global_pool": "max"}}
    module, (mean, std) = published_weights.read_module(named(publish(convnext[0], tmp_path, **content), **NONE))
    assert (mean.tolist(), std.tolist()) == ([0.4, 0.5, 0.6], [0.25] * 3)
    expected = timm.create_model("test_convnext", num_classes=5, global_pool="max").eval()
    expected.load_state_dict(convnext[0].state_dict())
    images = torch.randn(3, 3, 32, 32)
    np.testing.assert_array_equal(logits(module, images), logits(expected, images))


@pytest.mark.parametrize(
    ("changes", "content", "message"),
    [
        ({"model__name": "timm/test_convnex"}, {}, r"^model.name: got 'timm/test_convnex'; .*mean timm/test_convnext"),
        ({"model__name": "timm/test_convnext2"}, {}, r"safetensors, as timm/test_convnext2: .*Unexpected key"),
        ({"model__name": "torchvision/resnet18"}, {}, r"safetensors: got no fc.weight or fc.bias; expected weights"),
        ({"model__weights": ""}, {}, r"^model.weights: got ''; expected a file of PyTorch weights of timm/"),
        (NONE, {}, r"^data.mean: got nothing; expected with model.weights"),
        ({"search__precision": "bfloat16"}, {}, r"^search.precision: got 'bfloat16'; expected highest, since"),
        ({}, CONVNEXT, r"^data.mean: got \(0.5, 0.5, 0.5\); expected \(0.4, 0.5, 0.6\), as \S+config.json says"),
        (NONE, {"model_args": {"checkpoint_path": "x.pt"}}, r"^model.weights: .* with 'checkpoint_path'"),
        (NONE, {"model_args": {"img_size": 10**6}}, r"^data.image_size: got 32; expected 1000000, as "),
        (NONE, {"model_args": {"class_token": True}}, r"timm/test_convnext does not take .*class_token"),
    ],
)
def test_weights_that_do_not_fit_the_name_are_one_line(convnext, changes, content, message, tmp_path):
    folder = publish(convnext[0], tmp_path / "hub", **(CONVNEXT | content if content else {}))
    refused(message, runner.run, named(folder, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "weights.json").exists()


def test_a_pool_that_no_key_shows_is_refused(tmp_path):
    module = timm.create_model("test_vit", num_classes=5, img_size=32)
    content = {"architecture": "test_vit", "global_pool": "avg", "model_args": {"img_size": 32}}
    folder = publish(module, tmp_path / "hub", **(CONVNEXT | content))
    message = r"^model.name: got timm/test_vit of global_pool 'token'; expected 'avg', as"
    refused(message, runner.run, named(folder, "timm/test_vit", **NONE), tmp_path / "run")
