"""Functions of images with channels first, computed with channels last on a CPU, against PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fsjax
from fsjax.models.channels_last import channels_last_on_cpu
from tests.helpers.lowered import operations


class Branches(torch.nn.Module):
    """Convolutions, pools, padding, a cut, branches side by side and a gate for each channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.left = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.Conv2d(8, 4, (1, 3), padding=(0, 1))
        self.right, self.up = torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.ConvTranspose2d(12, 5, 2, 2)
        self.norm, self.gate = torch.nn.GroupNorm(2, 12), torch.nn.Conv2d(12, 12, 1)
        self.head = torch.nn.Linear(5, 4)

    def forward(self, images):
        function = torch.nn.functional
        x = function.relu(self.stem(images))
        x = function.max_pool2d(x, 3, 2, 1) + function.avg_pool2d(x, (3, 2), 2, (1, 0)) ** 2
        right = self.right(function.pad(x, (1, 1, 2, 0)))[:, :, : x.shape[2]]
        x = torch.cat([self.left(x), function.hardtanh(right)], 1)
        x = self.norm(x) * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(self.up(x).permute(0, 2, 3, 1)).amax((1, 2))


def test_a_module_and_its_gradients_are_pytorchs_and_images_stay_as_they_are():
    torch.manual_seed(0)
    module, images = Branches().eval(), torch.randn(3, 3, 18, 20)
    model = fsjax.from_torch(module, images)
    ours = jnp.asarray(images.numpy().transpose(0, 2, 3, 1))
    module, images = module.double(), images.double().requires_grad_()
    expected = module(images)
    (expected**2).sum().backward()

    def loss(images):
        logits = model.apply(model.params, images)
        return (logits**2).sum(), logits

    gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(ours)
    np.testing.assert_allclose(logits, expected.detach(), atol=1e-5)
    np.testing.assert_allclose(gradient, images.grad.permute(0, 2, 3, 1), atol=1e-5)

    plain = torch.nn.Sequential(module.stem, torch.nn.ReLU(), torch.nn.MaxPool2d(3), module.right, torch.nn.Flatten())
    model = fsjax.from_torch(plain.float().eval(), images[:1].detach())
    transposes = {
        platform: operations(model.apply, [model.params, ours], platform)["stablehlo.transpose"]
        for platform in ("cpu", "tpu")
    }
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
        return jnp.sort(d, 0) + jnp.sum(c.transpose(3, 1, 0, 2)[0, :1, :, :2] ** 2, 0)

    for jitted in (False, True):
        found = channels_last_on_cpu(function)
        np.testing.assert_allclose((jax.jit(found) if jitted else found)(a, b), function(a, b), rtol=1e-5)
