"""The loss of every class under every mask of a list: shared by processes and devices, kept as it goes."""

import dataclasses
import functools
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine import first_layer, tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.tile import Perturbations, Removals
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import Partials
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem


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
    partials = Partials(directory, {**layout, "masks": masks.count}, model.params, problem.identity)
    as_removals, count = bool(partials.layout["first_layer"]), masks.count
    engine = Engine(
        *(model.apply, model.params),
        tile_images=partials.layout["tile_images"],
        precision=model.matmul_precision,
        cut=cut if as_removals else None,
    )
    make = functools.partial(masks.perturbations, as_removals=as_removals)
    classes, each = range(len(problem.classes)), () if replicates is None else (replicates,)
    sums = _merged(np.stack([partials.known(label, count, *each) for label in classes]))
    # In class order, so that a process reads the images of few classes.
    missing = np.flatnonzero(np.isnan(sums.reshape(len(sums), -1, count)).any(1))
    mine = missing[parallel.share(len(missing))]
    index, processes = parallel.process()
    title = label or f"search {problem.options.method}"
    title = title if processes == 1 else f"{title} (process {index + 1} of {processes})"
    done = len(sums) * count - len(missing)
    with Progress(title, len(mine) + done, "masks", done=done) as progress:
        keeper = _Keeper(problem, partials, progress)
        for label in np.unique(mine // count):
            images, size = problem.images(int(label)), partials.layout["chunk"]
            of_class = weights(int(label)).reshape(len(images), -1).astype(np.float32) if weights else None
            chunks = engine.chunks(images, np.full(len(images), label), of_class, size=size)
            for run in runs(mine[mine // count == label] % count):
                _sweep_run(engine, chunks, make, int(label), run, sums[label], keeper)
    return _merged(sums)


def _merged(sums: Float[np.ndarray, "classes *replicates masks"]) -> Float[np.ndarray, "classes *replicates masks"]:
    """What the processes know together."""
    return parallel.merge(sums.reshape(-1, sums.shape[-1])).reshape(sums.shape)


def _sweep_run(engine, chunks, make, label: int, run: range, sums: np.ndarray, keeper: "_Keeper") -> None:
    """One class under neighbouring masks; whatever ends it, what is computed is kept."""
    images = sum(len(chunk.labels) for chunk in chunks)
    kept = done = run.start
    try:
        for start, stop, found in engine.tiles(chunks, lambda a, b: make(run.start + a, run.start + b), len(run)):
            if not np.isfinite(found["loss"]).all():
                name = keeper.problem.classes[label]
                raise InputError(f"search: the model's loss on class {name!r} is not finite; expected a finite one")
            sums[..., run.start + start : run.start + stop] = found["loss"].T
            done = run.start + stop
            keeper.count(label, stop - start, images)
            if keeper.is_due():
                keeper.keep(label, kept, sums[..., kept:done])
                kept = done
            interrupt.check()
    finally:
        keeper.keep(label, kept, sums[..., kept:done])


def runs(indices: np.ndarray) -> list[range]:
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
