"""Masks learned by gradients on a soft mask whose temperature falls from step to step.

A mask has a logit z for every orbit, which passes with the weight sigmoid((z - tau) / T), where tau is such that the
weights make up the budget. In the end the orbits with the largest logits are kept.

Every third mask is learned by Adam from the initial scores, by Adam from zero, or by mirror descent from the scores,
for what one misses another finds. Adam scales the gradient of each orbit by itself, and a gradient with respect to a
logit has the factor w (1 - w) / T, which holds an orbit where it is once it is left out. Mirror descent takes from the
logits the gradients with respect to the weights, with one scale for all orbits of a mask, so that the few orbits that
tell much move far and draw each other in.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import gradient, stepwise
from fsjax.search.learned import mask_selection
from fsjax.search.learned.soft_top_k import soft_top_k
from fsjax.search.other_images import OtherImages
from fsjax.search.problem import Problem
from fsjax.search.stepwise import AnyArray, ImageBatch, StepwiseSearch

# Adam's: the decay rates of the means of gradients and of their squares, and the least scale.
_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


class MaskState(NamedTuple):
    """The logits of a mask, and Adam's means, which mirror descent uses as well."""

    logits: Float[AnyArray, " orbits"]
    adam: optax.ScaleByAdamState


class StepInputs(NamedTuple):
    """A step: class, budget in positions, temperature of the soft mask, and the way of learning."""

    label: Int[AnyArray, ""]
    budget: Float[AnyArray, ""]
    temperature: Float[AnyArray, ""]
    mirror_descent: Bool[AnyArray, ""]


