"""Patches of the plane that a removal search removes: squares of frequencies with their conjugates."""

import functools

import numpy as np
from jaxtyping import Bool, Int

from fsjax.fourier import spectrum


def masks(
    height: int, width: int, patch: int, start: int = 0, stop: int | None = None
) -> Bool[np.ndarray, "patches height width"]:
    """Return masks of patches start..stop-1: True inside the patch. A 224-pixel plane has 25,090, too many to hold.

    The plane is divided into patch x patch blocks from its top left corner; a patch is a block with its true conjugate.
    Blocks whose first column lies right of DC add nothing new and are not visited, and a
    pair of blocks that is the same patch is visited once: with patch = 1 the patches are the orbits.
    For patch > 1 neighbouring patches may share positions, because an even grid is not closed under conjugation.

    Raises:
      ValueError: patch does not divide both sides.
    """
    blocks = _visited_blocks(height, width, patch)[start:stop]
    inside = np.zeros((len(blocks), height, width), bool)
    for mask, (row, column) in zip(inside, blocks, strict=True):
        mask[row : row + patch, column : column + patch] = True
    return inside | spectrum.conjugate(inside)


def count(height: int, width: int, patch: int) -> int:
    """Return the number of patches."""
    return len(_visited_blocks(height, width, patch))


def orbit_positions(height: int, width: int) -> Int[np.ndarray, "orbits 2"]:
    """Return (row, column) of a member of each orbit, in the order of the patches of size 1."""
    return np.array(_visited_blocks(height, width, 1))


def orbit_numbers(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the number, in `spectrum.orbits`, of the orbit that each patch of size 1 is."""
    rows, columns = orbit_positions(height, width).T
    return spectrum.orbits(height, width)[rows, columns]


def members(height: int, width: int, patch: int) -> Int[np.ndarray, "patches most"]:
    """Return the orbits of each patch, as indices into `orbit_positions`.

    Patches on an axis of the plane have fewer orbits; their rows are filled up with the number of orbits.
    """
    index, orbits = np.argsort(orbit_numbers(height, width)), spectrum.orbits(height, width)
    if patch == 1:
        return np.arange(len(index), dtype=np.int32)[:, None]
    step = 256  # patches at once, for memory
    starts = range(0, count(height, width, patch), step)
    insides = (mask for start in starts for mask in masks(height, width, patch, start, start + step))
    of_patches = [index[np.unique(orbits[inside])] for inside in insides]
    filled = np.full((len(of_patches), max(map(len, of_patches))), len(index), np.int32)
    for row, of_patch in zip(filled, of_patches, strict=True):
        row[: len(of_patch)] = of_patch
    return filled


@functools.lru_cache(maxsize=8)
def _visited_blocks(height: int, width: int, patch: int) -> list[tuple[int, int]]:
    if patch < 1 or height % patch or width % patch:
        raise ValueError(f"patch size {patch} does not divide a plane of {height} x {width}")
    seen, blocks = set(), []
    for row in range(0, height, patch):
        for column in range(0, width // 2 + 1, patch):
            corner = ((2 * (height // 2) - row - patch + 1) % height, (2 * (width // 2) - column - patch + 1) % width)
            # A block's conjugate is a block too; it is one of the grid's own only where it wraps onto it.
            if (corner not in seen) and (row, column) not in seen:
                blocks.append((row, column))
            seen.add((row, column))
    return blocks
