"""Values at every frequency that the page can show."""

import dataclasses
from collections.abc import Callable

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize, SymLogNorm


@dataclasses.dataclass(frozen=True)
class Plane:
    """One kind of value of each class on the Fourier plane.

    Attributes:
      name: a word or two, for the list of choices.
      about: what a value means, with its unit.
      values: class index -> its values [H, W] on the centred plane, NaN where there is none.
      norm: values of one class -> a scale from them to [0, 1].
      colours: a colour map of matplotlib, safe for the colour-blind.
    """

    name: str
    about: str
    values: Callable[[int], Float[np.ndarray, "height width"]]
    norm: Callable[[Float[np.ndarray, "height width"]], Normalize]
    colours: str


def symmetric_log(plane: Float[np.ndarray, "height width"]) -> SymLogNorm:
    """Return a scale, linear near 0 and logarithmic beyond, for values of either sign that span magnitudes."""
    largest = max(float(np.abs(np.nan_to_num(plane)).max()), 1e-12)
    return SymLogNorm(largest * 1e-2, vmin=-largest, vmax=largest)


def between(low: int | float, high: int | float) -> Callable[[Float[np.ndarray, "height width"]], Normalize]:
    """Return one linear scale for every class."""
    return lambda plane: Normalize(low, high)


def colour_table(name: str, levels: int) -> str:
    """Return colours of a colour map of matplotlib, first to last, as six hexadecimal digits each."""
    colours = matplotlib.colormaps[name](np.linspace(0, 1, levels), bytes=True)[:, :3]
    return colours.tobytes().hex()
