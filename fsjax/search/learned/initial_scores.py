"""Scores of orbits that a mask can start from, all on one scale."""

import copy
import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import scipy
from jaxtyping import Float

from fsjax.fourier import patches, spectrum
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import gradient, graft, removal
from fsjax.search.method import Problem

KINDS = ("energy", "gradient", "removal", "graft", "zero")
# Classes whose scores are remembered: tasks that run side by side are of neighbouring classes.
_REMEMBERED = 32


@dataclasses.dataclass(frozen=True)
class InitialScores:
    """Scores of every orbit, larger = more promising, with the distribution of standard normal ones.

    Attributes:
      of_class: class index -> scores, in orbit order.
      forward_equivalents: spent on all classes.
    """

    of_class: Callable[[int], Float[np.ndarray, " orbits"]]
    forward_equivalents: int = 0


def make(problem: Problem, kind: str) -> InitialScores:
    """Return the scores of one of KINDS.

    `energy` is the class's mean energy, `gradient` first-order removal on at most search.learned.judged images,
    `removal` exact removal on all images and `graft` integrated gradients of grafts, whole searches, and `zero` 0 for
    every orbit.
    """
    if kind == "zero":
        return InitialScores(lambda label: np.zeros(len(spectrum.orbit_sizes(*problem.plane))))
    if kind == "energy":
        return InitialScores(functools.lru_cache(_REMEMBERED)(lambda label: normal_scores(energy(problem, label))))
    options = copy.deepcopy(problem.options)
    options.patch = 1
    problem = dataclasses.replace(problem, options=options, directory=problem.directory and problem.directory / kind)
    return (
        _by_gradient(problem) if kind == "gradient" else _by_search(problem, {"removal": removal, "graft": graft}[kind])
    )


def energy(problem: Problem, label: int) -> Float[np.ndarray, " orbits"]:
    """Return the mean |F x|^2 over the images of a class and the channels."""
    return spectrum.per_orbit(spectrum.energy(problem.images(label)))


def normal_scores(values: Float[np.ndarray, " orbits"]) -> Float[np.ndarray, " orbits"]:
    """Return the quantiles of a standard normal distribution in the order of the values."""
    return scipy.stats.norm.ppf((scipy.stats.rankdata(values) - 0.5) / len(values))


def _by_search(problem: Problem, method: ModuleType) -> InitialScores:
    maps = method.search(problem)
    scores = maps.scores
    assert scores is not None, "removal and graft score every frequency"
    return InitialScores(lambda label: normal_scores(spectrum.per_orbit(scores[label])), maps.forward_equivalents)


def _by_gradient(problem: Problem) -> InitialScores:
    first_order = gradient.make_first_order(problem, batch=gradient.batch_size(problem))
    most = problem.options.learned.judged
    orbits = patches.orbit_numbers(*problem.plane)

    @functools.lru_cache(_REMEMBERED)
    def of_class(label: int) -> Float[np.ndarray, " orbits"]:
        images = problem.images(label)
        drawn = generator(problem.seed, Stream.LEARNED_INITIAL_SCORES, label).permutation(len(images))[:most]
        rises = first_order(images[np.sort(drawn)], label).mean(0)
        in_orbit_order = np.empty(len(rises))
        in_orbit_order[orbits] = rises
        return normal_scores(in_orbit_order)

    return InitialScores(of_class, gradient.PASSES * sum(min(most, count) for count in problem.counts))
