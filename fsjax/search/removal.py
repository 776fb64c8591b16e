"""The removal search: how much a class's loss rises when one patch of frequencies is removed (Wang et al., ICCV 2023).

L0(c) is the mean cross-entropy of the images of class c to c, Lk(c) the same with patch k removed; patch k scores
Lk(c) - L0(c) for class c.

With `compat` the search is the published code, number by number, for comparison with maps made in PyTorch. It removes
other patches: the mirror image of a block is one off the conjugate, and blocks in row 0 and column 0 have none. Its
scores are losses, to which each batch's other classes add a constant. Its maps keep all positions above a threshold.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from fsjax.engine.engine import LazyArray
from fsjax.fourier import dfm, patches, spectrum
from fsjax.fourier.masks import at_threshold
from fsjax.runtime.errors import InputError
from fsjax.search import patch_maps
from fsjax.search.method import Method, Planes, Problem
from fsjax.search.sweep import sweep

# Images in a batch of the published code, whose images are sorted by class.
_BATCH = 100


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return exact removal scores of every patch for every class, and the maps at the config's shares."""
    options, counts = problem.options, problem.counts
    masks, resamples = removal_masks(problem.plane, options.patch), patch_maps.resample_count(options)
    sums = sweep(
        problem,
        masks,
        weights=lambda label: patch_maps.resample_weights(counts[label], resamples, problem.seed, label),
        replicates=1 + resamples,
    )

    def scores(replicates: slice) -> Iterator[Float[np.ndarray, "replicates patches"]]:
        for class_sums, count in zip(sums, counts, strict=True):
            losses = class_sums[replicates] / count
            yield losses[:, 1:] - losses[:, :1]

    return patch_maps.cut(
        problem,
        scores,
        sum(counts) * masks.count,
        loss_before_removal=(sums[:, 0, 0] / np.array(counts)).tolist(),
    )


def removal_masks(plane: tuple[int, int], patch: int) -> LazyArray:
    """Return the masks of a removal search, as blocks: nothing removed first, then each patch of `fourier.patches`."""
    blocks = np.pad(patches.blocks(*plane, patch), [(1, 0), (0, 0)])
    return LazyArray(len(blocks), lambda start, stop: blocks[start:stop])


def search_compat(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return the published loss of every block for every class, and the maps at the config's shares.

    The published code sets the logits and label of other classes' images to 0, so that each adds ln(number of logits)
    to its batch; only batches with an image of the class count. Only a class's own images are forwarded here.
    """
    options, size = problem.options, problem.plane[0]
    blocks = visited_blocks(size, options.patch)
    masks, mask_of_block = distinct_masks(size, options.patch, blocks)
    # The batch of each class's images, which are sorted by class, and the sizes of the batches.
    ends, total = np.cumsum([0, *problem.counts]), sum(problem.counts)
    batches = [np.arange(start, stop) // _BATCH for start, stop in itertools.pairwise(ends)]
    batch_sizes = np.minimum(_BATCH, total - _BATCH * np.arange(-(-total // _BATCH)))

    def weights(label: int) -> Float[np.ndarray, " images"]:
        return 1 / batch_sizes[batches[label]]

    sums = sweep(problem, masks, weights=weights)
    others = [sum(1 - np.sum(own == batch) / batch_sizes[batch] for batch in np.unique(own)) for own in batches]
    losses = sums[:, mask_of_block] + np.array(others)[:, None] * np.log(problem.model.num_logits)
    block_of_position = np.full(problem.plane, len(blocks))
    for number, block in enumerate(blocks):
        block_of_position[removed(size, options.patch, *block)] = number
    return dfm.from_scores(  # float32 before the threshold, and 0 beyond the blocks, as in the published code
        (np.append(class_losses, 0)[block_of_position] for class_losses in losses),
        tuple(options.shares),
        mask=at_threshold,
        **problem.attributes(total * masks.count, **{dfm.COMPAT: True}),
    )


def visited_blocks(size: int, patch: int) -> list[tuple[int, int]]:
    """Return (row, column) in the grid of patches of every block that the published code visits, in order."""
    return [(row, column) for row in range(size // patch) for column in range(size // (2 * patch) + 1)]


def distinct_masks(
    size: int, patch: int, blocks: list[tuple[int, int]]
) -> tuple[LazyArray, Int[np.ndarray, " blocks"]]:
    """Return the masks that give different filtered images, and the index of each block's mask.

    On an even plane the blocks in column 0 and in DC's column come in pairs, mirrored at row S/2. Both blocks of a pair
    take the same from every orbit and give the same real images, so they share a mask.
    """
    orbits, mask_of_block = spectrum.orbits(size, size), []
    distinct: list[tuple[int, int]] = []
    numbers: dict[tuple[bytes, ...], int] = {}
    for block in blocks:
        touched = np.unique(orbits[removed(size, patch, *block)], return_counts=True)
        key = tuple(array.tobytes() for array in touched)
        if key not in numbers:
            numbers[key] = len(distinct)
            distinct.append(block)
        mask_of_block.append(numbers[key])

    def make(start: int, stop: int) -> Bool[np.ndarray, "masks size size"]:
        return ~np.stack([removed(size, patch, *block) for block in distinct[start:stop]])

    return LazyArray(len(distinct), make), np.array(mask_of_block)


def removed(size: int, patch: int, row: int, column: int) -> Bool[np.ndarray, "size size"]:
    """Return the positions of a block and, beyond row 0 and column 0, of its mirror block."""
    plane, corners = np.zeros((size, size), bool), [(patch * row, patch * column)]
    if row > 0 and column > 0:
        corners.append((size - patch * row, size - patch * column))
    for top, left in corners:
        plane[top : top + patch, left : left + patch] = True
    return plane


def _above_median(scores: Planes) -> Planes:
    """Return distances from a class's median, since its losses are nearly alike; NaN where no block was visited."""
    visited = np.where(scores == 0, np.nan, scores)
    return visited - np.nanmedian(visited, axis=(1, 2), keepdims=True)


def _check_square(options: ConfigDict, plane: tuple[int, int]) -> None:
    if plane[0] != plane[1]:
        raise InputError(f"search.removal.compat: got images of {plane[0]} x {plane[1]}; expected square ones")


def _forward_passes(options: ConfigDict, counts: tuple[int, ...], plane: tuple[int, int]) -> int:
    return sum(counts) * (1 + patches.count(*plane, options.patch))


COMPAT = Method(
    search_compat,
    check=_check_square,
    forward_passes=_forward_passes,
    patches=True,
    scored="Loss without a frequency, less the median (nats)",
    drawable=_above_median,
    mask=at_threshold,
)
METHOD = Method(
    search,
    {"compat": (False, "losses, blocks and threshold of the published code, number by number; for square images")},
    forward_passes=_forward_passes,
    patches=True,
    whole_patches=True,
    compat=COMPAT,
)
