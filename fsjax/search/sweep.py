"""The loss of every class under every mask of a list, shared by processes and devices, with partial results."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import PartialResults, class_item
from fsjax.runtime.progress import Progress
from fsjax.runtime.workers import read_ahead
from fsjax.search.method import Problem

# Images, or pairs of images, and their weights; None weighs each image 1.
WeightedImages: TypeAlias = tuple[Float[np.ndarray, " images *image"], Float[np.ndarray, "images replicates"] | None]


def sweep(
    problem: Problem,
    masks: LazyArray,
    *,
    weights: Callable[[int], Float[np.ndarray, " images *replicates"]] | None = None,
    replicates: int | None = None,
    label: str | None = None,
    layout: dict[str, int] | None = None,
) -> Float[np.ndarray, "classes *replicates masks"]:
    """Sum the weighted cross-entropy of each class's images to the class, under each mask.

    Only a class's own images go through the model. Collective: every process must call this, computes an equal share of
    the missing (class, mask) pairs and returns the same sums, bit-equal for any number of processes and devices. Raises
    InputError and interrupt.Terminated as `fsjax.search.run`.

    Args:
      masks: True where a frequency is kept.
      weights: class index -> weight of each of its images; default 1.
      replicates: number of weights of an image, each with its own sum from the same forward passes; None = one weight,
        and the sums have no such axis.
      label: title of the progress bar; default: the method.
      layout: from tile_size.layout; default: chosen. Partial results keep the layout of the first start.
    """

    def read(class_index: int) -> WeightedImages:
        images = problem.images(class_index)
        return images, weights(class_index).reshape(len(images), -1).astype(np.float32) if weights else None

    model = problem.searched_model
    layout = layout or tile_size.layout(model, problem.counts, masks=masks.count, memory_mib=problem.run.memory_mib)
    partial_results = problem.partial_results({**layout, "masks": masks.count})
    shape, label = (replicates or 1, masks.count), label or f"search {problem.options.method}"
    sums = sweep_statistics(problem, model, partial_results, read, lambda _: masks, ("loss",), shape, label)[:, 0]
    return sums if replicates else sums[:, 0]


def sweep_statistics(
    problem: Problem,
    model: Model,
    partial_results: PartialResults,
    read: Callable[[int], WeightedImages],
    class_masks: Callable[[int], LazyArray],
    statistics: tuple[str, ...],
    shape: tuple[int, int],
    label: str,
) -> Float[np.ndarray, "classes statistics replicates masks"]:
    """Sum an engine's statistics, `loss` among them, of each class under its masks. Collective.

    `read` runs in a thread while the class before is computed. `shape` has the numbers of replicates and masks.
    """
    count, arrays = shape[-1], np.empty((len(problem.classes), len(statistics), *shape))
    layout = partial_results.layout
    engine = Engine(model, statistics=statistics, tile_images=layout["tile_images"])
    tables = [partial_results.table(class_item(class_index), array) for class_index, array in enumerate(arrays)]
    arrays[...] = parallel.merge(arrays)
    # In class order, so that a process reads the images of few classes.
    missing = np.flatnonzero(np.isnan(arrays).any((1, 2)))
    mine = missing[parallel.share(len(missing))]
    done = len(arrays) * count - len(missing)
    with Progress(label, len(mine) + done, "masks", done=done) as progress:
        throughput = Throughput(problem, progress, partial_results)
        for class_index, (images, weights) in read_ahead(read, np.unique(mine // count).tolist()):
            labels, name, size = np.full(len(images), class_index), problem.classes[class_index], len(images)
            batches = engine.image_batches(images, labels, weights, size=layout["chunk"])
            del images, weights  # the devices have them now, and the next class is being read
            items = mine[mine // count == class_index] % count
            tiles = engine.tiles(batches, class_masks(class_index), items=items)

            def on_tile(masks: int, size: int = size, name: str = name) -> None:
                throughput.count(masks, masks * size, name)

            tables[class_index].fill(_finite_sums(tiles, statistics, name), on_tile)
    return parallel.merge(arrays)


def _finite_sums(tiles: Iterable[tuple], statistics: tuple[str, ...], name: str) -> Iterator[tuple]:
    """Yield (masks, [statistics, replicates, masks]) of the tiles of a class, after a check of the loss."""
    for masks, sums in tiles:
        if not np.isfinite(sums["loss"]).all():
            raise InputError(f"search: the model returned a non-finite loss on class {name!r}")
        yield masks, np.stack([sums[statistic].T for statistic in statistics])


class Throughput:
    """Count the images that pass the model, for the progress bar and, at each save, for metrics.jsonl."""

    def __init__(self, problem: Problem, progress: Progress, partial_results: PartialResults):
        self._metrics, self._progress, self._images = problem.metrics, progress, 0
        partial_results.on_save = self._write

    def count(self, units: int, images: int, note: str = "") -> None:
        """Count units of progress, which took this many images; show the note after the rate."""
        self._images += images
        rate = f"{self._images / self._progress.seconds:,.0f} images/s"
        self._progress.update(units, f"{rate}, {note}" if note else rate)

    def _write(self) -> None:
        if self._metrics and self._images:
            done, rate = self._progress, self._images / self._progress.seconds
            rates = {f"{done.unit}_per_second": done.rate, "images_per_second": rate, "eta_seconds": done.eta}
            self._metrics.write("search", done.count, rates)
