"""The models against PyTorch's: sizes, logits, gradients, batch statistics, initial weights."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import timm
import torch
import torchvision
from flax import nnx
from torchvision.models import resnet as torch_blocks

from benchmarks.parity.parity import agrees, compare, compare_with
from benchmarks.parity.torch_models import TorchVGG, from_torch, random_images, randomise, torch_model, torch_resnet
from fsjax.models import MODELS, Network, build
from fsjax.models.network import fold
from fsjax.models.resnet import BasicBlock, Bottleneck, ResNet
from fsjax.models.vgg import VGG
from fsjax.models.vit import VisionTransformer, interpolate_positions
from fsjax.runtime.parallel import AXIS
from tests.helpers.refused import refused

SMALL_RESNET = functools.partial(ResNet, BasicBlock, (1, 1), (4, 8), imagenet_stem=False)
SMALL_VIT = functools.partial(VisionTransformer, 4, width=64, depth=1, heads=4)
SHALLOW = functools.partial(ResNet, depths=(1, 1, 1, 1), imagenet_stem=True)
# name -> (a small builder, PyTorch's counterpart)
SMALL = {
    "basic": (functools.partial(SHALLOW, BasicBlock), lambda: torch_shallow(torch_blocks.BasicBlock)),
    "bottleneck": (functools.partial(SHALLOW, Bottleneck), lambda: torch_shallow(torch_blocks.Bottleneck)),
    "vgg": (functools.partial(VGG, (1, 1), (8, 16)), lambda: torch_small_vgg()),
}
FLOAT32, BFLOAT16 = jnp.dtype("float32"), jnp.dtype("bfloat16")


# Sizes


@pytest.mark.parametrize(
    "name",
    ["resnet18_imagenet", "resnet50_imagenet", "vit_base_patch16"],
)
def test_networks_have_the_number_of_parameters_of_torchvisions_and_timms(name):
    if name.startswith("vit"):
        torchs = torch_count(lambda: timm.create_model(f"{name}_224", num_classes=1000))
    else:
        torchs = torch_count(getattr(torchvision.models, name.removesuffix("_imagenet")))
    assert our_count(name, 1000, 224) == torchs
    if name == "resnet18_imagenet":
        # The 3x3 stem replaces a 7x7 one, from 3 channels to 64, and nothing else has another size.
        assert our_count("resnet18_cifar", 1000, 224) == torchs - (7 * 7 - 3 * 3) * 3 * 64


# Logits, gradients and batch statistics


# benchmarks/parity/parity.py compares every model at its full depth and size; here stands each kind of layer and stem.
@pytest.mark.parametrize(
    "name, size",
    [
        ("resnet20", 33),
        ("vgg11_cifar", 67),  # an odd side before two pools, and 2 x 2 positions to average
        ("vit_micro_patch8", 40),
        ("vit_micro_patch8_gap", 40),
        *((block, 45) for block in ("basic", "bottleneck")),  # every stride of 2 meets an odd side
    ],
)
def test_logits_and_input_gradients_are_pytorchs(monkeypatch, name, size):
    if name in SMALL:
        monkeypatch.setitem(MODELS, name, SMALL[name][0])
        row = compare_with(SMALL[name][1](), "torchvision's parts", name, size)
    else:
        row = compare(name, size)
    assert 0.1 < row["spread"] < 10  # what comes next means something
    assert row["logits"] < 1e-4
    assert agrees(row)


@pytest.mark.parametrize("name", ["bottleneck", "vgg"])
def test_folding_batch_statistics_into_convolutions_changes_no_logit(name):
    builder, make = SMALL[name]
    network, model = Network(builder, 10, 32, FLOAT32), make()
    randomise(model)
    variables = from_torch(model)
    images = random_images(4, 32)
    before = jax.tree.map(np.array, variables)
    apply, params = fold(network, variables)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    kept = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert not {path for path in kept if "bn" in path or "'mean'" in path}
    expected = jax.jit(network.apply)(variables, images)
    assert np.std(expected, axis=0).max() > 1000 * 2e-5, "logits that differ by far more than the tolerance"
    # Rounding grows with the logits.
    rounding = max(2e-5, 4e-6 * float(np.abs(expected).max()))
    np.testing.assert_allclose(jax.jit(apply)(params, images), expected, atol=rounding)
    low, same = fold(dataclasses.replace(network, dtype=BFLOAT16), variables)
    assert jax.tree.structure(same) == jax.tree.structure(params)
    rough = np.abs(jax.jit(low)(params, images) - expected).max() / np.abs(expected).max()
    assert 1e-4 < rough < 0.1


def test_training_mode_moves_the_batch_statistics_as_pytorch_does():
    network = build("resnet20", num_classes=10, image_size=16)
    model = torch_resnet("resnet20")
    randomise(model)
    images = random_images(4, 16)
    before = from_torch(model)

    counts = {}  # values a channel that each BatchNorm sees
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _, inputs, __, name=name: counts.update({name: inputs[0].numel() // inputs[0].shape[1]})
            )
    expected_logits = torch_logits(model.train(), images)
    after = from_torch(model)["batch_stats"]
    logits, batch_stats = train_on(network, before, images)

    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)
    for name, n in counts.items():
        old, ours, torchs = (at(stats, name) for stats in (before["batch_stats"], batch_stats, after))
        np.testing.assert_allclose(ours["mean"], torchs["mean"], atol=1e-5)
        # PyTorch keeps the unbiased variance, ours is the biased one.
        biased = (torchs["var"] - 0.9 * old["var"]) * (n - 1) / n
        np.testing.assert_allclose(ours["var"], 0.9 * old["var"] + biased, rtol=1e-4)


@pytest.mark.parametrize("builder", [SMALL_RESNET, SMALL_VIT], ids=["resnet", "vit"])
def test_bfloat16_is_computed_in_and_nothing_else(builder):
    exact, network = (Network(builder, 10, 16, dtype) for dtype in (FLOAT32, BFLOAT16))
    variables = exact.init(0)
    assert abstract_variables(network) == jax.eval_shape(lambda: variables)
    images = random_images(8, 16)
    expected = jax.jit(exact.apply)(variables, images)
    logits = jax.jit(network.apply)(variables, images)
    train_logits, batch_stats = train_on(network, variables, images)
    _, exact_stats = train_on(exact, variables, images)

    assert {a.dtype for a in jax.tree.leaves([variables, logits, train_logits, batch_stats])} == {FLOAT32}
    program = str(jax.make_jaxpr(network.apply)(variables, images))
    products = re.findall(r":(\w+)\[[\d,]*\] = (?:conv_general_dilated|dot_general|custom_jvp_call|erfc)\b", program)
    assert set(products) == {"bf16"}  # and so are ReLU and GELU
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 3e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2), batch_stats, exact_stats)
    # A mean over 8x16x16 values is within float32's reach, not bfloat16's (2^-9 = 2e-3).
    if batch_stats:
        bfloat16s = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(jnp.float32), batch_stats)
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), batch_stats, bfloat16s)))


# Initial variables


@pytest.mark.parametrize("name", ["resnet8", "vgg", "vit_micro_patch8"])
def test_initial_weights_are_distributed_as_pytorchs(name):
    if name in SMALL:
        network, model = Network(SMALL[name][0], 10, 32, FLOAT32), SMALL[name][1]()
    else:
        network, model = build(name, num_classes=10, image_size=32), torch_model(name, 32)[0]
    ours = network.init(0)

    def compare(path, ours, torchs):
        name = jax.tree_util.keystr(path)
        if torchs.std() == 0:
            np.testing.assert_array_equal(ours, torchs, err_msg=name)
        elif torchs.size >= 400:
            # Five standard errors, of the difference of two standard deviations and of a mean.
            assert abs(ours.std() / torchs.std() - 1) < 5 / math.sqrt(torchs.size), name
            assert abs(ours.mean()) < 5 * torchs.std() / math.sqrt(torchs.size), name

    jax.tree_util.tree_map_with_path(compare, ours, from_torch(model))


def test_initial_variables_are_drawn_with_the_keys_of_flaxs_own_streams():
    network, largest = Network(SMALL_RESNET, 10, 16, FLOAT32), 2**32 - 1
    key = jax.random.key(largest, impl="rbg")
    make = functools.partial(SMALL_RESNET, num_classes=10, image_size=16, dtype=FLOAT32, axis_name=AXIS)
    expected = jax.jit(lambda: network._variables(make(rngs=nnx.Rngs(key))))()
    jax.tree.map(np.testing.assert_array_equal, network.init(largest), expected)


def test_folded_networks_of_the_same_arguments_share_a_function_and_all_others_have_their_own():
    def folded(name="vit_nano_patch4", seed=0, **changes):
        network = build(name, num_classes=3, image_size=12)
        return fold(dataclasses.replace(network, **changes), network.init(seed))[0]

    apply = folded()
    assert folded(seed=1) is apply
    others = [
        folded("vit_nano_patch4_gap"),
        folded(dtype=BFLOAT16),
        folded(packed_frequencies=np.packbits(np.eye(12) > 0).tobytes()),
    ]
    assert len({apply, *others}) == 4


# Errors


def test_unknown_names_and_positions_that_are_no_square_are_refused():
    message = rf"^model.name: got 'resnet18_cifr'; expected one of {len(MODELS)} names, .* mean resnet18_cifar\?\)$"
    refused(message, build, "resnet18_cifr", num_classes=10, image_size=32)
    message = "^pos_embed: got 17 tokens; expected a square of patches, and 0 before them$"
    refused(message, interpolate_positions, np.zeros((1, 17, 6), np.float32), 4, 0)


@pytest.mark.parametrize(
    "name, size, message",
    [
        ("vit_micro_patch4", 0, "got 0; expected a multiple of the patch, 4 pixels"),
        ("vgg16_cifar", 31, "got 31; expected 32 or more for 5 pools of 2 x 2"),
    ],
)
def test_an_image_size_that_does_not_fit_the_network_is_refused(name, size, message):
    assert refused(message, build, name, num_classes=10, image_size=size) == f"data.image_size: {message}"


# What the tests above share


def torch_shallow(block):
    return torch_blocks.ResNet(block, [1, 1, 1, 1], num_classes=10)


def torch_small_vgg():
    """A small TorchVGG with the initial weights of torchvision's."""
    model = TorchVGG([8, "M", 16, "M"])
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            torch.nn.init.zeros_(module.bias)
    torch.nn.init.normal_(model.classifier.weight, 0, 0.01)
    torch.nn.init.zeros_(model.classifier.bias)
    return model


def our_count(name, num_classes, image_size):
    network = build(name, num_classes=num_classes, image_size=image_size)
    return sum(math.prod(a.shape) for a in jax.tree.leaves(abstract_variables(network)["params"]))


def torch_count(make):
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


def abstract_variables(network):
    return jax.eval_shape(lambda: network.init(0))


@torch.no_grad()
def torch_logits(model, images):
    """Logits computed in float64."""
    model.double()
    return model(torch.from_numpy(np.array(images, np.float64)).permute(0, 3, 1, 2)).numpy()


def at(tree, name):
    return functools.reduce(lambda node, part: node[part], name.split("."), tree)


def train_on(network, variables, images):
    """Logits and batch statistics of apply_train."""
    step = jax.pmap(network.apply_train, AXIS, in_axes=(None, 0), devices=jax.local_devices()[:1])
    return jax.tree.map(lambda a: a[0], step(variables, images[None]))
