"""First-order scores of patches of frequencies, from one backward pass of each image."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.engine.programs import cached_program, over_devices
from fsjax.fourier import patches, spectrum, waves
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.search.method import Problem

# The gradient of an image costs as much as three forward passes: its own, and two for the backward pass.
PASSES = 3


def make_first_order(problem: Problem, *, batch: int) -> Callable:
    """Return the first-order scores of single images as a function (images [n, H, W, C], label) -> [n, patches].

    A score is how much the cross-entropy to the label, in nats, rises to first order when the patch is removed: the
    slope towards the image without it (`patch_slopes`). It is exact for a loss that is linear in the image.

    Each device computes `batch` images at a time, so that scores do not depend on the number of devices. The returned
    function raises InputError for a gradient that is not finite, and interrupt.Terminated after SIGTERM.
    """
    mesh = parallel.mesh()
    split, replicated = NamedSharding(mesh, P(parallel.AXIS)), NamedSharding(mesh, P())
    params = jax.device_put(problem.model.params, replicated)
    members = jax.device_put(patches.members(*problem.plane, problem.options.patch), replicated)
    compiled, step = _compiled(problem.searched_model, mesh), batch * mesh.size

    def first_order(images: Float[np.ndarray, "n height width channels"], label: int) -> Float[np.ndarray, "n patches"]:
        scores = []
        for start in range(0, len(images), step):
            interrupt.check()
            taken = np.asarray(images[start : start + step], np.float32)
            padded = np.pad(taken, [(0, step - len(taken)), (0, 0), (0, 0), (0, 0)], mode="edge")
            result = compiled(params, jax.device_put(padded, split), np.int32(label), members)
            scores.append(np.asarray(result)[: len(taken)])
            if not np.isfinite(scores[-1]).all():
                name = problem.classes[label]
                raise InputError(f"search: the model returned a non-finite gradient on class {name!r}")
        return np.concatenate(scores)

    return first_order


def layout(problem: Problem, images: int, *, resident: int = 0) -> dict[str, int]:
    """Return how a stepwise search divides the images of a task: images of a call, and tasks on a device at once."""
    room = batch_size(problem, resident=resident)
    batch_images = -(-images // -(-images // room))
    return {"batch_images": batch_images, "tasks_per_device": max(1, room // batch_images)}


def batch_size(problem: Problem, *, resident: int = 0) -> int:
    """Return how many images' backward pass fits on a device beside resident images, by XLA's analysis.

    Raises:
      InputError: not one image fits into run.memory_mib.
    """
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

    def scores(
        params: PyTree,
        images: Float[Array, "n height width channels"],
        label: Int[Array, ""],
        members: Int[Array, "patches most"],
    ) -> Float[Array, "n patches"]:
        def loss(images: Float[Array, "n height width channels"]) -> Float[Array, " n"]:
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


def graft_slopes(
    logits_of: Callable,
    recipients: Float[Array, "n height width channels"],
    donors: Float[Array, "n height width channels"],
    grafted: Float[Array, "n height width channels"],
    label: ArrayLike,
    members: Int[Array, "patches most"] | Int[np.ndarray, "patches most"],
) -> Float[Array, "n patches"]:
    """Return the slope of a class's log-odds, in nats, as more of the donor's patch replaces the recipient's.

    The mean over a path of grafts from recipient to donor is the integrated gradient of Sundararajan et al. (2017) in
    the Fourier basis. Its sum over all orbits is the difference of the log-odds of donor and recipient.

    `grafted` are the points of the paths at which the slopes are taken; `label` is the class, or one class an image.
    """
    return patch_slopes(lambda images: log_odds(logits_of(images), label), grafted, donors - recipients, members)


def patch_slopes(
    function: Callable,
    images: Float[Array, "n height width channels"],
    directions: Float[Array, "n height width channels"],
    members: Int[Array, "patches most"] | Int[np.ndarray, "patches most"],
) -> Float[Array, "n patches"]:
    """Return the slope of a function as the part of a direction that lies in a patch is added to the image.

    With G the DFT of the function's gradient and V the DFT of the direction, an orbit has the slope
    (1/HW) * sum over its positions and the channels of Re(conj(G) V), and a patch the sum over its orbits.

    The function is images -> [n], each value of its own image alone; `members` are from `patches.members`.
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
