"""The loss of single images of a class under masks of a list, block by block: shared by processes, kept as it goes."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from fsjax.engine import first_layer, tile_size
from fsjax.engine.engine import Engine
from fsjax.runtime import files, interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import Partials
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search import gradient
from fsjax.search.problem import Problem
from fsjax.search.sweep import MaskList


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
        partials = Partials(problem.directory, layout, model.params, problem.identity)
        self.layout, self.directory = partials.layout, partials.directory
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
        self.passes, self.saved = 0, time.monotonic()

    def folder(self, label: int) -> Path | None:
        """Where what is known of a class is kept."""
        return self.directory and self.directory / f"class{label:05d}"

    def count(self, label: int, passes: int) -> None:
        """So many forward passes were made just now."""
        self.passes += passes
        rate = self.passes / self.progress.seconds
        self.progress.update(passes, f"{rate:,.0f} images/s, {self.problem.classes[label]}")

    def is_due(self) -> bool:
        return time.monotonic() - self.saved >= self.problem.run.save_seconds

    def note(self) -> None:
        """Something was kept just now."""
        self.saved = time.monotonic()
        if self.problem.metrics and self.passes:
            rates = {"images_per_second": self.passes / self.progress.seconds, "eta_seconds": self.progress.eta}
            self.problem.metrics.write("search", self.progress.count, rates)


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

    def __post_init__(self):
        self.losses = np.full((self.evaluator.masks.count, len(self.images)), np.nan, np.float32)
        folder = self.evaluator.folder(self.label)
        if folder is not None:
            for block in range(len(self.sample_sizes)):
                paths: list[Path] = sorted(folder.glob(f"block{block:02d}-*.npz"), key=str)
                for file in paths:
                    self._read(file, block)
        for block in range(len(self.sample_sizes)):
            # Processes may have seen different files.
            self._merge(np.arange(len(self.losses)), block)
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
            self._compute(missing[parallel.share(len(missing))], block)
            self._merge(missing, block)

    def _merge(self, masks: np.ndarray, block: int) -> None:
        """What the processes know together; a row an image, since there are fewer of those."""
        rows = np.ascontiguousarray(self.losses[masks, self.columns(block)].T, np.float64)
        self.losses[masks, self.columns(block)] = parallel.merge(rows).T

    def _compute(self, masks: np.ndarray, block: int) -> None:
        evaluator, images = self.evaluator, self.images[self.columns(block)]
        if not len(masks):
            return
        labels, chosen = np.full(len(images), self.label), evaluator.masks.sample(masks)
        # A replicate an image: the weighted sums are the images' own losses.
        weights = np.eye(len(images), evaluator.width, dtype=np.float32)
        chunks = evaluator.engine.chunks(images, labels, weights, size=evaluator.layout["chunk"])
        kept = done = 0
        try:
            for start, stop, sums in evaluator.engine.tiles(
                chunks,
                lambda a, b: chosen.perturbations(a, b, as_removals=evaluator.as_removals),
                len(masks),
            ):
                found = sums["loss"][:, : len(images)]
                if not np.isfinite(found).all():
                    name = evaluator.problem.classes[self.label]
                    raise InputError(f"search: the model's loss on class {name!r} is not finite; expected a finite one")
                self.losses[masks[start:stop], self.columns(block)] = found
                done = stop
                evaluator.count(self.label, found.size)
                if evaluator.is_due():
                    self._write(masks[kept:done], block)
                    kept = done
                interrupt.check()
        finally:
            self._write(masks[kept:done], block)

    def _write(self, masks: np.ndarray, block: int) -> None:
        folder = self.evaluator.folder(self.label)
        if folder is not None and len(masks):
            name = f"block{block:02d}-{masks[0]:06d}-{masks[-1]:06d}.npz"
            files.write_npz(folder / name, masks=masks, losses=self.losses[masks, self.columns(block)])
        self.evaluator.note()

    def _read(self, file: Path, block: int) -> None:
        """What a file holds; nothing where it is damaged."""
        try:
            found = files.read_npz(file)
        except (FileNotFoundError, InputError):
            return
        masks, losses = found.get("masks"), found.get("losses")
        columns = self.columns(block)
        if masks is None or losses is None or losses.shape != (len(masks), columns.stop - columns.start):
            return
        if np.isfinite(losses).all() and masks.min() >= 0 and masks.max() < len(self.losses):
            self.losses[masks, columns] = losses


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
    count, folder = len(images), evaluator.folder(label)
    scores = np.full((count, evaluator.masks.count - 1), np.nan)
    paths: list[Path] = sorted(folder.glob("first-*.npz"), key=str) if folder else []
    for file in paths:
        try:
            found = files.read_npz(file)
        except (FileNotFoundError, InputError):
            continue
        scores[found["images"]] = found["scores"]
    scores = parallel.merge(scores)
    known = gradient.PASSES * int(np.isfinite(scores[:, 0]).sum())
    evaluator.progress.update(known)
    evaluator.progress.resumed += known

    missing = np.flatnonzero(np.isnan(scores[::batch, 0]))
    mine, devices = missing[parallel.share(len(missing))], parallel.mesh().size
    # Whole batches, so that every image has its place in one whichever are left.
    parts = [np.arange(number * batch, min(count, (number + 1) * batch)) for number in mine.tolist()]
    waiting: list[np.ndarray] = []

    def keep() -> None:
        if folder is not None and waiting:
            chosen = np.concatenate(waiting)
            name = f"first-{chosen[0]:06d}-{chosen[-1]:06d}.npz"
            files.write_npz(folder / name, images=chosen, scores=scores[chosen].astype(np.float32))
        waiting.clear()
        evaluator.note()

    try:
        for start in range(0, len(parts), devices):
            chosen = np.concatenate(parts[start : start + devices])
            scores[chosen] = first_order(images[chosen], label)
            waiting.append(chosen)
            evaluator.count(label, gradient.PASSES * len(chosen))
            if evaluator.is_due():
                keep()
    finally:
        keep()
    return parallel.merge(scores).astype(np.float32)
