"""Weights from PyTorch and back: every tensor once, the same logits, or one line that says what is wrong."""

import dataclasses
import inspect
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from benchmarks.parity.torch_models import randomise, torch_resnet
from fsjax.models import lightning_checkpoint, state_dict
from fsjax.models.naming import OURS
from fsjax.runtime import torch_files
from tests.helpers.published_resnet import BasicBlock, Bottleneck, ResNet, lightning
from tests.helpers.refused import refused

CLASSES = 7


def micro(size=32, **options):
    own = {"embed_dim": 64, "depth": 4, "num_heads": 4, "mlp_ratio": 2}
    return timm.models.VisionTransformer(img_size=size, patch_size=4, num_classes=CLASSES, **own, **options)


# our name -> (a PyTorch model, the image size, the naming scheme)
MODELS = {
    # 3x3 stem, `shortcut`, `classifier`, and all but that in a sequence again
    "resnet18_cifar": (lambda: ResNet(BasicBlock, [2, 2, 2, 2], CLASSES), 33, "iccv2023 resnet"),
    "resnet18_imagenet": (lambda: torchvision.models.resnet18(num_classes=CLASSES), 65, "torchvision/timm"),
    "vit_micro_patch4": (micro, 32, "torchvision/timm"),
}


def random_model(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name][0]()
    randomise(model)
    return model.eval()


def random_images(size, count=3):
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype(np.float32)


@torch.no_grad()
def torch_logits(model, images):
    return model(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def our_logits(found, images):
    return np.asarray(jax.jit(found.network.apply)(found.variables, jnp.asarray(images)))


def assert_same(found, expected):
    assert found.network == expected.network and found.naming == expected.naming
    assert jax.tree.structure(found.variables) == jax.tree.structure(expected.variables)
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)


def imported(path, name, image_size=None):
    return state_dict.to_network(torch_files.read(path), name, image_size, str(path))


def write(model, path):
    if path.suffix == ".safetensors":
        # This format stores no array twice.
        save_file({key: value.clone() for key, value in model.state_dict().items()}, path)
    else:
        torch.save(lightning(model) if path.suffix == ".ckpt" else model.state_dict(), path)
    return path


@pytest.fixture
def state():
    return {key: value.numpy().copy() for key, value in random_model("resnet18_cifar").state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_every_naming_and_kind_of_file_give_pytorchs_logits_and_go_back(tmp_path, name):
    model, (_, size, naming) = random_model(name), MODELS[name]
    files = [write(model, tmp_path / f"model{suffix}") for suffix in (".pt", ".safetensors", ".ckpt")]
    found, *others = (imported(file, name, size) for file in files)
    for other in others:
        assert_same(other, found)
    assert (found.network.num_classes, found.naming.name) == (CLASSES, naming)
    assert found.copied == (naming == "iccv2023 resnet")
    images = random_images(size)
    expected = torch_logits(model, images)
    assert expected.std(0).max() > 0.05  # the comparison below means something
    np.testing.assert_allclose(our_logits(found, images), expected, atol=1e-4)

    torch_files.write(tmp_path / "back.pt", state_dict.from_variables(found.variables, found.naming, found.copied))
    again = MODELS[name][0]().eval()
    again.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True), strict=True)
    np.testing.assert_array_equal(torch_logits(again, images), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_another_precision_become_float32(tmp_path, dtype, suffix):
    model = random_model("vit_micro_patch4").to(dtype)
    found = imported(write(model, tmp_path / f"model{suffix}"), "vit_micro_patch4")
    assert {leaf.dtype for leaf in jax.tree.leaves(found.variables)} == {np.dtype(np.float32)}
    expected = state_dict.from_variables(found.variables)
    for key, value in model.float().state_dict().items():
        np.testing.assert_array_equal(expected[key], value.numpy(), err_msg=key)


@pytest.mark.parametrize(
    ("name", "size"), [("vit_micro_patch4", 16), ("vit_micro_patch4", 44), ("vit_micro_patch4_gap", 16)]
)
def test_positions_of_another_image_size_are_interpolated_as_timm_does(tmp_path, name, size):
    options = {"class_token": False, "global_pool": "avg", "fc_norm": True} if name.endswith("gap") else {}
    model, other = micro(**options), micro(size, **options).eval()
    randomise(model)
    found = imported(write(model, tmp_path / "model.pt"), name, size)
    assert found.network.image_size == size
    other.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(model.state_dict(), other))
    images = random_images(size)
    np.testing.assert_allclose(our_logits(found, images), torch_logits(other, images), atol=1e-4)


