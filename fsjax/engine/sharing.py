"""Evaluations that processes share: which (image, mask) pairs each evaluates.

Every pair is evaluated by one process. Image batches do not depend on the number of processes and counts are whole
numbers, so all results are the same bits for any number of processes.
"""

import itertools
from typing import NamedTuple

from fsjax.runtime import parallel

# Images whose spectra lie on a device at the same time.
GROUP = 2048


class Block(NamedTuple):
    """A range of images and a range of masks; one process evaluates all their pairs."""

    images: range
    masks: range


def share_pairs(images: int, masks: int, *, batch_size: int, tile_masks: int, resident_images: int) -> list[Block]:
    """Return this process's share of all (image, mask) pairs; a pair is in one process's share only.

    Shares are contiguous, images first, so that a process reads few images beyond its share. They are as equal as whole
    image batches under whole tiles of masks allow.

    Args:
      images: how many there are.
      masks: how many there are.
      batch_size: images of an image batch; every block begins with a whole batch.
      tile_masks: masks of a tile.
      resident_images: images that may lie on a device at once.
    """
    tiles = -(-masks // tile_masks)
    units = range(-(-images // batch_size) * tiles)
    mine = units[parallel.share(len(units))]
    # This process's tiles of each image batch: all tiles, except in its first and its last batch.
    touched = range(mine.start // tiles, -(-mine.stop // tiles)) if mine else ()
    spans = [(max(mine.start - at * tiles, 0), min(mine.stop - at * tiles, tiles), at) for at in touched]
    blocks = []
    for (first, end), same in itertools.groupby(spans, key=lambda span: span[:2]):
        batches, at_once = [at for _, _, at in same], max(1, resident_images // batch_size)
        for begin in range(batches[0], batches[-1] + 1, at_once):
            stop = min((begin + at_once) * batch_size, (batches[-1] + 1) * batch_size, images)
            blocks.append(
                Block(range(begin * batch_size, stop), range(first * tile_masks, min(end * tile_masks, masks)))
            )
    return blocks
