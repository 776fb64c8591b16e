"""PyTorch modules as JAX functions: logits, gradients and messages against PyTorch itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

import fsjax
from benchmarks.parity.torch_models import randomise
from fsjax.models.callables import as_model
from fsjax.models.pytorch import graph
from tests.helpers.refused import refused

# Channels, height and width of the images: none even, none alike.
C, H, W = 3, 9, 7
IMAGES = torch.randn(4, C, H, W, generator=torch.Generator().manual_seed(0))


class Of(nn.Module):
    """A module that computes a function, flattened, as logits."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, images):
        return self.function(images, *self.parts).flatten(1)


def held(number, *shape):
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(number)))


class Held(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight = held(3, *shape)


def both(module, images=IMAGES):
    """Return PyTorch's logits and ours, of images that are not the example."""
    module.eval()
    model = fsjax.from_torch(module, torch.zeros_like(images))
    with torch.no_grad():
        expected = module(images.clone()).numpy()
    found = jax.jit(model.apply)(model.params, jnp.moveaxis(jnp.asarray(images.numpy()), 1, -1))
    return expected, np.asarray(found)


# One program of many operators compiles in the time of one: each list is a module whose logits are put side by side.
FUNCTIONS = {
    "of each number": [
        lambda x: x.abs().sqrt() + x.exp() - x.sin() * x.cos() + (x * x + 0.1).rsqrt(),
        lambda x: functional.gelu(x, approximate="tanh") + functional.silu(x),
        lambda x: functional.hardswish(x) + functional.hardsigmoid(x) + functional.hardtanh(x, -0.3, 0.8),
        lambda x: functional.elu(x, 0.7) + functional.leaky_relu(x, 0.2) + functional.mish(x) + functional.relu6(4 * x),
        lambda x: functional.softplus(x, 2.0, 1.5) + torch.erf(x) + torch.tanh(x) + torch.sigmoid(x) + x.clamp(min=-1),
        lambda x: torch.sub(x, x.flip(2), alpha=3) + torch.add(x, x.flip(3), alpha=2) + (2 - x) + 3 / (x * x + 1),
        lambda x: torch.where(x > 0.2, x, -x).masked_fill(x < -1, 5.0) + torch.maximum(x, x.roll(1, 2)) + x**3,
        lambda x: torch.div(x, 0.3, rounding_mode="floor") + torch.div(x, 0.3, rounding_mode="trunc") + x.round(),
        lambda x: (x.abs() + 1).log() + (x.abs() + 1).log2() + x.reciprocal().clamp(-2, 2) + x.sign() + x.floor(),
    ],
    "of shapes": [
        lambda x: x.permute(0, 2, 3, 1)[:, 1:-1:2, :, ::2].transpose(1, 2),
        lambda x: torch.cat([part * (k + 1) for k, part in enumerate(x.split([2, 4, 1], 3))], 3),
        lambda x: torch.stack([row - k for k, row in enumerate(x.unbind(2))], 1) + x.transpose(1, 2),
        lambda x: torch.cat(x.chunk(2, 2)[::-1], 2),
        lambda x: x.roll((2, -1), (2, 3)) + x.flip([2]).roll(3, 3),
        lambda x: functional.pad(x, (1, 2, 0, 2), value=0.5) + functional.pad(x, (2, 1, 1, 1), mode="reflect"),
        lambda x: functional.pad(x, (1, 1, 2, 0), mode="replicate").unsqueeze(1).expand(-1, 2, -1, -1, -1).squeeze(1),
        lambda x: functional.pixel_unshuffle(functional.pixel_shuffle(x.repeat(1, 3, 1, 1)[:, :4], 2), 2),
        lambda x: x[:, :, torch.arange(H).flip(0)][:, torch.tensor([2, 0])] + x[:, 1:, 0, 3][..., None, None],
        lambda x: x.flatten(2).gather(2, torch.arange(5).expand(x.shape[0], C, 5)) + x.select(3, -1)[:, :, :5],
        lambda x: x.cumsum(3).tril() + x.triu(1) + torch.ones(H, W) + torch.full((W,), 0.5) + torch.linspace(0, 1, W),
        lambda x: functional.fold(functional.unfold(x, 3, padding=1, stride=2), (H, W), 3, padding=1, stride=2),
        lambda x: x.index_put((torch.arange(len(x))[:, None], torch.tensor([[2, 0]])), x[:, :2].flip(2)),
        lambda x: functional.interpolate(x, size=(13, 5), mode="bilinear") + functional.interpolate(x, size=(13, 5)),
        lambda x: functional.interpolate(x, scale_factor=1.7, mode="bilinear", align_corners=True),
        lambda x: functional.interpolate(x, scale_factor=1.7, mode="bicubic"),
        lambda x: functional.interpolate(x, scale_factor=1.7),
    ],
    "of reductions": [
        lambda x: x.mean((2, 3)) + x.sum(3).mean(2) + x.amax((2, 3)) - x.amin(dim=(2, 3)),
        lambda x: x.max(3)[0].mean(2) + x.max(2, keepdim=True)[1].float().mean((2, 3)),
        lambda x: x.var((2, 3)) + x.var(3, unbiased=False).mean(2) + x.std(2).mean(2) + x.norm(dim=(2, 3)),
        lambda x: x.softmax(1) + x.log_softmax(2) + functional.normalize(x, dim=1),
        lambda x: functional.adaptive_avg_pool2d(x, (4, 3)) + functional.adaptive_avg_pool2d(x, 1),
        lambda x: functional.adaptive_max_pool2d(x, (4, 3)) + functional.adaptive_max_pool2d(x, 1),
        lambda x: functional.avg_pool2d(x, 3, 2, 1, True) + functional.avg_pool2d(x, 3, 2, 1, False, False),
        lambda x: functional.avg_pool2d(x, (4, 3), (3, 2), (2, 1), ceil_mode=True),
        lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: functional.max_pool2d(x, 2, 2, dilation=2),
        lambda x: functional.avg_pool3d(x, (2, 3, 2), 2, 1) + functional.local_response_norm(x, 2)[:, :2, :5, :4],
        lambda x: functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, (-1, C)),
        lambda x: x.argmax(2).float() + x.argmin(2) + x.min(2)[0] * x.cumprod(2)[:, :, 1] + x.prod(2),
        lambda x: functional.max_pool2d(x, (2, 3), (2, 1), (0, 1), dilation=(3, 1)),
    ],
    "with gradients": [
        lambda x: torch.fft.fft2(x, norm="ortho").abs() + torch.view_as_real(torch.fft.fft(x, dim=2)).sum(-1),
        lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * torch.polar(x.abs(), x)[..., :4].conj(), s=(H, W)),
        lambda x: torch.fft.fftshift(torch.complex(x, x.flip(2)), dim=2).angle() + torch.fft.irfft(x, W, 3, "forward"),
        lambda x: functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False),
        lambda x: functional.interpolate(x, size=(4, 11), mode="bilinear", antialias=True),
        lambda x: functional.interpolate(x, scale_factor=0.6, mode="bicubic", antialias=True),
        lambda x: x.topk(3, 2)[0] + x.sort(2, descending=True)[0][:, :, 1:4] + x.gather(2, x.argsort(2))[:, :, :3],
        lambda x: x.median(2)[0] + x.median(2)[1] + x.kthvalue(2, 2)[0] + x.quantile(0.3, 2),
        lambda x: torch.zeros_like(x).scatter_add(2, (x > 0).long(), x) + x.scatter(3, x.argmax(3, keepdim=True), 2.0),
        # Large numbers, and norms of zeros.
        lambda x: functional.gelu(x) + functional.gelu(4 * x) + functional.gelu(99 * x),
        lambda x: functional.softplus(99 * x) + functional.mish(99 * x) + functional.celu(99 * x, 0.7),
        lambda x: functional.normalize(x.relu(), dim=1) + (0 * x).std(2, keepdim=True),
        lambda x: torch.atan2(x, x.flip(2)) + torch.hypot(x, x.flip(3)) + x.erfc() + torch.asinh(x),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_operators_are_pytorchs(kind):
    functions = FUNCTIONS[kind]
    module = Of(lambda x: torch.cat([function(x).flatten(1) for function in functions], 1))
    if kind == "with gradients":
        assert_gradients_are_pytorchs(module)
    else:
        expected, found = both(module)
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=2e-5)


