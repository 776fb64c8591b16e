"""AFA's waves against the published arithmetic, transcribed in PyTorch in float64, and how they are drawn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy.stats import chisquare, expon, kstest

from fsjax.data.augment import image_keys
from fsjax.training.ways import afa
from tests.helpers.small_cnn import MEAN_STD

SIZE = 8


def copies(pixels, mean_strength, indices=None):
    """Pixels of the copies."""
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
    added = copies(np.full((200, SIZE, SIZE, 3), 0.5), 0.02) - 0.5
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
    added = copies(np.full_like(pixels, 0.5), 0.01) - 0.5
    strong = copies(pixels, 10.0)
    np.testing.assert_allclose(strong, np.clip(pixels + 1000 * added, 0, 1), atol=2e-3)
    assert (strong == 0).mean() + (np.abs(strong - 1) < 1e-6).mean() > 0.1
    np.testing.assert_allclose(copies(pixels[[4, 1]], 10.0, indices=[4, 1]), strong[[4, 1]], atol=1e-6)
