"""`hierarchical`: sets of frequencies that suffice together, from coarse patches to fine (HFSS, Wang et al., CVPR'25).

A stage draws B candidate masks that keep a share P of the patches of its size. From the second stage on each candidate
lies within one of the N best masks of a random class from the stage before. A candidate's loss for a class is the mean
cross-entropy of that class's images under it. The result is sets of frequencies: the maps have no scores.
"""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from fsjax.engine import tile_size
from fsjax.engine.engine import LazyArray
from fsjax.fourier import dfm, masks
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import candidate_masks, patch_maps
from fsjax.search.candidate_masks import Candidates, Stage
from fsjax.search.method import Method, Problem
from fsjax.search.sweep import sweep

# Published for this size; `stage_patches` has the rule for all others.
PATCHES_224 = (56, 28, 14, 8, 4, 2)
# Planes with a longer side end with squares of 2 x 2, others with single orbits.
FINE_SIDE = 64
# Default number of candidates of the last stage; each stage before has half as many.
LAST_CANDIDATES = 2000
DEFAULTS: Table = {
    "candidates": (
        "",
        "B of each stage; '' = 2000 in the last and half as many in each before, so 250,500,1000,2000 at 32 "
        "pixels: a quarter of the published numbers for CIFAR ('CF-1': 1000,2000,4000,8000); 500 each in the "
        "published code",
    ),
    "keep": (10, "N: best masks of each class from which the next stage's descend", "[1, inf)"),
    "share": (0.6, "P: share of the patches that a mask keeps; 0.8 in the published code", "(0, 1)"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return the best mask of each class within the budget of each share.

    The published stages end with masks that keep about P^stages of the plane, 13 % by default at 32 pixels. They serve
    larger shares: a class's map is its best candidate of the last published stage that fits the budget. At a share of 1
    it is HFSS's map as published.

    For smaller shares further stages, which are ours, go from share to share in equal ratios as near to P as possible,
    with as many candidates as the last published stage. Each candidate keeps random orbits of its parent. It never has
    an orbit that its parent lacks, so one candidate of each class keeps the best orbits by `rank_orbits` instead. Where
    no candidate fits a budget, the best loses random orbits, and its loss is unknown.

    Provenance: `stages`, each with its `patch`, `candidates`, `positions` (the least, median and most kept) and the
    `shares` it serves; `losses` [shares][classes], of each class under its map in nats, or None.
    """
    stages, share = plan_stages(problem.options, problem.plane), problem.options.hierarchical.share
    candidates = Candidates(problem.plane, stages, problem.seed, share)
    fewest, memory_mib = min(stage.count for stage in stages), problem.run.memory_mib
    layout = tile_size.layout(problem.searched_model, problem.counts, masks=fewest, memory_mib=memory_mib)
    layout = problem.partial_results(layout).layout  # of all stages, also after a restart
    shares = tuple(sorted(problem.options.shares))
    # Share -> the stage, each class's best candidate there, and its loss where a candidate fits the budget.
    choices: dict[float, tuple[int, Int[np.ndarray, " classes"], list[float | None]]] = {}
    published: list[Float[np.ndarray, "classes _"]] = []
    stage_reports: list[dict] = []
    for number, stage in enumerate(candidates.stages):
        if stage.budget is not None and not len(candidates.ranking):
            ranking = candidate_masks.rank_orbits(candidates, published, stage.budget)
            candidates = dataclasses.replace(candidates, ranking=ranking)
        candidates, losses, positions = advance(problem, candidates, layout)
        if stage.budget is None:
            published.append(losses)
        for share in stage.shares:
            fits = positions <= masks.budget(share, *problem.plane)
            among = np.where(fits, losses, np.inf) if fits.any() else losses
            known = among.min(1).tolist() if fits.any() else [None] * len(losses)
            choices[share] = number, among.argmin(1), known
        spread = np.percentile(positions, [0, 50, 100], method="lower").tolist()
        stage_reports.append(
            {"patch": stage.patch, "candidates": stage.count, "positions": spread, "shares": list(stage.shares)}
        )

    def map_of(label: int, share: float) -> Bool[np.ndarray, "height width"]:
        stage, chosen, _ = choices[share]
        rng, budget = generator(problem.seed, Stream.HIERARCHICAL_TRIM, label), masks.budget(share, *problem.plane)
        return candidates.trim(candidates.mask(stage, int(chosen[label])), budget, rng)  # the same where it fits

    return dfm.from_classes(
        ((np.stack([map_of(label, share) for share in shares]), None) for label in range(len(problem.counts))),
        shares,
        **problem.attributes(
            _forward_passes(problem.options, problem.counts, problem.plane),
            stages=stage_reports,
            losses=[choices[share][2] for share in shares],
        ),
    )


def advance(
    problem: Problem, candidates: Candidates, layout: dict[str, int] | None = None
) -> tuple[Candidates, Float[np.ndarray, "classes candidates"], Int[np.ndarray, " candidates"]]:
    """Evaluate the next stage.

    Returns the candidates with the stage's N best of each class, the mean losses in nats, and how many positions each
    candidate keeps.
    """
    number = len(candidates.best)
    stage, counts = candidates.stages[number], np.array(problem.counts)
    # The best of the stages before determine a stage's masks, so its partial results are tied to them.
    problem = dataclasses.replace(
        problem,
        directory=problem.directory and problem.directory / f"stage{number + 1}",
        identity=candidates.digest(problem.identity),
    )
    # Each class asks for all of them, and at 224 pixels one takes up to 3 ms to make.
    make = functools.cache(lambda start, stop: np.packbits(candidates.masks(number, start, stop), axis=-1))
    mask_list = LazyArray(stage.count, make)
    label = f"search {problem.options.method}, stage {number + 1} of {len(candidates.stages)}"
    sums = sweep(problem, mask_list, label=label, layout=layout)
    best = np.argsort(sums, axis=1, kind="stable")[:, : problem.options.hierarchical.keep]
    positions = np.array([candidates.masks(number, index, index + 1).sum() for index in range(stage.count)])
    return dataclasses.replace(candidates, best=(*candidates.best, best)), sums / counts[:, None], positions


def plan_stages(options: ConfigDict, plane: tuple[int, int]) -> tuple[Stage, ...]:
    """Return the stages of a search: the published ones, then the further stages to smaller shares."""
    own, patches = options.hierarchical, stage_patches(plane)
    halved = tuple(max(3, LAST_CANDIDATES >> later) for later in reversed(range(len(patches))))
    try:
        counts = tuple(map(int, filter(None, own.candidates.split(",")))) or halved
    except ValueError:
        counts = ()
    if len(counts) != len(patches) or min(counts) < 1:
        expected = f"{len(patches)} whole numbers, 1 or more, one for each patch size"
        raise InputError(f"search.hierarchical.candidates: got {own.candidates!r}; expected {expected}")
    reached = own.share ** len(patches)
    stages = [Stage(patch, count) for patch, count in zip(patches, counts, strict=True)]
    stages[-1] = dataclasses.replace(stages[-1], shares=tuple(share for share in options.shares if share >= reached))
    for share in sorted({share for share in options.shares if share < reached}, reverse=True):
        steps = max(1, round(math.log(share / reached) / math.log(own.share)))
        ratio = (share / reached) ** (1 / steps)
        between = [masks.budget(reached * ratio**step, *plane) for step in range(1, steps)]
        stages += [Stage(1, counts[-1], budget, ratio) for budget in between]
        stages.append(Stage(1, counts[-1], masks.budget(share, *plane), ratio, (share,)))
        reached = share
    return tuple(stages)


def stage_patches(plane: tuple[int, int]) -> tuple[int, ...]:
    """Return the patch sizes of the published stages: the largest within a quarter of the shorter side, then halves."""
    if plane == (224, 224):
        return PATCHES_224
    patches: list[int] = []
    largest = min(plane) // 4
    while fitting := [side for side in patch_maps.sides(plane) if side <= largest]:
        patches.append(fitting[-1])
        largest = patches[-1] // 2
    return tuple(patches[:-1] if max(plane) > FINE_SIDE and len(patches) > 1 else patches) or (1,)


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    plan_stages(options, plane)


def _forward_passes(options: ConfigDict, counts: tuple[int, ...], plane: tuple[int, int]) -> int:
    return sum(counts) * sum(stage.count for stage in plan_stages(options, plane))


METHOD = Method(search, DEFAULTS, _check, _forward_passes)
