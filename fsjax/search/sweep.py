"""The loss of every class under every mask of a list: shared by processes and devices, kept as it goes."""

import dataclasses
import pathlib
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from fsjax import interrupt, parallel, tiles
from fsjax.engine import Engine, Perturbations
from fsjax.errors import InputError
from fsjax.progress import Progress
from fsjax.search.partial import Partials
from fsjax.search.problem import Problem


def sweep(
    problem: Problem,
    masks: Callable[[int, int], Bool[np.ndarray, "masks height width"]],
    count: int,
    *,
    weights: Callable[[int], Float[np.ndarray, " images"]] | None = None,
    precision: str = "highest",
    directory: pathlib.Path | None = None,
    label: str | None = None,
) -> Float[np.ndarray, "classes masks"]:
    """Sum over the images of each class of their weighted cross-entropy to the class, under each mask.

    Only a class's own images go through the model. Every process takes an equal part of the (class, mask) pairs that
    are not yet known and all return the same sums, which do not depend on how many processes and devices there are.

    Args:
      problem: classifier and images.
      masks: (start, stop) -> masks start..stop-1 of the list, True where a frequency is kept.
      count: of masks.
      weights: class index -> weight of each of its images; default 1.
      precision: as config.search.precision.
      directory: where partial results are kept; None = nowhere.
      label: names the progress bar; default: the method.

    Raises:
      InputError: partial results of another search, too little memory, or a loss that is not finite.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    apply, matmul_precision = problem.at(precision)
    tile_images = tiles.fit(
        apply,
        problem.params,
        problem.image,
        resident_images=max(problem.counts),
        memory_mib=problem.run.memory_mib,
        precision=matmul_precision,
    )
    layout = {"chunk": tiles.chunk_size(problem.counts, tile_images), "tile_images": tile_images, "masks": count}
    partials = Partials(directory, layout, problem.params, problem.identity)
    engine = Engine(apply, problem.params, tile_images=partials.layout["tile_images"], precision=matmul_precision)
    classes = range(len(problem.classes))
    sums = parallel.merge(np.stack([partials.known(label, count) for label in classes]))
    # In class order, so that a process reads the images of few classes.
    missing = np.flatnonzero(np.isnan(sums))
    mine = missing[parallel.share(len(missing))]
    index, processes = parallel.process()
    title = label or f"search {problem.options.method}"
    title = title if processes == 1 else f"{title} (process {index + 1} of {processes})"
    done = sums.size - len(missing)
    with Progress(title, len(mine) + done, "masks", done=done) as progress:
        keeper = _Keeper(problem, partials, progress)
        for label in np.unique(mine // count):
            images, size = problem.images(int(label)), partials.layout["chunk"]
            of_class = weights(int(label))[:, None].astype(np.float32) if weights else None
            chunks = engine.chunks(images, np.full(len(images), label), of_class, size=size)
            for run in _runs(mine[mine // count == label] % count):
                _sweep_run(engine, chunks, masks, int(label), run, sums[label], keeper)
    return parallel.merge(sums)


def _sweep_run(engine, chunks, masks, label: int, run: range, sums: np.ndarray, keeper: "_Keeper") -> None:
    """One class under neighbouring masks; whatever ends it, what is computed is kept."""

    def make(start: int, stop: int) -> Perturbations:
        return Perturbations(masks(run.start + start, run.start + stop))

    images = sum(len(chunk.labels) for chunk in chunks)
    kept = done = run.start
    try:
        for start, stop, found in engine.tiles(chunks, make, len(run)):
            if not np.isfinite(found["loss"]).all():
                name = keeper.problem.classes[label]
                raise InputError(f"search: the model's loss on class {name!r} is not finite; accepted: a finite one")
            sums[run.start + start : run.start + stop] = found["loss"][:, 0]
            done = run.start + stop
            keeper.count(label, stop - start, images)
            if keeper.is_due():
                keeper.keep(label, kept, sums[kept:done])
                kept = done
            interrupt.check()
    finally:
        keeper.keep(label, kept, sums[kept:done])


def _runs(indices: np.ndarray) -> list[range]:
    """Sorted indices as ranges of neighbours."""
    parts = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return [range(int(part[0]), int(part[-1]) + 1) for part in parts]


@dataclasses.dataclass
class _Keeper:
    """Writes partial results and rates every config.run.save_seconds."""

    problem: Problem
    partials: Partials
    progress: Progress
    images: int = 0
    saved: float = dataclasses.field(default_factory=lambda: time.monotonic())

    def count(self, label: int, masks: int, images: int) -> None:
        self.images += masks * images
        rate = self.images / self.progress.seconds
        self.progress.update(masks, f"{rate:,.0f} images/s, {self.problem.classes[label]}")

    def is_due(self) -> bool:
        return time.monotonic() - self.saved >= self.problem.run.save_seconds

    def keep(self, label: int, start: int, sums: np.ndarray) -> None:
        self.partials.write(label, start, sums)
        self.saved = time.monotonic()
        if self.problem.metrics and self.images:
            self.problem.metrics.write(
                "search",
                self.progress.count,
                {
                    "masks_per_second": self.progress.rate,
                    "images_per_second": self.images / self.progress.seconds,
                    "eta_seconds": self.progress.eta,
                },
            )
