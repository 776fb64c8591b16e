"""Images of one split at the model's size, resized on first use and cached where they fit, and training batches."""

import copy
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int, Int32, Num, UInt8

from fsjax.data.source import EncodedSource, Source, short_name
from fsjax.runtime import files, image_files, workers
from fsjax.runtime.errors import InputError
from fsjax.runtime.image_files import resize
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path

_THREADS = workers.most_processes()
# Fewer images a process are decoded in threads: processes are not worth their start.
_PROCESS_IMAGES = 8


class Dataset:
    """Images and labels of one split; thread-safe.

    Images are RGB, uint8 [image_size, image_size, 3]. If all of them fit in cache_gib GiB, each is decoded only once.
    rows: indices of the source's images, in order; None = all. resize_shorter, interpolation: of image_files.resize.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        cache_gib: float = 4.0,
        rows: Int[np.ndarray, "images"] | None = None,
        resize_shorter: int = 0,
        interpolation: str = "bilinear",
    ):
        self._source, self._resizing = source, (image_size, resize_shorter, interpolation)
        self._rows = np.arange(len(source)) if rows is None else rows
        self._positions = np.arange(len(self._rows))  # in the cache, which subsets share
        self._files = getattr(source, "files", ())
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fsjax-decode")
        shape = (len(self._rows), image_size, image_size, 3)
        fits = np.prod(shape, dtype=float) <= cache_gib * 2**30
        self._cache = np.empty(shape, np.uint8) if fits else None
        self._filled = np.zeros(len(self._rows), bool)
        self.classes, self.planted, self.image_size = source.classes, source.planted, image_size
        self.labels: Int32[np.ndarray, " images"] = source.labels[self._rows]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images(np.array([index]))[0]

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """Return a copy, decoded by threads or, where many do not fit the cache, by processes; may raise InputError."""
        positions = self._positions[np.asarray(indices, int)]
        if self._cache is None:
            processes = workers.most_processes()
            if isinstance(self._source, EncodedSource) and 1 < processes <= len(positions) // _PROCESS_IMAGES:
                return self._decode_in(processes, self._source, positions)
            images = np.empty((len(positions), self.image_size, self.image_size, 3), np.uint8)
            self._decode(positions, images, np.arange(len(positions)))
            return images
        missing = np.unique(positions[~self._filled[positions]])
        self._decode(missing, self._cache, missing)
        self._filled[missing] = True  # after the pixels, since other threads read images whose flag is set
        return self._cache[positions]

    @property
    def files(self) -> list[str]:
        """The path of each image's file; empty where the images are not files."""
        return [self._files[row] for row in self._rows[self._positions].tolist()] if self._files else []

    @property
    def names(self) -> list[str]:
        """Folder and name of each image's file, '/' between them; empty where the images are not files."""
        return [short_name(file) for file in self.files]

    def stored(self, index: int) -> bytes:
        """Return an image as it is stored, encoded, or its pixels; the path of a file that cannot be read."""
        if not isinstance(source := getattr(self, "_source", None), EncodedSource):
            return self.images([index]).tobytes()
        file = source.encoded(int(self._rows[self._positions[index]])).file
        if isinstance(file, bytes):
            return file
        return pathlib.Path(file).read_bytes() if os.path.isfile(file) else str(file).encode()

    def subset(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> "Dataset":
        """Return these images only, in this order; they share the cache."""
        subset, indices = copy.copy(self), np.asarray(indices, int)
        subset._positions, subset.labels = self._positions[indices], self.labels[indices]
        return subset

    def _decode(self, positions: np.ndarray, out: np.ndarray, slots: np.ndarray) -> None:
        def decode_part(part: np.ndarray) -> None:
            for slot, row in part.tolist():
                out[slot] = resize(self._source[row], *self._resizing)

        parts = np.array_split(np.stack([slots, self._rows[positions]], axis=1), min(_THREADS, len(slots)) or 1)
        list(self._pool.map(decode_part, parts))

    def _decode_in(self, processes: int, source: EncodedSource, positions: np.ndarray) -> np.ndarray:
        """Decode images in worker processes; threads read their files in stores, or their records."""
        parts = np.array_split(self._rows[positions], processes)
        read = self._pool.map(lambda rows: [source.encoded(row) for row in rows.tolist()], parts)
        calls = [(images, *self._resizing) for images in read]
        name = "data: a process that decodes images"
        return np.concatenate(workers.call(processes, name, image_files.decode_all, calls))


class ArrayDataset(Dataset):
    """Images and labels of one split as arrays of any size and number of channels; never decoded, resized or rounded.

    images: grey levels in [0, 255], integers or not, or normalised images. classes: display names in index order.
    """

    def __init__(
        self,
        images: Num[np.ndarray, "images height width channels"],
        labels: Int[np.ndarray, " images"],
        classes: tuple[str, ...],
    ):
        self._images, self._positions = images, np.arange(len(images))
        self.labels, self.classes = np.asarray(labels, np.int32), classes
        self.planted, self.image_size, self._files = None, images.shape[1], ()

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> Num[np.ndarray, "n height width channels"]:
        """Return a copy of these images."""
        return self._images[self._positions[np.asarray(indices, int)]]


def check_unchanged(file: Path, split: str, dataset: Dataset) -> None:
    """Compare a split with its entry in `file`, from when the run began, or add the entry.

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


def batches(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_steps: int,
    process_index: int = 0,
    process_count: int = 1,
    augment: Callable | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Return this process's rows of the global batches of steps start_step .. start_step + num_steps - 1.

    Each epoch is one permutation of the whole dataset, drawn from seed and epoch. Batches run on across epochs and are
    never padded. The batch of a step depends on seed and step alone, and process p of P takes its rows p*b to
    p*b + b - 1, where b = batch_size / P. So a run resumes at any step with any number of processes.

    Yields {'image': uint8 [b, S, S, 3], 'label': int32 [b], 'index': int32 [b] in the dataset, 'epoch': int32 [b]}.
    augment: (images, epochs, indices) -> images, of host_augment.make_host_augment; called in the reading threads.
    The iterator raises InputError for an image that does not decode.
    """
    import grain  # here, since searches alone need no loader and it takes a while

    rows = batch_size // process_count

    def local_batch(step: int) -> dict[str, np.ndarray]:
        first = step * batch_size + process_index * rows
        epochs, places = np.divmod(np.arange(first, first + rows), len(dataset))
        orders = (_permutation(len(dataset), seed, epoch) for epoch in epochs.tolist())
        indices = np.array([order[place] for order, place in zip(orders, places, strict=True)], np.int32)
        pixels, epochs = dataset.images(indices), epochs.astype(np.int32)
        return {
            "image": augment(pixels, epochs, indices) if augment else pixels,
            "label": dataset.labels[indices],
            "index": indices,
            "epoch": epochs,
        }

    steps = grain.MapDataset.range(start_step, start_step + num_steps).map(local_batch)
    # The dataset has decoding threads; two readers keep those busy between batches.
    return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))


@functools.lru_cache(maxsize=4)  # the two readers are at most a few batches apart
def _permutation(images: int, seed: int, epoch: int) -> Int[np.ndarray, " images"]:
    return generator(seed, Stream.EPOCH_ORDER, epoch).permutation(images)
