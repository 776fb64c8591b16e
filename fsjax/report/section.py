"""A section of the page, and the values on the Fourier plane that it lets the page's script show."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize, SymLogNorm


@dataclasses.dataclass(frozen=True)
class Plane:
    """One kind of value of each class on the Fourier plane."""

    name: str  # in the list of choices
    meaning: str  # with its unit
    values: Callable[[int], Float[np.ndarray, "height width"]]  # of a class, on the centred plane; NaN = none
    norm: Callable[[Float[np.ndarray, "height width"]], Normalize]  # values of a class -> their scale
    colours: str  # a matplotlib colour map that colour-blind readers can read


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and the content under it."""

    title: str
    body: str  # HTML from a template of fsjax.report.html, which escapes every value
    planes: tuple[Plane, ...] = ()  # which the page can show in place of scores


def symmetric_log(plane: Float[np.ndarray, "height width"]) -> SymLogNorm:
    """Return a scale, linear near 0 and logarithmic beyond, for values of either sign that span magnitudes."""
    largest = max(float(np.abs(np.nan_to_num(plane)).max()), 1e-12)
    return SymLogNorm(largest * 1e-2, vmin=-largest, vmax=largest)


def between(low: int | float, high: int | float) -> Callable[[Float[np.ndarray, "height width"]], Normalize]:
    """Return one linear scale for every class."""
    return lambda plane: Normalize(low, high)
