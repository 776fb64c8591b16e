"""The loss of single images of a class under masks of a list, step by step, shared by processes."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import LazyArray
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress
from fsjax.search import gradient
from fsjax.search.problem import Problem
from fsjax.search.sweep import Tiles, finite_tiles, start_engine
from fsjax.search.throughput import Throughput


class Evaluator:
    """Computes losses of single images, in the layout of the first start.

    Args:
      problem: classifier, precision, and the folder of partial results.
      masks: the list.
      blocks: images of each step, which are evaluated together.
      step: number of images that most steps are multiples of.
      layout: further numbers that the arithmetic depends on; the attribute `layout` has those of the first start.
      progress: counts forward passes.

    Raises:
      InputError: partial results of another search, or too little memory.
    """

    def __init__(
        self,
        problem: Problem,
        masks: LazyArray,
        blocks: Sequence[int],
        step: int,
        layout: dict[str, int],
        progress: Progress,
    ):
        model, memory_mib = problem.searched_model, problem.run.memory_mib
        chosen = layout | tile_size.layout(model, sorted(set(blocks)), memory_mib=memory_mib)
        # Blocks are small and many: image batches that fill them, and more masks in a tile instead.
        chosen["chunk"] = tile_size.image_batch_size([step], chosen["tile_images"])
        self.engine, self.partial_results = start_engine(problem, model, masks, chosen)
        self.layout = self.partial_results.layout
        self.problem, self.masks, self.progress = problem, masks, progress
        # One number of replicates for all steps, so that one program serves them.
        self.width = max(blocks)
        self._throughput = Throughput(problem, progress, self.partial_results)

    def count(self, label: int, passes: int) -> None:
        """Count forward passes that were just made."""
        self._throughput.count(passes, passes, self.problem.classes[label])

    def resume(self, passes: int) -> None:
        """Count forward passes that an earlier run made."""
        self.progress.skip(passes)


class ClassLosses:
    """The losses of one class that are known.

    Attributes:
      images: in the order in which they are evaluated.
      sample_sizes: images after each step; the last is the number of images.
      losses: under each mask; NaN = not known. The losses of a step are known all or none.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        label: int,
        images: Float[np.ndarray, "images height width channels"],
        sample_sizes: tuple[int, ...],
    ):
        self.evaluator, self.label, self.images, self.sample_sizes = evaluator, label, images, sample_sizes
        self.losses: Float[np.ndarray, "masks images"] = np.empty((evaluator.masks.count, len(images)), np.float32)
        self._tables = [
            evaluator.partial_results.table(label, self.losses.T[self.columns(step)], f"block{step:02d}-")
            for step in range(len(sample_sizes))
        ]
        # Processes may have seen different files.
        self.losses[...] = parallel.merge(self.losses)
        evaluator.resume(self.passes)

    @property
    def passes(self) -> int:
        """Number of known losses, each of one forward pass."""
        return int(np.isfinite(self.losses).sum())

    def columns(self, step: int) -> slice:
        """Return the images of a step."""
        return slice(self.sample_sizes[step - 1] if step else 0, self.sample_sizes[step])

    def evaluate(self, masks: Int[np.ndarray, " chosen"], step: int) -> None:
        """Compute the losses of a step's images under these masks. Collective: processes share the missing ones.

        Raises:
          InputError: a loss that is not finite.
          interrupt.Terminated: SIGTERM came; computed losses are stored.
        """
        columns = self.columns(step)
        missing = masks[np.isnan(self.losses[masks, columns.start])]
        if len(missing):
            mine, images = missing[parallel.share(len(missing))], columns.stop - columns.start
            if len(mine):
                self._tables[step].fill(
                    self._compute(mine, step), lambda tile: self.evaluator.count(self.label, tile * images)
                )
            self.losses[missing, columns] = parallel.merge(self.losses[missing, columns])

    def _compute(self, masks: Int[np.ndarray, " chosen"], step: int) -> Tiles:
        """Yield masks, tile by tile, and the losses of a step's images under them."""
        evaluator, images = self.evaluator, self.images[self.columns(step)]
        labels, name = np.full(len(images), self.label), evaluator.problem.classes[self.label]
        # One replicate per image, so that the weighted sums are the images' losses.
        weights = np.eye(len(images), evaluator.width, dtype=np.float32)
        batches = evaluator.engine.image_batches(images, labels, weights, size=evaluator.layout["chunk"])
        for items, sums in finite_tiles(evaluator.engine, batches, evaluator.masks, masks, name):
            yield items, sums["loss"][:, : len(images)].T


def first_order_scores(
    evaluator: Evaluator, label: int, images: Float[np.ndarray, "images height width channels"], first_order: Callable
) -> Float[np.ndarray, "images patches"]:
    """Return the first-order scores of a class's images, in their order, by `gradient.make_first_order`. Collective."""
    count, batch = len(images), evaluator.layout["gradient_batch"]
    scores = np.empty((count, evaluator.masks.count - 1), np.float32)
    table = evaluator.partial_results.table(label, scores.T, "first-")
    scores[...] = parallel.merge(scores)
    evaluator.resume(gradient.PASSES * int(np.isfinite(scores[:, 0]).sum()))

    missing = np.flatnonzero(np.isnan(scores[::batch, 0]))
    mine, devices = missing[parallel.share(len(missing))], parallel.mesh().size
    # Whole batches, so that an image is in the same place of the same batch whichever are missing.
    batches = [np.arange(number * batch, min(count, (number + 1) * batch)) for number in mine.tolist()]
    of_calls = (np.concatenate(batches[start : start + devices]) for start in range(0, len(batches), devices))
    computed = ((chosen, first_order(images[chosen], label).T) for chosen in of_calls)
    table.fill(computed, lambda size: evaluator.count(label, gradient.PASSES * size))
    return parallel.merge(scores).astype(np.float32)
