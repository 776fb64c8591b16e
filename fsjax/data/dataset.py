"""Images of one split at the model's size, resized on first use and cached in memory where they fit."""

import copy
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int, Int32, Num, UInt8

from fsjax.data.preprocess import resize
from fsjax.data.source import Source
from fsjax.engine import sharing
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError


@runtime_checkable
class Images(Protocol):
    """Labelled images at the model's size: a Dataset, or images that an attack has changed.

    classes: display names in index order. labels: int32 [images].
    """

    classes: tuple[str, ...]
    labels: Int32[np.ndarray, " images"]
    image_size: int

    def __len__(self) -> int: ...

    def images(self, indices: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n size size 3"]:
        """Grey levels in [0, 255], integers or not."""


class Dataset:
    """Images and labels of one split; thread-safe.

    Images are uint8 [image_size, image_size, 3], RGB; if all of them take at most cache_gib GiB, each is decoded once
    only.

    Args:
      source: of the images.
      image_size: height and width in pixels.
      cache_gib: most memory for the images.
      rows: which of the source's images, in order; None = all.
      resize_shorter: preprocess.resize's `shorter`; 0 = both sides become image_size.

    Attributes:
      classes: display names in index order.
      labels: int32 [images].
      planted: the source's.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        cache_gib: float = 4.0,
        rows: Int[np.ndarray, "images"] | None = None,
        resize_shorter: int = 0,
    ):
        rows = np.arange(len(source)) if rows is None else rows
        self._store, self._positions = _Store(source, rows, image_size, resize_shorter, cache_gib), np.arange(len(rows))
        self.classes, self.planted, self.image_size = source.classes, source.planted, image_size
        self.labels: Int32[np.ndarray, " images"] = source.labels[rows]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images(np.array([index]))[0]

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """Return a copy of these images, decoded in threads; raise InputError for one that does not decode."""
        return self._store.read(self._positions[np.asarray(indices, int)])

    @property
    def names(self) -> list[str]:
        """Folder and name of each image's file, '/' between them; empty where the images are not files."""
        files = getattr(self._store.source, "files", ())
        rows = self._store.rows[self._positions].tolist() if files else []
        return ["/".join(files[row].replace(os.sep, "/").rsplit("/", 2)[-2:]) for row in rows]

    def subset(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> "Dataset":
        """Return these images only, in this order; they share the cache."""
        part, indices = copy.copy(self), np.asarray(indices, int)
        part._positions, part.labels = self._positions[indices], self.labels[indices]
        return part


def measure_mean_std(dataset: Dataset) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Return mean and population standard deviation of each channel, of pixels scaled to [0,1].

    Collective: every process must call this; they share the images. Sums are of integers, so exact in any order.
    Raises InputError where a channel is constant.
    """
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    chunk = max(1, 2**24 // dataset.image_size**2 // 3)
    mine = range(len(dataset))[parallel.share(len(dataset))]
    for start in mine[::chunk]:
        pixels = dataset.images(np.arange(start, min(start + chunk, mine.stop))).reshape(-1, 3)
        total += pixels.sum(0, dtype=np.int64)
        squares += np.square(pixels, dtype=np.uint16).sum(0, dtype=np.int64)
    # In halves: sums travel as floats, which hold whole numbers up to 2^53.
    high, low = sharing.total(np.stack(np.divmod(np.stack([total, squares]), 2**32)))
    total, squares = high * 2**32 + low
    count = len(dataset) * dataset.image_size**2
    spread = [count * int(q) - int(s) ** 2 for s, q in zip(total, squares, strict=True)]  # Python integers: no overflow
    if not all(spread):
        raise InputError(
            "data.mean, data.std: got nothing, and the images have a constant colour channel; expected values"
        )
    return total / count / 255, np.sqrt(np.array(spread, float)) / count / 255


class _Store:
    """Cache of a source's images at one size, shared by a Dataset and its subsets."""

    def __init__(self, source: Source, rows: np.ndarray, size: int, shorter: int, cache_gib: float):
        self.source, self.rows, self.size, self.shorter = source, rows, size, shorter
        self._workers = min(32, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="fsjax-decode")
        shape = (len(rows), size, size, 3)
        fits = np.prod(shape, dtype=float) <= cache_gib * 2**30
        self._cache = np.empty(shape, np.uint8) if fits else None
        self._filled = np.zeros(len(rows), bool)

    def read(self, positions: np.ndarray) -> UInt8[np.ndarray, "n size size 3"]:
        if self._cache is None:
            images = np.empty((len(positions), self.size, self.size, 3), np.uint8)
            self._decode(positions, images, np.arange(len(positions)))
            return images
        missing = np.unique(positions[~self._filled[positions]])
        self._decode(missing, self._cache, missing)
        self._filled[missing] = True  # after the pixels: a flag seen by another thread means a whole image
        return self._cache[positions]

    def _decode(self, positions: np.ndarray, out: np.ndarray, slots: np.ndarray) -> None:
        def run(part: np.ndarray) -> None:
            for i in part:
                out[slots[i]] = resize(self.source[int(self.rows[positions[i]])], self.size, self.shorter)

        parts = np.array_split(np.arange(len(positions)), min(self._workers, len(positions)) or 1)
        list(self._pool.map(run, parts))
