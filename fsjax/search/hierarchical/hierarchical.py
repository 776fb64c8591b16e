"""`hierarchical`: sets of frequencies that suffice together, from coarse patches to fine (HFSS, Wang et al., CVPR'25).

A stage draws B candidate masks that keep a share P of the patches of its size. From the second stage on each is
intersected with one of the N best masks of a random class from the stage before. A candidate's loss for a class is the
mean cross-entropy of that class's images under it, so one pass over all images serves all classes. The
result is sets of frequencies: the maps have no scores.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.fourier import dfm, masks
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import precision_check
from fsjax.search.hierarchical import candidate_regression, stages
from fsjax.search.hierarchical.candidates import Candidates
from fsjax.search.method import Method, Problem
from fsjax.search.removal import published_batches
from fsjax.search.sweep import sweep


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return the best mask of each class within the budget of each share.

    The published stages end with masks that keep about P^stages of the plane, 13 % by default at 32 pixels. They serve
    the shares from there on: a class's map is its best candidate of the last one that fits the budget, which at a share
    of 1 is HFSS's map as published. For smaller shares further stages, which are ours, go from share to share in equal
    ratios, as near to P as whole stages allow, with as many candidates as the last published stage. Each candidate
    keeps random orbits of its parent, as many as fill the stage's budget (or, where the parent is within the budget
    already, the stage's ratio of it). Since none can have an orbit that its parent lacks, one candidate of each class,
    and half of a stage at most, keeps the orbits that `candidate_regression.rank_orbits` puts first. The best candidate
    of the stage that reaches a share is the map.

    If no candidate of the last published stage fits a budget, each class's best is trimmed to it by random orbits, and
    the loss under that map is not known.

    Provenance: `stages`, each with its `patch`, `candidates`, `positions` (the least, median and most that they keep)
    and the `shares` it serves; `losses` [shares][classes], of each class under its map in nats, or None; `agreement`,
    the precision check of the last published stage's losses.

    Raises:
      InputError: partial results of another search, too little memory, or a loss that is not finite.
      interrupt.Terminated: SIGTERM came; computed losses are kept and not computed again.
    """
    candidates, layout = begin(problem), _layout(problem)
    engine = Engine(problem.searched_model, tile_images=layout["tile_images"])
    shares = tuple(sorted(problem.options.shares))
    choices: dict[float, _Choice] = {}
    published: list[Float[np.ndarray, "classes _"]] = []
    stage_reports: list[dict] = []
    precision_report: dict = {}
    for number, stage in enumerate(candidates.stages):
        if stage.budget is not None and not len(candidates.ranking):
            ranking = candidate_regression.rank_orbits(candidates, published, stage.budget)
            candidates = dataclasses.replace(candidates, ranking=ranking)
        candidates, losses, positions, of_stage = advance(problem, candidates, layout, engine)
        precision_report |= of_stage
        if stage.budget is None:
            published.append(losses)
        for share in stage.shares:
            choices[share] = _choose(number, losses, positions <= masks.budget(share, *problem.plane))
        spread = np.percentile(positions, [0, 50, 100], method="lower").tolist()
        stage_reports.append(
            {"patch": stage.patch, "candidates": stage.count, "positions": spread, "shares": list(stage.shares)}
        )
    evaluated = sum(stage.count for stage in candidates.stages) + precision_report.get("masks", 0)
    return dfm.from_classes(
        (
            (np.stack([_mask(candidates, choices[share], label, share) for share in shares]), None)
            for label in range(len(problem.counts))
        ),
        shares,
        **problem.attributes(
            sum(problem.counts) * evaluated,
            stages=stage_reports,
            losses=[choices[share].losses for share in shares],
            agreement=precision_report,
        ),
    )


def begin(problem: Problem) -> Candidates:
    """Return the candidates of a search before its first stage."""
    own = problem.options.hierarchical
    return Candidates(problem.plane, stages.plan(problem.options, problem.plane), problem.seed, own.share, own.compat)


