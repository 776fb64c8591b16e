"""First-order scores of patches of frequencies, from one backward pass of each image."""

import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree, Shaped

from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.engine.programs import cached_program, over_devices
from fsjax.fourier import patches, spectrum, waves
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.search.method import Problem

Images: TypeAlias = Float[Array, "n height width channels"]
# The orbits of each patch, from `patches.members`.
Members: TypeAlias = Int[Array, "patches most"] | Int[np.ndarray, "patches most"]

# The gradient of an image costs as much as three forward passes: its own, and two for the backward pass.
PASSES = 3


def make_first_order(problem: Problem, *, batch: int) -> Callable:
    """Return the first-order scores of single images as a function (images [n, H, W, C], label) -> [n, patches].

    A score is how much the cross-entropy to the label, in nats, rises to first order when the patch is removed: the
    slope towards the image without it (`patch_slopes`). It is exact for a loss that is linear in the image.

    The returned function works as `in_batches`, and raises InputError for a gradient that is not finite.
    """
    mesh = parallel.mesh()
    placed = problem.model.params, patches.members(*problem.plane, problem.options.patch)
    params, members = jax.device_put(placed, NamedSharding(mesh, P()))
    program = _compiled(problem.searched_model, mesh)

    def first_order(images: Float[np.ndarray, "n height width channels"], label: int) -> Float[np.ndarray, "n patches"]:
        scores = in_batches(lambda images: program(params, images, np.int32(label), members), batch, images)
        if not np.isfinite(scores).all():
            name = problem.classes[label]
            raise InputError(f"search: the model returned a non-finite gradient on class {name!r}")
        return scores

    return first_order


def in_batches(program: Callable, batch: int, *arrays: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n outputs"]:
    """Return a program's results for arrays of a row an image; each device takes `batch` of them at a time.

    Results do not depend on the number of devices. Raises interrupt.Terminated after SIGTERM.
    """
    mesh, results = parallel.mesh(), []
    split, step = NamedSharding(mesh, P(parallel.AXIS)), batch * mesh.size
    for start in range(0, len(arrays[0]), step):
        interrupt.check()
        rows = [array[start : start + step] for array in arrays]
        padding = step - len(rows[0])
        padded = [np.pad(row, [(0, padding)] + [(0, 0)] * (row.ndim - 1), mode="edge") for row in rows]
        results.append(np.asarray(program(*jax.device_put(padded, split)))[: len(rows[0])])
    return np.concatenate(results)


def layout(problem: Problem, images: int, *, resident: int = 0) -> dict[str, int]:
    """Return how a stepwise search divides the images of a task: images of a call, and tasks on a device at once."""
    room = batch_size(problem, resident=resident)
    batch_images = -(-images // -(-images // room))
    return {"batch_images": batch_images, "tasks_per_device": max(1, room // batch_images)}


def batch_size(problem: Problem, *, resident: int = 0) -> int:
    """Return how many images' backward pass fits on a device beside resident images, by XLA's analysis."""
    model, shape = problem.model, jax.ShapeDtypeStruct
    members = patches.members(*problem.plane, problem.options.patch)

    def temporaries(images: int) -> int:
        shapes = shape((images, *model.image_shape), jnp.float32), shape((), jnp.int32), members
        return tile_size.compiled_bytes(functools.partial(_compiled, problem.searched_model), model.params, *shapes)

    size = tile_size.most_images(
        model,
        temporaries,
        resident=resident * 4 * math.prod(model.image_shape),
        memory_mib=problem.run.memory_mib,
        on_cpu=lambda each: tile_size.CPU_MOST // each,
        name="the gradient",
    )
    return min(size, max(problem.counts))


def _compiled(model: Model, mesh: Mesh) -> Callable:
    """Return the jitted (params, images, label, members) -> [images, patches], split over the mesh by images."""
    apply, precision = model.apply, model.matmul_precision

    def scores(params: PyTree, images: Images, label: Int[Array, ""], members: Members) -> Float[Array, "n patches"]:
        def loss(images: Images) -> Float[Array, " n"]:
            # Cross-entropy in a form whose gradient does not cancel to 0 where the loss is tiny.
            return jax.nn.softplus(-log_odds(apply(params, images), label))

        return -patch_slopes(loss, images, images, members)

    split = False, True, False, False
    return cached_program(apply, ("scores", precision, mesh), lambda: over_devices(scores, mesh, split, precision))


def log_odds(logits: Float[Array, "n classes"], label: ArrayLike) -> Float[Array, " n"]:
    """Return log(p / (1 - p)) in nats and float32, where p is the probability of a class, or of one class an image."""
    logits, labels = logits.astype(jnp.float32), jnp.broadcast_to(jnp.asarray(label), len(logits))[:, None]
    # A finite stand-in for -inf, so that the gradient is defined for a model of one class.
    others = jax.nn.logsumexp(jnp.where(jnp.arange(logits.shape[1]) == labels, -1e30, logits), axis=1)
    return jnp.take_along_axis(logits, labels, axis=1)[:, 0] - others


def patch_slopes(function: Callable, images: Images, directions: Images, members: Members) -> Float[Array, "n patches"]:
    """Return the slope of a function as the part of a direction that lies in a patch is added to the image.

    With G the DFT of the function's gradient and V the DFT of the direction, an orbit has the slope
    (1/HW) * sum over its positions and the channels of Re(conj(G) V), and a patch the sum over its orbits.

    The function is images -> [n], each value of its own image alone.
    """
    height, width = images.shape[1:3]
    positions = patches.orbit_positions(height, width)
    sizes = spectrum.orbit_sizes(height, width)[patches.orbit_numbers(height, width)]
    gradients = jax.grad(lambda images: function(images).sum())(images)
    in_directions, in_gradients = (
        waves.amplitudes(spectrum.spectra(array), positions, width) for array in (directions, gradients)
    )
    # A wave's product with the gradient is its amplitude there, times HW over the orbit's size.
    slopes = (in_directions * in_gradients).sum((2, 3)).T * (height * width / sizes).astype(np.float32)
    return jnp.pad(slopes, [(0, 0), (0, 1)])[:, members].sum(-1)
