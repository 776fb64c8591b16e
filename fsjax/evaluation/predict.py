"""Logits of a whole data set, batch by batch, shared by the processes and split over the local devices."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int, PyTree

from fsjax.data.dataset import Images
from fsjax.data.preprocess import normalise
from fsjax.runtime import parallel

# Into which a set is cut at least, so that as many devices have something to do.
_BLOCKS = 8


def make_predictor(
    apply: Callable, mean: Float[np.ndarray, "3"], std: Float[np.ndarray, "3"], *, batch_size: int = 256
) -> Callable:
    """Returns predict(params, dataset, alone=False), an iterator of (indices, logits [n, classes]) in the set's order.

    The batches of all processes together cover the set, every image once; with `alone` those of this process do. An
    image's logits are the same bits for any number of processes and devices.

    Args:
      apply: (params, images [n, S, S, 3] float32 normalised) -> logits.
      mean: and std, of pixels in [0, 1], per channel.
      batch_size: most images that a device sees at once; the last ones are padded and the padding dropped.
    """
    mesh = parallel.mesh()
    split, everywhere = NamedSharding(mesh, P(parallel.AXIS)), NamedSharding(mesh, P())

    def logits(params, images):
        with jax.default_matmul_precision("highest"):
            return apply(params, normalise(images, mean, std))

    # Each device computes its block by itself, as it would if it were the only one.
    forward = jax.jit(
        jax.shard_map(logits, mesh=mesh, in_specs=(P(), P(parallel.AXIS)), out_specs=P(parallel.AXIS), check_vma=False)
    )

    def predict(
        params: PyTree, dataset: Images, alone: bool = False
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n k"]]]:
        params = jax.device_put(params, everywhere)
        block = batch_of_device(len(dataset), batch_size)
        blocks = -(-len(dataset) // block)
        mine = range(blocks) if alone else range(blocks)[parallel.share(blocks)]
        for first in mine[:: mesh.size]:
            indices = np.arange(first * block, min((first + mesh.size) * block, mine.stop * block, len(dataset)))
            images = dataset.images(indices)
            padded = np.pad(images, [(0, block * mesh.size - len(images)), (0, 0), (0, 0), (0, 0)])
            yield indices, np.asarray(forward(params, jax.device_put(padded, split)))[: len(images)]

    return predict


def batch_of_device(images: int, most: int) -> int:
    """How many of so many images a device takes at once: the same for any number of devices."""
    return max(1, min(most, -(-images // _BLOCKS)))
