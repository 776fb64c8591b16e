"""The loss of every class under every mask of a list: shared by processes and devices, kept as it goes."""

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
    """Masks made as they are needed: of a 224-pixel plane there are too many to hold at once.

    Attributes:
      count: how many there are.
      masks: (start, stop) -> masks start..stop-1, True where a frequency is kept.
      removals: the same masks, where each takes (a share of) one orbit and no more; else None.
    """

    count: int
    masks: Callable[[int, int], Bool[np.ndarray, "masks height width"]]
    removals: Removals | None = None

    def sample(self, indices: Int[np.ndarray, " sampled"]) -> "MaskList":
        """These of the masks."""

        def masks(start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
            return np.concatenate([self.masks(index, index + 1) for index in indices[start:stop].tolist()])

        removals = self.removals and Removals(self.removals.positions[indices], self.removals.shares[indices])
        return MaskList(len(indices), masks, removals)

    def perturbations(self, start: int, stop: int, *, as_removals: bool) -> Perturbations | Removals:
        """Masks start..stop-1 as the engine takes them."""
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
    """Sum over the images of each class of their weighted cross-entropy to the class, under each mask.

    Only a class's own images go through the model. Every process takes an equal part of the (class, mask) pairs that
    are not yet known and all return the same sums, which do not depend on how many processes and devices there are.

    Args:
      problem: classifier and images.
      masks: the list.
      weights: class index -> weight of each of its images; default 1.
      replicates: how many weights an image has, each of which makes a sum of its own from the same forward passes;
        None = one, and the sums have no such axis.
      precision: as config.search.precision.
      directory: where partial results are kept; None = nowhere.
      label: names the progress bar; default: the method.
      layout: how the work is cut, as tile_size.layout gives it; default: chosen, unless partial results have one.

    Raises:
      InputError: partial results of another search, too little memory, or a loss that is not finite.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
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
    """Sorted indices as ranges of neighbours."""
    parts = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return [range(int(part[0]), int(part[-1]) + 1) for part in parts]
