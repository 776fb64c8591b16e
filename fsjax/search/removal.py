"""The removal search: how much a class's loss rises when one patch of frequencies is removed (Wang et al., ICCV 2023).

L0(c) is the mean cross-entropy of the images of class c to c, Lk(c) the same with patch k removed; patch k scores
Lk(c) - L0(c) for class c. Each class is searched on its own images alone: other classes' add nothing to its loss.
"""

import numpy as np
from jaxtyping import Bool, Float

from fsjax import dfm, spectrum
from fsjax.search import agreement
from fsjax.search.method import Method
from fsjax.search.problem import Problem
from fsjax.search.sweep import MaskList, sweep
from fsjax.tile import Removals


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Exact removal scores of every patch for every class, and the maps at the config's shares (METHOD 2).

    Raises:
      interrupt.Terminated: SIGTERM came; what is computed is kept and not computed again.
    """
    options = problem.options
    images = np.array(problem.counts)
    masks = removal_masks(problem.plane, options.patch)
    sums = sweep(
        problem,
        masks,
        precision=options.precision,
        directory=problem.directory,
        label=f"search {options.method}",
    )
    losses = sums / images[:, None]
    rises = losses[:, 1:] - losses[:, :1]
    agreed = agreement.measure(problem, masks, sums)
    return dfm.from_scores(
        (plane_scores(of_class, problem.plane, options.patch) for of_class in rises),
        tuple(options.shares),
        classes=problem.classes,
        method=options.method,
        images=images,
        forward_equivalents=int(images.sum()) * (masks.count + agreed.get("masks", 0)),
        searched_on=problem.searched_on,
        provenance={**problem.provenance, "loss_before_removal": losses[:, 0].tolist(), "agreement": agreed},
    )


def removal_masks(plane: tuple[int, int], patch: int) -> MaskList:
    """The masks of a removal search: nothing removed first, then each patch of `spectrum.patches`."""

    def masks(start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
        kept = ~spectrum.patch_range(*plane, patch, max(start - 1, 0), stop - 1)
        return np.concatenate([np.ones((1, *plane), bool), kept]) if start == 0 else kept

    count = 1 + spectrum.num_patches(*plane, patch)
    if patch > 1:
        return MaskList(count, masks)
    positions = spectrum.orbit_positions(*plane)
    shares = np.ones(count, np.float32)
    shares[0] = 0
    return MaskList(count, masks, Removals(np.concatenate([positions[:1], positions]), shares))


def plane_scores(
    patch_scores: Float[np.ndarray, " patches"], plane: tuple[int, int], patch: int
) -> Float[np.ndarray, "height width"]:
    """The score of each position: that of its patch, or the mean over the patches that contain it."""
    total, covered = np.zeros(plane), np.zeros(plane)
    step = 256
    for start in range(0, len(patch_scores), step):
        masks = spectrum.patch_range(*plane, patch, start, start + step)
        total += np.tensordot(patch_scores[start : start + step], masks.astype(float), 1)
        covered += masks.sum(0)
    return total / covered


METHOD = Method(search, patches=True)