class MaskOptimisation(StepwiseSearch[MaskState]):
    """A task for each class, share and restart, in this order. A result has one bit an orbit; `unpack` reads it.

    Args:
      problem: the classes and the options.
      budgets: positions of a mask at each share.
      scores: (class, index of the share) -> initial scores of the orbits.
      others: as `mask_selection.evaluate`.
      layout: `batch_images`, the images of a call, and `tasks_per_device`.
    """

    def __init__(
        self,
        problem: Problem,
        budgets: list[int],
        scores: Callable[[int, int], Float[np.ndarray, " orbits"]],
        others: OtherImages | None,
        layout: dict[str, int],
    ):
        self._problem, self._budgets, self._scores, self._others = problem, budgets, scores, others
        self._options, self._apply = problem.options.learned, problem.searched_model.apply
        self._orbits, self._sizes = spectrum.orbits(*problem.plane), spectrum.orbit_sizes(*problem.plane)
        self._adam = optax.scale_by_adam(_DECAY, _SQUARE_DECAY, _EPSILON)
        # A class's tasks stand side by side and read the same images.
        self._images = functools.lru_cache(maxsize=2)(problem.images)
        self._batch_images, self.tasks_per_device = layout["batch_images"], layout["tasks_per_device"]
        self.shape = (len(problem.counts), len(budgets), self._options.restarts)
        self.count, self.steps = int(np.prod(self.shape)), self._options.steps
        self.images_per_step = gradient.PASSES * images_per_step(problem)

    def initial_state(self, task: int) -> MaskState:
        label, share, restart = self._indices(task)
        # Some classes are found only from a start in which every orbit has the same say, others only from the scores.
        logits = np.zeros(len(self._sizes)) if restart % 3 == 1 else self._scores(label, share)
        return MaskState(logits.astype(np.float32), self._adam.init(logits.astype(np.float32)))

    def inputs(self, task: int, step: int) -> StepInputs:
        label, share, restart = self._indices(task)
        cooling = self._options.coldest / self._options.hottest
        temperature = self._options.hottest * cooling ** (step / max(1, self.steps - 1))
        return StepInputs(
            label=np.array(label, np.int32),
            budget=np.array(self._budgets[share], np.float32),
            temperature=np.array(temperature, np.float32),
            mirror_descent=np.array(restart % 3 == 2),
        )

    def batches(self, task: int, step: int) -> list[ImageBatch]:
        """Return images that should be called the class, with weights above 0, and others, with weights below 0."""
        (label, _, restart), size, seed = self._indices(task), self._options.batch, self._problem.seed
        of_class = self._images(label)
        images = of_class[batch_rows(len(of_class), size, step, seed, Stream.LEARNED_IMAGES, label, restart)]
        weights = np.full(size, 1 / size, np.float32)
        if self._others is not None:
            rows = np.flatnonzero(self._others.labels != label)
            drawn = rows[batch_rows(len(rows), size, step, seed, Stream.LEARNED_OTHERS, label, restart)]
            others = self._others.images[drawn]
            if self._options.objective == "graft":
                images, others = mask_selection.grafts(images, others)
            images = np.concatenate([images, others])
            weights = np.concatenate([weights, np.float32(-self._options.others) * weights])
        return stepwise.image_batches(images, weights, self._batch_images)

    def measure(
        self, params: PyTree, state: MaskState, inputs: StepInputs, batch: ImageBatch
    ) -> Float[Array, " orbits"]:
        """Return the gradient of the loss: with respect to the weights for mirror descent, else to the logits."""
        weights = soft_top_k(state.logits, self._sizes, inputs.budget, inputs.temperature)
        slope = jax.grad(self._loss)(weights, params, inputs.label, batch)
        return jnp.where(inputs.mirror_descent, slope, slope * weights * (1 - weights) / inputs.temperature)

    def update(self, state: MaskState, inputs: StepInputs, measured: Float[Array, " orbits"]) -> MaskState:
        direction, adam = self._adam.update(measured, state.adam)
        mean = optax.tree.bias_correction(adam.mu, _DECAY, adam.count)
        square = optax.tree.bias_correction(adam.nu, _SQUARE_DECAY, adam.count).mean()
        direction = jnp.where(inputs.mirror_descent, mean / (jnp.sqrt(square) + _EPSILON), direction)
        return MaskState(state.logits - self._options.learning_rate * direction, adam)

    def result(self, task: int, state: MaskState) -> UInt8[np.ndarray, " bytes"]:
        budget = self._budgets[self._indices(task)[1]]
        return np.packbits(spectrum.per_orbit(masks.best_orbits(state.logits[self._orbits], budget)))

    def unpack(self, result: UInt8[np.ndarray, " bytes"]) -> Bool[np.ndarray, " orbits"]:
        """Return the mask that a result stands for."""
        return np.unpackbits(result, count=len(self._sizes)).astype(bool)

    def _indices(self, task: int) -> tuple[int, int, int]:
        """Return class, index of the share, and restart."""
        label, share, restart = np.unravel_index(task, self.shape)
        return int(label), int(share), int(restart)

    def _loss(
        self, weights: Float[Array, " orbits"], params: PyTree, label: Int[Array, ""], batch: ImageBatch
    ) -> Float[Array, ""]:
        """Return the cross-entropy to the class where weights are above 0, and -log(1 - p) below, by weight."""
        is_graft, images = self._options.objective == "graft", batch.images
        if is_graft:
            recipients, images = images[:, 0], images[:, 1] - images[:, 0]
        spectra, options = spectrum.spectra(images), self._problem.options
        filtered = spectrum.filter_orbits(spectra, weights, self._problem.plane[1], options.transform)
        if is_graft:
            filtered += recipients
        outputs = jax.nn.log_softmax(self._apply(params, filtered).astype(jnp.float32))
        wanted = outputs[:, label]
        if self._others is not None:
            is_class = jnp.arange(outputs.shape[-1]) == label
            not_class = jax.nn.logsumexp(jnp.where(is_class, -jnp.inf, outputs), axis=-1)
            wanted = jnp.where(batch.weights < 0, not_class, wanted)
        return -(wanted * abs(batch.weights)).sum()


def images_per_step(problem: Problem) -> int:
    """Return how many images a step takes: of the class, and for `specific` and `graft` as many of others."""
    options = problem.options.learned
    return options.batch * (1 if options.objective == "sufficient" else 2)


def batch_rows(count: int, batch: int, step: int, seed: int, stream: Stream, *keys: int) -> Int[np.ndarray, " batch"]:
    """Return the images of a step: every image once, in random order, before one comes again."""
    first = step * batch
    epochs = range(first // count, (first + batch - 1) // count + 1)
    order = np.concatenate([generator(seed, stream, *keys, epoch).permutation(count) for epoch in epochs])
    return order[first - epochs[0] * count :][:batch]
