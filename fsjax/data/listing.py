"""Which images a run began with: its later stages, and its later starts, must find the same ones."""

import hashlib

import numpy as np

from fsjax.data.dataset import Dataset
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def check(file: Path, split: str, dataset: Dataset) -> None:
    """Compares a split with what `file` says of it, and adds it there where the file says nothing.

    Images are told by how many each class has and, where they are files, by their names; not by their content.

    Raises:
      InputError: an image has come, gone, or another name since.
    """
    kept = files.read_json(file) if file.exists() else {}
    if not isinstance(kept, dict):
        raise InputError(f"{file}: not what a run began with; delete it to have it written anew")
    found = _of(dataset)
    if split not in kept:
        files.write_json(file, {**kept, split: found})
    elif kept[split] != found:
        raise InputError(
            f"data: the images of split {split!r} are not those that this run began with ({_change(kept[split], found)}"
            f"); put them back, or name another --workdir"
        )


def _of(dataset: Dataset) -> dict:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    names = "\n".join(dataset.names).encode(errors="surrogateescape")
    return {
        "images": [list(pair) for pair in zip(dataset.classes, counts.tolist(), strict=True)],
        "names": hashlib.sha256(names).hexdigest(),
    }


def _change(before: object, now: dict) -> str:
    had = before.get("images") if isinstance(before, dict) else None
    for pair in now["images"]:
        old = next((one[1] for one in had or [] if one[0] == pair[0]), None)
        if old != pair[1]:
            return f"class {pair[0]!r} has {pair[1]}, had {old or 'none'}"
    return "other names or another order"
