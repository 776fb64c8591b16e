"""Test images that are training images too, found by their content."""

import itertools
import logging
import os
from collections.abc import Mapping

import numpy as np

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.runtime.errors import InputError

logger = logging.getLogger(__name__)

# Reading this many images, or the sizes of this many files, takes seconds; larger sets are not compared.
_MOST_READ, _MOST_FILES = 20_000, 500_000


def check_apart(splits: Mapping[str, Dataset]) -> None:
    """Warn of images of `test` that are in `train` or `validation` too; raise InputError where all are.

    Images that are generated or lie in a store are not compared.
    """
    sets = [splits[name] for name in ("test", "train", "validation") if name in splits]
    if "test" not in splits or len(sets) == 1 or sets[0].planted or sum(map(len, sets)) > _MOST_FILES:
        return
    test, *others = sets
    if test.files and set(test.files).issubset(itertools.chain(*(dataset.files for dataset in others))):
        count = len(test)
    else:
        count = _count_equal(sets)
    if count == len(test):
        raise InputError(f"test images: got {count}, all of them training images too; expected others, not searched")
    if count:
        logger.warning("test images: %d of %d are training images too; verdicts need others", count, len(test))


def _count_equal(sets: list[Dataset]) -> int:
    """Return how many images of the first set are in another."""
    sizes = [np.array([*map(_size, dataset.files)] or [0] * len(dataset)) for dataset in sets]
    common = np.intersect1d(sizes[0], np.concatenate(sizes[1:]))
    chosen = [np.flatnonzero(np.isin(of_set, common) & (of_set >= 0)).tolist() for of_set in sizes]
    if sum(map(len, chosen)) > _MOST_READ and not isinstance(sets[0], ArrayDataset):
        return 0
    # Python's hash of bytes has 64 bits, and so no collisions among these.
    found, *known = ([*map(hash, map(each.stored, part))] for each, part in zip(sets, chosen, strict=True))
    return int(np.isin(found, np.concatenate(known)).sum())


def _size(file: str) -> int:
    return os.path.getsize(file) if os.path.isfile(file) else -1
