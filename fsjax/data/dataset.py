"""The images of one split at the model's size, resized on first use and kept in memory where they fit."""

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
    """Labelled images at the model's size: what is judged. Dataset is one; so are images that an attack has changed.

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

    classes: display names in index order. labels: int32 [images]. planted: the source's. Images are uint8
    [image_size, image_size, 3], RGB; if all of them take at most cache_gib GiB, each is decoded once only.
    rows: which of the source's images, in order; all by default. resize_shorter: preprocess.resize's `shorter`, by
    default 0: both sides become image_size.
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
        self._init(_Store(source, rows, image_size, resize_shorter, cache_gib), np.arange(len(rows)))

    def _init(self, store: "_Store", positions: np.ndarray) -> None:
        self._store, self._positions = store, positions
        self.classes: tuple[str, ...] = store.source.classes
        self.planted: dict | None = store.source.planted
        self.image_size: int = store.size
        self.labels: Int32[np.ndarray, " images"] = store.source.labels[store.rows[positions]]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images(np.array([index]))[0]

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """A copy of these images, decoded in threads. Raises InputError for one that does not decode."""
        return self._store.read(self._positions[np.asarray(indices, int)])

    @property
    def names(self) -> list[str]:
        """Of the images' files with their folder, '/' between them; none where the images are no files."""
        files = getattr(self._store.source, "files", ())
        rows = self._store.rows[self._positions].tolist() if files else []
        return ["/".join(files[row].replace(os.sep, "/").rsplit("/", 2)[-2:]) for row in rows]

    def subset(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> "Dataset":
        """These images only, in this order; it shares the images already decoded."""
        part = object.__new__(Dataset)
        part._init(self._store, self._positions[np.asarray(indices, int)])
        return part


def measure_mean_std(dataset: Dataset) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Mean and population standard deviation of each channel, of pixels scaled to [0,1].

    Processes share the images, and all have to call it. Sums are of integers, so exact in any order. Raises
    InputError where a channel is constant.
    """
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    chunk = max(1, 2**24 // dataset.image_size**2 // 3)
    mine = range(len(dataset))[parallel.share(len(dataset))]
    for start in mine[::chunk]:
        pixels = dataset.images(np.arange(start, min(start + chunk, mine.stop))).reshape(-1, 3)
        total += pixels.sum(0, dtype=np.int64)
        squares += np.square(pixels, dtype=np.uint16).sum(0, dtype=np.int64)
    # In halves: floats, which the sums travel as, hold whole numbers up to 2^53.
    high, low = sharing.total(np.stack(np.divmod(np.stack([total, squares]), 2**32)))
    total, squares = high * 2**32 + low
    count = len(dataset) * dataset.image_size**2
    spread = [count * int(q) - int(s) ** 2 for s, q in zip(total, squares, strict=True)]  # Python integers: no overflow
    if not all(spread):
        raise InputError("the training images have a constant colour channel; set data.mean and data.std")
    return total / count / 255, np.sqrt(np.array(spread, float)) / count / 255


class _Store:
    """Images of a source at one size, shared by a Dataset and its subsets."""

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
