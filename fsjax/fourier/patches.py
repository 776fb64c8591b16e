"""Patches of the plane that a removal search removes: squares of frequencies with their conjugates.

A map of such a search is a union of whole patches. A position has the score of the best patch that holds it, so the
positions that score at least t are exactly the patches that score at least t.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fsjax.fourier import spectrum


def masks(
    height: int, width: int, patch: int, start: int = 0, stop: int | None = None
) -> Bool[np.ndarray, "patches height width"]:
    """Return masks of patches start..stop-1: True inside the patch. A 224-pixel plane has 25,090 orbits.

    The plane is divided into patch x patch blocks from its top left corner; a patch is a block with its true conjugate.
    Blocks whose first column lies right of DC are skipped, and two blocks that form the same patch are visited once.
    With patch = 1 the patches are the orbits. For patch > 1 neighbouring patches may share positions, because an even
    grid is not closed under conjugation. Raises ValueError where patch does not divide both sides.
    """
    blocks = _visited_blocks(height, width, patch)[start:stop]
    inside = np.zeros((len(blocks), height, width), bool)
    for mask, (row, column) in zip(inside, blocks, strict=True):
        mask[row : row + patch, column : column + patch] = True
    return inside | spectrum.conjugate(inside)


def blocks(height: int, width: int, patch: int) -> Int[np.ndarray, "patches 3"]:
    """Return (row, column, side) of the block of each patch, as `without` takes them."""
    corners = np.array(_visited_blocks(height, width, patch), np.int32)
    return np.pad(corners, [(0, 0), (0, 1)], constant_values=patch)


def without(
    blocks: Int[Array, "n 3"] | Int[np.ndarray, "n 3"], height: int, width: int
) -> Bool[Array, "n height width"]:
    """Return a mask for each block that keeps everything but its patch; a block of side 0 removes nothing."""
    row, column, side = (part[:, None] for part in jnp.asarray(blocks).T)

    def inside(rows: Int[np.ndarray, " height"], columns: Int[np.ndarray, " width"]) -> Bool[Array, "n height width"]:
        in_rows, in_columns = (rows >= row) & (rows < row + side), (columns >= column) & (columns < column + side)
        return in_rows[:, :, None] & in_columns[:, None, :]

    conjugates = inside(*spectrum.conjugate_indices(height, width))
    return ~(inside(np.arange(height), np.arange(width)) | conjugates)


def count(height: int, width: int, patch: int) -> int:
    """Return the number of patches."""
    return len(_visited_blocks(height, width, patch))


def largest(height: int, width: int, patch: int) -> int:
    """Return the number of positions of the largest patch: 2 patch^2, or less where a block is its own conjugate."""

    def least_overlap(size: int, starts: range) -> int:
        """Return the fewest positions along an axis that a block shares with its conjugate."""
        blocks = [set(range(start, start + patch)) for start in starts]
        return min(len(block & {(2 * (size // 2) - place) % size for place in block}) for block in blocks)

    rows = least_overlap(height, range(0, height, patch))
    return 2 * patch**2 - rows * least_overlap(width, range(0, width // 2 + 1, patch))


def position_scores(
    scores: Float[np.ndarray, "*batch patches"], height: int, width: int, patch: int
) -> Float[np.ndarray, "*batch height width"]:
    """Return the score of each position of the plane: the score of the best patch that holds it."""
    numbers = orbit_numbers(height, width)
    best_scores = np.full((len(numbers) + 1, *scores.shape[:-1]), -np.inf)  # the last row is for padding
    for column in members(height, width, patch).T:
        np.maximum.at(best_scores, column, np.moveaxis(scores, -1, 0))
    by_orbit = np.empty((*scores.shape[:-1], len(numbers)))
    by_orbit[..., numbers] = np.moveaxis(best_scores[:-1], 0, -1)
    return by_orbit[..., spectrum.orbits(height, width)]


def best(scores: Float[np.ndarray, "height width"], positions: int, patch: int) -> Bool[np.ndarray, "height width"]:
    """Return the patches with the largest `position_scores`, best first, as many as fit whole into `positions`.

    Masks of growing budgets are nested. The first patch that does not fit ends the mask.
    """
    plane = scores.shape
    rows, columns = orbit_positions(*plane).T
    numbers, orbits_of_patches = orbit_numbers(*plane), members(*plane, patch)
    sizes = np.append(spectrum.orbit_sizes(*plane)[numbers], 0)  # the last entries are for padding
    held = np.append(scores[rows, columns], np.inf)[orbits_of_patches]
    patch_scores = held.min(1)
    # A patch that others cover has the lowest of their scores, on fewer positions than they: it goes after them.
    order = np.lexsort([-np.where(held == patch_scores[:, None], sizes[orbits_of_patches], 0).sum(1), -patch_scores])
    rank, taken_by = np.argsort(order), np.full(len(sizes), len(order))
    for column in orbits_of_patches.T:
        np.minimum.at(taken_by, column, rank)
    added = np.bincount(taken_by[:-1], sizes[:-1], len(order))
    chosen = np.empty(len(numbers), bool)
    chosen[numbers] = taken_by[:-1] < np.searchsorted(np.cumsum(added), positions, "right")
    return chosen[spectrum.orbits(*plane)]


def orbit_positions(height: int, width: int) -> Int[np.ndarray, "orbits 2"]:
    """Return (row, column) of a member of each orbit, in the order of the patches of size 1."""
    return np.array(_visited_blocks(height, width, 1))


def orbit_numbers(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the number in `spectrum.orbits` of each patch of size 1, in the order of `orbit_positions`."""
    rows, columns = orbit_positions(height, width).T
    return spectrum.orbits(height, width)[rows, columns]


@functools.lru_cache(maxsize=8)
def members(height: int, width: int, patch: int) -> Int[np.ndarray, "patches most"]:
    """Return the orbits of each patch, as indices into `orbit_positions`; a read-only array.

    Patches on an axis of the plane have fewer orbits; their rows are padded with the number of all orbits.
    """
    index, orbits = np.argsort(orbit_numbers(height, width)), spectrum.orbits(height, width)
    if patch == 1:
        single = np.arange(len(index), dtype=np.int32)[:, None]
        single.flags.writeable = False
        return single
    step = 256  # patches at once, for memory
    starts = range(0, count(height, width, patch), step)
    insides = (mask for start in starts for mask in masks(height, width, patch, start, start + step))
    patch_orbits = [index[np.unique(orbits[inside])] for inside in insides]
    padded = np.full((len(patch_orbits), max(map(len, patch_orbits))), len(index), np.int32)
    for row, numbers in zip(padded, patch_orbits, strict=True):
        row[: len(numbers)] = numbers
    padded.flags.writeable = False
    return padded


@functools.lru_cache(maxsize=8)
def _visited_blocks(height: int, width: int, patch: int) -> list[tuple[int, int]]:
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f"patch size {patch} does not divide a plane of {height} x {width}")
    seen, blocks = set(), []
    for row in range(0, height, patch):
        for column in range(0, width // 2 + 1, patch):
            corner = ((2 * (height // 2) - row - patch + 1) % height, (2 * (width // 2) - column - patch + 1) % width)
            # The conjugate of a block is a block too, but rarely a block of the grid.
            if (corner not in seen) and (row, column) not in seen:
                blocks.append((row, column))
            seen.add((row, column))
    return blocks
