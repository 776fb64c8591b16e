"""`learned`: masks found by gradients, each for a single class and share of the plane.

Removing one frequency at a time misses frequencies that work only together, or that can replace each other. So masks
are learned from scores of each class's orbits, and compared with simple masks of their size. The best is the map.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.engine import tile_size
from fsjax.engine.engine import LazyArray
from fsjax.fourier import dfm, masks, patches, spectrum
from fsjax.fourier.spectrum import Mask
from fsjax.runtime.config_fields import Table
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import graft, stepwise
from fsjax.search.mask_optimisation import MaskOptimisation
from fsjax.search.method import Method, Problem
from fsjax.search.sweep import WeightedImages, sweep_statistics

Orbits: TypeAlias = Float[np.ndarray, " orbits"]
# (class, index of the share) -> mask.
ClassMask: TypeAlias = Callable[[int, int], Mask]
# Class -> scores of the orbits, larger = more promising.
ClassScores: TypeAlias = Callable[[int], Orbits]

# The gradient's mask has to have a loss smaller by this many nats: at equal losses energy leads to better masks.
_CLEARLY = 0.2
# Cached classes of scores: tasks that run side by side belong to neighbouring classes.
_CACHED = 32
DEFAULTS: Table = {
    "steps": (110, "steps of each mask", "[1, inf)"),
    "batch": (16, "images of the class a step", "[1, inf)"),
    "learning_rate": (0.2, "how far logits move a step; initial scores have standard deviation 1", "(0, inf)"),
    "hottest": (1.0, "temperature of the first step; it falls by the same factor each step", "(0, inf)"),
    "coldest": (0.05, "temperature of the last step", "(0, inf)"),
    "restarts": (
        3,
        "masks learned for each class and share; the best is taken. By Adam from initial scores, by Adam from "
        "zero, by mirror descent from initial scores, and so on",
        "[1, inf)",
    ),
    "judged": (100, "images of the class that decide which mask is taken", "[1, inf)"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return masks that suffice for the class, for every class and share.

    The loss is the cross-entropy of filtered images of the class to the class. A map is the mask under which most of
    the judged images are predicted as the class; of equal masks, the mask with the smallest loss.
    """
    options, shares = problem.options.learned, tuple(sorted(problem.options.shares))
    budgets = [masks.budget(share, *problem.plane) for share in shares]
    single_orbits = copy.deepcopy(problem.options)
    single_orbits.patch = 1
    # Partial results are numbered by share, so they belong to these shares alone.
    problem = dataclasses.replace(problem, options=single_orbits, identity=f"{problem.identity} at {budgets}")

    by_gradient = as_quantiles(gradient_scores(problem))
    initial = {"energy": as_quantiles(functools.partial(energy, problem)), "gradient": by_gradient}
    simple = _simple_masks(problem, budgets, initial)
    simple_quality = evaluate_masks(problem, tuple(simple.values()), len(shares), "simple")
    # The masks of the initial scores come first. Start from energy, unless the gradient is clearly better.
    kinds = tuple(initial)
    start = (simple_quality[1][..., : len(kinds)] + _CLEARLY * np.arange(len(kinds))).argmin(-1)

    def start_scores(label: int, share: int) -> Orbits:
        return initial[kinds[start[label, share]]](label)

    resident = min(2, len(problem.counts)) * max(problem.counts)  # images of about two classes at a time
    partial_results = problem.partial_results(graft.layout(problem, options.batch, resident=resident), "masks")
    optimisation = MaskOptimisation(problem, budgets, start_scores, partial_results.layout)
    results = stepwise.run(problem, optimisation, partial_results)

    def learned_mask(restart: int, label: int, share: int) -> Mask:
        return optimisation.unpack(results[np.ravel_multi_index((label, share, restart), optimisation.shape)])

    learned = tuple(functools.partial(learned_mask, restart) for restart in range(options.restarts))
    learned_quality = evaluate_masks(problem, learned, len(shares), "learned")
    names, candidates = ("learned",) * len(learned) + tuple(simple), learned + tuple(simple.values())
    correct, loss = np.concatenate([learned_quality, simple_quality], axis=-1)
    best = np.lexsort((loss, -correct), axis=-1)[..., 0]
    return dfm.from_classes(
        (
            (np.stack([candidates[place](label, share) for share, place in enumerate(row)]), None)
            for label, row in enumerate(best.tolist())
        ),
        shares,
        **problem.attributes(
            _forward_passes(problem.options, problem.counts, problem.plane),
            start=[[kinds[index] for index in row] for row in start],
            chosen=[[names[place] for place in row] for row in best],
            judged=np.take_along_axis(correct, best[..., None], -1)[..., 0].tolist(),
        ),
    )