def advance(
    problem: Problem, candidates: Candidates, layout: dict[str, int] | None = None, engine: Engine | None = None
) -> tuple[Candidates, Float[np.ndarray, "classes candidates"], Int[np.ndarray, " candidates"], dict]:
    """Evaluate the next stage, with the layout and the engine of `sweep`.

    Returns:
      The candidates with the stage's N best of each class; the stage's losses, the weighted mean over each class's
      images in nats; how many positions each candidate keeps; and, after the last published stage, the
      `precision_check` of a lower precision.
    """
    number, own = len(candidates.best), problem.options.hierarchical
    stage, weights = candidates.stages[number], image_weights(problem)
    # A stage's masks follow from the best of the stages before it, so its partial results are tied to those.
    problem = dataclasses.replace(
        problem,
        directory=problem.directory and problem.directory / f"stage{number + 1}",
        identity=candidates.digest(problem.identity),
    )
    # Each class asks for all of them, and at 224 pixels one takes up to 3 ms to make.
    make = masks.PackedOnce(stage.count, functools.partial(candidates.masks, number))
    mask_list = LazyArray(stage.count, make)
    sums = sweep(
        *(problem, mask_list),
        weights=weights,
        label=f"search {problem.options.method}, stage {number + 1} of {len(candidates.stages)}",
        layout=layout,
        engine=engine,
    )
    precision_report = {}
    if number + 1 == len(stages.published_patches(own, problem.plane)) and stage.count > 1:
        # The check compares the masks with the largest sums; the best have the lowest losses.
        precision_report = precision_check.measure(problem, mask_list, -sums, lambda label: -weights(label))
    best = np.argsort(sums, axis=1, kind="stable")[:, : own.keep]
    totals = np.array([weights(label).sum() for label in range(len(sums))])
    candidates = dataclasses.replace(candidates, best=(*candidates.best, best))
    positions = np.array([np.bitwise_count(make(index, index + 1)).sum(dtype=int) for index in range(stage.count)])
    return candidates, sums / totals[:, None], positions, precision_report


def image_weights(problem: Problem) -> Callable[[int], Float[np.ndarray, " images"]]:
    """Return a function of a class: the weight of each of its images in the class's loss.

    1, or, with `compat`, that of a mean over its published batch. There each image of another class adds ln(number of
    logits) to its batch whatever the mask: left out here.
    """
    if not problem.options.hierarchical.compat:
        return lambda label: np.ones(problem.counts[label])
    batches, sizes = published_batches(problem.counts)
    return lambda label: 1 / sizes[batches[label]]


def _layout(problem: Problem) -> dict[str, int]:
    """Return one layout for all stages, kept from the first start on, so that a restart repeats the same arithmetic."""
    model = problem.searched_model
    layout = tile_size.layout(model, problem.counts, memory_mib=problem.run.memory_mib)
    return problem.partial_results(layout).layout


class _Choice(NamedTuple):
    """Each class's best candidate of a stage, and its loss where one fits the budget."""

    stage: int
    candidate: Int[np.ndarray, " classes"]
    losses: list[float | None]


def _choose(
    stage: int, losses: Float[np.ndarray, "classes candidates"], fits: Bool[np.ndarray, " candidates"]
) -> _Choice:
    if not fits.any():
        return _Choice(stage, losses.argmin(1), [None] * len(losses))
    losses = np.where(fits, losses, np.inf)
    return _Choice(stage, losses.argmin(1), losses.min(1).tolist())


def _mask(candidates: Candidates, choice: _Choice, label: int, share: float) -> Bool[np.ndarray, "height width"]:
    """Return the chosen candidate of a class, trimmed to the share where it does not fit."""
    chosen, budget = candidates.mask(choice.stage, int(choice.candidate[label])), masks.budget(share, *candidates.plane)
    if chosen.sum() <= budget:
        return chosen
    return candidates.trim(chosen, budget, generator(candidates.seed, Stream.HIERARCHICAL_TRIM, label))


METHOD = Method(
    search,
    {
        "patches": (
            "",
            "sizes of the stages' patches, such as '8,4,2,1'; '' = for the image size: 8,4,2,1 at 32 pixels, "
            "16,8,4,2,1 at 64, 32,16,8,4,2 at 128, 56,28,14,8,4,2 at 224",
        ),
        "candidates": (
            "",
            "B of each stage; '' = 2000 in the last and half as many in each before, so 250,500,1000,2000 at 32 "
            "pixels: a quarter of what was published for CIFAR ('CF-1': 1000,2000,4000,8000); 500 each in the "
            "published code",
        ),
        "keep": (10, "N: best masks of each class that the next stage's descend from"),
        "share": (0.6, "P: of the patches that a mask keeps; 0.8 in the published code"),
        "compat": (False, "patches, draws and batches of the published code; not its P and B"),
    },
    stages.check,
)
