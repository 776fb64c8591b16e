"""Amplitude swapping: an image keeps its phases and gets the amplitudes of another image of the batch.

This is APR-P of Chen et al., "Amplitude-phase recombination", ICCV 2021. It draws for each image, with replacement,
where the published code draws once a batch. It transforms each channel, where the published code transforms over the
channels too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.runtime.config_fields import Table
from fsjax.runtime.random_streams import Stream
from fsjax.training.ways import way
from fsjax.training.ways.way import Images, Keys, Labels, Transform, Way

FIELDS: Table = {
    "probability": (0.75, "probability that an image gets the amplitudes of another image of the batch", "[0, 1]"),
}


def make_amplitude_swap(probability: float, mean_std: tuple[np.ndarray, np.ndarray]) -> Transform:
    """Return (keys, labels, normalised images) -> images: to be called inside pmap over `parallel.AXIS`.

    With `probability` an image gets |F| of each channel of a donor, which its key draws from the images of all devices
    in this call, whatever their labels. Pixels have no negative mean, so DC comes wholly from the donor. mean_std, of
    pixels in [0, 1], normalised the images.
    """

    def apply(keys: Keys, labels: Labels, images: Images) -> Images:
        everyone = jax.lax.all_gather(images, parallel.AXIS, tiled=True)

        def draw(key: Key[Array, ""]) -> tuple[Bool[Array, ""], Int[Array, ""]]:
            whether, which = jax.random.split(jax.random.fold_in(key, Stream.AMPLITUDE_SWAP))
            return jax.random.bernoulli(whether, probability), jax.random.randint(which, (), 0, len(everyone))

        drawn, donors = jax.vmap(draw)(keys)
        amplitudes, phases = (way.to_pixels(batch, mean_std) for batch in (everyone[donors], images))
        swapped = way.from_pixels(spectrum.recombine(amplitudes, phases), mean_std)
        return jnp.where(drawn[:, None, None, None], swapped, images)

    return apply


WAY = Way(FIELDS, lambda setting: make_amplitude_swap(setting.options.amplitude_swap.probability, setting.mean_std))
