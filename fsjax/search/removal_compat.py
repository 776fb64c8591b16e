"""`removal_compat`: the published removal search, mask by mask and number by number.

It differs from `removal` in what is removed (blocks whose mirror image is one off the conjugate, and row 0 and column 0
without theirs), in the loss (not compared with the loss before removal, and with a constant from each batch's other
classes) and in the maps (a threshold, ties included). Use it to compare with maps made in PyTorch.
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.engine import LazyArray
from fsjax.fourier import dfm, spectrum
from fsjax.fourier.masks import at_threshold
from fsjax.runtime.errors import InputError
from fsjax.search import precision_check
from fsjax.search.method import Method, Problem
from fsjax.search.sweep import sweep

# Images of one published batch, in class-sorted order.
BATCH = 100


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return the published loss of every block for every class, and the maps at the config's shares.

    The published code sets the logits and label of other classes' images to 0, so each adds ln(number of classes) to
    its batch; only batches with an image of the class count. That is a constant, so only a class's own images are
    forwarded here.

    Raises:
      InputError: the images are not square.
      interrupt.Terminated: SIGTERM came; computed losses are kept and not computed again.
    """
    height, width = problem.plane
    if height != width:
        raise InputError(f"search.method: got images of {height} x {width}; expected square ones for removal_compat")
    options = problem.options
    blocks = visited_blocks(height, options.patch)
    masks, mask_of_block = distinct_masks(height, options.patch, blocks)
    batches, batch_sizes = published_batches(problem.counts)

    def weights(label: int) -> Float[np.ndarray, " images"]:
        return 1 / batch_sizes[batches[label]]

    sums = sweep(problem, masks, weights=weights)
    others = [sum(1 - np.sum(own == batch) / batch_sizes[batch] for batch in np.unique(own)) for own in batches]
    losses = sums[:, mask_of_block] + np.array(others)[:, None] * np.log(problem.model.num_logits)
    precision_report = precision_check.measure(problem, masks, sums, weights)
    return dfm.from_scores(  # float32 before the threshold, as in the published code
        (plane_losses(of_class, height, options.patch, blocks) for of_class in losses),
        tuple(options.shares),
        mask=at_threshold,
        **problem.attributes(
            sum(problem.counts) * (masks.count + precision_report.get("masks", 0)),
            agreement=precision_report,
        ),
    )


def published_batches(counts: tuple[int, ...]) -> tuple[list[Int[np.ndarray, " images"]], Int[np.ndarray, " batches"]]:
    """Return the batch of each class's images, in class-sorted order, and the sizes of the batches."""
    first, total = np.cumsum([0, *counts]), sum(counts)
    sizes = np.minimum(BATCH, total - BATCH * np.arange(-(-total // BATCH)))
    return [np.arange(start, stop) // BATCH for start, stop in itertools.pairwise(first)], sizes


def visited_blocks(size: int, patch: int) -> list[tuple[int, int]]:
    """Return (row, column) of every block of the patch x patch grid that is visited, in order."""
    return [(row, column) for row in range(size // patch) for column in range(size // (2 * patch) + 1)]


def distinct_masks(
    size: int, patch: int, blocks: list[tuple[int, int]]
) -> tuple[LazyArray, Int[np.ndarray, " blocks"]]:
    """Return the masks that leave something different of an image, and the index of each block's mask.

    On an even plane blocks in the first column and in that of DC come in pairs: a block takes from every orbit what the
    one on the other side of row S/2 takes. After taking the real part both leave the same, so it is computed once.
    """
    orbits = spectrum.orbits(size, size)
    positions = np.arange(size * size).reshape(size, size)
    index_of: dict[tuple[bytes, bytes], int] = {}
    distinct: list[tuple[int, int]] = []
    mask_of_block = np.zeros(len(blocks), int)
    for index, block in enumerate(blocks):
        removed = np.unique(np.concatenate([positions[area].ravel() for area in _areas(size, patch, *block)]))
        touched, counts = np.unique(orbits.flat[removed], return_counts=True)
        key = (touched.tobytes(), counts.tobytes())
        if key not in index_of:
            index_of[key] = len(distinct)
            distinct.append(block)
        mask_of_block[index] = index_of[key]

    def masks(start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
        return block_masks(size, patch, distinct[start:stop])

    return LazyArray(len(distinct), masks), mask_of_block


def block_masks(size: int, patch: int, blocks: list[tuple[int, int]]) -> Bool[np.ndarray, "blocks size size"]:
    """Return masks that keep everything but a block and its mirror block."""
    masks = np.ones((len(blocks), size, size), bool)
    for mask, block in zip(masks, blocks, strict=True):
        for area in _areas(size, patch, *block):
            mask[area] = False
    return masks


def plane_losses(
    losses: Float[np.ndarray, " blocks"], size: int, patch: int, blocks: list[tuple[int, int]]
) -> Float[np.ndarray, "size size"]:
    """Return the plane of losses: each block's at its positions and its mirror block's, 0 elsewhere."""
    plane = np.zeros((size, size))
    for loss, block in zip(losses, blocks, strict=True):
        for area in _areas(size, patch, *block):
            plane[area] = loss
    return plane


def _areas(size: int, patch: int, row: int, column: int) -> list[tuple[slice, slice]]:
    """Return the block and, beyond row 0 and column 0, its mirror block."""
    corners = [(patch * row, patch * column)]
    if row > 0 and column > 0:
        corners.append((size - patch * row, size - patch * column))
    return [(slice(top, top + patch), slice(left, left + patch)) for top, left in corners]


def _above_median(
    scores: Float[np.ndarray, "classes height width"],
) -> Float[np.ndarray, "classes height width"]:
    """Return distances from a class's median, since its losses are nearly alike; NaN where no block was visited."""
    visited = np.where(scores == 0, np.nan, scores)
    return visited - np.nanmedian(visited, axis=(1, 2), keepdims=True)


METHOD = Method(
    search,
    patches=True,
    scored="Loss without a frequency, less the median (nats)",
    drawable=_above_median,
    mask=at_threshold,
)
