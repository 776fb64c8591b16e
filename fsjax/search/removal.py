"""The removal search: how much a class's loss rises when one patch of frequencies is removed (Wang et al., ICCV 2023).

L0(c) is the mean cross-entropy of the images of class c to c, Lk(c) the same with patch k removed; patch k scores
Lk(c) - L0(c) for class c. A class is searched on its own images only: those of other classes do not enter its loss.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from fsjax.engine.engine import LazyArray
from fsjax.fourier import dfm, patches
from fsjax.search import bootstrap, patch_maps, precision_check
from fsjax.search.method import Method, Problem
from fsjax.search.sweep import sweep


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return exact removal scores of every patch for every class, and the maps at the config's shares.

    The provenance has under "stability" how well the maps of bootstrap resamples agree with them (`bootstrap.measure`),
    empty if none were asked for, and under "agreement" the `precision_check`.

    Raises:
      InputError: too many resamples to hold, too little memory, partial results of another search, or a loss that is
        not finite.
      interrupt.Terminated: SIGTERM came; computed losses are kept and not computed again.
    """
    options, counts = problem.options, problem.counts
    masks = removal_masks(problem.plane, options.patch)
    # A method that starts with a removal search needs only its scores.
    resamples = bootstrap.resample_count(options.resamples, METHOD.resamples) if options.method == "removal" else 0
    bootstrap.check_size(len(counts), masks.count, resamples)
    sums = sweep(
        problem,
        masks,
        weights=lambda label: bootstrap.weights(counts[label], resamples, problem.seed, label),
        replicates=1 + resamples,
    )
    precision_report = precision_check.measure(problem, masks, sums[:, 0])

    def planes(replicates: slice) -> Iterator[Float[np.ndarray, "replicates height width"]]:
        for of_class, count in zip(sums, counts, strict=True):
            losses = of_class[replicates] / count
            yield patches.position_scores(losses[:, 1:] - losses[:, :1], *problem.plane, options.patch)

    return patch_maps.cut(
        problem,
        (plane for (plane,) in planes(slice(1))),
        sum(counts) * (masks.count + precision_report.get("masks", 0)),
        loss_before_removal=(sums[:, 0, 0] / np.array(counts)).tolist(),
        agreement=precision_report,
        stability=bootstrap.measure(planes(slice(None)), options) if resamples else {},
    )


def removal_masks(plane: tuple[int, int], patch: int) -> LazyArray:
    """Return the masks of a removal search, as blocks: nothing removed first, then each patch of `fourier.patches`."""
    blocks = np.pad(patches.blocks(*plane, patch), [(1, 0), (0, 0)])
    return LazyArray(len(blocks), lambda start, stop: blocks[start:stop])


METHOD = Method(search, patches=True, whole_patches=True, resamples=20)
