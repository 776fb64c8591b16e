"""What a function is lowered to."""

import collections
import re

import jax


def operations(function, arrays, platform):
    """Return how often each operation stands in the program for a platform."""
    text = jax.jit(function).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()
    return collections.Counter(re.findall(r"= \"?(stablehlo\.\w+)", text))