def as_quantiles(scores: ClassScores) -> ClassScores:
    """Return scores in the same order, as quantiles of a standard normal distribution."""

    @functools.lru_cache(_CACHED)
    def class_scores(label: int) -> Orbits:
        ranks = scipy.stats.rankdata(scores(label))
        return scipy.stats.norm.ppf((ranks - 0.5) / len(ranks))

    return class_scores


def energy(problem: Problem, label: int) -> Orbits:
    """Return the mean |F x|^2 over the images of a class and the channels."""
    return spectrum.per_orbit(spectrum.energy(problem.images(label)))


def gradient_scores(problem: Problem) -> ClassScores:
    """Return the first-order scores of removal on `judged` images of a class."""
    first_order, most = graft.make_first_order(problem), problem.options.learned.judged
    positions = np.argsort(patches.orbit_numbers(*problem.plane))

    def scores(label: int) -> Orbits:
        images, rng = problem.images(label), generator(problem.seed, Stream.LEARNED_INITIAL_SCORES, label)
        drawn = np.sort(rng.permutation(len(images))[:most])
        return first_order(images[drawn], label).mean(0)[positions]

    return scores


def _simple_masks(problem: Problem, budgets: list[int], initial: dict[str, ClassScores]) -> dict[str, ClassMask]:
    """Return masks that need no learning: the best orbits by each kind of initial score, low-pass and random masks."""

    def best_by(scores: ClassScores, label: int, share: int) -> Mask:
        return masks.best_orbits(scores(label)[spectrum.orbits(*problem.plane)], budgets[share])

    height, width = problem.plane
    return {
        **{kind: functools.partial(best_by, class_scores) for kind, class_scores in initial.items()},
        "low-pass": lambda label, share: masks.low_pass(height, width, budgets[share]),
        "random": lambda label, share: masks.random(
            height, width, budgets[share], generator(problem.seed, Stream.LEARNED_RANDOM_MASK, label, share)
        ),
    }


def evaluate_masks(
    problem: Problem, candidates: tuple[ClassMask, ...], shares: int, name: str
) -> Float[np.ndarray, "2 classes shares masks"]:
    """Judge masks at a number of shares on `judged` images of each class. Collective.

    `name` is the folder of partial results. Returns the share of these images that are predicted as the class and their
    mean cross-entropy to it in nats.
    """
    model, count = problem.searched_model, shares * len(candidates)
    images_of_class = np.minimum(problem.counts, problem.options.learned.judged)
    layout = tile_size.layout(model, images_of_class.tolist(), masks=shares, memory_mib=problem.run.memory_mib)
    partial_results = problem.partial_results(layout, name)

    def read(label: int) -> WeightedImages:
        images, rng = problem.images(label), generator(problem.seed, Stream.MASK_SELECTION_IMAGES, label)
        return images[np.sort(rng.choice(len(images), images_of_class[label], replace=False))], None

    def make(label: int, start: int, stop: int) -> Bool[np.ndarray, "items height width"]:
        pairs = [divmod(item, len(candidates)) for item in range(start, stop)]
        return np.stack([candidates[index](label, share) for share, index in pairs])

    def class_masks(label: int) -> LazyArray:
        return LazyArray(count, functools.partial(make, label))

    title = f"evaluate {name} masks"
    sums = sweep_statistics(problem, model, partial_results, read, class_masks, ("correct", "loss"), (1, count), title)
    quality = sums[:, :, 0] / images_of_class[:, None, None]
    return quality.reshape(-1, 2, shares, len(candidates)).swapaxes(0, 1)


def _forward_passes(options: ConfigDict, counts: tuple[int, ...], plane: tuple[int, int]) -> int:
    own, shares = options.learned, len(options.shares)
    steps = len(counts) * shares * own.restarts * own.steps * own.batch
    judged = sum(min(own.judged, count) for count in counts)
    return graft.PASSES * (steps + judged) + judged * shares * (own.restarts + 4)  # 4 simple masks


METHOD = Method(search, DEFAULTS, forward_passes=_forward_passes, gradients=True)
