"""The loss of single images of a class under masks of a list, block by block: shared by processes, kept as it goes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from fsjax.engine import first_layer, tile_size
from fsjax.engine.engine import Engine
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults, Table
from fsjax.runtime.progress import Progress
from fsjax.search import gradient
from fsjax.search.problem import Problem, check_finite
from fsjax.search.sweep import MaskList
from fsjax.search.throughput import Throughput


class Evaluator:
    """Computes losses of single images, in the layout that the folder was begun with.

    Args:
      problem: classifier, precision, and the folder in which losses are kept.
      masks: the list.
      blocks: sizes of the blocks of images that are evaluated together.
      step: images that most of the blocks are multiples of.
      layout: further numbers that the arithmetic rests on; as they were at the first start, they are in `layout`.
      progress: counts forward passes.

    Raises:
      InputError: kept losses of another search, or too little memory.
    """

    def __init__(
        self,
        problem: Problem,
        masks: MaskList,
        blocks: Sequence[int],
        step: int,
        layout: dict[str, int],
        progress: Progress,
    ):
        model = problem.searched_model
        cut = first_layer.cut(model.apply, model.params, model.image_shape) if masks.removals else None
        layout = layout | tile_size.layout(
            *(model.apply, model.params, model.image_shape, sorted(set(blocks))),
            memory_mib=problem.run.memory_mib,
            precision=model.matmul_precision,
            cut=cut,
        )
        # Blocks are small and many: chunks that fill them, and more masks in a tile instead.
        layout["chunk"] = tile_size.chunk_size([step], layout["tile_images"])
        layout["masks"] = masks.count
        self.partial_results = PartialResults(
            *(problem.directory, layout, model.params, problem.identity), save_seconds=problem.run.save_seconds
        )
        self.layout = self.partial_results.layout
        self.problem, self.masks, self.progress = problem, masks, progress
        self.as_removals = bool(self.layout["first_layer"])
        self.engine = Engine(
            *(model.apply, model.params),
            tile_images=self.layout["tile_images"],
            precision=model.matmul_precision,
            cut=cut if self.as_removals else None,
        )
        # One width for all blocks, so that one program serves them.
        self.width = max(blocks)
        self._throughput = Throughput(problem, progress, self.partial_results)

    def count(self, label: int, passes: int) -> None:
        """So many forward passes were made just now."""
        self._throughput.count(passes, passes, self.problem.classes[label])


@dataclasses.dataclass
class ClassLosses:
    """The losses of one class, as far as they are known.

    Attributes:
      evaluator: computes them.
      label: of the class.
      images: in the order in which they are evaluated.
      sample_sizes: of the blocks of images; the last is the number of images.
      losses: under each mask; NaN = not known. A block is known whole or not at all.
    """

    evaluator: Evaluator
    label: int
    images: Float[np.ndarray, "images height width channels"]
    sample_sizes: tuple[int, ...]
    losses: Float[np.ndarray, "masks images"] = dataclasses.field(init=False)
    _tables: list[Table] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.losses = np.empty((self.evaluator.masks.count, len(self.images)), np.float32)
        self._tables = [
            self.evaluator.partial_results.table(self.label, self.losses.T[self.columns(block)], f"block{block:02d}-")
            for block in range(len(self.sample_sizes))
        ]
        # Processes may have seen different files.
        self.losses[...] = parallel.merge(self.losses)
        passes = int(np.isfinite(self.losses).sum())
        self.evaluator.progress.update(passes)
        self.evaluator.progress.resumed += passes

    @property
    def passes(self) -> int:
        """Forward passes that the known losses took."""
        return int(np.isfinite(self.losses).sum())

    def columns(self, block: int) -> slice:
        """Which images a block has."""
        return slice(self.sample_sizes[block - 1] if block else 0, self.sample_sizes[block])

    def evaluate(self, masks: Int[np.ndarray, " chosen"], block: int) -> None:
        """Makes the losses of a block's images under these masks known; every process computes an equal part.

        Raises:
          InputError: a loss that is not finite.
          interrupt.Terminated: SIGTERM came; what is computed is kept.
        """
        columns = self.columns(block)
        missing = masks[np.isnan(self.losses[masks, columns.start])]
        if len(missing):
            mine, images = missing[parallel.share(len(missing))], columns.stop - columns.start
            if len(mine):
                self._tables[block].fill(
                    self._compute(mine, block), lambda tile: self.evaluator.count(self.label, tile * images)
                )
            self.losses[missing, columns] = parallel.merge(self.losses[missing, columns])

    def _compute(
        self, masks: Int[np.ndarray, " chosen"], block: int
    ) -> Iterator[tuple[Int[np.ndarray, " masks"], Float[np.ndarray, "images masks"]]]:
        """Yield masks, tile by tile, and the losses of a block's images under them."""
        evaluator, images = self.evaluator, self.images[self.columns(block)]
        labels, chosen = np.full(len(images), self.label), evaluator.masks.sample(masks)
        # A replicate an image: the weighted sums are the images' own losses.
        weights = np.eye(len(images), evaluator.width, dtype=np.float32)
        chunks = evaluator.engine.chunks(images, labels, weights, size=evaluator.layout["chunk"])
        for start, stop, sums in evaluator.engine.tiles(
            chunks, lambda a, b: chosen.perturbations(a, b, as_removals=evaluator.as_removals), len(masks)
        ):
            losses = sums["loss"][:, : len(images)]
            check_finite(losses, evaluator.problem.classes[self.label])
            yield masks[start:stop], losses.T


def known_first_order(
    evaluator: Evaluator,
    label: int,
    images: Float[np.ndarray, "images height width channels"],
    first_order: Callable,
    batch: int,
) -> Float[np.ndarray, "images patches"]:
    """First-order scores of a class's images, in their order; every process computes an equal part of the batches.

    Args:
      first_order: as `gradient.make_first_order` makes it.
      batch: of one device.
    """
    count = len(images)
    scores = np.empty((count, evaluator.masks.count - 1), np.float32)
    table = evaluator.partial_results.table(label, scores.T, "first-")
    scores[...] = parallel.merge(scores)
    known = gradient.PASSES * int(np.isfinite(scores[:, 0]).sum())
    evaluator.progress.update(known)
    evaluator.progress.resumed += known

    missing = np.flatnonzero(np.isnan(scores[::batch, 0]))
    mine, devices = missing[parallel.share(len(missing))], parallel.mesh().size
    # Whole batches, so that every image has its place in one whichever are left.
    batches = [np.arange(number * batch, min(count, (number + 1) * batch)) for number in mine.tolist()]

    def computed() -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "patches n"]]]:
        for start in range(0, len(batches), devices):
            chosen = np.concatenate(batches[start : start + devices])
            yield chosen, first_order(images[chosen], label).T

    table.fill(computed(), lambda size: evaluator.count(label, gradient.PASSES * size))
    return parallel.merge(scores).astype(np.float32)