def test_the_image_size_is_that_of_the_positions_and_else_must_be_given(tmp_path):
    path = write(random_model("vit_micro_patch4"), tmp_path / "model.pt")
    assert imported(path, "vit_micro_patch4").network.image_size == 32
    path = write(random_model("resnet18_imagenet"), tmp_path / "model.pt")
    refused("image_size: got None; expected a number of pixels", imported, path, "resnet18_imagenet")


def test_a_prefix_that_all_keys_share_is_no_part_of_them(state):
    found, *others = (
        state_dict.to_network({prefix + key: value for key, value in state.items()}, "resnet18_cifar", 32, "weights")
        for prefix in ("", "module.", "_orig_mod.module.")
    )
    for other in others:
        assert_same(other, found)


# Strictness


def said_of(state, name="resnet18_cifar"):
    return refused("^model.pt", state_dict.to_network, state, name, 32, "model.pt")


def test_what_is_missing_not_expected_or_of_another_shape_is_listed(state):
    for key in ("layer2.0.bn1.running_var", "features.4.0.bn1.running_var"):
        del state[key]
    state["layer9.weight"] = np.zeros(3, np.float32)
    state["conv1.weight"] = state["features.0.weight"] = np.zeros((64, 3, 7, 7), np.float32)
    # As many numbers as expected.
    state["layer1.0.conv1.weight"] = state["features.3.0.conv1.weight"] = np.zeros((64, 3, 3, 64), np.float32)
    assert said_of(state) == (
        "model.pt, as resnet18_cifar: missing: layer2.0.bn1.running_var; not expected: layer9.weight; "
        "of another shape: conv1.weight (64, 3, 7, 7), not (64, 3, 3, 3), layer1.0.conv1.weight (64, 3, 3, 64), not "
        "(64, 64, 3, 3) "
        "(for a model of timm or torchvision: model.name=timm/NAME)"
    )


def test_copies_must_be_equal_and_either_alone_will_do(state):
    for given in (
        {key: value for key, value in state.items() if not key.startswith("features.")},
        {key: value for key, value in state.items() if key.startswith(("features.", "classifier."))},
    ):
        found = state_dict.to_network(given, "resnet18_cifar", 32, "model.pt")
        assert not found.copied
        bias = found.variables["params"]["layer1"]["0"]["bn2"]["bias"]
        np.testing.assert_array_equal(bias, state["layer1.0.bn2.bias"])
    state["features.3.0.bn2.bias"][5] += 1
    assert said_of(state).startswith("model.pt: features.3.0.bn2.bias differs from its copy layer1.0.bn2.bias; exp")


def test_weights_of_another_model_are_refused_with_a_short_list(state):
    del state["classifier.bias"]
    message = said_of(dict(state), "vit_micro_patch4")
    assert "missing: blocks.0.attn.proj.bias, " in message and "and " in message and len(message) < 1000
    assert "missing: fc.bias, layer1.2.bn1.bias, " in said_of(state, "resnet34_cifar")


# Files


def test_writing_without_pytorch_says_what_to_install_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(r"pip install 'fsjax\[torch\]'", torch_files.write, tmp_path / "model.pt", {"a": np.zeros(2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.nn.Linear(2, 2), "holds a pickled torch.nn.modules.linear.Linear, not its weights; in PyTorch, save"),
        ({"epoch": 3}, "holds no state dict"),
        ([torch.ones(2)], "holds no state dict"),
        ({"a": torch.ones(2), "b": "text"}, "b is no tensor; expected a state dict of tensors only"),
        ({"a": torch.ones(2), "b": torch.nn.Linear(2, 2)}, "b is no tensor"),
    ],
)
def test_a_file_without_a_state_dict_is_refused_in_one_line(tmp_path, content, message):
    torch.save(content, tmp_path / "model.pt")
    refused(message, torch_files.read, tmp_path / "model.pt")


# Lightning checkpoints for the published code, transcribed from its description


SIZE = 8


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
    [
        ("resnet18_cifar", BasicBlock, [2] * 4),
        pytest.param("resnet50_cifar", Bottleneck, [3, 4, 6, 3], marks=pytest.mark.slow),
    ],
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
    trained = dataclasses.replace(trained, classes=tuple("abcdefg"), naming=OURS, copied=False)
    arguments = {"lr": 0.01, "num_class": CLASSES, "dataset": "cifar", "image_size": SIZE, "masks": "maps", "p": 0.3}
    lightning_checkpoint.write(folder / f"{name}.ckpt", trained, name, arguments)
    return folder / f"{name}.ckpt"
