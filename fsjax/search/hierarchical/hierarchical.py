"""`hierarchical`: sets of frequencies that suffice together, from coarse patches to fine (HFSS, Wang et al., CVPR'25).

A stage draws B candidate masks that keep a share P of the patches of its size. From the second stage on each is
intersected with one of the N best masks of a random class from the stage before. A candidate's loss for a class is the
mean cross-entropy of that class's images under it, so one pass over all images serves all classes (METHOD 8). What is
found are sets of frequencies: the maps have no scores.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.engine import tile_size
from fsjax.fourier import dfm, masks
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import Partials
from fsjax.search import precision_check
from fsjax.search.hierarchical import candidate_regression
from fsjax.search.hierarchical.candidates import Candidates, Stage
from fsjax.search.method import Method
from fsjax.search.problem import Problem
from fsjax.search.removal_compat import BATCH
from fsjax.search.sweep import MaskList, sweep

# Published for this size; `_patches` has the rule for all others.
PATCHES_224 = (56, 28, 14, 8, 4, 2)
# Planes with a longer side end with squares of 2 x 2, others with single orbits.
FINE_SIDE = 64
# Of the last stage, where the field is "": half as many in each stage before.
LAST_CANDIDATES = 2000


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """The best mask of each class within the budget of each share.

    The published stages end with masks that keep about P^stages of the plane, 13 % by default at 32 pixels. Shares from
    there on are served by the last of these stages: a class's map is its best candidate there that fits the budget.
    With a share of 1 that is HFSS's map as published. For smaller shares further stages, which are ours, go from share
    to share in equal ratios, as near to P as whole stages allow, with as many candidates as the last published stage:
    each keeps orbits of its parent, drawn at random, as many as fill the stage's budget. (Of a parent that is within
    the budget already they keep the stage's ratio.) What a parent lacks none of these can have, so one candidate of
    each class, and half of a stage at most, keeps the orbits that `worth.ranking` finds best in the published stages'
    losses. The best candidate of the stage that reaches a share is the map.

    Should no candidate of the last published stage fit a budget, each class's best is trimmed to it by random orbits,
    and the loss under such a map is not known.

    Provenance: `stages`, each with its `patch`, `candidates`, `positions` (the least, median and most that they keep)
    and the `shares` it serves; `losses` [shares][classes], of each class under its map in nats, or None; `agreement`
    of the last published stage's losses, the lower the better.

    Raises:
      InputError: partial results of another search, too little memory, or a loss that is not finite.
      interrupt.Terminated: SIGTERM came; what is computed is kept and not computed again.
    """
    candidates, layout = begin(problem), _layout(problem)
    shares, images = tuple(sorted(problem.options.shares)), np.array(problem.counts)
    mask_of, losses, stages = {}, {}, []
    agreed: dict[str, Any] = {}
    published: list[Float[np.ndarray, "classes _"]] = []
    for number, stage in enumerate(candidates.stages):
        if stage.budget is not None and not len(candidates.ranking):
            ranking = candidate_regression.ranking(candidates, published, stage.budget)
            candidates = dataclasses.replace(candidates, ranking=ranking)
        candidates, found, compared = advance(problem, candidates, layout)
        if stage.budget is None:
            published.append(found)
        agreed = agreed or compared
        positions = np.array([candidates.mask(number, index).sum() for index in range(stage.count)])
        for share in stage.shares:
            budget = masks.budget(share, *problem.plane)
            mask_of[share], losses[share] = _best(candidates, number, found, positions, budget)
        spread = np.percentile(positions, [0, 50, 100], method="lower").tolist()
        about = {"patch": stage.patch, "candidates": stage.count, "positions": spread}
        stages.append({**about, "shares": list(stage.shares)})
    evaluated = sum(stage.count for stage in candidates.stages) + agreed.get("masks", 0)
    ours = {"stages": stages, "losses": [losses[share] for share in shares], "agreement": agreed}
    return dfm.from_classes(
        ((np.stack([mask_of[share](label) for share in shares]), None) for label in range(len(images))),
        shares,
        classes=problem.classes,
        method=problem.options.method,
        searched_on=problem.searched_on,
        images=images,
        forward_equivalents=int(images.sum()) * evaluated,
        provenance={**problem.provenance, **ours},
    )


def begin(problem: Problem) -> Candidates:
    """The candidates of a search of which nothing is evaluated yet."""
    own = problem.options.hierarchical
    return Candidates(problem.plane, plan(problem.options, problem.plane), problem.seed, own.share, own.compat)


def plan(options: ConfigDict, plane: tuple[int, int]) -> tuple[Stage, ...]:
    """The stages of a search: the published ones, then those that lead to smaller shares."""
    own = options.hierarchical
    patches = _patches(own, plane)
    counts = _candidates(own, len(patches))
    if own.compat:
        # In passes of three; at size 1, where there is no shifted grid, a pass makes one candidate.
        counts = tuple(count // 3 * (1 if patch == 1 else 3) for patch, count in zip(patches, counts, strict=True))
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


def advance(
    problem: Problem, candidates: Candidates, layout: dict[str, int] | None = None
) -> tuple[Candidates, Float[np.ndarray, "classes candidates"], dict]:
    """Evaluates the next stage, cut as `layout` says (`sweep`).

    Returns:
      The candidates with the stage's N best of each class among them; its losses, the weighted mean over each class's
      images in nats; and, after the last published stage, the `agreement` of a lower precision.
    """
    number, own = len(candidates.kept), problem.options.hierarchical
    stage, weights = candidates.stages[number], image_weights(problem)
    # A stage's masks follow from all that was kept before it, so its partial results are tied to that.
    problem = dataclasses.replace(
        problem,
        directory=problem.directory and problem.directory / f"stage{number + 1}",
        identity=candidates.digest(problem.identity),
    )
    drawn = MaskList(stage.count, functools.partial(candidates.masks, number))
    sums = sweep(
        *(problem, drawn),
        weights=weights,
        precision=problem.options.precision,
        directory=problem.directory,
        label=f"search {problem.options.method}, stage {number + 1} of {len(candidates.stages)}",
        layout=layout,
    )
    compared = {}
    if number + 1 == len(_patches(own, problem.plane)) and stage.count > 1:
        # The best 5 % are compared, and the best are those with the largest sums there.
        compared = precision_check.measure(problem, drawn, -sums, lambda label: -weights(label))
    best = np.argsort(sums, axis=1, kind="stable")[:, : own.keep]
    totals = np.array([weights(label).sum() for label in range(len(sums))])
    return dataclasses.replace(candidates, kept=(*candidates.kept, best)), sums / totals[:, None], compared


def image_weights(problem: Problem) -> Callable[[int], Float[np.ndarray, " images"]]:
    """Class index -> weight of each of its images in the class's loss.

    1, or, with `compat`, what the mean over its batch makes of it: batches of 100 in class-sorted order, the last one
    smaller. There each image of another class adds ln(number of logits) to its batch whatever the mask: left out here.
    """
    first, total = np.cumsum([0, *problem.counts]), sum(problem.counts)

    def weights(label: int) -> Float[np.ndarray, " images"]:
        batch = np.arange(first[label], first[label + 1]) // BATCH
        sizes = np.minimum(BATCH, total - BATCH * batch)
        return 1 / sizes if problem.options.hierarchical.compat else np.ones(len(sizes))

    return weights


def _layout(problem: Problem) -> dict[str, int]:
    """One for all stages, kept from the first start on: a later one too is computed as if nothing had been stopped."""
    model = problem.searched_model
    layout = tile_size.layout(
        *(model.apply, model.params, model.image_shape, problem.counts),
        memory_mib=problem.run.memory_mib,
        precision=model.matmul_precision,
    )
    return Partials(problem.directory, layout, model.params, problem.identity).layout


def _best(
    candidates: Candidates, number: int, losses: np.ndarray, positions: np.ndarray, budget: int
) -> tuple[Callable[[int], Bool[np.ndarray, "height width"]], list[float | None]]:
    """Each class's best candidate of a stage within a budget, made when it is asked for, and the losses under them."""
    fits = positions <= budget
    best = np.where(fits | ~fits.any(), losses, np.inf).argmin(1).tolist()

    def mask(label: int) -> Bool[np.ndarray, "height width"]:
        chosen = candidates.mask(number, best[label])
        if fits.any():
            return chosen
        return candidates.shrink(chosen, budget, np.random.default_rng([candidates.seed, label]))

    known = fits.any()
    return mask, [float(losses[label, index]) if known else None for label, index in enumerate(best)]


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raises InputError for fields that cannot be used on this plane."""
    own, size = options.hierarchical, f"{plane[0]} x {plane[1]}"
    if own.compat and plane[0] != plane[1]:
        raise InputError(f"search.hierarchical.compat: takes square images; found {size}")
    patches, sides = _patches(own, plane), _sides(plane, own.compat)
    if list(patches) != sorted(set(patches) & set(sides), reverse=True):
        raise InputError(
            f"search.hierarchical.patches: {','.join(map(str, patches))!r} does not fit images of {size}; "
            f"expected descending sizes of {', '.join(map(str, sides)) or 'none'}"
        )
    least, candidates = 3 if own.compat else 1, _candidates(own, len(patches))
    if len(candidates) != len(patches) or min(candidates) < least:
        raise InputError(
            f"search.hierarchical.candidates: {own.candidates!r}; "
            f"expected {len(patches)} numbers, one for each patch size, {least} or more"
        )
    if own.keep < 1:
        raise InputError(f"search.hierarchical.keep: got {own.keep}; expected 1 or more")
    if not 0 < own.share < 1:
        raise InputError(f"search.hierarchical.share: got {own.share}; expected a number between 0 and 1")


def _patches(own: ConfigDict, plane: tuple[int, int]) -> tuple[int, ...]:
    """Patch sizes of the published stages: the field's, or else chosen for the plane.

    The first is the largest that fits into a quarter of the shorter side, each further one the largest that fits into
    half of the one before.
    """
    if own.patches:
        return _numbers("patches", own.patches)
    if plane == (224, 224):
        return PATCHES_224
    found, most = [], min(plane) // 4
    while fitting := [side for side in _sides(plane, own.compat) if side <= most]:
        found.append(fitting[-1])
        most = found[-1] // 2
    return tuple(found[:-1] if max(plane) > FINE_SIDE and len(found) > 1 else found) or (1,)


def _sides(plane: tuple[int, int], compat: bool) -> list[int]:
    """Sizes of patches that a plane can be cut into, ascending."""
    sides = [side for side in range(1, min(plane) + 1) if not any(length % side for length in plane)]
    if compat:
        # Half of the blocks lie in the top half, and the half-turn puts shifted blocks on blocks.
        sides = [side for side in sides if plane[0] % (2 * side) == 0 and (side == 1 or side % 2 == 0)]
    return sides


def _candidates(own: ConfigDict, stages: int) -> tuple[int, ...]:
    if own.candidates:
        return _numbers("candidates", own.candidates)
    return tuple(max(3, LAST_CANDIDATES >> (stages - 1 - stage)) for stage in range(stages))


def _numbers(field: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"search.hierarchical.{field}: got {text!r}; expected whole numbers between commas") from error


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
    check,
)
