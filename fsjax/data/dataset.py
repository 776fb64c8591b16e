"""Images of one split at the model's size, resized on first use and cached in memory where they fit."""

import copy
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int, Int32, Num, UInt8

from fsjax.data.prepared import PreparedImages
from fsjax.data.source import EncodedSource, Source
from fsjax.runtime import cores, image_files, parallel, workers
from fsjax.runtime.errors import InputError
from fsjax.runtime.image_files import Encoded, resize

_THREADS = min(workers.MOST, cores.count())
# Fewer images a process are decoded in threads: processes are not worth their start.
_PROCESS_IMAGES = 8


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
      source: of the images, their classes, labels and planted shortcuts.
      image_size: height and width in pixels.
      cache_gib: most memory for the images.
      rows: which of the source's images, in order; None = all.
      resize_shorter: preprocess.resize's `shorter`; 0 = both sides become image_size.
      prepared: the source's images at image_size, which then are the cache; None = memory is.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        cache_gib: float = 4.0,
        rows: Int[np.ndarray, "images"] | None = None,
        resize_shorter: int = 0,
        prepared: PreparedImages | None = None,
    ):
        rows = np.arange(len(source)) if rows is None else rows
        self._source, self._shorter = source, resize_shorter
        # Of these images in the cache, which subsets share; prepared files hold all images of the source.
        self._positions = np.arange(len(rows)) if prepared is None else rows
        self._rows = rows if prepared is None else np.arange(len(source))
        self._prepared = prepared
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fsjax-decode")
        shape = (len(rows), image_size, image_size, 3)
        fits = np.prod(shape, dtype=float) <= cache_gib * 2**30
        self._cache = prepared.images if prepared else np.empty(shape, np.uint8) if fits else None
        self._filled = np.zeros(len(self._rows), bool)
        self.classes, self.planted, self.image_size = source.classes, source.planted, image_size
        self.labels: Int32[np.ndarray, " images"] = source.labels[rows]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images(np.array([index]))[0]

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """Return a copy of these images; raise InputError for one that does not decode.

        They are decoded in threads or, many that will not be kept, in processes: Python runs in one thread at a time.
        """
        positions = self._positions[np.asarray(indices, int)]
        if self._cache is None:
            processes = workers.most_processes()
            if isinstance(self._source, EncodedSource) and 1 < processes <= len(positions) // _PROCESS_IMAGES:
                return self._decode_in(processes, self._source, positions)
            images = np.empty((len(positions), self.image_size, self.image_size, 3), np.uint8)
            self._decode(positions, images, np.arange(len(positions)))
            return images
        missing = unknown = np.unique(positions[~self._filled[positions]])
        if self._prepared:
            missing = self._prepared.missing(unknown)
        self._decode(missing, self._cache, missing)
        if self._prepared:
            self._prepared.keep(missing)
        self._filled[unknown] = True  # after the pixels: a flag seen by another thread means a whole image
        return self._cache[positions]

    @property
    def names(self) -> list[str]:
        """Folder and name of each image's file, '/' between them; empty where the images are not files."""
        files = getattr(self._source, "files", ())
        rows = self._rows[self._positions].tolist() if files else []
        return ["/".join(files[row].replace(os.sep, "/").rsplit("/", 2)[-2:]) for row in rows]

    def subset(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> "Dataset":
        """Return these images only, in this order; they share the cache."""
        subset, indices = copy.copy(self), np.asarray(indices, int)
        subset._positions, subset.labels = self._positions[indices], self.labels[indices]
        return subset

    def _decode(self, positions: np.ndarray, out: np.ndarray, slots: np.ndarray) -> None:
        def decode_part(part: np.ndarray) -> None:
            for slot, row in part.tolist():
                out[slot] = resize(self._source[row], self.image_size, self._shorter)

        parts = np.array_split(np.stack([slots, self._rows[positions]], axis=1), min(_THREADS, len(slots)) or 1)
        list(self._pool.map(decode_part, parts))

    def _decode_in(self, processes: int, source: EncodedSource, positions: np.ndarray) -> np.ndarray:
        """Return images that so many processes decode; threads read their files in stores, or records."""

        def encoded(part: np.ndarray) -> list[Encoded]:
            return [source.encoded(row) for row in self._rows[positions[part]].tolist()]

        parts = np.array_split(np.arange(len(positions)), processes)
        read = list(self._pool.map(encoded, parts))
        with workers.shared_images((len(positions), self.image_size, self.image_size, 3)) as (images, shared):
            calls = [
                (shared, int(part[0]), of_part, self.image_size, self._shorter)
                for part, of_part in zip(parts, read, strict=True)
            ]
            workers.call(processes, "data: a process that decodes images", image_files.decode_into, calls)
            return images


def measure_mean_std(dataset: Dataset) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Return mean and population standard deviation of each channel, of pixels scaled to [0,1].

    Collective: every process must call this; they share the images. Sums are of integers, so exact in any order.
    Raises InputError where a channel is constant.
    """
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    at_once = max(1, 2**24 // dataset.image_size**2 // 3)
    mine = range(len(dataset))[parallel.share(len(dataset))]
    for start in mine[::at_once]:
        pixels = dataset.images(np.arange(start, min(start + at_once, mine.stop))).reshape(-1, 3)
        total += pixels.sum(0, dtype=np.int64)
        squares += np.square(pixels, dtype=np.uint16).sum(0, dtype=np.int64)
    # In halves: sums travel as floats, which hold whole numbers up to 2^53.
    high, low = parallel.total(np.stack(np.divmod(np.stack([total, squares]), 2**32)))
    total, squares = high * 2**32 + low
    count = len(dataset) * dataset.image_size**2
    spread = [count * int(q) - int(s) ** 2 for s, q in zip(total, squares, strict=True)]  # Python integers: no overflow
    if not all(spread):
        raise InputError(
            "data.mean, data.std: got nothing, and the images have a constant colour channel; expected values"
        )
    return total / count / 255, np.sqrt(np.array(spread, float)) / count / 255
