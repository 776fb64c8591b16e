"""Training batches: an endless, restartable stream, the same for any number of processes."""

from collections.abc import Callable, Iterator

import numpy as np

from fsjax.data.dataset import Images
from fsjax.data.permutation import permuted
from fsjax.runtime.errors import InputError


def batches(
    dataset: Images,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_steps: int,
    process_index: int = 0,
    process_count: int = 1,
    shuffle: bool = True,
    augment: Callable | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Return this process's rows of the global batches of steps start_step .. start_step + num_steps - 1.

    Yields {'image': uint8 [b,S,S,3], 'label': int32 [b], 'index': int32 [b] in the dataset, 'epoch': int32 [b]} with
    b = batch_size / process_count. Each epoch is one permutation of the whole dataset, drawn from seed and epoch;
    batches run on across epochs and are never padded. The batch of a step depends on seed and step alone, and
    process p holds its rows p*b .. (p+1)*b - 1, so a run resumes at any step with any number of processes.
    augment: (images, epochs, indices) -> images, of host_augment.make_host_augment, called in the readers' threads.
    Raises InputError for a batch size that is not a positive multiple of process_count and for an empty dataset;
    the iterator raises InputError for an image that does not decode.
    """
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch_size: got {batch_size}; expected a positive multiple of the {process_count} processes")
    if len(dataset) == 0:
        raise InputError("data: got no training images; expected one or more")
    import grain  # here, since searches alone need no loader and it takes a while

    rows = batch_size // process_count
    images = len(dataset)
    first_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])

    def local_batch(step: int) -> dict[str, np.ndarray]:
        first = step * batch_size + process_index * rows
        epochs, places = np.divmod(np.arange(first, first + rows), images)
        if shuffle:
            for epoch in np.unique(epochs).tolist():
                of_epoch = epochs == epoch
                places[of_epoch] = permuted(places[of_epoch], images, (first_seed + epoch) % 2**32)
        indices, epochs = places.astype(np.int32), epochs.astype(np.int32)
        pixels = dataset.images(indices)
        return {
            "image": augment(pixels, epochs, indices) if augment else pixels,
            "label": dataset.labels[indices],
            "index": indices,
            "epoch": epochs,
        }

    steps = grain.MapDataset.range(start_step, start_step + num_steps).map(local_batch)
    # Dataset has decoding threads of its own; two readers keep those busy between batches.
    return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))
