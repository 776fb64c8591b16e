"""Copies that are trained on beside the images: a step against PyTorch, with BatchNorms for copies and without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from benchmarks.common.resident_step import random_batch
from benchmarks.ways import rivals
from fsjax import data, models
from fsjax.models import MODELS, Network
from fsjax.models.layers import BatchNorm, conv, linear
from fsjax.runtime import parallel
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.training import setup, state, step, ways
from fsjax.training.ways.way import Copies
from tests.helpers.linear_classifier import MEAN_STD
from tests.helpers.processes import stopped
from tests.helpers.small_run import assert_same_bits, small_config, train

RATE, MOMENTUM, DECAY = 0.5, 0.9, 0.01


class SmallCnn(nnx.Module):
    """A network with BatchNorm that compiles in a moment."""

    def __init__(self, *, num_classes, image_size, dtype, axis_name, rngs):
        del image_size
        self.conv = conv(3, 4, 3, 1, dtype=dtype, rngs=rngs)
        self.inside = nnx.Dict({"bn": BatchNorm(4, dtype=dtype, axis_name=axis_name, rngs=rngs)})
        self.fc = linear(4, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, x, *, train):
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
    """The same in float64, of normalised images [n, S, S, 3]; `own` takes the BatchNorm for copies."""

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


def against_gradient(keys, labels, images, gradient):
    return (images + 0.1 * jnp.sign(gradient(images)),)


def darker(keys, labels, images, gradient):
    return 0.5 * images, 0.25 * images - 0.3


def brighter(keys, labels, images):
    return images + 0.4


OWN, SHARED = Copies(against_gradient, auxiliary=True), Copies(darker)


def steps_of_ours(changes, devices, smoothing, count=2):
    """Loss and arrays after steps on the same batch, on several devices."""
    network = Network(SmallCnn, 4, 8, jnp.dtype("float32"))
    optimizer = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE, MOMENTUM))
    variables = network.init(0)
    update = step.Update(network, optimizer, lambda _, images: images, MEAN_STD, 0, changes, smoothing)
    update = jax.pmap(update, axis_name=parallel.AXIS, in_axes=(0, 0, None), devices=jax.local_devices()[:devices])
    fresh = state.create(variables, optimizer, auxiliary=OWN in changes)
    replicas = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (devices, *np.shape(leaf))), fresh)
    batch = {name: value.reshape(devices, -1, *value.shape[1:]) for name, value in random_batch(16, 8, 4).items()}
    losses = []
    for _ in range(count):
        replicas, values = update(replicas, batch, 1.0)
        losses.append(float(values["loss"][0]))
    for leaf in jax.tree.leaves(replicas):
        np.testing.assert_array_equal(np.asarray(leaf), np.broadcast_to(leaf[:1], leaf.shape), "replicas are equal")
    return variables, losses, jax.tree.map(lambda leaf: np.asarray(leaf)[0], replicas)


def steps_of_torch(variables, changes, smoothing, count=2):
    """The same in PyTorch."""
    network, batch = TorchCnn(variables), random_batch(16, 8, 4)
    optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    images, labels = torch.tensor(np.asarray(normalised(batch), float)), torch.tensor(batch["label"].astype(int))
    loss_of = functools.partial(torch.nn.functional.cross_entropy, label_smoothing=smoothing)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        x, copies = images, []
        for way in changes:
            if way is brighter:
                x = x + 0.4
            elif way is OWN:
                probe = TorchCnn(variables)
                probe.load_state_dict(network.state_dict())  # it leaves the statistics as they are
                moving = x.clone().requires_grad_()
                (slopes,) = torch.autograd.grad(loss_of(probe(moving), labels), moving)
                copies.append((x + 0.1 * slopes.sign(), True))
            else:
                copies += [(0.5 * x, False), (0.25 * x - 0.3, False)]
        logits = [network(x), *(network(copy, own) for copy, own in copies)]
        loss = torch.stack([loss_of(value, labels) for value in logits]).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, network.variables()


@pytest.mark.parametrize(("changes", "smoothing"), [((SHARED,), 0.2), ((OWN, brighter, SHARED), 0.0)])
def test_a_step_with_copies_is_pytorchs(changes, smoothing):
    variables, losses, ours = steps_of_ours(changes, 2, smoothing)
    expected_losses, (network, own) = steps_of_torch(variables, changes, smoothing)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, ours.variables, network)
    if OWN in changes:
        jax.tree.map(close, ours.auxiliary.variables, own)
    else:
        assert ours.auxiliary is None


def test_copies_of_a_network_without_batchnorm_share_its_parameters():
    network, optimizer = models.build("vit_nano_patch8", num_classes=4, image_size=24), optax.sgd(0.1)
    assert state.create(network.init(0), optimizer, auxiliary=True).auxiliary is None


def test_a_training_with_batchnorms_for_copies_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "small_cnn", SmallCnn)
    fields = {"model__name": "small_cnn", "train__ways": "amplitude_swap,afa", "train__precision": "bfloat16"}
    config = small_config(train__evaluators="", **fields)
    monkeypatch.setattr(ways, "WAYS", dict(ways.WAYS))
    rivals.add(config.train)
    whole = train(config, tmp_path / "whole")
    with stopped():
        train(config, tmp_path / "stopped")
    assert Checkpoints(tmp_path / "stopped" / "checkpoints").newest() == 2
    assert_same_bits(train(config, tmp_path / "stopped"), whole)
    resumed, straight = (resumed_arrays(config, tmp_path / name) for name in ("stopped", "whole"))
    jax.tree.map(np.testing.assert_array_equal, resumed, straight)
    own, network = straight.auxiliary.variables, straight.variables
    for group, name in (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var")):
        assert (own[group]["inside"]["bn"][name] != network[group]["inside"]["bn"][name]).all()


def resumed_arrays(config, directory):
    """The state of the newest checkpoint."""
    images = data.load(config.data, "train", config.seed)
    built = setup.build(config, images, MEAN_STD, directory)
    return state.unreplicate(setup.restore(built, Checkpoints(directory / "checkpoints")).replicas)
