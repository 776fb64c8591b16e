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
from fsjax.engine.model import graft_model
from fsjax.fourier import dfm, masks, patches, spectrum
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import graft, stepwise
from fsjax.search.graft import OtherImages
from fsjax.search.mask_optimisation import MaskOptimisation
from fsjax.search.method import Method, Problem
from fsjax.search.sweep import WeightedImages, sweep_statistics

Orbits: TypeAlias = Float[np.ndarray, " orbits"]
Mask: TypeAlias = Bool[np.ndarray, "height width"]
# (class, index of the share) -> mask.
ClassMask: TypeAlias = Callable[[int, int], Mask]
# Class -> scores of the orbits, larger = more promising.
ClassScores: TypeAlias = Callable[[int], Orbits]

# Objectives, each with the kinds of initial scores among which the search chooses for each class and share.
OBJECTIVES = {"sufficient": ("energy", "gradient"), "specific": ("energy", "gradient"), "graft": ("graft",)}
# The gradient's mask has to have a loss smaller by this many nats: at equal losses energy leads to better masks.
_CLEARLY = 0.2
# Cached classes of scores: tasks that run side by side belong to neighbouring classes.
_CACHED = 32
DEFAULTS: Table = {
    "objective": (
        "sufficient",
        "sufficient: images with these frequencies alone are predicted as the class; specific: and images of others "
        "are not; graft: others' images with these frequencies of the class become the class, and images of the class "
        "with others' frequencies there do not stay it",
    ),
    "steps": (110, "steps of each mask", "[1, inf)"),
    "batch": (16, "images of the class a step; specific and graft take as many of others", "[1, inf)"),
    "learning_rate": (0.2, "how far logits move a step; initial scores have standard deviation 1", "(0, inf)"),
    "hottest": (1.0, "temperature of the first step; it falls by the same factor each step", "(0, inf)"),
    "coldest": (0.05, "temperature of the last step", "(0, inf)"),
    "restarts": (
        3,
        "masks learned for each class and share; the best is taken. By Adam from initial scores, by Adam from "
        "zero, by mirror descent from initial scores, and so on",
        "[1, inf)",
    ),
    "others": (1.0, "weight of the images of other classes, with specific and graft", "(0, inf)"),
    "judged": (100, "images of the class (and of others) that decide which mask is taken", "[1, inf)"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return masks that suffice for the class, are specific to it, or carry it, for every class and share.

    The loss of the objective `sufficient` is the cross-entropy of filtered images of the class to the class. `specific`
    adds -log(1 - p) with the weight `others`, where p is the probability of the class on filtered images of others.
    `graft` has the cross-entropy of others' images with the mask's frequencies from the class, and -log(1 - p) of
    images of the class with the mask's frequencies from others. A map is the mask with the best judged share, then the
    smallest loss.
    """
    options, shares = problem.options.learned, tuple(sorted(problem.options.shares))
    budgets = [masks.budget(share, *problem.plane) for share in shares]
    if options.objective != "sufficient" and len(problem.classes) < 2:
        raise InputError(f"search.learned.objective: got {options.objective!r} with one class; expected sufficient")
    # Partial results are numbered by share, so they belong to these shares alone.
    problem = dataclasses.replace(problem, identity=f"{problem.identity} at {budgets}")
    others = None if options.objective == "sufficient" else graft.draw_others(problem)

    kinds = OBJECTIVES[options.objective]
    initial, costs = zip(*(initial_scores(problem, kind) for kind in kinds), strict=True)
    simple = _simple_masks(problem, budgets, dict(zip(kinds, initial, strict=True)))
    simple_quality, simple_passes = evaluate_masks(problem, tuple(simple.values()), len(shares), others, "simple")
    # The masks of the initial scores come first. Start from the first mask, unless another is clearly better.
    start = (simple_quality[1][..., : len(kinds)] + _CLEARLY * np.arange(len(kinds))).argmin(-1)

    def start_scores(label: int, share: int) -> Orbits:
        return initial[start[label, share]](label)

    images, resident = options.batch, min(2, len(problem.counts)) * max(problem.counts)  # about two classes at a time
    if others is not None:
        images, resident = 2 * images, resident + len(others.labels)
    partial_results = problem.partial_results(graft.layout(problem, images, resident=resident), "masks")
    optimisation = MaskOptimisation(problem, budgets, start_scores, others, partial_results.layout)
    results = stepwise.run(problem, optimisation, partial_results)

    def learned_mask(restart: int, label: int, share: int) -> Mask:
        return optimisation.unpack(results[np.ravel_multi_index((label, share, restart), optimisation.shape)])

    learned = tuple(functools.partial(learned_mask, restart) for restart in range(options.restarts))
    learned_quality, learned_passes = evaluate_masks(problem, learned, len(shares), others, "learned")
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
            sum(costs) + optimisation.forward_equivalents + learned_passes + simple_passes,
            start=[[kinds[index] for index in row] for row in start],
            chosen=[[names[place] for place in row] for row in best],
            judged=np.take_along_axis(correct, best[..., None], -1)[..., 0].tolist(),
        ),
    )


def initial_scores(problem: Problem, kind: str) -> tuple[ClassScores, int]:
    """Return scores as quantiles of a standard normal distribution, and the forward equivalents that they cost.

    They are in the order of the class's mean energy, of first-order removal (`gradient`), or of a graft search.
    """
    folder, cost = problem.directory and problem.directory / kind, 0
    problem = dataclasses.replace(problem, options=copy.deepcopy(problem.options), directory=folder)
    problem.options.patch, problem.options.resamples, most = 1, 0, problem.options.learned.judged
    if kind == "energy":
        values: ClassScores = functools.partial(energy, problem)
    elif kind == "gradient":
        first_order = graft.make_first_order(problem)
        positions = np.argsort(patches.orbit_numbers(*problem.plane))

        def values(label: int) -> Orbits:
            images, rng = problem.images(label), generator(problem.seed, Stream.LEARNED_INITIAL_SCORES, label)
            drawn = np.sort(rng.permutation(len(images))[:most])
            return first_order(images[drawn], label).mean(0)[positions]

        cost = graft.PASSES * sum(min(most, count) for count in problem.counts)
    else:
        maps = graft.search(problem)
        assert maps.scores is not None, "the graft search scores every frequency"
        values, cost = spectrum.per_orbit(maps.scores).__getitem__, maps.forward_equivalents

    @functools.lru_cache(_CACHED)
    def class_scores(label: int) -> Orbits:
        ranks = scipy.stats.rankdata(values(label))
        return scipy.stats.norm.ppf((ranks - 0.5) / len(ranks))

    return class_scores, cost


def energy(problem: Problem, label: int) -> Orbits:
    """Return the mean |F x|^2 over the images of a class and the channels."""
    return spectrum.per_orbit(spectrum.energy(problem.images(label)))


def _simple_masks(problem: Problem, budgets: list[int], initial: dict[str, ClassScores]) -> dict[str, ClassMask]:
    """Return masks that need no learning: the best orbits by each kind of score, then the trivial masks."""

    def best_by(scores: ClassScores, label: int, share: int) -> Mask:
        return masks.best_orbits(scores(label)[spectrum.orbits(*problem.plane)], budgets[share])

    scores = initial if "energy" in initial else {**initial, "energy": initial_scores(problem, "energy")[0]}
    height, width = problem.plane
    return {
        **{kind: functools.partial(best_by, class_scores) for kind, class_scores in scores.items()},
        "low-pass": lambda label, share: masks.low_pass(height, width, budgets[share]),
        "random": lambda label, share: masks.random(
            height, width, budgets[share], generator(problem.seed, Stream.LEARNED_RANDOM_MASK, label, share)
        ),
    }


def evaluate_masks(
    problem: Problem, candidates: tuple[ClassMask, ...], shares: int, others: OtherImages | None, name: str
) -> tuple[Float[np.ndarray, "2 classes shares masks"], int]:
    """Judge masks at a number of shares; `name` is the folder of partial results. Collective.

    Returns the share of the judged images predicted as the class, and their mean cross-entropy to it in nats, each of
    the side (1, 0) less `others` times the side (0, 1); and the forward passes.
    """
    model, count = problem.searched_model, shares * len(candidates)
    if problem.options.learned.objective == "graft":
        model = graft_model(model)
    image_counts = np.array([_judged_counts(problem, label, others) for label in range(len(problem.counts))])
    layout = tile_size.layout(model, image_counts.sum(1).tolist(), memory_mib=problem.run.memory_mib)
    partial_results = problem.partial_results(layout, name)

    def make(label: int, start: int, stop: int) -> Bool[np.ndarray, "items height width"]:
        pairs = [divmod(item, len(candidates)) for item in range(start, stop)]
        return np.stack([candidates[index](label, share) for share, index in pairs])

    def class_masks(label: int) -> LazyArray:
        return LazyArray(count, functools.partial(make, label))

    read, title = functools.partial(judged_images, problem, others=others), f"evaluate {name} masks"
    sums = sweep_statistics(problem, model, partial_results, read, class_masks, ("correct", "loss"), (2, count), title)
    rates = sums / np.maximum(image_counts, 1)[:, None, :, None]
    quality = rates[:, :, 0] - problem.options.learned.others * rates[:, :, 1]
    return quality.reshape(-1, 2, shares, len(candidates)).swapaxes(0, 1), int(image_counts.sum()) * count


def judged_images(problem: Problem, label: int, others: OtherImages | None) -> WeightedImages:
    """Return the images that a class's masks are judged on, and their sides.

    Images of the side (1, 0) should be predicted as the class, images of the side (0, 1) should not. For `graft` they
    are pairs: others receive from the class, and the class from others.
    """
    rng, most = generator(problem.seed, Stream.MASK_SELECTION_IMAGES, label), problem.options.learned.judged

    def draw(images: Float[np.ndarray, "n height width channels"]) -> Float[np.ndarray, "m height width channels"]:
        return images[np.sort(rng.choice(len(images), min(most, len(images)), replace=False))]

    images = draw(problem.images(label))
    if others is not None:
        rest = draw(others.images[others.labels != label])
        if problem.options.learned.objective == "graft":
            rows = np.arange(max(len(images), len(rest)))
            images = np.stack([rest[rows % len(rest)], images[rows % len(images)]], axis=1)  # (recipient, donor)
            rest = images[:, ::-1]
        images = np.concatenate([images, rest])
    return images, np.repeat(np.eye(2, dtype=np.float32), _judged_counts(problem, label, others), axis=0)


def _judged_counts(problem: Problem, label: int, others: OtherImages | None) -> tuple[int, int]:
    most = problem.options.learned.judged
    available = 0 if others is None else int((others.labels != label).sum())
    own, rest = min(most, problem.counts[label]), min(most, available)
    return (max(own, rest),) * 2 if problem.options.learned.objective == "graft" else (own, rest)


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    if (objective := options.learned.objective) not in OBJECTIVES:
        raise InputError(f"search.learned.objective: got {objective!r}; expected {', '.join(OBJECTIVES)}")


METHOD = Method(search, DEFAULTS, _check)
