"""AFA, auxiliary Fourier augmentation: copies of the images with a planar wave on each channel (CVPR 2024).

P. Vaish, S. Wang, N. Strisciuglio, "Fourier-basis functions to bridge augmentation gap", arXiv 2403.01944, with the
mean of both cross-entropies as the loss. Arithmetic and draws follow the authors' code, nis-research/afa-augment: the
pixels of its grid run from -S/2 to S/2 in S steps, directions are 448 from 0 to -pi, and the mean strength is 10 in its
examples. Two things differ: the wave lies on the augmented images, and the copies of a network without BatchNorm share
all its parameters. The Jensen-Shannon loss, and several waves an image, are left out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fsjax.runtime.config_fields import Table
from fsjax.runtime.random_streams import Stream
from fsjax.training.ways import way
from fsjax.training.ways.way import Copies, Gradient, Images, Keys, Labels, Way

_DIRECTIONS = 448

FIELDS: Table = {
    "mean_strength": (10.0, "mean of the exponential distribution that a wave's strength is drawn from", "(0, inf)"),
}


def make_afa(size: int, mean_strength: float, mean_std: tuple[np.ndarray, np.ndarray]) -> Copies:
    """Return the copy of each image with a planar wave on each channel, for auxiliary BatchNorms.

    A wave is sin(2 pi f/S (x cos t + y sin t) - pi/4), of L2 norm 1, times S/32 and a strength. Each channel draws f
    from 1 to S (above S/2 it aliases), t, and the strength. Pixels are clamped to [0, 1] afterwards. size: S, the side
    of the images, which mean_std, of pixels in [0, 1], normalised.
    """
    axis = np.linspace(-size / 2, size / 2, size, dtype=np.float32)
    x, y = (plane[..., None] for plane in np.meshgrid(axis, axis, indexing="ij"))

    def wave(key: Key[Array, ""]) -> Float[Array, "size size 3"]:
        frequency_key, direction_key, strength_key = jax.random.split(jax.random.fold_in(key, Stream.AFA), 3)
        frequency = jax.random.randint(frequency_key, (3,), 1, size + 1) / size
        angle = -jnp.pi * jax.random.randint(direction_key, (3,), 0, _DIRECTIONS) / (_DIRECTIONS - 1)
        strength = mean_strength * jax.random.exponential(strength_key, (3,))
        wave = jnp.sin(2 * jnp.pi * frequency * (x * jnp.cos(angle) + y * jnp.sin(angle)) - jnp.pi / 4)
        return strength * size / 32 * wave / jnp.linalg.norm(wave, axis=(0, 1))

    def make(keys: Keys, labels: Labels, images: Images, gradient: Gradient) -> tuple[Images, ...]:
        pixels = jnp.clip(way.to_pixels(images, mean_std) + jax.vmap(wave)(keys), 0, 1)
        return (way.from_pixels(pixels, mean_std),)

    return Copies(make, auxiliary=True)


WAY = Way(FIELDS, lambda given: make_afa(given.size, given.options.afa.mean_strength, given.mean_std), passes=1)
