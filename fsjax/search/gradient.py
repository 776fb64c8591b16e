"""What removing a patch of frequencies does to an image's loss, to first order: all patches from one backward pass."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree

from fsjax.engine import tile_size
from fsjax.engine.tile import at_precision
from fsjax.fourier import spectrum
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.search.problem import Problem

# Forward passes that the gradient of one image costs: its own, and a backward pass that counts 2.
PASSES = 3


def make_first_order(problem: Problem, *, batch: int) -> Callable:
    """The first-order scores of single images, as a function (images [n, H, W, C], label) -> float32 [n, patches].

    The loss is cross-entropy to the label, in nats. With G the DFT of its gradient and X that of the image, an orbit
    predicts a rise of -(1/HW) * sum over its positions and the channels of Re(conj(G) X) when it is removed, and a
    patch of `spectrum.patches` the sum over its orbits (METHOD 11). It is exact for a loss that is linear in the image.

    Images are split over the devices, `batch` at a time on each, so that no score depends on how many there are.

    Args:
      problem: its options give the patch size and the precision.
      batch: images of a device, as `batch_size` finds it.

    The function raises:
      InputError: a gradient that is not finite.
      interrupt.Terminated: SIGTERM came.
    """
    mesh = parallel.mesh()
    split = NamedSharding(mesh, P(parallel.AXIS))
    params = jax.device_put(problem.model.params, NamedSharding(mesh, P()))
    members = jax.device_put(patch_members(problem.plane, problem.options.patch), NamedSharding(mesh, P()))
    compiled = _compiled(problem, mesh)

    def first_order(images: Float[np.ndarray, "n height width channels"], label: int) -> Float[np.ndarray, "n patches"]:
        parts = []
        for start in range(0, len(images), batch * mesh.size):
            interrupt.check()
            part = np.asarray(images[start : start + batch * mesh.size], np.float32)
            padded = np.pad(part, [(0, batch * mesh.size - len(part)), (0, 0), (0, 0), (0, 0)], mode="edge")
            scores = compiled(params, jax.device_put(padded, split), np.int32(label), members)
            parts.append(np.asarray(scores)[: len(part)])
            if not np.isfinite(parts[-1]).all():
                name = problem.classes[label]
                raise InputError(f"search: the gradient on class {name!r} is not finite; expected a finite one")
        return np.concatenate(parts)

    return first_order


def batch_size(problem: Problem) -> int:
    """Images whose backward pass a device has room for, by XLA's own analysis, as `tile_size.fit` does for tiles.

    Raises:
      InputError: not one image fits into run.memory_mib.
    """
    shape = jax.ShapeDtypeStruct
    params = jax.tree.map(lambda leaf: shape(leaf.shape, leaf.dtype), problem.model.params)
    members = patch_members(problem.plane, problem.options.patch)
    program: Any = _compiled(problem, Mesh(np.array(parallel.local_devices()[:1]), (parallel.AXIS,)))

    def temporaries(images: int) -> int:
        lowered = program.lower(
            params, shape((images, *problem.model.image_shape), jnp.float32), shape((), jnp.int32), members
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    size = tile_size.most_images(
        temporaries,
        problem.model.image_shape,
        resident=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)),
        memory_mib=problem.run.memory_mib,
        on_cpu=lambda each: tile_size.CPU_MOST // each,
        name="the gradient",
    )
    return min(size, max(problem.counts))


def patch_members(plane: tuple[int, int], patch: int) -> Int[np.ndarray, "patches most"]:
    """The orbits of each patch of `spectrum.patches`, as indices into `spectrum.orbit_positions`.

    Patches on an axis of the plane have fewer than others: the number of orbits fills their rows.
    """
    positions = spectrum.orbit_positions(*plane)
    index = np.empty(len(positions), np.int32)
    orbits = spectrum.orbits(*plane)
    index[orbits[positions[:, 0], positions[:, 1]]] = np.arange(len(positions))
    if patch == 1:
        return np.arange(len(positions), dtype=np.int32)[:, None]
    rows, step = [], 256
    for start in range(0, spectrum.num_patches(*plane, patch), step):
        rows += [index[np.unique(orbits[mask])] for mask in spectrum.patch_range(*plane, patch, start, start + step)]
    members = np.full((len(rows), max(map(len, rows))), len(positions), np.int32)
    for row, found in zip(members, rows, strict=True):
        row[: len(found)] = found
    return members


def _compiled(problem: Problem, mesh: Mesh) -> Callable:
    """The jitted (params, images, label, members) -> [images, patches]; images and results are split over the mesh."""
    model = problem.searched_model
    height, width = problem.plane
    positions = spectrum.orbit_positions(height, width)
    orbits = spectrum.orbits(height, width)
    sizes = spectrum.orbit_sizes(height, width)[orbits[positions[:, 0], positions[:, 1]]]

    def loss(images: Float[Array, "n height width channels"], params: PyTree, label: Int[Array, ""]) -> Array:
        logits = model.apply(params, images).astype(jnp.float32)
        # Finite, so that a gradient is defined where there is no other class.
        others = jax.nn.logsumexp(jnp.where(jnp.arange(logits.shape[1]) == label, -1e30, logits), axis=1)
        # Cross-entropy in a form whose gradient does not vanish by cancellation where it is next to nothing.
        return jax.nn.softplus(others - logits[:, label]).sum()

    def scores(params, images, label, members):
        gradients = jax.grad(loss)(images, params, label)
        removed, along = (
            spectrum.wave_amplitudes(spectrum.spectra(part), positions, width) for part in (images, gradients)
        )
        # A wave's amplitude in the gradient is its product with it, times the orbit's size over HW.
        rises = -(removed * along).sum((2, 3)).T * (height * width / sizes).astype(np.float32)
        return jnp.pad(rises, [(0, 0), (0, 1)])[:, members].sum(-1)

    split = P(parallel.AXIS)
    # Unchecked for the same reason as the tile.
    sharded = jax.shard_map(scores, mesh=mesh, in_specs=(P(), split, P(), P()), out_specs=split, check_vma=False)
    return jax.jit(at_precision(model.matmul_precision, sharded))
