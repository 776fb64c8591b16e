"""Logits of a whole data set, batch by batch, split over the local devices."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int, PyTree

from fsjax import parallel
from fsjax.data.dataset import Images
from fsjax.data.preprocess import normalise


def make_predictor(
    apply: Callable, mean: Float[np.ndarray, "3"], std: Float[np.ndarray, "3"], *, batch_size: int = 256
) -> Callable:
    """Returns predict(params, dataset), an iterator of (indices, logits [n, classes]) in the order of the set.

    Args:
      apply: (params, images [n, S, S, 3] float32 normalised) -> logits.
      mean: and std, of pixels in [0, 1], per channel.
      batch_size: images a device sees at once; the last batch is padded and the padding dropped.
    """
    mesh = parallel.mesh()
    split, everywhere = NamedSharding(mesh, P(parallel.AXIS)), NamedSharding(mesh, P())

    @jax.jit
    def forward(params, images):
        with jax.default_matmul_precision("highest"):
            return apply(params, normalise(images, mean, std))

    def predict(params: PyTree, dataset: Images) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n k"]]]:
        params = jax.device_put(params, everywhere)
        size = min(batch_size, -(-len(dataset) // mesh.size)) * mesh.size
        for start in range(0, len(dataset), size):
            indices = np.arange(start, min(start + size, len(dataset)))
            images = dataset.images(indices)
            padded = np.pad(images, [(0, size - len(images)), (0, 0), (0, 0), (0, 0)])
            yield indices, np.asarray(forward(params, jax.device_put(padded, split)))[: len(images)]

    return predict
