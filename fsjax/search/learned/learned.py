"""`learned`: masks found by gradients, each for one class and one share of the plane.

Frequencies that work only together, or that stand in for each other, are weighed together, which removing one at a time
cannot do.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.fourier import dfm, masks, spectrum
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import gradient, graft, stepwise
from fsjax.search.graft import OtherImages
from fsjax.search.learned import initial_scores, mask_selection
from fsjax.search.learned.initial_scores import InitialScores
from fsjax.search.learned.mask_optimisation import MaskOptimisation, images_per_step, resident_images
from fsjax.search.learned.mask_selection import Candidates, Mask
from fsjax.search.method import Method, Problem

# Each with the scores among which `best` chooses.
OBJECTIVES = {"sufficient": ("energy", "gradient"), "specific": ("energy", "gradient"), "graft": ("graft",)}
# By how much, in nats, the loss of the gradient's mask has to be smaller. At equal losses energy leads to better masks.
_CLEARLY = 0.2
DEFAULTS: Table = {
    "objective": (
        "sufficient",
        "sufficient: the frequencies alone are recognised as the class; specific: and other images' are not; graft: "
        "put into other images they make these the class, and others' in their place take the class away",
    ),
    "start": (
        "best",
        "scores to start from: energy, gradient (first-order removal), removal (exact; costs a removal search), graft "
        "(costs a graft search), zero, or best: for each class and share energy, or gradient where its mask has the "
        "clearly smaller loss; for objective graft those of graft",
    ),
    "steps": (110, "steps of each mask"),
    "batch": (16, "images of the class a step; objectives specific and graft take as many of others beside them"),
    "learning_rate": (0.2, "how far logits move a step; initial scores have standard deviation 1"),
    "hottest": (1.0, "temperature of the first step; it falls by the same factor each step"),
    "coldest": (0.05, "temperature of the last step"),
    "restarts": (
        3,
        "masks learned for each class and share, of which the best is taken: by Adam from start, by Adam from zero, by "
        "mirror descent from start, and so on",
    ),
    "others": (
        1.0,
        "weight of images not to be called the class: others with specific, those that gave it up with graft",
    ),
    "judged": (100, "images of the class, and for specific and graft of others, that decide which mask is taken"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return a map of every class at every share that suffices for the class, is specific to it, or carries it.

    The loss of the objective `sufficient` is the cross-entropy of filtered images of the class to the class; `specific`
    adds -log(1 - p) with the weight `others`, where p is what the model gives the class on filtered images of others.
    `graft` has the cross-entropy of others' images with the mask's frequencies from the class, and -log(1 - p) of
    images of the class with those from others. A share's map is the best, by the share of judged images that are called
    the class (less `others` times that of those that are not to be), of the learned masks, those they may start from,
    and the trivial masks of that size; of equal ones the one with the smaller loss.

    Raises:
      InputError: a loss that is not finite, too little memory, or partial results of another search.
      interrupt.Terminated: SIGTERM came; what is computed is saved.
    """
    options, shares = problem.options.learned, tuple(sorted(problem.options.shares))
    budgets, orbits = [masks.budget(share, *problem.plane) for share in shares], spectrum.orbits(*problem.plane)
    # Partial results are known by numbers that depend on the shares.
    problem = dataclasses.replace(problem, identity=f"{problem.identity} at {budgets}")
    others = _others(problem)

    kinds = OBJECTIVES[options.objective] if options.start == "best" else (options.start,)
    initial = {kind: initial_scores.make(problem, kind) for kind in kinds}
    simple = _judged(problem, _simple_masks(problem, budgets, initial), len(shares), others, "simple")
    # The masks of the initial scores come first. The first of them, unless another is clearly better:
    start = (simple.quality.loss[:, :, : len(kinds)] + _CLEARLY * np.arange(len(kinds))).argmin(-1)

    def scores(label: int, share: int) -> Float[np.ndarray, " orbits"]:
        return initial[kinds[start[label, share]]].of_class(label)

    optimisation, masks_of_restarts = _learn(problem, budgets, scores, others)
    learned = _judged(problem, [("learned", mask) for mask in masks_of_restarts], len(shares), others, "learned")
    candidates = learned.beside(simple)
    return dfm.from_classes(
        ((candidates.best_masks(label)[:, orbits], None) for label in range(len(problem.counts))),
        shares,
        **problem.attributes(
            sum(scores.forward_equivalents for scores in initial.values())
            + optimisation.count * optimisation.steps * optimisation.images_per_step
            + candidates.quality.forward_passes,
            start=[[kinds[index] for index in row] for row in start],
            chosen=[[candidates.named[place][0] for place in row] for row in candidates.best],
            judged=candidates.recognised_by_best.tolist(),
        ),
    )