def assert_gradients_are_pytorchs(module):
    """Compare logits, and gradients of a sum that weighs every logit, with PyTorch's in float64."""
    images = IMAGES.double().requires_grad_()
    with torch.no_grad():
        model = fsjax.from_torch(module.eval(), torch.zeros_like(IMAGES))
    expected = module.double()(images)
    weights = torch.linspace(1, 2, expected.shape[1])
    (expected * weights).sum().backward()

    def weighed(images):
        logits = model(images)
        return (logits * weights.numpy()).sum(), logits

    slopes, logits = jax.jit(jax.grad(weighed, has_aux=True))(np.moveaxis(IMAGES.numpy(), 1, -1))
    np.testing.assert_allclose(logits, expected.detach(), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(np.moveaxis(slopes, -1, 1), images.grad, atol=1e-3, rtol=1e-3)


def test_layers_are_pytorchs():
    layers = [
        nn.Conv2d(C, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=3),
        nn.Conv2d(C, 4, 3, padding="same", padding_mode="zeros", bias=False),
        nn.ConvTranspose2d(C, 6, (3, 2), (2, 3), (1, 0), (1, 2), groups=3),
        nn.ConvTranspose2d(C, 5, 4, 2, 1, dilation=2, bias=False),
        nn.GroupNorm(3, C),
        nn.InstanceNorm2d(C, affine=True),
        nn.LayerNorm((H, W)),
        nn.PReLU(C),
        nn.Linear(W, 5),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(C, 4, 5, 2, 2)),
        nn.Sequential(nn.Unflatten(1, (1, C)), nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.ConvTranspose3d(2, 2, 2)),
    ]
    for number, layer in enumerate(layers):
        for parameter in layer.parameters():
            parameter.data = held(number, *parameter.shape).data
    attention = nn.MultiheadAttention(W, 1, batch_first=True)
    # Of 27 steps: PyTorch's own graph of the first has 2,300 operators.
    recurrent = [
        nn.LSTM(W, 4, batch_first=True, bidirectional=True, proj_size=2),
        nn.GRU(W, 3, 2, bias=False, batch_first=True),
        nn.RNN(W, 3, batch_first=True, nonlinearity="relu"),
    ]

    def function(x, *layers):
        *alone, lstm, gru, rnn, attend, table = layers
        rows = x.flatten(1, 2)
        outputs = [lstm(rows)[0], lstm(rows)[1][1].transpose(0, 1), gru(rows)[0], rnn(rows)[0]]
        outputs += [layer(x) for layer in alone] + [attend(rows, rows, rows)[0]]
        outputs.append(functional.scaled_dot_product_attention(rows, rows.flip(1), rows, is_causal=True))
        outputs.append(functional.scaled_dot_product_attention(rows, rows, rows, table.weight, scale=0.3))
        return torch.cat([output.flatten(1) for output in outputs], 1)

    expected, found = both(Of(function, *layers, *recurrent, attention, Held(C * H, C * H)))
    np.testing.assert_allclose(found, expected, atol=3e-5, rtol=3e-5)


