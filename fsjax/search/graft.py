"""The graft search: integrated gradients of putting a class's frequencies into images of other classes.

A graft takes the frequencies of a patch from a donor d of class c, and all others from a recipient r of another class.
Along the straight path from r to d the gradient of the class's log-odds says how much each frequency contributes to
turning r into d: integrated gradients (Sundararajan, Taly and Yan, ICML 2017) in the Fourier basis. The contributions
of all orbits add up to the change along the path, so none is counted twice.
"""

import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree, Shaped

from fsjax.data import selection
from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.engine.programs import cached_program, over_devices
from fsjax.fourier import dfm, patches, spectrum
from fsjax.fourier.spectrum import Images
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import patch_maps, stepwise
from fsjax.search.method import Method, Problem
from fsjax.search.stepwise import AnyArray, ImageBatch, StepwiseSearch

# The orbits of each patch, from `patches.members`.
Members: TypeAlias = Int[Array, "patches most"] | Int[np.ndarray, "patches most"]

# The gradient of an image costs as much as three forward passes: its own, and two for the backward pass.
PASSES = 3
# Size of the pool of images from all classes, drawn as evenly as possible.
_POOL = 512

DEFAULTS: Table = {
    "paths": (60, "paths, each from a recipient of another class to a donor of the class", "[1, inf)"),
    "steps": (8, "points of a path at which the gradient is taken", "[1, inf)"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return how much each patch raises the class's log-odds by being grafted, and the maps at the config's shares.

    Each path has n points x_t = r + t (d - r), t = 1/2n, 3/2n, ... A patch's score, in nats, is the mean over paths and
    points of the slope of the log-odds at x_t as more of the patch of d - r is added (`patch_slopes`).
    """
    options, counts = problem.options, problem.counts
    if len(counts) < 2 or min(counts) < 2:
        got = f"graft with {len(counts)} classes, the smallest of {min(counts)} images"
        raise InputError(f"search.method: got {got}; expected two or more classes of two or more images")
    partial_results = problem.partial_results(layout(problem, options.graft.paths))
    integration = PathIntegration(problem, partial_results.layout)
    states = stepwise.run(problem, integration, partial_results)
    return patch_maps.cut(
        problem,
        lambda replicates: (state["scores"][replicates].astype(np.float64) for state in states),
        METHOD.forward_passes(options, counts, problem.plane),
    )


# The sum of the scores so far, [replicates, patches], with every donor once and then as resampled.
PathState: TypeAlias = dict[str, Float[AnyArray, "replicates patches"]]
# Inputs of steps: the class, and the position of the point from recipient to donor, in (0, 1).
PathPoint: TypeAlias = tuple[Int[AnyArray, "*steps"], Float[AnyArray, "*steps"]]


class PathIntegration(StepwiseSearch[PathState]):
    """A task for each class, and a step for each point, on all paths at once."""

    def __init__(self, problem: Problem, layout: dict[str, int]):
        own, self._resamples = problem.options.graft, patch_maps.resample_count(problem.options)
        self._problem, self._paths, self._layout = problem, own.paths, layout
        self._apply, (self._pool, self._pool_labels) = problem.searched_model.apply, draw_others(problem)
        self._members = patches.members(*problem.plane, problem.options.patch)
        self.tasks_per_device = layout["tasks_per_device"]
        self.count, self.steps, self.images_per_step = len(problem.counts), own.steps, PASSES * own.paths

    def initial_state(self, task: int) -> PathState:
        return {"scores": np.zeros((1 + self._resamples, len(self._members)), np.float32)}

    def inputs(self, task: int) -> PathPoint:
        points = (np.arange(self.steps) + 0.5) / self.steps
        return np.full(self.steps, task, np.int32), points.astype(np.float32)

    def batches(self, task: int) -> list[ImageBatch]:
        """Return the ends of a class's paths, (recipient, donor) each."""
        own, seed, is_other = self._problem.images(task), self._problem.seed, self._pool_labels != task
        images = np.concatenate([self._pool[is_other], own])
        labels = np.concatenate([self._pool_labels[is_other], np.full(len(own), task)])
        drawn = selection.draw_pairs(selection.images_by_class(labels, np.arange(len(labels))), task, self._paths, seed)
        donors, donor_of_pair = np.unique(drawn.donors, return_inverse=True)
        weights = patch_maps.resample_weights(len(donors), self._resamples, seed, task)[donor_of_pair]
        weights = (weights / weights.sum(0) / self.steps).astype(np.float32)
        both = np.stack([images[drawn.recipients], images[drawn.donors]], axis=1)
        return stepwise.cut_batches(both, weights, self._layout["batch_images"])

    def measure(
        self, params: PyTree, shared: tuple, state: PathState, inputs: PathPoint, batch: ImageBatch
    ) -> Float[Array, "replicates patches"]:
        (label, position), recipients, donors = inputs, batch.images[:, 0], batch.images[:, 1]
        slopes = patch_slopes(
            lambda images: log_odds(self._apply(params, images), label),
            recipients + position * (donors - recipients),
            donors - recipients,
            self._members,
        )
        return jnp.einsum("nr,np->rp", batch.weights, slopes, precision="highest")

    def update(self, state: PathState, inputs: PathPoint, measured: Float[Array, "replicates patches"]) -> PathState:
        return {"scores": state["scores"] + measured}


def draw_others(problem: Problem) -> tuple[Float[np.ndarray, "n height width channels"], Int[np.ndarray, " n"]]:
    """Draw a pool of images of all classes by seed, with their labels; of a thousand classes some have none in it."""
    rng = generator(problem.seed, Stream.MASK_SELECTION_OTHERS)
    each = max(2, -(-_POOL // len(problem.counts)))
    classes = np.arange(len(problem.counts))
    if each * len(classes) > 2 * _POOL:
        classes = np.sort(rng.choice(classes, _POOL // each, replace=False))
    images, labels = [], []
    for label in classes.tolist():
        class_images = problem.images(label)
        rows = np.sort(rng.choice(len(class_images), min(each, len(class_images)), replace=False))
        images.append(class_images[rows])
        labels += [label] * len(rows)
    return np.concatenate(images), np.array(labels)


def make_first_order(problem: Problem) -> Callable:
    """Return the first-order scores of single images as a function (images [n, H, W, C], label) -> [n, patches].

    A score is how much the cross-entropy to the label, in nats, rises to first order when the patch is removed. The
    returned function works as `in_batches`, and raises InputError for a gradient that is not finite.
    """
    mesh, batch = parallel.mesh(), batch_size(problem)
    placed = problem.model.params, patches.members(*problem.plane, problem.options.patch)
    params, members = jax.device_put(placed, parallel.layouts(mesh)[1])
    program = gradient_program(problem.searched_model, mesh)

    def first_order(images: Float[np.ndarray, "n height width channels"], label: int) -> Float[np.ndarray, "n patches"]:
        scores = in_batches(lambda images: program(params, images, np.int32(label), members), batch, images)
        if not np.isfinite(scores).all():
            name = problem.classes[label]
            raise InputError(f"search: the model returned a non-finite gradient on class {name!r}")
        return scores

    return first_order


def in_batches(program: Callable, batch: int, *arrays: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
    """Return a program's results for arrays of a row an image; each device takes `batch` of them at a time.

    Results do not depend on the number of devices. Raises interrupt.Terminated after SIGTERM.
    """
    mesh, results = parallel.mesh(), []
    (split, _), step = parallel.layouts(mesh), batch * mesh.size
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
    model, members = problem.model, patches.members(*problem.plane, problem.options.patch)
    program, label = functools.partial(gradient_program, problem.searched_model), jax.ShapeDtypeStruct((), jnp.int32)

    def temporaries(images: int) -> int:
        shape = jax.ShapeDtypeStruct((images, *model.image_shape), jnp.float32)
        return tile_size.compiled_bytes(program, model.params, shape, label, members)

    size = tile_size.most_images(
        model,
        temporaries,
        resident=resident * 4 * math.prod(model.image_shape),
        memory_mib=problem.run.memory_mib,
        on_cpu=lambda each: tile_size.CPU_MOST // each,
        name="the gradient",
    )
    return min(size, max(problem.counts))


def gradient_program(model: Model, mesh: Mesh) -> Callable:
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
    (1/HW) * sum over its positions and the channels of Re(conj(G) V), and a patch the sum over its orbits. The function
    is images -> [n], each value of its own image alone.
    """
    height, width = images.shape[1:3]
    positions = patches.orbit_positions(height, width)
    sizes = spectrum.orbit_sizes(height, width)[patches.orbit_numbers(height, width)]
    gradients = jax.grad(lambda images: function(images).sum())(images)
    in_directions, in_gradients = (
        spectrum.wave_amplitudes(spectrum.spectra(array), positions, width) for array in (directions, gradients)
    )
    # A wave's product with the gradient is its amplitude there, times HW over the orbit's size.
    slopes = (in_directions * in_gradients).sum((2, 3)).T * (height * width / sizes).astype(np.float32)
    return jnp.pad(slopes, [(0, 0), (0, 1)])[:, members].sum(-1)


METHOD = Method(
    search,
    DEFAULTS,
    forward_passes=lambda options, counts, plane: PASSES * options.graft.paths * options.graft.steps * len(counts),
    gradients=True,
    patches=True,
    whole_patches=True,
    scored="Rise of the class's log-odds when a frequency is grafted into other images (nats)",
)
