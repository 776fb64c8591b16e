"""Scores that a mask can start from, on one scale whatever they are."""

import copy
import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, rankdata

from fsjax.fourier import spectrum
from fsjax.search import gradient, removal
from fsjax.search.problem import Problem

STARTS = ("energy", "gradient", "removal", "zero")
# Classes whose scores are remembered: chains that run side by side are of neighbouring ones.
_REMEMBERED = 32


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of every orbit for a class, larger = more promising, with the distribution of standard normal ones.

    Attributes:
      of: class index -> scores, in orbit order.
      cost: forward equivalents spent on all classes.
    """

    of: Callable[[int], Float[np.ndarray, " orbits"]]
    cost: int = 0


def scores(problem: Problem, start: str, most: int) -> Scores:
    """Scores by the class's mean energy, by first-order removal on at most so many images, by exact removal, or all 0.

    Exact removal is a whole removal search, on all images.
    """
    if start == "zero":
        return Scores(lambda label: np.zeros(len(spectrum.orbit_sizes(*problem.plane))))
    if start == "energy":
        return Scores(functools.lru_cache(_REMEMBERED)(lambda label: normal(energy(problem, label))))
    options = copy.deepcopy(problem.options)
    options.patch = 1
    single = dataclasses.replace(
        problem, options=options, directory=problem.directory and problem.directory / "removal"
    )
    if start == "removal":
        maps = removal.search(single)
        ranked = maps.scores
        assert ranked is not None, "removal scores every frequency"
        return Scores(lambda label: normal(spectrum.per_orbit(ranked[label])), maps.forward_equivalents)
    first_order = gradient.make_first_order(single, batch=gradient.batch_size(single))

    @functools.lru_cache(_REMEMBERED)
    def by_gradient(label: int) -> Float[np.ndarray, " orbits"]:
        images = problem.images(label)
        chosen = np.random.default_rng([problem.seed, 6, label]).permutation(len(images))[:most]
        rises = first_order(images[np.sort(chosen)], label).mean(0)
        rows, columns = spectrum.orbit_positions(*problem.plane).T
        ordered = np.empty(len(rises))
        ordered[spectrum.orbits(*problem.plane)[rows, columns]] = rises
        return normal(ordered)

    return Scores(by_gradient, gradient.PASSES * sum(min(most, count) for count in problem.counts))


def energy(problem: Problem, label: int) -> Float[np.ndarray, " orbits"]:
    """Mean |F x|^2 over the images of a class and the channels."""
    return spectrum.per_orbit(spectrum.energy(problem.images(label)))


def normal(values: Float[np.ndarray, " orbits"]) -> Float[np.ndarray, " orbits"]:
    """The quantiles of a standard normal distribution in the order of the values."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))
