"""Sets of images generated on the fly, whose planted frequencies are known: demo, biased, and Syn_1 to Syn_4."""

import dataclasses
import functools
from collections.abc import Callable
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from fsjax.data import biased, demo, syn
from fsjax.data.source import Source
from fsjax.runtime.errors import InputError

SMALLEST = 24  # pixels; below, the lowest band has fewer orbits than are planted there


def open_synthetic(data: ConfigDict, split: str) -> Source:
    """Make the images of one split, 'train' or 'test', in memory, from data.synthetic.seed.

    Raises InputError for a data.name that is not in SETS, another split, an image too small for four bands, or an
    unknown data.synthetic.version.
    """
    version = syn.version_of(data)
    if data.name not in SETS:
        raise InputError(f"data.name: got {data.name!r}; expected {', '.join(SETS)}")
    if split not in ("train", "test"):
        raise InputError(f"data.train_split, data.test_split: got {split!r}; expected train, test")
    if data.image_size < SMALLEST:
        raise InputError(
            f"data.image_size: got {data.image_size}, of too few orbits in a band; expected {SMALLEST} or more"
        )
    per_class = data.synthetic.train_per_class if split == "train" else data.synthetic.test_per_class
    classes, make = SETS[data.name]
    options = {"version": version} if data.name in syn.NAMES else {}
    images, planted = make(data.image_size, per_class, data.synthetic.seed, split == "test", **options)
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), per_class)
    return SyntheticSource(np.concatenate(images), labels, classes, planted)


@dataclasses.dataclass
class SyntheticSource(Source):
    """A Source of images in memory."""

    images: UInt8[np.ndarray, "images size size 3"]
    labels: Int32[np.ndarray, " images"]
    classes: tuple[str, ...]
    planted: dict | None

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images[index]


# data.name -> (classes, make(size, per_class, seed, whether of the test split) -> (images of each class, planted));
# Syn_1 to Syn_4 take their version too
SETS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[list, dict]]]] = {
    "demo": (demo.CLASSES, demo.make),
    "biased": (biased.CLASSES, biased.make),
    **{name: (syn.CLASSES, functools.partial(syn.make, band)) for band, name in enumerate(syn.NAMES)},
}
