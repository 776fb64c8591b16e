"""AFA, auxiliary Fourier augmentation: copies of the images with a planar wave on each channel (CVPR 2024).

P. Vaish, S. Wang, N. Strisciuglio, "Fourier-basis functions to bridge augmentation gap", arXiv 2403.01944, with the
mean of both cross-entropies as the loss. Arithmetic and draws are those of the authors' code, nis-research/afa-augment:
the pixels of its grid run from -S/2 to S/2 in S steps, directions are 448 from 0 to -pi, and the strength's mean of 10
is that of its examples. Ours are the order of pieces (the wave lies on images as the ways before left them, augmented)
and networks without BatchNorm, whose copies are images like others. Their options with a Jensen-Shannon loss, and with
several waves an image, are not here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream
from fsjax.training.ways.way import Copies, Gradient, Images, Keys, Labels, Setting, Way, from_pixels, to_pixels

_DIRECTIONS = 448

FIELDS: Table = {
    "mean_strength": (10.0, "mean of the exponential distribution that a wave's strength is drawn from"),
    "min_strength": (0.0, "added to the strength that is drawn"),
}


def make_afa(size: int, mean_strength: float, min_strength: float, mean_std: tuple[np.ndarray, np.ndarray]) -> Copies:
    """Return what makes a copy of each image with a planar wave on each channel, for BatchNorms of its own.

    A wave is sin(2 pi f/S (x cos t + y sin t) - pi/4), of L2 norm 1, times S/32 and a strength. Of each channel are
    drawn f from 1 to S (above S/2 it aliases), t, and the strength. Pixels are clamped to [0, 1] afterwards.

    Args:
      size: S, side of the images.
      mean_strength: positive.
      min_strength: 0 or more.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
    """
    axis = np.linspace(-size / 2, size / 2, size, dtype=np.float32)
    x, y = (plane[..., None] for plane in np.meshgrid(axis, axis, indexing="ij"))

    def wave(key: Key[Array, ""]) -> Float[Array, "size size 3"]:
        of_frequency, of_direction, of_strength = jax.random.split(jax.random.fold_in(key, Stream.AFA), 3)
        frequency = jax.random.randint(of_frequency, (3,), 1, size + 1) / size
        angle = -jnp.pi * jax.random.randint(of_direction, (3,), 0, _DIRECTIONS) / (_DIRECTIONS - 1)
        strength = min_strength + mean_strength * jax.random.exponential(of_strength, (3,))
        wave = jnp.sin(2 * jnp.pi * frequency * (x * jnp.cos(angle) + y * jnp.sin(angle)) - jnp.pi / 4)
        return strength * size / 32 * wave / jnp.linalg.norm(wave, axis=(0, 1))

    def make(keys: Keys, labels: Labels, images: Images, gradient: Gradient) -> tuple[Images, ...]:
        pixels = jnp.clip(to_pixels(images, mean_std) + jax.vmap(wave)(keys), 0, 1)
        return (from_pixels(pixels, mean_std),)

    return Copies(make, auxiliary=True)


def _make(setting: Setting) -> Copies:
    own = setting.options.afa
    return make_afa(setting.size, own.mean_strength, own.min_strength, setting.mean_std)


def _check(options: ConfigDict, size: int) -> None:
    own = options.afa
    if not 0 < own.mean_strength < np.inf:
        raise InputError(f"train.afa.mean_strength: got {own.mean_strength:g}; expected above 0")
    if not 0 <= own.min_strength < np.inf:
        raise InputError(f"train.afa.min_strength: got {own.min_strength:g}; expected 0 or more")


WAY = Way(FIELDS, _make, _check, passes=1)
