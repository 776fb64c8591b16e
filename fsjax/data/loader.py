"""Training batches: an endless, restartable stream, the same for any number of processes."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int

from fsjax.data.dataset import Dataset
from fsjax.runtime.random_streams import Stream, generator


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
