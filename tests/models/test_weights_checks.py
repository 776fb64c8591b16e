"""Weights that fit by their keys and are wrong: PyTorch's logits, and a config.json beside them, say so."""

import json
import logging

import jax
import numpy as np
import pytest
import timm
import torch

from benchmarks.parity.torch_models import randomise
from fsjax.models import published_weights, state_dict
from fsjax.models.network import fold
from fsjax.models.source import model_source
from fsjax.runtime import torch_files
from fsjax.runtime.errors import InputError
from tests.helpers.small_run import small_config

NAMES, SIZE = ("a", "b", "c"), 16
TIMM = {
    "architecture": "vit_nano_patch8_224.random",
    "num_classes": 3,
    "global_pool": "token",
    "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 224, 224]},
}


def vit(**options):
    torch.manual_seed(0)
    size = {"img_size": SIZE, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 2}
    module = timm.models.VisionTransformer(num_classes=3, **size, **options)
    randomise(module)
    return module.eval()


def of(folder, name="vit_nano_patch8", **changes):
    normalised = {"data__mean": (0.5,) * 3, "data__std": (0.25,) * 3}
    given = {"model__name": name, "model__weights": str(folder / "model.pt"), "data__image_size": SIZE}
    return small_config(**{**normalised, **given, **changes})


@pytest.fixture
def small(monkeypatch):
    """Let timm have our smallest ViT."""
    smallest = (r"vit_nano_patch(\d+)_\d+", "vit_nano_patch{}")
    monkeypatch.setattr(published_weights, "_OURS", (*published_weights._OURS, smallest))


@pytest.fixture
def folder(tmp_path):
    """Weights of a small ViT of timm, and what its logits are."""
    module = vit()
    torch.save(module.state_dict(), tmp_path / "model.pt")
    images = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        np.savez(tmp_path / "check.npz", images=images.numpy(), logits=module(images).numpy())
    return tmp_path


def test_logits_that_are_pytorchs_are_told_and_others_refused(folder, caplog):
    check = folder / "check.npz"
    with caplog.at_level(logging.INFO):
        model_source(of(folder)).record(folder, NAMES)
        assert ", 3 outputs; unchecked (model.check)" in caplog.text
        model_source(of(folder, model__check=str(check))).record(folder, NAMES)
    assert f", 3 outputs; logits are those of {check}, to " in caplog.text
    with np.load(check) as file:
        images, logits = file["images"], file["logits"]
    (folder / "weights.json").unlink()
    for content, message in (
        ({"images": images, "logits": logits + 2e-3 * logits.std()}, r"logits that differ from PyTorch's in \S+ by 0"),
        ({"images": images[:, ::-1], "logits": logits}, r"logits that differ from PyTorch's"),
        ({"images": np.moveaxis(images, 1, -1), "logits": logits}, r"got images \[3, 16, 16, 3\] of float32 "),
        ({"images": images, "logits": logits[:, :2]}, r" and logits \[3, 2\] in"),
        ({"images": images, "logits": logits[:2]}, r" and logits \[2, 3\] in"),
        ({"images": images * np.nan, "logits": logits}, "logits that differ from PyTorch's in .* by nan"),
        ({"images": images}, "no key 'logits'"),
    ):
        np.savez(check, **content)
        with pytest.raises(InputError, match=message) as caught:
            model_source(of(folder, model__check=str(check))).record(folder, NAMES)
        assert "\n" not in str(caught.value) and not (folder / "weights.json").exists()


CONFIGS = {
    "other blocks": (
        {"architecture": "resnetaa50"},
        r"says 'resnetaa50', which is not supported; fsjax.save_model takes",
    ),
    "other model": ({"architecture": "resnet50.a1_in1k"}, "got vit_nano_patch8; expected resnet50_imagenet, since"),
    "wider blocks": (
        {"architecture": "wide_resnet50_2.racm_in1k"},
        "got vit_nano_patch8; expected wide_resnet50_2_imagenet, since",
    ),
    "pool": ({"global_pool": "avg"}, "got vit_nano_patch8 of global_pool 'token'; expected 'avg', as"),
    "argument": ({"model_args": {"img_size": 16, "act_layer": "quick_gelu"}}, "with 'act_layer'; expected none"),
    "mean": ({"pretrained_cfg": {"mean": [0.4, 0.4, 0.4]}}, r"got \(0.5, 0.5, 0.5\); expected \(0.4, 0.4, 0.4\), as"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_beside_the_weights_that_says_another_model_is_one_line(kind, folder, small):
    changes, message = CONFIGS[kind]
    (folder / "config.json").write_text(json.dumps({**TIMM, **changes}))
    with pytest.raises(InputError, match=message) as caught:
        model_source(of(folder)).record(folder, NAMES)
    assert "\n" not in str(caught.value) and str(folder / "config.json") in str(caught.value)


def test_a_config_beside_the_weights_gives_mean_and_std(folder, small):
    (folder / "config.json").write_text(json.dumps(TIMM))
    model_source(of(folder, data__mean=(), data__std=())).record(folder, NAMES)
    record = json.loads((folder / "weights.json").read_text())
    assert (record["mean"], record["std"]) == ([0.5] * 3, [0.25] * 3)
    for other in ({"model": {"name": "a run of ours"}}, ["no object"]):
        (folder / "config.json").write_text(json.dumps(other))
        model_source(of(folder)).record(folder, NAMES)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not"):
        model_source(of(folder)).record(folder, NAMES)


def test_vits_without_a_class_token_are_timms_in_either_form(folder):
    """With `norm` the tokens are normalised and then averaged; with `fc_norm` it is the other way round."""
    images = torch.randn(2, 3, SIZE, SIZE)
    for name, fc_norm in (("vit_nano_patch8_gap", True), ("vit_nano_patch8_gap_norm", False)):
        module = vit(class_token=False, global_pool="avg", fc_norm=fc_norm)
        torch.save(module.state_dict(), folder / "model.pt")
        imported = state_dict.to_network(torch_files.read(folder / "model.pt"), name, None, "model.pt")
        apply, params = fold(imported.network, imported.variables)
        with torch.no_grad():
            expected = module(images).numpy()
        found = jax.jit(apply)(params, np.moveaxis(images.numpy(), 1, -1))
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    with pytest.raises(InputError, match=r"missing: fc_norm\.bias, fc_norm\.weight; not expected: norm\.bias, norm"):
        state_dict.to_network(torch_files.read(folder / "model.pt"), "vit_nano_patch8_gap", SIZE, "model.pt")
