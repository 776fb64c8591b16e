"""Convolutions of every shape, and their gradients, against PyTorch's in float64; channels last on a CPU."""

import collections
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from jax import lax

import fsjax
from fsjax.models.callables import as_model
from fsjax.models.channels_last import channels_last_on_cpu
from fsjax.models.convolution import conv_general_dilated
from fsjax.models.layers import conv, max_pool

CHANNELS = 4
# kernel, stride, dilation, padding, groups, outputs of each group: a third of all combinations, and three others
KERNELS, STRIDES, DILATIONS, PADDINGS = ((1, 1), (3, 3), (2, 3)), ((1, 1), (2, 3)), ((1, 1), (2, 1)), ((0, 0), (2, 3))
CASES = [
    *list(itertools.product(KERNELS, STRIDES, DILATIONS, PADDINGS, (1, CHANNELS), (1, 2)))[::3],
    ((3, 3), (1, 1), (1, 1), (1, 1), 2, 2),
    ((3, 3), (2, 2), (1, 1), (0, 1), 1, 5),
    ((7, 4), (2, 1), (1, 1), (3, 2), CHANNELS, 1),
]
SIZES = [(2, 2, 2), (40, 2, 2), (2, 9, 8)]  # images, height, width


def ours(images, kernel, case, convolve=conv_general_dilated):
    _, stride, dilation, padding, groups, _ = case
    around, numbers = [(pad, pad) for pad in padding], ("NHWC", "HWIO", "NHWC")
    return convolve(images, kernel, stride, around, None, dilation, numbers, feature_group_count=groups)


def oracle(images, kernel, case):
    """Return PyTorch's convolution in float64 and the gradients of its sum of squares."""
    _, stride, dilation, padding, groups, _ = case
    x = torch.tensor(np.moveaxis(images, -1, 1).copy(), dtype=torch.float64, requires_grad=True)
    w = torch.tensor(np.transpose(kernel, (3, 2, 0, 1)).copy(), dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w, None, stride, padding, dilation, groups)
    (y**2).sum().backward()
    return y.detach().permute(0, 2, 3, 1), x.grad.permute(0, 2, 3, 1), w.grad.permute(2, 3, 1, 0)


def drawn(case, size):
    rng, (kernel, *_, groups, outputs) = np.random.default_rng(0), case
    images = rng.normal(size=(*size, CHANNELS)).astype(np.float32)
    shape = (*kernel, CHANNELS // groups, outputs * groups)
    return images, rng.normal(size=shape).astype(np.float32)


def fits(case, size):
    kernel, _, dilation, padding, *_ = case
    return all(d * (k - 1) < n + 2 * p for k, d, p, n in zip(kernel, dilation, padding, size[1:], strict=True))


def operations(function, arrays, platform):
    """Return how often each operation stands in the program for a platform."""
    text = jax.jit(function).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
    return collections.Counter(re.findall(r"= \"?(stablehlo\.\w+)", text))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_convolutions_and_their_gradients_are_pytorchs(size):
    cases = [case for case in CASES if fits(case, size)]
    inputs = [drawn(case, size) for case in cases]

    @jax.jit
    def everything(inputs):
        def squares(arrays, case):
            return (ours(*arrays, case) ** 2).sum()

        pairs = zip(inputs, cases, strict=True)
        return [(ours(*arrays, case), *jax.grad(squares)(arrays, case)) for arrays, case in pairs]

    for case, arrays, found in zip(cases, inputs, everything(inputs), strict=True):
        for value, expected in zip(found, oracle(*arrays, case), strict=True):
            np.testing.assert_allclose(value, expected, atol=3e-6 * float(expected.abs().max()), err_msg=str(case))


def test_other_layouts_and_dimensions_and_groups_of_images():
    rng = np.random.default_rng(1)
    line, kernel = rng.normal(size=(2, 4, 7)).astype(np.float32), rng.normal(size=(4, 1, 3)).astype(np.float32)
    volume, cube = rng.normal(size=(2, 3, 3, 3, 4)).astype(np.float32), rng.normal(size=(3, 3, 3, 4, 5))
    for lhs, rhs, *arguments in (
        (line, kernel, (2,), [(1, -2)], None, None, None, 4),
        (line, kernel, (1,), [(0, 0)], (2,), None, None, 4),
        (volume, cube.astype(np.float32), (1,) * 3, [(0, 0)] * 3, None, None, ("NDHWC", "DHWIO", "NDHWC")),
        (line[..., :3], np.tile(kernel[:2], (1, 4, 1)), (1,), [(0, 0)], None, None, None, 1, 2),
        (line.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), (1,), [(0, 0)], None, None, None, 4),
    ):
        lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
        np.testing.assert_allclose(
            conv_general_dilated(lhs, rhs, *arguments).astype(float),
            lax.conv_general_dilated(lhs, rhs, *arguments).astype(float),
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "groups", "on_cpu"),
    [
        ((3, 3), (1, 1), (2, 9, 8), 1, 1),
        ((4, 4), (4, 4), (2, 8, 8), 1, 0),
        ((3, 3), (1, 1), (2, 2, 2), 1, 0),
        ((3, 3), (1, 1), (2, 9, 8), CHANNELS, 0),
        ((1, 1), (1, 1), (2, 9, 8), 1, 0),
    ],
    ids=["dense", "patches side by side", "few positions", "depthwise", "pointwise"],
)
def test_a_cpu_leaves_xlas_own_where_it_is_slow_and_other_platforms_never_do(kernel, stride, size, groups, on_cpu):
    case = (kernel, stride, (1, 1), (kernel[0] // 2, kernel[1] // 2), groups, CHANNELS)
    arrays = drawn(case, size)
    forms = {1: lambda *arrays: ours(*arrays, case), 2: jax.grad(lambda *arrays: ours(*arrays, case).sum(), (0, 1))}
    for own, function in forms.items():
        found = operations(function, arrays, "cpu")
        assert found["stablehlo.convolution"] == own * on_cpu
        found = operations(function, arrays, "tpu")
        assert found["stablehlo.convolution"] == own and not found["stablehlo.dot_general"] + found["stablehlo.slice"]


def test_layers_modules_of_pytorch_and_callables_choose_alike():
    """On 2 x 2 pixels, no way in leaves a convolution of XLA."""
    images, kernel = jnp.ones((2, 2, 2, 3)), jnp.ones((3, 3, 3, 4))
    layer = conv(3, 4, 3, 1, rngs=nnx.Rngs(0))
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten()).eval()
    converted = fsjax.from_torch(module, torch.zeros(1, 3, 2, 2))

    def foreign(images):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=numbers).sum((1, 2))

    lifted = as_model(foreign, np.asarray(images), 4)
    for model in (converted, lifted):
        assert operations(model.apply, [model.params, images], "cpu")["stablehlo.dot_general"] == 1
        assert operations(model.apply, [model.params, images], "cpu")["stablehlo.convolution"] == 0
    assert operations(layer, [images], "cpu")["stablehlo.convolution"] == 0


