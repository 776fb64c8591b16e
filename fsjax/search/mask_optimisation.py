"""Masks learned by gradients on a soft mask whose temperature falls from step to step.

A mask has a logit z for every orbit, which passes with the weight sigmoid((z - tau) / T); tau is such that the weights
add up to the budget. In the end the orbits with the largest logits are kept.

Restarts alternate between Adam from the initial scores, Adam from zero, and mirror descent from the scores; each finds
masks that the others miss. Adam scales the gradient of each orbit by itself, and a gradient with respect to a logit has
the factor w (1 - w) / T, which stops an orbit once it is left out. Mirror descent subtracts the gradients with respect
to the weights from the logits, with one scale for all orbits of a mask, so that the few decisive orbits move far.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import graft, stepwise
from fsjax.search.method import Problem
from fsjax.search.stepwise import AnyArray, ImageBatch, StepwiseSearch

Orbits: TypeAlias = Float[Array, " orbits"]
# Images of some classes, equally many of each, and the classes' numbers.
Shared: TypeAlias = tuple[Float[AnyArray, "held height width channels"], Int[AnyArray, " classes"]]

# Adam's decay rates for the mean gradient and the mean square, and its least scale.
_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8
# Halvings of the interval around tau.
_BISECTIONS = 40


class MaskState(NamedTuple):
    """The logits of a mask, and Adam's means, which mirror descent uses as well."""

    logits: Float[AnyArray, " orbits"]
    adam: optax.ScaleByAdamState


class StepInputs(NamedTuple):
    """Inputs of a step; `rows` are numbers of images of the class."""

    label: Int[AnyArray, ""]
    budget: Float[AnyArray, ""]
    temperature: Float[AnyArray, ""]
    mirror_descent: Bool[AnyArray, ""]
    rows: Int[AnyArray, " *images"]


