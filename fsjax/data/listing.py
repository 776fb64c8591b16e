"""The images that a run began with, which its later stages and restarts must find again."""

import hashlib

import numpy as np

from fsjax.data.dataset import Dataset
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def check(file: Path, split: str, dataset: Dataset) -> None:
    """Compare a split with its entry in `file`, or add the entry.

    An entry holds the number of images of each class and, for files, a hash of their names; not their content. Raises
    InputError where an image was added, removed or renamed since.
    """
    recorded = files.read_json(file) if file.exists() else {}
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes)).tolist()
    names = "\n".join(dataset.names).encode(errors="surrogateescape")
    images = [list(pair) for pair in zip(dataset.classes, counts, strict=True)]
    entry = {"images": images, "names": hashlib.sha256(names).hexdigest()}
    if not isinstance(recorded, dict) or not isinstance(before := recorded.get(split, entry), dict):
        raise InputError(f"{file}: got no record of images; delete it, and the run writes it again")
    if split not in recorded:
        files.write_json(file, {**recorded, split: entry})
    elif before != entry:
        had = dict(before.get("images", []))
        changes = (f"class {name!r} has {n}, had {had.get(name) or 'none'}" for name, n in images if had.get(name) != n)
        raise InputError(
            f"data: the images of split {split!r} are not those that this run began with "
            f"({next(changes, 'other names or another order')}); put them back, or name another --workdir"
        )