def _others(problem: Problem) -> OtherImages | None:
    """Return the images of other classes that the objective needs, if it needs any."""
    objective = problem.options.learned.objective
    if objective == "sufficient":
        return None
    if len(problem.classes) < 2:
        raise InputError(f"search.learned.objective: {objective!r} needs other classes; found one; expected sufficient")
    return graft.draw_others(problem)


def _judged(
    problem: Problem, named: list[tuple[str, Mask]], shares: int, others: OtherImages | None, folder: str
) -> Candidates:
    """Return masks with how good they are; partial results lie in a folder of this name."""
    candidates = [mask for _, mask in named]
    return Candidates(named, mask_selection.evaluate(problem, candidates, shares, others, folder))


def _learn(
    problem: Problem, budgets: list[int], scores: Callable, others: OtherImages | None
) -> tuple[MaskOptimisation, list[Mask]]:
    """Return the optimisation after its last step, and the masks of each restart; `scores` as it takes them."""
    layout = gradient.layout(problem, images_per_step(problem), resident=resident_images(problem, others))
    partial_results = problem.partial_results(layout, "masks")
    optimisation = MaskOptimisation(problem, budgets, scores, others, partial_results.layout)
    results = stepwise.run(problem, optimisation, partial_results, label=f"search {problem.options.method}")

    def learned_mask(restart: int, label: int, share: int) -> Bool[np.ndarray, " orbits"]:
        task = np.ravel_multi_index((label, share, restart), optimisation.shape)
        return optimisation.unpack(results[task])

    return optimisation, [functools.partial(learned_mask, restart) for restart in range(optimisation.shape[-1])]


def _simple_masks(problem: Problem, budgets: list[int], initial: dict[str, InitialScores]) -> list[tuple[str, Mask]]:
    """Return named masks that nothing is learned for: the best orbits by each kind of score, then the trivial ones."""

    def best_by(scores: Callable, label: int, share: int) -> Bool[np.ndarray, " orbits"]:
        plane = scores(label)[spectrum.orbits(*problem.plane)]
        return spectrum.per_orbit(masks.best_orbits(plane, budgets[share]))

    def low_pass(label: int, share: int) -> Bool[np.ndarray, " orbits"]:
        return spectrum.per_orbit(masks.low_pass(*problem.plane, budgets[share]))

    def random(label: int, share: int) -> Bool[np.ndarray, " orbits"]:
        rng = generator(problem.seed, Stream.LEARNED_RANDOM_MASK, label, share)
        return spectrum.per_orbit(masks.random(*problem.plane, budgets[share], rng))

    simple: dict[str, Mask] = {kind: functools.partial(best_by, scores.of_class) for kind, scores in initial.items()}
    simple.setdefault("energy", functools.partial(best_by, functools.partial(initial_scores.energy, problem)))
    return [*simple.items(), ("low-pass", low_pass), ("random", random)]


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    own = options.learned
    for name, accepted in (("objective", OBJECTIVES), ("start", ("best", *initial_scores.KINDS))):
        if own[name] not in accepted:
            raise InputError(f"search.learned.{name}: got {own[name]!r}; expected {', '.join(accepted)}")
    for name in ("steps", "batch", "restarts", "judged"):
        if own[name] < 1:
            raise InputError(f"search.learned.{name}: got {own[name]}; expected 1 or more")
    for name in ("learning_rate", "hottest", "coldest", "others"):
        if not own[name] > 0:
            raise InputError(f"search.learned.{name}: got {own[name]}; expected a number above 0")


METHOD = Method(search, DEFAULTS, _check)
