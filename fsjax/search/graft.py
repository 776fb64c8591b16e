"""The graft search: integrated gradients of putting a class's frequencies into images of other classes.

A graft takes the frequencies of a patch from a donor d of class c, and all others from a recipient r of another class.
Along the straight path from r to d the gradient of the class's log-odds says how much each frequency contributes to
turning r into d: integrated gradients (Sundararajan, Taly and Yan, ICML 2017) in the Fourier basis. The contributions
of all orbits add up to the change along the path, so none is counted twice.
"""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from fsjax.data import selection
from fsjax.fourier import dfm, patches
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import gradient, patch_maps, stepwise
from fsjax.search.method import Method, Problem
from fsjax.search.stepwise import AnyArray, ImageBatch, StepwiseSearch

# Size of the pool of images from all classes, drawn as evenly as possible.
_POOL = 512

DEFAULTS: Table = {
    "pairs": (60, "pairs of a recipient of another class and a donor of the class"),
    "steps": (8, "points of the path from recipient to donor at which the gradient is taken"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return how much each patch raises the class's log-odds by being grafted, and the maps at the config's shares.

    Each pair has n points x_t = r + t (d - r), t = 1/2n, 3/2n, ... A patch's score, in nats, is the mean over pairs and
    points of the slope of the log-odds at x_t as more of the patch of d - r is added (`gradient.patch_slopes`). With
    many steps the scores of all orbits add up to the mean difference of the log-odds of d and r.

    The provenance has under "stability" what `patch_maps.measure_stability` returns for resampled donors.
    """
    options, counts = problem.options, problem.counts
    if len(counts) < 2 or min(counts) < 2:
        raise InputError(
            f"search.method: got graft with {len(counts)} classes, the smallest of {min(counts)} images; expected two "
            "or more classes of two or more images"
        )
    resamples = patch_maps.resample_count(options, "graft")
    partial_results = problem.partial_results(gradient.layout(problem, options.graft.pairs))
    integration = PathIntegration(problem, resamples, partial_results.layout)
    states = stepwise.run(problem, integration, partial_results, label=f"search {options.method}")
    return patch_maps.cut(
        problem,
        lambda replicates: (state["scores"][replicates].astype(np.float64) for state in states),
        integration.count * integration.steps * integration.images_per_step,
        resamples,
    )


# The sum of the scores so far, [replicates, patches], with every donor once and then as resampled.
PathState: TypeAlias = dict[str, Float[AnyArray, "replicates patches"]]
# Inputs of steps: the class, and the position of the point from recipient to donor, in (0, 1).
PathPoint: TypeAlias = tuple[Int[AnyArray, "*steps"], Float[AnyArray, "*steps"]]


class PathIntegration(StepwiseSearch[PathState]):
    """A task for each class, and a step for each point of the path, with all pairs at once."""

    def __init__(self, problem: Problem, resamples: int, layout: dict[str, int]):
        own = problem.options.graft
        self._problem, self._pairs, self._resamples, self._layout = problem, own.pairs, resamples, layout
        self._apply, self._others = problem.searched_model.apply, draw_others(problem)
        self._members = patches.members(*problem.plane, problem.options.patch)
        self.tasks_per_device = layout["tasks_per_device"]
        self.count, self.steps, self.images_per_step = len(problem.counts), own.steps, gradient.PASSES * own.pairs

    def initial_state(self, task: int) -> PathState:
        return {"scores": np.zeros((1 + self._resamples, len(self._members)), np.float32)}

    def inputs(self, task: int) -> PathPoint:
        points = (np.arange(self.steps) + 0.5) / self.steps
        return np.full(self.steps, task, np.int32), points.astype(np.float32)

    def batches(self, task: int) -> list[ImageBatch]:
        """Return the pairs (recipient, donor) of a class."""
        own, seed, is_other = self._problem.images(task), self._problem.seed, self._others.labels != task
        images = np.concatenate([self._others.images[is_other], own])
        labels = np.concatenate([self._others.labels[is_other], np.full(len(own), task)])
        drawn = selection.draw_pairs(selection.images_by_class(labels, np.arange(len(labels))), task, self._pairs, seed)
        donors, donor_of_pair = np.unique(drawn.donors, return_inverse=True)
        weights = patch_maps.resample_weights(len(donors), self._resamples, seed, task)[donor_of_pair]
        weights = (weights / weights.sum(0) / self.steps).astype(np.float32)
        both = np.stack([images[drawn.recipients], images[drawn.donors]], axis=1)
        return stepwise.cut_batches(both, weights, self._layout["batch_images"])

    def measure(
        self, params: PyTree, shared: tuple, state: PathState, inputs: PathPoint, batch: ImageBatch
    ) -> Float[Array, "replicates patches"]:
        (label, position), recipients, donors = inputs, batch.images[:, 0], batch.images[:, 1]
        slopes = gradient.patch_slopes(
            lambda images: gradient.log_odds(self._apply(params, images), label),
            recipients + position * (donors - recipients),
            donors - recipients,
            self._members,
        )
        return jnp.einsum("nr,np->rp", batch.weights, slopes, precision="highest")

    def update(self, state: PathState, inputs: PathPoint, measured: Float[Array, "replicates patches"]) -> PathState:
        return {"scores": state["scores"] + measured}


class OtherImages(NamedTuple):
    """A pool of normalised images of all classes; a class uses the images of the others."""

    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"]


def draw_others(problem: Problem) -> OtherImages:
    """Draw a pool by seed; with a thousand classes some have no image in it."""
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
    return OtherImages(np.concatenate(images), np.array(labels))


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    for name in ("pairs", "steps"):
        if options.graft[name] < 1:
            raise InputError(f"search.graft.{name}: got {options.graft[name]}; expected 1 or more")


def _forward_passes(options: ConfigDict, counts: tuple[int, ...], plane: tuple[int, int]) -> int:
    return gradient.PASSES * options.graft.pairs * options.graft.steps * len(counts)


METHOD = Method(
    search,
    DEFAULTS,
    _check,
    forward_passes=_forward_passes,
    patches=True,
    whole_patches=True,
    scored="Rise of the class's log-odds when a frequency is grafted into other images (nats)",
)
