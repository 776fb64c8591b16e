"""Test images that are training images too, found by their content."""

import logging
import os
from collections import defaultdict
from collections.abc import Mapping

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError

logger = logging.getLogger(__name__)

# So many images are read in seconds, and of so many files the sizes; larger sets are not compared.
_MOST_READ, _MOST_FILES = 20_000, 500_000


def check_apart(splits: Mapping[str, Dataset]) -> None:
    """Warn of images of `test` that are in `train` or `validation` too; raise InputError where all are.

    Images that are generated or lie in a store are not compared.
    """
    others = [splits[name] for name in ("train", "validation") if name in splits]
    if "test" not in splits or not others or splits["test"].planted is not None:
        return
    test = splits["test"]
    count = _count_shared(test, others)
    if count == len(test):
        raise InputError(f"test images: got {count}, all of them training images too; expected others, not searched")
    if count:
        logger.warning("test images: %d of %d are training images too; verdicts need others", count, len(test))


def _count_shared(test: Dataset, others: list[Dataset]) -> int:
    files = {file for dataset in others for file in dataset.files}
    if test.files and files.issuperset(test.files):
        return len(test)
    by_size, *others_by_size = (_sizes(dataset) for dataset in (test, *others))
    common = by_size.keys() & {size for sizes in others_by_size for size in sizes}
    chosen = [[index for size in common for index in sizes.get(size, ())] for sizes in (by_size, *others_by_size)]
    if sum(map(len, chosen)) > _MOST_READ and not isinstance(test, ArrayDataset):
        return 0
    # Python's hash of bytes has 64 bits, and so no collisions among these.
    found, *known = (
        [hash(dataset.stored(index)) for index in part] for dataset, part in zip((test, *others), chosen, strict=True)
    )
    seen = {each for part in known for each in part}
    return sum(each in seen for each in found)


def _sizes(dataset: Dataset) -> dict[int, list[int]]:
    """Return the size of files in bytes -> their images; of images that are no files, 0 -> all."""
    files = dataset.files
    if not files:
        return {0: [*range(len(dataset))]}
    sizes = defaultdict(list)
    if len(files) <= _MOST_FILES and storage.is_local(storage.path(files[0])):
        for index, file in enumerate(files):
            if os.path.isfile(file):
                sizes[os.path.getsize(file)].append(index)
    return sizes