def test_pools_and_their_gradients_are_pytorchs_with_ties_and_nan():
    images = np.random.default_rng(0).integers(0, 3, (2, 7, 6, 3)).astype(np.float32)
    x = torch.tensor(np.moveaxis(images, -1, 1).copy(), requires_grad=True)
    y = torch.nn.functional.max_pool2d(x, 3, 2, 1)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (y * weights).sum().backward()
    found, pull_back = jax.vjp(lambda images: max_pool(images, 3, 2, 1), jnp.asarray(images))
    np.testing.assert_array_equal(found, y.detach().permute(0, 2, 3, 1))
    (gradient,) = pull_back(jnp.asarray(weights.numpy()).transpose(0, 2, 3, 1))
    np.testing.assert_allclose(gradient, x.grad.permute(0, 2, 3, 1), atol=1e-6)
    images[0, 3, 3, 1] = np.nan
    pooled = torch.nn.functional.max_pool2d(torch.tensor(np.moveaxis(images, -1, 1).copy()), 3, 2, 1)
    np.testing.assert_array_equal(max_pool(jnp.asarray(images), 3, 2, 1), pooled.permute(0, 2, 3, 1))


# Channels last


def test_images_stay_as_they_are_on_a_cpu():
    between = torch.nn.ReLU(), torch.nn.GELU(), torch.nn.MaxPool2d(3)
    layers = torch.nn.Conv2d(3, 8, 3, 2, 1), *between, torch.nn.Conv2d(8, 8, 3, groups=8)
    images = torch.zeros(1, 3, 18, 20)
    model = fsjax.from_torch(torch.nn.Sequential(*layers, torch.nn.Flatten()).eval(), images)
    arrays = [model.params, jnp.zeros((3, 18, 20, 3))]
    transposes = {name: operations(model.apply, arrays, name)["stablehlo.transpose"] for name in ("cpu", "tpu")}
    assert transposes["cpu"] == 1, "flattened features have channels first"
    assert transposes["tpu"] > 1


def test_every_order_of_axes_gives_the_same_numbers():
    """Operations that need a number's place, of arrays whose axes were permuted before."""
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3, 4, 5), (5, 3, 1, 2)))

    def function(a, b):
        a, b = a.transpose(2, 0, 3, 1), b.transpose(2, 3, 0, 1)  # 4 2 5 3 and 1 2 5 3
        c = jnp.concatenate([a, b, 2.0 - b], 0)[1:, :, ::2]  # 5 2 3 3
        c = jnp.where(c > 0, c, jnp.cumsum(c, 2)) + jnp.flip(c, 3).swapaxes(2, 3)
        c = jnp.pad(c, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=3).squeeze()
        d = c.reshape(c.shape[0], -1, 5).max(1) @ jnp.ones((5, 2)) + c.sum((1, 3)).argmax()
        return jax.nn.relu(jnp.sort(d, 0)) + jnp.sum(jax.nn.relu(c).transpose(3, 1, 0, 2)[0, :1, :, :2] ** 2, 0)

    for jitted in (False, True):
        found = channels_last_on_cpu(function)
        np.testing.assert_allclose((jax.jit(found) if jitted else found)(a, b), function(a, b), rtol=1e-5)
