"""`greedy`: frequencies are dropped one after another, as long as the class stays recognised (DFM-X).

The orbits are walked from low to high frequency. One is dropped for good if the class then keeps at least its current
number of correct images less a tolerance, else it is kept. What an orbit is worth thus depends on what was dropped
before it: of frequencies that stand in for each other the last one is kept, and of ones that work together all.

An order from a file, such as the published one, is a value a position: larger = earlier, 0 = removed from the start.
The published code takes 79 positions of a 32 x 32 plane (row 0, column 0 and DC's row) out without their conjugates,
which leaves half of the orbit. Here an orbit goes as a whole, in the turn of its member that comes first, and is
removed from the start only where both its members are; of equal turns the first in raster order goes first.

With `compat` positions go as in the published code: those of equal value in one step, so that an orbit of which one
member is left acts with half its weight. And the first drop is compared with the images that are correct unfiltered,
before anything is removed from the start.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, PyTree
from ml_collections import ConfigDict

from fsjax.engine import tile_size
from fsjax.fourier import dfm, masks, published_maps, spectrum
from fsjax.runtime import files, storage
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.search import stepwise
from fsjax.search.method import Method, Problem
from fsjax.search.stepwise import AnyArray

DEFAULTS: Table = {
    "tolerance": (
        0.006,
        "share of a class's images that dropping one orbit may cost; 6 of 1,000 as published. With `compat`, a number "
        "from 1 on is of images",
    ),
    "order": ("", "a file with the order in which orbits are dropped; '' = from low to high frequency"),
    "compat": (False, "drop positions step by step as the published code does, singles without their conjugates"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return what the elimination leaves of each class's plane, and of that the best within the config's shares.

    An orbit's score is the number of images that were lost without it when it was its turn, over the class's images;
    -1 where it was dropped. A map at a share holds the best of the orbits that were left; at share 1 all of them,
    which is the published map. With `compat` this holds of positions, and an orbit is as good as its better member.

    Raises:
      InputError: too little memory, or partial results of another search.
      interrupt.Terminated: SIGTERM came; states are saved.
    """
    options, model = problem.options, problem.searched_model
    walk, order_file = default_walk(*problem.plane), {}
    if options.greedy.order:
        walk = walk_of(_order_in(options), compat=options.greedy.compat)
        order_file = {"path": options.greedy.order, "sha256": files.sha256(options.greedy.order)}
        # States under another order, even from a file of the same name, are of another search.
        problem = dataclasses.replace(problem, identity=f"{problem.identity} {order_file['sha256']}")
    tile_images = tile_size.fit(model, resident_images=max(problem.counts), memory_mib=problem.run.memory_mib)
    partial_results = problem.partial_results({"batch_size": tile_size.image_batch_size(problem.counts, tile_images)})
    elimination = BackwardElimination(problem, walk, partial_results.layout["batch_size"])
    states = stepwise.run(problem, elimination, partial_results, label=f"search {options.method}")
    of_classes = zip(states, problem.counts, strict=True)
    return dfm.from_scores(
        (np.where(state.kept, state.lost / count, -1.0)[walk.parts] for state, count in of_classes),
        tuple(options.shares),
        mask=_mask,
        **problem.attributes(
            sum(problem.counts) * elimination.steps,
            correct_before=[int(state.correct_before) for state in states],
            correct_with_all_kept=[int(state.correct) for state in states],
            positions_kept=[int(state.kept[walk.parts].sum()) for state in states],
            order=order_file,
        ),
    )


class Walk(NamedTuple):
    """Which frequencies are dropped together, and when.

    Attributes:
      parts: number of the part that each position belongs to.
      order: parts from the first turn to the last. All others are removed from the start.
      compare_unfiltered: whether the first drop is compared with the unfiltered images.
    """

    parts: Int[np.ndarray, "height width"]
    order: Int[np.ndarray, " walked"]
    compare_unfiltered: bool = False


