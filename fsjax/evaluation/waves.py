"""Add one wave to images: an engine's sums for every orbit, shared by processes and stored for a restart.

A donor is its recipient plus the waves of all orbits. A graft of one orbit then adds that orbit's wave alone, with the
amplitude and phase that each image and channel has there.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Complex, Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model, graft_model
from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path

# In place of an orbit: no wave.
NOTHING = -1


class Waves:
    """Engine and storage for images with a wave of one orbit; memory_mib and save_seconds as in config.run.

    `counts` are the images of each call of `sums`. `reduce` takes the sums of `statistic` [n, replicates, ...] to
    values [n, rows].

    Raises:
      InputError: the directory holds results of another model or identity.
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
        grafts, self._statistic, self._reduce = graft_model(model), statistic, reduce
        layout = tile_size.layout(grafts, counts, memory_mib=memory_mib)
        self._partial_results = PartialResults(directory, layout, model.params, identity, save_seconds=save_seconds)
        self._layout = self._partial_results.layout
        self._engine = Engine(grafts, statistics=(statistic,), tile_images=self._layout["tile_images"])

    def sums(
        self,
        name: str,
        images: Float[np.ndarray, "n height width channels"],
        waves: Float[np.ndarray, "n height width channels"],
        labels: Int[np.ndarray, " n"],
        weights: Float[np.ndarray, "n replicates"],
        orbits: Int[np.ndarray, " orbits"],
        progress: Progress,
    ) -> Float[np.ndarray, "rows orbits"]:
        """Return the reduced sums over images that have the wave of each orbit, or NOTHING, added; stored under `name`.

        Collective: every process must call this, computes an equal share of the missing orbits and returns the same.
        `waves` are `sum_of_waves`.
        """
        of_position = spectrum.orbits(*images.shape[1:3])
        masks = LazyArray(len(orbits), lambda start, stop: of_position == orbits[start:stop, None, None])
        values = np.empty((weights.shape[1], len(orbits)))
        table = self._partial_results.table(name, values)
        # Each process reads all files before another writes.
        values[...] = parallel.merge(values)
        missing = np.flatnonzero(np.isnan(values).any(0))
        mine = missing[parallel.share(len(missing))]
        progress.skip((len(orbits) - len(missing)) * len(images))
        if len(mine):
            pairs = np.stack([images, images + waves], 1)
            batches = self._engine.image_batches(pairs, labels, weights, size=self._layout["chunk"])
            tiles = self._engine.tiles(batches, masks, items=mine)
            reduced = ((items, self._reduce(sums[self._statistic]).T) for items, sums in tiles)
            table.fill(reduced, lambda count: progress.update(count * len(images)))
        progress.update((len(missing) - len(mine)) * len(images))  # by the other processes
        return parallel.merge(values)


def sum_of_waves(
    coefficients: Complex[np.ndarray, "n orbits *channels"], plane: tuple[int, int]
) -> Float[np.ndarray, "n height width *channels"]:
    """Return the sum of the waves Re(c exp(ik.x)) of all orbits; k is an orbit's first member, x counts from pixel 0.

    So c = A exp(i phase) adds A cos(k.x + phase), of which an orbit of one position has A cos(phase) cos(k.x).
    """
    count, _, *channels = coefficients.shape
    height, width = plane
    centred = np.zeros((count, height * width, *channels), np.complex64)
    centred[:, spectrum.first_members(height, width)] = coefficients * (height * width)
    shifted = np.fft.ifftshift(centred.reshape(count, height, width, *channels), axes=(1, 2))
    return np.fft.ifft2(shifted, axes=(1, 2)).real.astype(np.float32)
