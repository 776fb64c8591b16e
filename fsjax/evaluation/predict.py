"""Predict the logits of a whole data set in batches, shared by processes and split over the local devices."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PyTree

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.programs import cached_program, over_devices
from fsjax.runtime import parallel
from fsjax.runtime.workers import read_ahead

# A data set has at least this many batches, so that as many devices have work.
_LEAST_BATCHES = 8


def make_predictor(
    apply: Callable,
    mean: Float[np.ndarray, " means"],
    std: Float[np.ndarray, " means"],
    *,
    batch_size: int = 256,
    precision: str = "highest",
) -> Callable:
    """Return predict(params, dataset, alone=False, known=None), an iterator of (indices, logits [n, classes]).

    They come in the set's order. The processes share the set; with `alone` this process predicts the whole set. Batches
    whose images are all `known`, bool [images], are left out. An image's logits are bit-equal for any number of
    processes and devices, and whatever is known. `apply` maps params and images, normalised by mean and std of pixels
    in [0, 1], to logits. A device's batch has at most `batch_size` images. precision: as
    `engine.model.Model.matmul_precision`.
    """
    mesh = parallel.mesh()
    split, replicated = parallel.layouts(mesh)
    mean_std = jax.device_put((mean, std), replicated)

    def logits(
        params: PyTree, images: Num[Array, "n height width channels"], mean_std: tuple[Array, Array]
    ) -> Float[Array, "n classes"]:
        return apply(params, normalise(images, *mean_std))

    # Each device computes its batch by itself, so that logits do not depend on the number of devices.
    forward = cached_program(
        apply, ("logits", precision, mesh), lambda: over_devices(logits, mesh, (False, True, False), precision)
    )

    def predict(
        params: PyTree, dataset: Dataset, alone: bool = False, known: Bool[np.ndarray, " images"] | None = None
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n k"]]]:
        params = jax.device_put(params, replicated)
        size = batch_of_device(len(dataset), batch_size)
        batches = -(-len(dataset) // size)
        mine = range(batches) if alone else range(batches)[parallel.share(batches)]

        def rows(first: int) -> Int[np.ndarray, " n"]:
            return np.arange(first * size, min((first + mesh.size) * size, mine.stop * size, len(dataset)))

        def compute(first: int) -> tuple[Int[np.ndarray, " n"], Float[Array, "padded k"]]:
            indices = rows(first)
            images = dataset.images(indices)
            padded = np.pad(images, [(0, size * mesh.size - len(images)), (0, 0), (0, 0), (0, 0)])
            return indices, forward(params, jax.device_put(padded, split), mean_std)

        unknown = (first for first in mine[:: mesh.size] if known is None or not known[rows(first)].all())
        for _, (indices, logits) in read_ahead(compute, unknown):
            yield indices, np.asarray(logits)[: len(indices)]

    return predict


def batch_of_device(images: int, most: int) -> int:
    """Return the images of a device's batch, the same for any number of devices."""
    return max(1, min(most, -(-images // _LEAST_BATCHES)))
