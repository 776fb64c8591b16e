"""A side of a comparison: removal searches of two classes by the project's own sweep, compiled once."""

import dataclasses
from collections.abc import Callable

from fsjax import search
from fsjax.engine import tile_size
from fsjax.runtime import storage
from fsjax.search import reliability, sweep
from fsjax.search.removal import removal_masks


def side(problem: search.Problem, images: int) -> Callable[[], int]:
    """Return a search of the first two classes under all masks, which returns its number of masked images.

    There is a class boundary in it. Results are saved in the problem's directory, which is emptied first.

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
    layout = tile_size.layout(model, counts, memory_mib=problem.run.memory_mib)
    resamples = reliability.resample_count(problem.options, "removal")

    def run() -> int:
        assert few.directory is not None
        storage.remove(few.directory)
        sweep.sweep(
            few,
            masks,
            weights=lambda label: reliability.resample_weights(counts[label], resamples, problem.seed, label),
            replicates=1 + resamples,
            layout=layout,
        )
        return masks.count * sum(counts)

    return run
