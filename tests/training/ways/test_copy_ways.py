"""AFA and amplitude dropout against the published arithmetic, transcribed in PyTorch in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.stats import chisquare, expon, kstest

from benchmarks.ways import afa, amplitude_dropout
from fsjax.data.augment import image_keys
from fsjax.runtime import parallel
from fsjax.runtime.random_streams import Stream
from tests.helpers.linear_classifier import MEAN_STD

SIZE = 8


def with_waves(pixels, mean_strength, indices=None):
    """Pixels of the copies by AFA."""
    indices = jnp.arange(len(pixels)) if indices is None else jnp.asarray(indices)
    keys = image_keys(0, jnp.zeros(len(pixels), int), indices)
    images = jnp.asarray((pixels - MEAN_STD[0]) / MEAN_STD[1], jnp.float32)
    way = afa.make_afa(pixels.shape[1], mean_strength, MEAN_STD)
    assert way.auxiliary
    (made,) = jax.jit(lambda *args: way.make(*args, lambda images: images))(keys, np.zeros(len(pixels), int), images)
    return np.asarray(made, float) * MEAN_STD[1] + MEAN_STD[0]


def published_waves(size):
    """Of each whole frequency and each direction, with norm size/32: [frequencies, directions, size, size]."""
    axis = torch.linspace(-size / 2, size / 2, size, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    directions = -math.pi * torch.linspace(0, 1, 448, dtype=torch.float64)[None, :, None, None]
    frequencies = torch.arange(1, size + 1, dtype=torch.float64)[:, None, None, None] / size
    angle = 2 * math.pi * frequencies * (rows * torch.cos(directions) + columns * torch.sin(directions))
    waves = torch.sin(angle - math.pi / 4)
    return (size / 32 * waves / torch.linalg.norm(waves, dim=(2, 3), keepdim=True)).numpy()


def test_a_copy_is_its_image_with_a_published_wave_on_each_channel():
    waves = published_waves(SIZE)
    flat = waves.reshape(-1, SIZE * SIZE) / (SIZE / 32)
    added = with_waves(np.full((200, SIZE, SIZE, 3), 0.5), 0.02) - 0.5
    added = added.transpose(0, 3, 1, 2).reshape(-1, SIZE * SIZE)
    along = added @ flat.T
    best = along.argmax(1)
    strengths = along.max(1) / (SIZE / 32)
    np.testing.assert_allclose(added, along.max(1)[:, None] * flat[best], atol=1e-6)
    assert kstest(strengths, expon(scale=0.02).cdf).pvalue > 1e-3
    frequencies, directions = np.divmod(best, 448)
    assert chisquare(np.bincount(frequencies, minlength=SIZE)).pvalue > 1e-3
    assert chisquare(np.histogram(directions, 8, (0, 448))[0]).pvalue > 1e-3
    assert np.abs(np.corrcoef(frequencies.reshape(-1, 3).T) - np.eye(3)).max() < 0.25, "each channel has its own"


def test_pixels_are_clamped_after_the_wave_which_follows_from_the_images_key():
    pixels = np.random.default_rng(0).random((40, SIZE, SIZE, 3))
    added = with_waves(np.full_like(pixels, 0.5), 0.01) - 0.5
    strong = with_waves(pixels, 10.0)
    np.testing.assert_allclose(strong, np.clip(pixels + 1000 * added, 0, 1), atol=2e-3)
    assert (strong == 0).mean() + (np.abs(strong - 1) < 1e-6).mean() > 0.1
    np.testing.assert_allclose(with_waves(pixels[[4, 1]], 10.0, indices=[4, 1]), strong[[4, 1]], atol=1e-6)


# Amplitude dropout


CLASSES, COUNT = 5, 8
KEYS = image_keys(0, jnp.zeros(COUNT, int), jnp.arange(COUNT))


def case(height=6, width=5):
    """Pixels, labels, and the weights of a network of two layers."""
    rng = np.random.default_rng(0)
    pixels = rng.random((COUNT, height, width, 3))
    weights = [rng.normal(size=(height * width * 3, 16)), rng.normal(size=(16, CLASSES))]
    return pixels, rng.integers(0, CLASSES, COUNT), weights


def ours(pixels, labels, weights, threshold, devices=1):
    """Pixels of both copies."""
    images = ((pixels - MEAN_STD[0]) / MEAN_STD[1]).astype(np.float32)
    way = amplitude_dropout.make_amplitude_dropout(threshold, MEAN_STD)
    assert not way.auxiliary
    inside, outside = (jnp.asarray(value, jnp.float32) for value in weights)

    def copies(keys, labels, images):
        def loss(images):
            logits = jnp.tanh(images.reshape(len(images), -1) @ inside) @ outside
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

        return jnp.stack(way.make(keys, labels, images, jax.grad(loss)))

    split = [value.reshape(devices, -1, *value.shape[1:]) for value in (KEYS, labels, images)]
    made = np.asarray(jax.jit(jax.vmap(copies, axis_name=parallel.AXIS))(*split), float)
    return made.swapaxes(0, 1).reshape(2, *images.shape) * MEAN_STD[1] + MEAN_STD[0]


def published(pixels, labels, weights, threshold):
    """The same, with the uniform draws of ours."""
    mean, std = (torch.tensor(value) for value in MEAN_STD)
    spectra = torch.fft.fft2(torch.tensor(pixels), dim=(1, 2))
    amplitudes, phases = torch.abs(spectra).requires_grad_(), torch.angle(spectra)
    images = (torch.abs(torch.fft.ifft2(amplitudes * torch.exp(1j * phases), dim=(1, 2))) - mean) / std
    inside, outside = (torch.tensor(value) for value in weights)
    logits = torch.tanh(images.reshape(COUNT, -1) @ inside) @ outside
    (slopes,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor(labels)), amplitudes)
    low, high = slopes.amin((1, 2), keepdim=True), slopes.amax((1, 2), keepdim=True)
    scaled = (slopes - low) / (high - low)
    keys = jax.vmap(jax.random.fold_in, (0, None))(KEYS, Stream.AMPLITUDE_DROPOUT)
    drawn = jax.vmap(lambda key: jax.random.uniform(key, (2, *pixels.shape[1:])))(keys)
    copies = []
    for factor, draws in zip((threshold, 1.0), torch.tensor(np.asarray(drawn, float)).unbind(1), strict=True):
        kept = torch.where(scaled > factor * draws, 0, amplitudes.detach())
        copy = torch.abs(torch.fft.ifft2(kept * torch.exp(1j * phases), dim=(1, 2)))
        copies.append(copy / copy.max())
    return torch.stack(copies).numpy(), scaled.numpy()


@pytest.mark.parametrize(("plane", "threshold"), [((6, 5), 1.0), ((6, 6), 0.5), ((5, 5), 2.0)])
def test_both_copies_are_the_published_ones(plane, threshold):
    pixels, labels, weights = case(*plane)
    made = ours(pixels, labels, weights, threshold)
    expected, scaled = published(pixels, labels, weights, threshold)
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert scaled.min() == 0 and scaled.max() == 1 and np.abs(made[0] - made[1]).max() > 0.1


def test_devices_do_not_matter_and_black_images_or_a_loss_without_slopes_give_numbers():
    pixels, labels, weights = case()
    whole = ours(pixels, labels, weights, 1.0)
    np.testing.assert_allclose(ours(pixels, labels, weights, 1.0, devices=4), whole, atol=1e-5)
    flat = [0 * weights[0], weights[1]]
    made = ours(pixels, labels, flat, 1.0)
    np.testing.assert_allclose(made[0], pixels / pixels.max(), atol=1e-5)  # nothing is dropped
    assert np.isfinite(ours(0 * pixels, labels, flat, 1.0)).all()
