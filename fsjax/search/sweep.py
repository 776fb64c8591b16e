"""The loss of every class under every mask of a list, shared by processes and devices, with partial results.

Examples:
  >>> all_and_nothing = np.stack([np.ones((8, 8), bool), np.zeros((8, 8), bool)])
  >>> from fsjax.engine.engine import LazyArray
  >>> masks = LazyArray(2, lambda start, stop: all_and_nothing[start:stop])
  >>> sums = sweep(problem, masks)  # a Problem, as a search method is given it
  >>> sums.shape  # nats, summed over the images: [classes, masks]
  (3, 2)
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray, Sliceable
from fsjax.engine.model import Model
from fsjax.engine.tile import ImageBatch
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import PartialResults, class_item
from fsjax.runtime.progress import Progress
from fsjax.runtime.read_ahead import read_ahead
from fsjax.search.method import Problem

# Masks, by their place in a list, and what was computed of each, masks last.
Tiles: TypeAlias = Iterator[tuple[Int[np.ndarray, " masks"], Float[np.ndarray, "*shape masks"]]]
Images: TypeAlias = Float[np.ndarray, "images height width channels"]
ReadT = TypeVar("ReadT")


def sweep(
    problem: Problem,
    masks: LazyArray,
    *,
    weights: Callable[[int], Float[np.ndarray, " images *replicates"]] | None = None,
    replicates: int | None = None,
    precision: str | None = None,
    label: str | None = None,
    layout: dict[str, int] | None = None,
    engine: Engine | None = None,
) -> Float[np.ndarray, "classes *replicates masks"]:
    """Sum the weighted cross-entropy of each class's images to the class, under each mask.

    Only a class's own images go through the model. Collective: every process must call this, computes an equal share of
    the missing (class, mask) pairs and returns the same sums, bit-equal for any number of processes and devices.

    Args:
      problem: classifier, images, and the directory of partial results.
      masks: the list, True where a frequency is kept.
      weights: class index -> weight of each of its images; default 1.
      replicates: number of weights of an image, each with a sum of its own from the same forward passes; None = one,
        and the sums have no such axis.
      precision: of the sums, by FFT; default: as config.search says.
      label: of the progress bar; default: the method.
      layout: from tile_size.layout; default: that of the partial results, or else chosen.
      engine: with the model of this precision, for several sweeps in one layout, which then compile once.

    Raises:
      InputError: partial results of another search, too little memory, or a loss that is not finite.
      interrupt.Terminated: SIGTERM came; computed sums are stored.
    """
    model = problem.model.at(precision) if precision else problem.searched_model
    chosen = layout or tile_size.layout(model, problem.counts, memory_mib=problem.run.memory_mib)
    engine, partial_results = start_engine(problem, model, masks, chosen, engine)

    def tiles(class_index: int, images: Images, items: Int[np.ndarray, " masks"]) -> tuple[int, Tiles]:
        of_class = weights(class_index).reshape(len(images), -1).astype(np.float32) if weights else None
        labels, size = np.full(len(images), class_index), partial_results.layout["chunk"]
        batches = engine.image_batches(images, labels, of_class, size=size)
        sums = finite_tiles(engine, batches, masks, items, problem.classes[class_index])
        return len(images), ((items, of_tile["loss"].T) for items, of_tile in sums)

    shape = (masks.count,) if replicates is None else (replicates, masks.count)
    return fill(problem, partial_results, shape, problem.images, tiles, label or f"search {problem.options.method}")


def fill(
    problem: Problem,
    partial_results: PartialResults,
    shape: tuple[int, ...],
    read: Callable[[int], ReadT],
    tiles: Callable[[int, ReadT, Int[np.ndarray, " masks"]], tuple[int, Tiles]],
    label: str,
) -> Float[np.ndarray, "classes *values masks"]:
    """Compute an array of each class mask by mask, as far as partial results lack it. Collective.

    Args:
      problem: its classes.
      partial_results: where the arrays are saved.
      shape: of a class's array; the last axis is that of the masks.
      read: class index -> its images, and whatever belongs to them; in a thread, while the class before is computed.
      tiles: (class index, what was read, masks) -> how many images each mask takes, and the tiles, computed as they are
        asked for.
      label: of the progress bar.
    """
    count, arrays = shape[-1], np.empty((len(problem.classes), *shape))
    tables = [partial_results.table(class_item(class_index), of_class) for class_index, of_class in enumerate(arrays)]
    arrays[...] = parallel.merge(arrays)
    # In class order, so that a process reads the images of few classes.
    missing = np.flatnonzero(np.isnan(arrays.reshape(len(arrays), -1, count)).any(1))
    mine = missing[parallel.share(len(missing))]
    index, processes = parallel.process()
    title = label if processes == 1 else f"{label} (process {index + 1} of {processes})"
    done = len(arrays) * count - len(missing)
    with Progress(title, len(mine) + done, "masks", done=done) as progress:
        throughput = Throughput(problem, progress, partial_results)
        for class_index, of_class in read_ahead(read, np.unique(mine // count).tolist()):
            images, computed = tiles(class_index, of_class, mine[mine // count == class_index] % count)
            del of_class  # the devices have it now, and the next one is read

            def on_tile(masks: int, images: int = images, name: str = problem.classes[class_index]) -> None:
                throughput.count(masks, masks * images, name)

            tables[class_index].fill(computed, on_tile)
    return parallel.merge(arrays)


def start_engine(
    problem: Problem, model: Model, masks: LazyArray, layout: dict[str, int], engine: Engine | None = None
) -> tuple[Engine, PartialResults]:
    """Return an engine and the partial results, in the layout that these were begun with; `layout` if they are not.

    The engine is the one given, where its tiles are of that size.
    """
    partial_results = problem.partial_results({**layout, "masks": masks.count})
    tile_images = partial_results.layout["tile_images"]
    if engine is None or engine.tile_images != tile_images:
        engine = Engine(model, tile_images=tile_images)
    return engine, partial_results


def finite_tiles(
    engine: Engine, batches: list[ImageBatch], masks: Sliceable, items: Int[np.ndarray, " masks"], name: str
) -> Iterator[tuple[Int[np.ndarray, " masks"], dict[str, Float[np.ndarray, "masks replicates"]]]]:
    """Yield masks and their sums, tile by tile; raise InputError, which names the class, where a loss is not finite."""
    for of_tile, sums in engine.tiles(batches, masks, items=items):
        if not np.isfinite(sums["loss"]).all():
            raise InputError(f"search: the model's loss on class {name!r} is not finite; expected a finite one")
        yield of_tile, sums


class Throughput:
    """Count the images that pass the model: on the progress bar, and in metrics.jsonl at each save of partial results.

    Args:
      problem: says where metrics are written.
      progress: progress bar of the search, in any unit.
      partial_results: each of its saves writes the rates.
    """

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
            progress = self._progress
            rates = {
                f"{progress.unit}_per_second": progress.rate,
                "images_per_second": self._images / progress.seconds,
                "eta_seconds": progress.eta,
            }
            self._metrics.write("search", progress.count, rates)
