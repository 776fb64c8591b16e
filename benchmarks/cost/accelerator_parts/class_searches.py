"""A side of a comparison: removal searches of two classes by the project's own sweep, compiled once for all rounds."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fsjax import search
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.runtime import storage
from fsjax.search import bootstrap, sweep
from fsjax.search.removal import METHOD, removal_masks


def side(problem: search.Problem, images: int) -> Callable[[], int]:
    """Return a search of the first two classes under all masks, which returns its number of masked images.

    It reads, encodes, computes and saves as `sweep.sweep` does, with a class boundary, in the problem's directory,
    which it empties first. `sweep.sweep` itself compiles its tile in each call, which rounds cannot afford.

    Args:
      problem: of exact removal.
      images: of each class, at most.
    """
    counts = tuple(min(count, images) for count in problem.counts[:2])
    few = dataclasses.replace(
        problem,
        counts=counts,
        classes=problem.classes[:2],
        images=lambda label: problem.images(label)[: counts[label]],
        metrics=None,
    )
    masks, model = removal_masks(problem.plane, problem.options.patch), problem.searched_model
    layout = {**tile_size.layout(model, counts, memory_mib=problem.run.memory_mib), "masks": masks.count}
    engine = Engine(model, tile_images=layout["tile_images"])
    resamples = bootstrap.resample_count(problem.options.resamples, METHOD.resamples)

    def tiles(label: int, of_class: np.ndarray, items: np.ndarray) -> tuple[int, sweep.Tiles]:
        weights = bootstrap.weights(len(of_class), resamples, problem.seed, label).reshape(len(of_class), -1)
        labels = np.full(len(of_class), label)
        batches = engine.image_batches(of_class, labels, weights.astype(np.float32), size=layout["chunk"])
        sums = sweep.finite_tiles(engine, batches, masks, items, few.classes[label])
        return len(of_class), ((items, of_tile["loss"].T) for items, of_tile in sums)

    def run() -> int:
        assert few.directory is not None
        storage.remove(few.directory)
        partial_results = few.partial_results(layout)
        sweep.fill(few, partial_results, (1 + resamples, masks.count), few.images, tiles, "search of two classes")
        return masks.count * sum(counts)

    return run