class MaskOptimisation(StepwiseSearch[MaskState]):
    """A task for each class, share and restart, in this order. A result has one bit an orbit; `unpack` reads it.

    `budgets` are the positions of a mask at each share, and `scores` (class, index of the share) -> initial scores.
    """

    def __init__(self, problem: Problem, budgets: list[int], scores: Callable, layout: dict[str, int]):
        self._problem, self._budgets, self._scores = problem, budgets, scores
        self._options, self._apply = problem.options.learned, problem.searched_model.apply
        self._orbits, self._sizes = spectrum.orbits(*problem.plane), spectrum.orbit_sizes(*problem.plane)
        self._adam = optax.scale_by_adam(_DECAY, _SQUARE_DECAY, _EPSILON)
        # A class's tasks are neighbours, and may be more than the devices take at once.
        self._images = functools.lru_cache(maxsize=2)(problem.images)
        self._batch_images, self.tasks_per_device = layout["batch_images"], layout["tasks_per_device"]
        self.shape = (len(problem.counts), len(budgets), self._options.restarts)
        self.count, self.steps = int(np.prod(self.shape)), self._options.steps
        self.images_per_step = graft.PASSES * self._options.batch

    def initial_state(self, task: int) -> MaskState:
        label, share, restart = self._indices(task)
        # Some classes are found only from equal scores of all orbits, others only from their initial scores.
        logits = np.zeros(len(self._sizes)) if restart % 3 == 1 else self._scores(label, share)
        return MaskState(logits.astype(np.float32), self._adam.init(logits.astype(np.float32)))

    def inputs(self, task: int) -> StepInputs:
        label, share, restart = self._indices(task)
        cooling, steps = self._options.coldest / self._options.hottest, np.arange(self.steps)
        temperatures = self._options.hottest * cooling ** (steps / max(1, self.steps - 1))
        return StepInputs(
            label=np.full(self.steps, label, np.int32),
            budget=np.full(self.steps, self._budgets[share], np.float32),
            temperature=temperatures.astype(np.float32),
            mirror_descent=np.full(self.steps, restart % 3 == 2),
            rows=self._draw(label, restart).astype(np.int32),
        )

    def shared(self, tasks: list[int]) -> Shared:
        """Return equally many images of each class that the tasks belong to."""
        labels = sorted({self._indices(task)[0] for task in tasks})
        # Always as many classes as these tasks can belong to, so that `measure` is compiled for one shape.
        most = -(-(len(tasks) - 1) // (self.count // len(self._problem.counts))) + 1
        labels += labels[-1:] * (min(most, len(self._problem.counts)) - len(labels))
        size = max(self._problem.counts)  # padded to the same number for all classes
        images = [stepwise.cut_batches(own, np.ones(len(own)), size)[0].images for own in map(self._images, labels)]
        return np.concatenate(images), np.array(labels, np.int32)

    def batches(self, task: int) -> list[ImageBatch]:
        """Return places among the step's rows."""
        places = np.arange(self._options.batch, dtype=np.int32)
        weights = np.full(len(places), 1 / len(places), np.float32)
        return stepwise.cut_batches(places, weights, self._batch_images)

    def measure(
        self, params: PyTree, shared: Shared, state: MaskState, inputs: StepInputs, batch: ImageBatch
    ) -> Orbits:
        """Return the gradient of the loss: with respect to the weights for mirror descent, else to the logits."""
        images = self.batch_images(shared, inputs, batch)
        weights = soft_top_k(state.logits, self._sizes, inputs.budget, inputs.temperature)
        slope = jax.grad(self._loss)(weights, params, inputs.label, ImageBatch(images, batch.weights))
        return jnp.where(inputs.mirror_descent, slope, slope * weights * (1 - weights) / inputs.temperature)

    def batch_images(self, shared: Shared, inputs: StepInputs, batch: ImageBatch) -> Float[Array, "n ..."]:
        """Return the images of a batch."""
        images, labels = shared
        return images[inputs.rows[batch.images] + (labels == inputs.label).argmax() * max(self._problem.counts)]

    def update(self, state: MaskState, inputs: StepInputs, measured: Orbits) -> MaskState:
        direction, adam = self._adam.update(measured, state.adam)
        mean = optax.tree.bias_correction(adam.mu, _DECAY, adam.count)
        square = optax.tree.bias_correction(adam.nu, _SQUARE_DECAY, adam.count).mean()
        direction = jnp.where(inputs.mirror_descent, mean / (jnp.sqrt(square) + _EPSILON), direction)
        return MaskState(state.logits - self._options.learning_rate * direction, adam)

    def result(self, task: int, state: MaskState) -> UInt8[np.ndarray, " bytes"]:
        budget = self._budgets[self._indices(task)[1]]
        return np.packbits(spectrum.per_orbit(masks.best_orbits(state.logits[self._orbits], budget)))

    def unpack(self, result: UInt8[np.ndarray, " bytes"]) -> Bool[np.ndarray, "height width"]:
        """Return the mask of a result."""
        return np.unpackbits(result, count=len(self._sizes)).astype(bool)[self._orbits]

    def _indices(self, task: int) -> tuple[int, int, int]:
        label, share, restart = map(int, np.unravel_index(task, self.shape))
        return label, share, restart

    def _draw(self, label: int, restart: int) -> Int[np.ndarray, "steps batch"]:
        """Return the images of each step: every image once, in random order, before one is repeated."""
        size, count = self.steps * self._options.batch, self._problem.counts[label]
        keys = [(label, restart, epoch) for epoch in range(-(-size // count))]
        rngs = (generator(self._problem.seed, Stream.LEARNED_IMAGES, *key) for key in keys)
        order = np.concatenate([rng.permutation(count) for rng in rngs])
        return order[:size].reshape(self.steps, -1)

    def _loss(self, weights: Orbits, params: PyTree, label: Int[Array, ""], batch: ImageBatch) -> Float[Array, ""]:
        """Return the weighted sum of the cross-entropy to the class."""
        spectra, transform = spectrum.spectra(batch.images), self._problem.searched_model.transform
        filtered = spectrum.filter_orbits(spectra, weights, self._problem.plane[1], transform)
        outputs = jax.nn.log_softmax(self._apply(params, filtered).astype(jnp.float32))
        return -(outputs[:, label] * batch.weights).sum()


def soft_top_k(logits: Orbits, sizes: Int[np.ndarray, " orbits"], budget: ArrayLike, temperature: ArrayLike) -> Orbits:
    """Return the weights sigmoid((z - tau) / T) in [0, 1] whose sum times the sizes is a budget of positions."""

    def halve(_: ArrayLike, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = (low + high) / 2
        over = (sizes * jax.nn.sigmoid((logits - middle) / temperature)).sum() > budget
        return jnp.where(over, middle, low), jnp.where(over, high, middle)

    # At these ends every weight is within exp(-16) of 1 or of 0.
    interval = logits.min() - 16 * temperature, logits.max() + 16 * temperature
    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, interval)
    return jax.nn.sigmoid((logits - (low + high) / 2) / temperature)
