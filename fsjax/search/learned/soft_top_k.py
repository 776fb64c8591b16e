"""Masks of a fixed budget as smooth functions of one logit an orbit."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

_BISECTIONS = 40


def soft_top_k(
    logits: Float[Array, " orbits"], sizes: Int[np.ndarray, " orbits"], budget: ArrayLike, temperature: ArrayLike
) -> Float[Array, " orbits"]:
    """Return the weights sigmoid((z - tau) / T) in [0, 1] that make up a budget of positions.

    Args:
      logits: z of each orbit.
      sizes: positions of each orbit.
      budget: number of positions, which the weights times the sizes add up to.
      temperature: T, above 0; towards 0 the weights become those of a mask.
    """

    def halve(_: ArrayLike, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = (low + high) / 2
        over = (sizes * jax.nn.sigmoid((logits - middle) / temperature)).sum() > budget
        return jnp.where(over, middle, low), jnp.where(over, high, middle)

    # At these ends every weight is within exp(-16) of 1 or of 0.
    interval = logits.min() - 16 * temperature, logits.max() + 16 * temperature
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, interval)
    return jax.nn.sigmoid((logits - (low + high) / 2) / temperature)
