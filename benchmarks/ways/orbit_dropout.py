"""Orbit dropout: remove random orbits of an image's spectrum except DC; a control for the other ways."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from fsjax.fourier import spectrum
from fsjax.runtime.config_fields import Table
from fsjax.runtime.random_streams import Stream
from fsjax.training.ways.way import Images, Keys, Labels, Transform, Way

FIELDS: Table = {
    "probability": (0.75, "probability that orbits of an image are removed", "[0, 1]"),
    "share": (0.5, "probability that an orbit of such an image is removed", "[0, 1]"),
}


def make_orbit_dropout(size: int, probability: float, share: float) -> Transform:
    """Return (keys, labels, normalised images) -> images; jit-able, the same for an image in any batch.

    With `probability` an image loses orbits: each orbit except DC, independently with probability `share`, in all
    channels. The remaining orbits are not scaled up. size: side of the images.
    """
    orbits = spectrum.orbits(size, size)
    dc = np.arange(orbits.max() + 1) == orbits[size // 2, size // 2]

    def draw(key: Key[Array, ""]) -> tuple[Bool[Array, ""], Float[Array, " orbits"]]:
        """Return whether an image loses orbits, and the weight of each orbit."""
        whether, which = jax.random.split(jax.random.fold_in(key, Stream.ORBIT_DROPOUT))
        keep = dc | ~jax.random.bernoulli(which, share, dc.shape)
        return jax.random.bernoulli(whether, probability), keep.astype(jnp.float32)

    def apply(keys: Keys, labels: Labels, images: Images) -> Images:
        drawn, weights = jax.vmap(draw)(keys)
        filtered = jax.vmap(lambda image, weights: spectrum.filter_orbits(image[None], weights, size)[0])(
            spectrum.spectra(images), weights
        )
        return jnp.where(drawn[:, None, None, None], filtered, images)

    return apply


WAY = Way(FIELDS, lambda setting: make_orbit_dropout(setting.size, **setting.options.orbit_dropout))
