"""Values at every frequency, as the page draws them."""

import dataclasses
from collections.abc import Callable

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize, SymLogNorm


@dataclasses.dataclass(frozen=True)
class Plane:
    """What there is to see of each class on the Fourier plane.

    Attributes:
      name: a word or two, to choose it by.
      about: what a value is, with its unit.
      values: class index -> its values [H, W] on the centred plane, NaN where there is none.
      norm: of one class's values: from them to [0, 1].
      colours: a colour map of matplotlib, safe for the colour-blind.
    """

    name: str
    about: str
    values: Callable[[int], Float[np.ndarray, "height width"]]
    norm: Callable[[Float[np.ndarray, "height width"]], Normalize]
    colours: str


def symmetric_log(plane: Float[np.ndarray, "height width"]) -> SymLogNorm:
    """Linear near 0 and logarithmic beyond, for values of either sign that span orders of magnitude."""
    largest = max(float(np.abs(np.nan_to_num(plane)).max()), 1e-12)
    return SymLogNorm(largest * 1e-2, vmin=-largest, vmax=largest)


def between(low: int | float, high: int | float) -> Callable[[Float[np.ndarray, "height width"]], Normalize]:
    """The same linear scale for every class."""
    return lambda plane: Normalize(low, high)


def colour_table(name: str, levels: int) -> str:
    """So many colours of a colour map of matplotlib, first to last, as six hexadecimal digits each."""
    colours = matplotlib.colormaps[name](np.linspace(0, 1, levels), bytes=True)[:, :3]
    return colours.tobytes().hex()
