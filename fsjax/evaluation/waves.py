"""Add one wave to images: an engine's sums for every orbit, shared by processes and stored for a restart."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Complex, Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model, WaveModel
from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

# In place of an orbit: no wave.
NOTHING = -1


class Waves:
    """Engine and storage for images with a wave of one orbit; memory_mib and save_seconds as in config.run.

    `counts` are the images of each call of `sums`, and `batch_size` those of an image batch. `reduce` takes the sums of
    `statistic` [n, replicates, ...] to values [n, rows]. Raises InputError for results of another model or identity.
    """

    def __init__(
        self,
        model: Model,
        statistic: str,
        counts: Sequence[int],
        identity: str,
        *,
        reduce: Callable[[np.ndarray], np.ndarray] = lambda sums: sums,
        memory_mib: int = 0,
        save_seconds: int | float = 30,
        directory: Path | None = None,
    ):
        # A tile of filtered images takes more memory, and is compiled for the rates as well.
        layout = tile_size.layout(model, counts, memory_mib=memory_mib)
        self._partial_results = PartialResults(directory, layout, model.params, identity, save_seconds=save_seconds)
        layout, self._statistic, self._reduce = self._partial_results.layout, statistic, reduce
        self._engine = Engine(WaveModel(**vars(model)), statistics=(statistic,), tile_images=layout["tile_images"])
        self._plane, self.batch_size = model.image_shape[:2], layout["chunk"]

    def sums(
        self,
        name: str,
        read: Callable[[], Float[np.ndarray, "n height width channels"]],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, "n replicates"],
        orbits: Int[np.ndarray, " orbits"],
        coefficients: Callable[[slice], Complex[np.ndarray, "some images channels"]],
        progress: Progress,
    ) -> Float[np.ndarray, "rows orbits"]:
        """Return the reduced sums over images that have the wave of each orbit, or NOTHING, added; stored under `name`.

        Collective: every process must call this, computes an equal share of the missing orbits and returns the same.
        `read` returns the images. `coefficients` are as in `engine.model.WaveModel`, for a slice of the orbits, at
        their first members.
        """
        first = spectrum.first_members(*self._plane)[orbits]
        positions = np.stack(np.unravel_index(first, self._plane), -1).astype(np.int32)

        def waves(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            rows = slice(start, stop)
            there = (orbits[rows] != NOTHING)[:, None, None]
            return positions[rows], (there * coefficients(rows)).astype(np.complex64)

        values = np.empty((weights.shape[1], len(orbits)))
        table = self._partial_results.table(name, values)
        missing, mine = table.claim()
        progress.skip((len(orbits) - len(missing)) * len(labels))
        if len(mine):
            batches = self._engine.image_batches(read(), labels, weights, size=self.batch_size)
            tiles = self._engine.tiles(batches, LazyArray(len(orbits), waves), items=mine)
            reduced = ((items, self._reduce(sums[self._statistic]).T) for items, sums in tiles)
            table.fill(reduced, lambda count: progress.update(count * len(labels)))
        progress.update((len(missing) - len(mine)) * len(labels))  # by the other processes
        return parallel.merge(values)
