"""Sides of a comparison: tiles of masked images through the engine, and plain forward passes of as large a batch."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.common import paired
from benchmarks.cost.plain_search import Search
from fsjax.engine.model import Model
from fsjax.engine.programs import at_precision
from fsjax.runtime import parallel, profiling


def sides(
    model: Model, images: np.ndarray, *, seconds: float, least_tiles: int = 1
) -> tuple[dict[str, Callable[[], int]], dict[str, float]]:
    """Return the sides `masked` and `forward`, which are compiled and have run once, and what they are.

    Args:
      model: the classifier at a precision.
      images: [n, H, W, 3], normalised; of one class.
      seconds: about how long a side takes.
      least_tiles: of a round of `masked`, whatever they take.

    Returns:
      The sides, whose units are images; and `tile_images`, `chunk`, `tiles`, `forward_batch`, and the `compile_seconds`
      of all programs, those that choose the tile's size among them.
    """
    compiled_before = profiling.compiled()[1]
    search = Search(model, [len(images)])
    batches = search.image_batches(images)
    forward, batch = plain_forward(search, images)
    jax.block_until_ready(forward())
    search.masked_images(batches, search.removals(1), len(images))
    compile_seconds = profiling.compiled()[1] - compiled_before

    rate = paired.rates({"forward": paired.timed_rounds(forward, batch, batch)}, 2)["forward"].max()
    masks_per_tile = search.engine.perturbations_per_tile(search.batch_size)
    tiles = max(least_tiles, round(rate * seconds / (masks_per_tile * len(images))))
    measured = {
        "masked": functools.partial(search.masked_images, batches, search.removals(tiles), len(images)),
        "forward": paired.timed_rounds(forward, batch, max(rate * seconds, batch * least_tiles)),
    }
    return measured, {**search.layout, "tiles": tiles, "forward_batch": batch, "compile_seconds": compile_seconds}


def plain_forward(search: Search, images: np.ndarray) -> tuple[Callable, int]:
    """Return the jitted forward pass over all devices, with a tile's images on each: (call, images a call)."""
    model, mesh = search.model, parallel.mesh()
    batch = search.engine.tile_images * mesh.size
    placed = jax.device_put(
        np.resize(images, (batch, *images.shape[1:])), NamedSharding(mesh, PartitionSpec(parallel.AXIS))
    )
    params = jax.device_put(model.params, NamedSharding(mesh, PartitionSpec()))
    return functools.partial(jax.jit(at_precision(model.matmul_precision, model.apply)), params, placed), batch
