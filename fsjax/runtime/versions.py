"""Versions of the software that made a result."""

import jax

import fsjax
from fsjax.runtime import parallel


def versions() -> dict[str, str]:
    """Return the versions of fsjax and JAX, and the devices in words."""
    return {"fsjax": fsjax.__version__, "jax": jax.__version__, "devices": parallel.describe()}
