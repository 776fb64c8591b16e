"""The loss of every class under every mask of a list, shared by processes and devices, with partial results."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine import first_layer, tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.tile import Chunk, Perturbations, Removals
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem, check_finite
from fsjax.search.throughput import Throughput


@dataclasses.dataclass(frozen=True)
class MaskList:
    """Masks computed when needed: a 224-pixel plane has too many to hold at once.

    Attributes:
      count: their number.
      masks: (start, stop) -> masks start..stop-1, True where a frequency is kept.
      removals: the same masks, where each removes (a share of) one orbit; else None.
    """

    count: int
    masks: Callable[[int, int], Bool[np.ndarray, "masks height width"]]
    removals: Removals | None = None

    def sample(self, indices: Int[np.ndarray, " sampled"]) -> "MaskList":
        """Return the list of these masks."""

        def masks(start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
            return np.concatenate([self.masks(index, index + 1) for index in indices[start:stop].tolist()])

        removals = self.removals and Removals(self.removals.positions[indices], self.removals.shares[indices])
        return MaskList(len(indices), masks, removals)

    def perturbations(self, start: int, stop: int, *, as_removals: bool) -> Perturbations | Removals:
        """Return masks start..stop-1 as the engine takes them."""
        if as_removals:
            assert self.removals is not None, "asked for of masks that are removals"
            return Removals(self.removals.positions[start:stop], self.removals.shares[start:stop])
        return Perturbations(self.masks(start, stop))


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
    cut = first_layer.cut(model.apply, model.params, model.image_shape) if masks.removals else None
    layout = layout or tile_size.layout(
        *(model.apply, model.params, model.image_shape, problem.counts),
        memory_mib=problem.run.memory_mib,
        precision=model.matmul_precision,
        cut=cut,
    )
    partial_results = PartialResults(
        *(directory, {**layout, "masks": masks.count}, model.params, problem.identity),
        save_seconds=problem.run.save_seconds,
    )
    layout, count = partial_results.layout, masks.count
    as_removals = bool(layout["first_layer"])
    engine = Engine(
        *(model.apply, model.params),
        tile_images=layout["tile_images"],
        precision=model.matmul_precision,
        cut=cut if as_removals else None,
    )
    make = functools.partial(masks.perturbations, as_removals=as_removals)
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
            chunks = engine.chunks(images, np.full(len(images), class_index), of_class, size=layout["chunk"])

            def on_tile(masks: int, images: int = len(images), name: str = name) -> None:
                throughput.count(masks, masks * images, name)

            for run in runs(mine[mine // count == class_index] % count):
                tables[class_index].fill(_sums(engine, chunks, make, run, name), on_tile)
    return parallel.merge(sums)


def _sums(
    engine: Engine, chunks: list[Chunk], make: Callable[[int, int], Perturbations | Removals], run: range, name: str
) -> Iterator[tuple[Int[np.ndarray, " masks"], Float[np.ndarray, "*replicates masks"]]]:
    """Yield neighbouring masks of a class, tile by tile, and the sums of its losses under them."""
    for start, stop, tile in engine.tiles(chunks, lambda a, b: make(run.start + a, run.start + b), len(run)):
        check_finite(tile["loss"], name)
        yield np.arange(run.start + start, run.start + stop), tile["loss"].T


def runs(indices: np.ndarray) -> list[range]:
    """Split sorted indices into ranges of neighbours."""
    neighbours = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return [range(int(run[0]), int(run[-1]) + 1) for run in neighbours]
