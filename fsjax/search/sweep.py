"""The loss of every class under every mask of a list, shared by processes and devices, with partial results."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fsjax.engine import first_layer, tile_size
from fsjax.engine.engine import Engine, LazyArray, Sliceable
from fsjax.engine.model import Model
from fsjax.engine.tile import ImageBatch
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem, check_finite
from fsjax.search.throughput import Throughput


@dataclasses.dataclass(frozen=True)
class MaskList(LazyArray):
    """Masks, True where a frequency is kept, that are made when a slice asks for them.

    Attributes:
      removed_orbits: (row, column, share) of each mask, as `first_layer.split` describes them, where every mask removes
        (a share of) one orbit and nothing else; otherwise None.
    """

    removed_orbits: Float[np.ndarray, "masks 3"] | None = None

    def __getitem__(self, which: slice | Int[np.ndarray, " masks"]) -> Any:
        rows = super().__getitem__(which)
        if isinstance(which, slice):
            return rows
        return MaskList(rows.count, rows.make, None if self.removed_orbits is None else self.removed_orbits[which])


def sweep(
    problem: Problem,
    masks: MaskList,
    *,
    weights: Callable[[int], Float[np.ndarray, " images *replicates"]] | None = None,
    replicates: int | None = None,
    precision: str = "highest",
    directory: Path | None = None,
    label: str | None = None,
    layout: dict[str, int] | None = None,
) -> Float[np.ndarray, "classes *replicates masks"]:
    """Sum the weighted cross-entropy of each class's images to the class, under each mask.

    Only a class's own images go through the model. Collective: every process must call this, computes an equal share of
    the missing (class, mask) pairs and returns the same sums, bit-equal for any number of processes and devices.

    Args:
      problem: classifier and images.
      masks: the list.
      weights: class index -> weight of each of its images; default 1.
      replicates: number of weights of an image, each with a sum of its own from the same forward passes; None = one,
        and the sums have no such axis.
      precision: as config.search.precision.
      directory: of partial results; None = none are stored.
      label: of the progress bar; default: the method.
      layout: from tile_size.layout; default: that of the partial results, or else chosen.

    Raises:
      InputError: partial results of another search, too little memory, or a loss that is not finite.
      interrupt.Terminated: SIGTERM came; computed sums are stored.
    """
    model = problem.model.at(precision)

    def choose(faster: Model | None) -> dict[str, int]:
        memory_mib = problem.run.memory_mib
        return layout or tile_size.layout(model, problem.counts, memory_mib=memory_mib, faster=faster)

    engine, perturbations, partial_results = start_engine(problem, model, masks, choose, directory)
    batch_size, count = partial_results.layout["chunk"], masks.count
    classes, each = range(len(problem.classes)), () if replicates is None else (replicates,)
    sums = np.empty((len(classes), *each, count))
    tables = [partial_results.table(label, sums[label]) for label in classes]
    sums[...] = parallel.merge(sums)
    # In class order, so that a process reads the images of few classes.
    missing = np.flatnonzero(np.isnan(sums.reshape(len(sums), -1, count)).any(1))
    mine = missing[parallel.share(len(missing))]
    index, processes = parallel.process()
    title = label or f"search {problem.options.method}"
    title = title if processes == 1 else f"{title} (process {index + 1} of {processes})"
    done = len(sums) * count - len(missing)
    with Progress(title, len(mine) + done, "masks", done=done) as progress:
        throughput = Throughput(problem, progress, partial_results)
        for class_index in map(int, np.unique(mine // count)):
            images, name = problem.images(class_index), problem.classes[class_index]
            of_class = weights(class_index).reshape(len(images), -1).astype(np.float32) if weights else None
            batches = engine.image_batches(images, np.full(len(images), class_index), of_class, size=batch_size)

            def on_tile(masks: int, images: int = len(images), name: str = name) -> None:
                throughput.count(masks, masks * images, name)

            for run in runs(mine[mine // count == class_index] % count):
                tables[class_index].fill(_sums(engine, batches, perturbations, run, name), on_tile)
    return parallel.merge(sums)


def start_engine(
    problem: Problem,
    model: Model,
    masks: MaskList,
    choose_layout: Callable[[Model | None], dict[str, int]],
    directory: Path | None,
) -> tuple[Engine, Sliceable, PartialResults]:
    """Return an engine, the masks as it takes them, and the store, in the layout that the directory was begun with.

    Args:
      problem: names the search, and says how often results are saved.
      model: the classifier, at the precision of the search.
      masks: the list.
      choose_layout: a faster form of the model for these masks, or None -> the layout of a search that begins here.
      directory: where partial results are kept; None = nowhere.

    Raises:
      InputError: partial results of another search, or too little memory.
    """
    faster = None if masks.removed_orbits is None else first_layer.split(model)
    partial_results = PartialResults(
        *(directory, {**choose_layout(faster), "masks": masks.count}, model.params, problem.identity),
        save_seconds=problem.run.save_seconds,
    )
    perturbations: Sliceable = masks
    if partial_results.layout["first_layer"]:
        assert faster is not None and masks.removed_orbits is not None, "the layout is that of a split model"
        model, perturbations = faster, masks.removed_orbits
    return Engine(model, tile_images=partial_results.layout["tile_images"]), perturbations, partial_results


def _sums(
    engine: Engine, batches: list[ImageBatch], masks: Sliceable, run: range, name: str
) -> Iterator[tuple[Int[np.ndarray, " masks"], Float[np.ndarray, "*replicates masks"]]]:
    """Yield neighbouring masks of a class, tile by tile, and the sums of its losses under them."""
    for start, stop, tile in engine.tiles(batches, masks, span=run):
        check_finite(tile["loss"], name)
        yield np.arange(start, stop), tile["loss"].T


def runs(indices: np.ndarray) -> list[range]:
    """Split sorted indices into ranges of neighbours."""
    neighbours = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return [range(int(run[0]), int(run[-1]) + 1) for run in neighbours]
