"""`removal_compat`: the published removal search, mask by mask and number by number (METHOD 2).

It differs from `removal` in what is removed (blocks whose mirror image is one off the conjugate, and row 0 and column 0
without theirs), in the loss (never compared with the loss before removal, and with a constant from each batch's other
classes) and in the maps (a threshold, ties included). For comparison with maps made in PyTorch.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine.tile import Removals
from fsjax.fourier import dfm, spectrum
from fsjax.fourier.masks import at_threshold
from fsjax.runtime.errors import InputError
from fsjax.search import precision_check
from fsjax.search.method import Method
from fsjax.search.problem import Problem
from fsjax.search.sweep import MaskList, sweep

# Images of one published batch, in class-sorted order.
BATCH = 100


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Published losses of every block for every class, and the maps at the config's shares.

    Every logit and label of an image of another class is set to 0 there, so it adds ln(number of classes) to its
    batch; only batches with an image of the class count. That is a constant here, and only a class's own images are
    forwarded.

    Raises:
      InputError: the images are not square.
      interrupt.Terminated: SIGTERM came; what is computed is kept and not computed again.
    """
    height, width = problem.plane
    if height != width:
        raise InputError(f"search.method: got images of {height} x {width}; expected square ones for removal_compat")
    options = problem.options
    blocks = visited_blocks(height, options.patch)
    batches = [_batches(problem.counts, label) for label in range(len(problem.classes))]
    sizes = np.minimum(BATCH, sum(problem.counts) - BATCH * np.arange(-(-sum(problem.counts) // BATCH)))

    masks, of_block = distinct_masks(height, options.patch, blocks)

    def weights(label: int) -> Float[np.ndarray, " images"]:
        return 1 / sizes[batches[label]]

    sums = sweep(
        problem,
        masks,
        weights=weights,
        precision=options.precision,
        directory=problem.directory,
    )
    others = [
        sum(1 - np.sum(of_class == batch) / sizes[batch] for batch in np.unique(of_class)) for of_class in batches
    ]
    losses = sums[:, of_block] + np.array(others)[:, None] * np.log(problem.model.num_logits)
    planes = np.stack([plane_losses(of_class, height, options.patch, blocks) for of_class in losses])
    planes = planes.astype(np.float32)  # as they are kept, and as the published code has them when it cuts them
    shares = tuple(sorted(options.shares))
    images = np.array(problem.counts)
    agreed = precision_check.measure(problem, masks, sums, weights)
    return dfm.DominantFrequencyMaps(
        masks=np.stack([[at_threshold(plane, share) for plane in planes] for share in shares]),
        shares=shares,
        scores=planes,
        classes=problem.classes,
        method=options.method,
        searched_on=problem.searched_on,
        images=images,
        forward_equivalents=int(images.sum()) * (masks.count + agreed.get("masks", 0)),
        provenance={**problem.provenance, "agreement": agreed},
    )


def visited_blocks(size: int, patch: int) -> list[tuple[int, int]]:
    """(row, column) of every block of the patch x patch grid that is visited, in order."""
    return [(row, column) for row in range(size // patch) for column in range(size // (2 * patch) + 1)]


def distinct_masks(size: int, patch: int, blocks: list[tuple[int, int]]) -> tuple[MaskList, Int[np.ndarray, " blocks"]]:
    """The masks that differ in what they leave of an image, and which of them is each block's.

    On an even plane blocks in the first column and in that of DC come in pairs: a block takes from every orbit what the
    one on the other side of row S/2 takes. What is left after taking the real part is the same, so it is computed once.
    """
    orbits, sizes = spectrum.orbits(size, size), spectrum.orbit_sizes(size, size)
    positions = np.arange(size * size).reshape(size, size)
    found: dict[tuple[bytes, bytes], tuple[int, int, np.ndarray]] = {}
    of_block = np.zeros(len(blocks), int)
    for index, block in enumerate(blocks):
        removed = np.unique(np.concatenate([positions[place].ravel() for place in _places(size, patch, *block)]))
        taken, counts = np.unique(orbits.flat[removed], return_counts=True)
        key = (taken.tobytes(), counts.tobytes())
        of_block[index] = found.setdefault(key, (len(found), index, counts / sizes[taken]))[0]
    distinct = [blocks[index] for _, index, _ in found.values()]
    shares = [share for _, _, share in found.values()]
    removals = None
    if patch == 1 and all(len(share) == 1 for share in shares):
        removals = Removals(np.array(distinct), np.concatenate(shares).astype(np.float32))

    def masks(start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
        return block_masks(size, patch, distinct[start:stop])

    return MaskList(len(distinct), masks, removals), of_block


def block_masks(size: int, patch: int, blocks: list[tuple[int, int]]) -> Bool[np.ndarray, "blocks size size"]:
    """True where a frequency is kept when a block and its mirror block are removed."""
    masks = np.ones((len(blocks), size, size), bool)
    for mask, block in zip(masks, blocks, strict=True):
        for place in _places(size, patch, *block):
            mask[place] = False
    return masks


def plane_losses(
    losses: Float[np.ndarray, " blocks"], size: int, patch: int, blocks: list[tuple[int, int]]
) -> Float[np.ndarray, "size size"]:
    """The loss of a block at every position of the block and of its mirror block; 0 where none was visited."""
    plane = np.zeros((size, size))
    for loss, block in zip(losses, blocks, strict=True):
        for place in _places(size, patch, *block):
            plane[place] = loss
    return plane


def _places(size: int, patch: int, row: int, column: int) -> list[tuple[slice, slice]]:
    places = [(slice(patch * row, patch * (row + 1)), slice(patch * column, patch * (column + 1)))]
    if row > 0 and column > 0:
        top, left = size - patch * row, size - patch * column
        places.append((slice(top, top + patch), slice(left, left + patch)))
    return places


def _batches(counts: tuple[int, ...], label: int) -> np.ndarray:
    """Which batch each image of a class is in."""
    first = sum(counts[:label])
    return np.arange(first, first + counts[label]) // BATCH


def _above_median(
    scores: Float[np.ndarray, "classes height width"],
) -> Float[np.ndarray, "classes height width"]:
    """The losses, nearly alike, as distances from a class's median; NaN where no block was visited."""
    visited = np.where(scores == 0, np.nan, scores)
    return visited - np.nanmedian(visited, axis=(1, 2), keepdims=True)


METHOD = Method(
    search,
    patches=True,
    scored="Loss without a frequency, less the median (nats)",
    drawable=_above_median,
    mask=at_threshold,
)
