"""Adversarial amplitude dropout: copies without the amplitudes that raise the loss (AdvFrequency, NeurIPS 2024).

X. He et al., "Towards combating frequency simplicity-biased learning for domain generalization", arXiv 2410.16146. The
arithmetic follows the class AmpDrop of the authors' code, C0notSilly/AdvFrequency, on pixels in [0, 1]:

- take the gradient of the cross-entropy by each amplitude of an image and channel, scaled to [0, 1] over the plane;
- set an amplitude to 0 where this exceeds a uniform draw, multiplied by a threshold in the first of two copies;
- draw independently for a frequency and its conjugate, and take the absolute value of the inverse transform;
- divide by the largest value of the batch.

Three things differ: the gradient is taken at the images, which theirs divides by their largest value first; the largest
value is over all devices; the loss is the mean over the images and both copies, which their code has as a comment and
as a sum. Their second module, which moves the low frequencies' amplitudes (AAUA), is left out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fsjax.runtime import parallel
from fsjax.runtime.config_fields import Table
from fsjax.runtime.random_streams import Stream
from fsjax.training.ways import way
from fsjax.training.ways.way import Copies, Gradient, Images, Keys, Labels, Way

FIELDS: Table = {
    "threshold": (1.0, "factor on the uniform draw of the first copy: more keeps more amplitudes", "(0, inf)"),
}


def make_amplitude_dropout(threshold: float, mean_std: tuple[np.ndarray, np.ndarray]) -> Copies:
    """Return two copies of each image, made inside pmap over `parallel.AXIS`; mean_std normalised the images."""

    def draw(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "2 height width 3"]:
        draws = jax.random.uniform(jax.random.fold_in(key, Stream.AMPLITUDE_DROPOUT), (2, *shape))
        return draws * jnp.array([threshold, 1.0])[:, None, None, None]

    def make(keys: Keys, labels: Labels, images: Images, gradient: Gradient) -> tuple[Images, ...]:
        spectra = jnp.fft.fft2(way.to_pixels(images, mean_std), axes=(1, 2))
        slopes = _by_amplitude(gradient(images), spectra)
        low, high = (extreme(slopes, axis=(1, 2), keepdims=True) for extreme in (jnp.min, jnp.max))
        scaled = (slopes - low) / jnp.where(high > low, high - low, 1)  # 0 where all are equal
        draws = jax.vmap(lambda key: draw(key, images.shape[1:]))(keys)
        copies = []
        for copy in range(2):
            remaining = jnp.where(scaled > draws[:, copy], 0, spectra)
            pixels = jnp.abs(jnp.fft.ifft2(remaining, axes=(1, 2)))
            largest = jax.lax.pmax(pixels.max(), parallel.AXIS)
            copies.append(way.from_pixels(pixels / jnp.where(largest > 0, largest, 1), mean_std))
        return tuple(copies)

    return Copies(make)


def _by_amplitude(slopes: Images, spectra: Array) -> Float[Array, "n height width 3"]:
    """Return the derivative by each amplitude at its phase, up to a positive factor for each channel.

    For pixels F^-1(A exp(i p)) with slopes G it is Re(exp(i p) conj(F G)) / HW.
    """
    lengths = jnp.abs(spectra)
    turns = jnp.where(lengths > 0, spectra / jnp.where(lengths > 0, lengths, 1), 1)
    return (turns * jnp.fft.fft2(slopes, axes=(1, 2)).conj()).real


WAY = Way(
    FIELDS,
    lambda setting: make_amplitude_dropout(setting.options.amplitude_dropout.threshold, setting.mean_std),
    passes=3,
)