class EliminationState(NamedTuple):
    """What is known of a class.

    Attributes:
      kept: parts that are not dropped.
      lost: images lost without each part, when it was its turn.
      correct: images called the class with the parts that are kept.
      correct_before: the same before the first turn.
    """

    kept: Bool[AnyArray, " parts"]
    lost: Int[AnyArray, " parts"]
    correct: Int[AnyArray, ""]
    correct_before: Int[AnyArray, ""]


class EliminationInputs(NamedTuple):
    """A step: the part whose turn it is, -1 in the first one; the class; and the images that dropping it may cost."""

    part: Int[AnyArray, ""]
    label: Int[AnyArray, ""]
    tolerance: Int[AnyArray, ""]


class EliminationBatch(NamedTuple):
    """Spectra of images, and which of the images are real and not padding."""

    spectra: Complex[AnyArray, "images height half channels"]
    real: Bool[AnyArray, " images"]


class BackwardElimination(stepwise.StepwiseSearch[EliminationState]):
    """A task a class. Its first step drops nothing and counts the images that are correct before."""

    def __init__(self, problem: Problem, walk: Walk, batch_size: int):
        self.count, self.steps = len(problem.counts), 1 + len(walk.order)
        self.images_per_step = round(sum(problem.counts) / len(problem.counts))
        self._problem, self._walk, self._batch_size = problem, walk, batch_size
        self._apply, self._spectra = problem.searched_model.apply, jax.jit(spectrum.spectra)
        self._part_numbers = np.arange(walk.parts.max() + 1)

    def initial_state(self, task: int) -> EliminationState:
        zero = np.zeros((), np.int32)
        kept = np.isin(self._part_numbers, self._walk.order)
        return EliminationState(kept, lost=np.zeros(len(kept), np.int32), correct=zero, correct_before=zero)

    def inputs(self, task: int) -> EliminationInputs:
        tolerance = self._problem.options.greedy.tolerance
        images = round(tolerance * self._problem.counts[task] if tolerance < 1 else tolerance)
        parts = np.concatenate([[-1], self._walk.order]).astype(np.int32)
        return EliminationInputs(parts, *(np.full(self.steps, number, np.int32) for number in (task, images)))

    def batches(self, task: int) -> list[EliminationBatch]:
        images, size = self._problem.images(task), self._batch_size
        padded = -(-max(self._problem.counts) // size) * size - len(images)
        # With the last image and not with zeros, on which a model may return NaN.
        images = np.pad(images, [(0, padded), (0, 0), (0, 0), (0, 0)], mode="edge")
        real = np.arange(len(images)) < self._problem.counts[task]
        return [
            EliminationBatch(np.asarray(self._spectra(images[start : start + size])), real[start : start + size])
            for start in range(0, len(images), size)
        ]

    def measure(
        self,
        params: PyTree,
        shared: tuple,
        state: EliminationState,
        inputs: EliminationInputs,
        batch: EliminationBatch,
    ) -> Int[Array, ""]:
        kept = self._without(state, inputs)
        if self._walk.compare_unfiltered:
            kept |= inputs.part < 0
        # A part without the conjugates of its positions leaves half the weight of their orbits.
        masks, transform = kept[self._walk.parts][None], self._problem.options.transform
        filtered = spectrum.filter_spectra(batch.spectra, masks, transform=transform)[0]
        logits = self._apply(params, filtered)
        return ((logits.argmax(-1) == inputs.label) & batch.real).sum()

    def update(self, state: EliminationState, inputs: EliminationInputs, measured: Int[Array, ""]) -> EliminationState:
        first, lost = inputs.part < 0, state.correct - measured
        drop = ~first & (lost <= inputs.tolerance)
        return EliminationState(
            kept=jnp.where(drop, self._without(state, inputs), state.kept),
            lost=jnp.where(self._part_numbers == inputs.part, lost, state.lost),
            correct=jnp.where(first | drop, measured, state.correct),
            correct_before=jnp.where(first, measured, state.correct_before),
        )

    def _without(self, state: EliminationState, inputs: EliminationInputs) -> Bool[Array, " parts"]:
        return state.kept & (self._part_numbers != inputs.part)


def default_walk(height: int, width: int) -> Walk:
    """Return the walk over whole orbits in `removal_order`."""
    return Walk(spectrum.orbits(height, width), removal_order(height, width))


def walk_of(turns: Float[np.ndarray, "height width"], *, compat: bool) -> Walk:
    """Return the walk of an order: over whole orbits in `order_of`, or with `compat` over all positions of a value."""
    if not compat:
        return Walk(spectrum.orbits(*turns.shape), order_of(turns))
    values, parts = np.unique(turns, return_inverse=True)
    order = np.flatnonzero(values > 0)[::-1]
    return Walk(parts.reshape(turns.shape).astype(np.int32), order, compare_unfiltered=True)


def removal_order(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the orbits from low to high frequency: squares around DC outwards, each walked by angle; DC last.

    On a plane that is not square the squares are rectangles of its shape.
    """
    vertical, horizontal = spectrum.frequencies(height, width)
    vertical, horizontal = spectrum.per_orbit(vertical), spectrum.per_orbit(horizontal)
    # Rounded, so that the sides of a square are alike, and angles are those of the member in the upper half.
    ring = np.round(np.maximum(abs(vertical), abs(horizontal)) * max(height, width), 6)
    angle = np.round(np.arctan2(vertical, horizontal) % np.pi, 6)
    order = np.lexsort((angle, ring))
    return np.append(order[ring[order] > 0], order[ring[order] == 0])


def order_of(turns: Float[np.ndarray, "height width"]) -> Int[np.ndarray, " walked"]:
    """Return the orbits from the first turn to the last, without those whose members are all 0."""
    earliest = spectrum.per_orbit(np.maximum(turns, spectrum.conjugate(turns)))
    order = np.argsort(-earliest, kind="stable")
    return order[earliest[order] > 0]


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    own, tolerance = options.greedy, options.greedy.tolerance
    if not (0 <= tolerance < 1 or (own.compat and math.isfinite(tolerance) and tolerance == round(tolerance) >= 1)):
        number = " or a whole number of images" if own.compat else ""
        raise InputError(f"search.greedy.tolerance: got {tolerance}; expected a share in [0, 1){number}")
    if own.compat and not own.order:
        raise InputError(
            "search.greedy.order: got nothing; expected the file of the published order, removal_order.pkl, which "
            "search.greedy.compat walks"
        )
    if options.greedy.order:
        height, width = _order_in(options).shape
        if (height, width) != plane:
            raise InputError(
                f"search.greedy.order: {options.greedy.order} is of {height} x {width}; expected of "
                f"{plane[0]} x {plane[1]}, as the images are"
            )


def _order_in(options: ConfigDict) -> Float[np.ndarray, "height width"]:
    """Read the order of config.search, with errors that name its field."""
    try:
        return published_maps.read_order(options.greedy.order)
    except InputError as error:
        raise InputError(f"search.greedy.order: {error}") from error


def _mask(scores: Float[np.ndarray, "height width"], share: float) -> Bool[np.ndarray, "height width"]:
    """The best of the orbits that were kept, of each the members that were."""
    kept, orbits = scores >= 0, spectrum.orbits(*scores.shape)
    best = spectrum.per_orbit(np.maximum(scores, spectrum.conjugate(scores)))
    sizes = np.bincount(orbits[kept], minlength=len(best))
    return masks.best(best, sizes, masks.budget(share, *scores.shape))[orbits] & kept


METHOD = Method(
    search,
    DEFAULTS,
    _check,
    scored="Share of the class's images lost without a frequency, in its turn; blank where it was dropped",
    drawable=lambda scores: np.where(scores < 0, np.nan, scores),
    mask=_mask,
    reads=lambda options: [storage.path(options.greedy.order)] if options.greedy.order else [],
)
