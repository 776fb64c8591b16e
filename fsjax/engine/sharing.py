"""Evaluations that processes share: who computes what, and what all of them know afterwards.

Every (image, mask) pair is computed by one process. How images are cut into chunks does not depend on how many
processes there are, and counts are whole numbers, so all results are the same bits for any number of processes.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fsjax.runtime import parallel

# Numbers that travel in one message: few enough for those of a thousand processes to lie in memory together.
_AT_ONCE = 2**16


class Piece(NamedTuple):
    """Images that a process filters by masks: all pairs of the two ranges."""

    images: range
    masks: range


def pieces(images: int, masks: int, *, chunk: int, tile: int, group: int, alone: bool = False) -> list[Piece]:
    """This process's part of all (image, mask) pairs; a pair is in one process's part only.

    Parts are contiguous, images first, so that a process reads few images beyond its share of them, and as equal as
    whole chunks under whole tiles of masks allow.

    Args:
      images: how many there are.
      masks: how many there are.
      chunk: images that the engine takes at once; every piece begins with a whole one.
      tile: masks that the engine takes at once.
      group: images that may lie on a device at once.
      alone: whether this process computes all of it, and others something else.
    """
    tiles = -(-masks // tile)
    units = range(-(-images // chunk) * tiles)
    mine = units if alone else units[parallel.share(len(units))]
    # Chunk by chunk, which of the tiles are this process's: all of them but in its first and its last chunk.
    touched = range(mine.start // tiles, -(-mine.stop // tiles)) if mine else ()
    spans = [(max(mine.start - at * tiles, 0), min(mine.stop - at * tiles, tiles), at) for at in touched]
    found = []
    for (first, end), same in itertools.groupby(spans, key=lambda span: span[:2]):
        chunks, at_once = [at for _, _, at in same], max(1, group // chunk)
        for begin in range(chunks[0], chunks[-1] + 1, at_once):
            of_images = range(begin * chunk, min((begin + at_once) * chunk, (chunks[-1] + 1) * chunk, images))
            found.append(Piece(of_images, range(first * tile, min(end * tile, masks))))
    return found


def part(costs: Sequence[int]) -> slice:
    """This process's part of units of these costs, above 0: contiguous, and as equal in cost as whole units allow."""
    index, processes = parallel.process()
    each = np.asarray(costs, np.int64)
    # A unit is its process's in whose share of the costs its middle lies; doubled, so that it is a whole number.
    middles, whole = 2 * each.cumsum() - each, 2 * int(each.sum())
    first, end = np.searchsorted(middles, [whole * at // processes for at in (index, index + 1)])
    return slice(int(first), int(end))


def total(counts: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """The sum of what the processes have counted, below 2^53; all have to call it."""
    if parallel.process()[1] == 1:
        return counts
    return _in_rows(counts, parallel.total, 0.0).astype(counts.dtype)


def merge(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """What the processes know together, each with NaN where it knows nothing; all have to call it."""
    return _in_rows(values, parallel.merge, np.nan)


def _in_rows(values: np.ndarray, exchange, filler: float) -> Float[np.ndarray, "*shape"]:
    """The values through `exchange`, which sends a message a row."""
    width = max(1, min(values.size, _AT_ONCE))
    row = values.astype(np.float64).ravel()
    rows = np.pad(row, (0, -len(row) % width), constant_values=filler).reshape(-1, width)
    return exchange(rows).ravel()[: values.size].reshape(values.shape)
