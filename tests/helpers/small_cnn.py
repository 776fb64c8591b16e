"""A network with BatchNorm that compiles in a moment, and the same in PyTorch, with BatchNorms for copies."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from fsjax.models.layers import BatchNorm, conv, linear

MEAN_STD = (np.array([0.5, 0.4, 0.6]), np.array([0.2, 0.3, 0.25]))


class SmallCnn(nnx.Module):
    def __init__(self, *, num_classes, image_size, dtype, axis_name, rngs):
        del image_size
        self.conv = conv(3, 4, 3, 1, dtype=dtype, rngs=rngs)
        self.inside = nnx.Dict({"bn": BatchNorm(4, dtype=dtype, axis_name=axis_name, rngs=rngs)})
        self.fc = linear(4, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, x, *, train, keys=None):
        x = nnx.relu(self.inside["bn"](self.conv(x), train=train))
        return self.fc(x.mean((1, 2)))


class TorchBatchNorm(torch.nn.BatchNorm2d):
    """Keeps the biased variance, as ours does."""

    def forward(self, x):
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        with torch.no_grad():
            self.running_mean.mul_(0.9).add_(0.1 * mean)
            self.running_var.mul_(0.9).add_(0.1 * var)
        columns = (value[None, :, None, None] for value in (mean, var + 1e-5, self.weight, self.bias))
        mean, var, weight, bias = columns
        return (x - mean) / var.sqrt() * weight + bias


class TorchCnn(torch.nn.Module):
    """In float64, of normalised images [n, S, S, 3]; `own` takes the BatchNorm for copies."""

    def __init__(self, variables):
        super().__init__()
        params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf, np.float64)), variables["params"])
        self.conv, self.fc = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, params["fc"]["bias"].shape[0])
        self.bn = torch.nn.ModuleList([TorchBatchNorm(4), TorchBatchNorm(4)])
        self.double()
        with torch.no_grad():
            self.conv.weight.copy_(params["conv"]["kernel"].permute(3, 2, 0, 1))
            self.conv.bias.copy_(params["conv"]["bias"])
            self.fc.weight.copy_(params["fc"]["kernel"].T)
            self.fc.bias.copy_(params["fc"]["bias"])

    def forward(self, images, own=False):
        x = torch.relu(self.bn[int(own)](self.conv(images.permute(0, 3, 1, 2))))
        return self.fc(x.mean((2, 3)))

    def variables(self):
        """The arrays by the names of SmallCnn, and those of the BatchNorm for copies."""

        def of(bn):
            affine, stats = {"scale": bn.weight, "bias": bn.bias}, {"mean": bn.running_mean, "var": bn.running_var}
            return {"params": {"inside": {"bn": affine}}, "batch_stats": {"inside": {"bn": stats}}}

        network, own = of(self.bn[0]), of(self.bn[1])
        network["params"] |= {
            "conv": {"kernel": self.conv.weight.permute(2, 3, 1, 0), "bias": self.conv.bias},
            "fc": {"kernel": self.fc.weight.T, "bias": self.fc.bias},
        }
        return jax.tree.map(lambda value: value.detach().numpy().copy(), (network, own))


def normalised(batch):
    return (jnp.asarray(batch["image"], jnp.float32) / 255 - MEAN_STD[0]) / MEAN_STD[1]