def randomised(module):
    randomise(module)
    return module.eval()


def mobilenet():
    """torchvision's MobileNetV3 small, of its first four blocks: each kind of block that it has."""
    blocks, _ = torchvision.models.mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small")
    return torchvision.models.MobileNetV3(blocks[:4], 64, num_classes=10)


# One block a stage; benchmarks/parity has networks of their full depth.
ARCHITECTURES = {
    "torchvision mobilenet_v3_small": (mobilenet, 64),
    "in place, torchvision Normalize": (
        lambda: nn.Sequential(
            nn.LeakyReLU(0.1, inplace=True),
            torchvision.transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.1)),
            nn.Flatten(),
        ),
        4,
    ),
    "torchvision swin_t": (
        lambda: torchvision.models.SwinTransformer([4, 4], 24, [1, 2], [1, 2], [4, 4], num_classes=10),
        32,
    ),
    "timm resnetblur18": (lambda: timm.create_model("resnetblur18", layers=[1, 1, 1, 1], num_classes=10), 48),
    "timm vit_tiny_patch16_224, registers": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=48, depth=1, reg_tokens=2, num_classes=10),
        48,
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_have_pytorchs_logits(name):
    make, size = ARCHITECTURES[name]
    module = randomised(make())
    expected, found = both(module, torch.randn(2, 3, size, size))
    assert expected.std() > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(C, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.shared = nn.Conv2d(4, 4, 1)
        self.norm, self.out = nn.BatchNorm2d(4, affine=False), nn.Linear(4, 3)

    def forward(self, images):
        x = self.first(images)
        y = self.shared(x)
        return self.out((self.norm(y) + y).mean((2, 3)))


def test_batch_norm_is_folded_only_behind_its_own_convolution_and_a_module_as_it_stands_has_pytorchs_gradients():
    module, images = randomised(Small()), IMAGES.clone().requires_grad_()
    assert [step.operator for step in graph.export_graph(module, IMAGES).steps].count("folded") == 1
    expected = module(images)
    expected.logsumexp(1).sum().backward()
    ours = np.moveaxis(IMAGES.numpy(), 1, -1)
    model = as_model(module, ours, 3)
    np.testing.assert_allclose(model(ours), expected.detach(), atol=1e-6)
    found = jax.grad(lambda x: jax.nn.logsumexp(model(x), axis=1).sum())(jnp.asarray(ours))
    np.testing.assert_allclose(np.moveaxis(np.asarray(found), -1, 1), images.grad.numpy(), atol=1e-6)


ALONE = "got other logits for an image alone than beside another, by .*; expected .*BatchNorm with running statistics"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda x: x, "got function; expected a torch.nn.Module"),
        (nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), r"got a module in training mode; expected module.eval\(\)"),
        (nn.Linear(7, 2).half(), r"got a module in float16; expected float32: module.float\(\)"),
        (nn.Linear(7, 2).double(), r"got a module in float64; expected float32: module.float\(\)"),
        (nn.Linear(7, 2).to("meta"), r"got a module on another device; expected module.cpu\(\)"),
        (torch.jit.ScriptModule(), "got a scripted module; expected the module before torch.jit"),
        (torch.ao.nn.quantized.QFunctional(), "got a quantised module; expected the module before quantisation"),
        (nn.Sequential(nn.BatchNorm2d(C, track_running_stats=False), nn.Flatten()), ALONE),
        (Of(lambda x: functional.dropout(x, 0.5, training=True)), ALONE),
        (Of(lambda x: x if (0 * x).sum() == 0 else -x), "torch.export .*does not branch on their values .torch.where"),
        (Of(lambda x: torch.linalg.svdvals(x)), r"uses aten._linalg_svd.default; expected .*write it with others"),
        (Of(lambda x: functional.max_pool2d(x, 2, return_indices=True)[1]), "uses the indices of aten.max_pool2d"),
        (Of(lambda x: x.scatter(1, x.argmax(1, keepdim=True), x, reduce="add")), "got TypeError from JAX .*with oth"),
        (Of(lambda x: x.log()), "got logits that are not finite for images of noise"),
        (nn.Identity(), r"got an output of shape \[2, 3, 9, 7\]; expected logits \[2, K\]"),
        (Of(lambda x: x.view(1, -1)), r"got an output of shape \[1, 378\]; expected logits"),
        (nn.Linear(3, 2), "got RuntimeError for images .*; expected a module of images .n, C, H, W. for any n"),
        (nn.LSTM(7, 2), "got RuntimeError for images|got ValueError for images"),
        (nn.MaxPool2d(2, return_indices=True), "got 2 outputs; expected one, the logits .*: wrap the module"),
    ],
)
def test_what_cannot_be_converted_is_one_line(module, message):
    if isinstance(module, nn.Module) and "eval" not in message:
        module.eval()
    assert len(refused(f"^from_torch: .*({message})", fsjax.from_torch, module, IMAGES)) < 500


def test_arithmetic_that_is_not_pytorchs_is_refused(monkeypatch):
    """Also where it would not show in an example of zeros, or beside an offset of all logits."""
    convolution = graph.OPERATORS["convolution"]
    monkeypatch.setitem(graph.OPERATORS, "convolution", lambda x, *others: convolution(x[..., ::-1], *others))
    module = nn.Sequential(randomised(Small()), Of(lambda x: x + 1e4)).eval()
    message = r"got logits that differ from PyTorch's by [\d.]+, where they vary by [\d.]+; expected the same: comp"
    refused(message, fsjax.from_torch, module, torch.zeros_like(IMAGES))
