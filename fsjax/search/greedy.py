"""`greedy`: frequencies are dropped one after another, as long as the class stays recognised (DFM-X).

The orbits are walked from low to high frequency. An orbit is dropped for good if the class then keeps at least its
current number of correct images less a tolerance. So the value of an orbit depends on the orbits dropped before it: of
frequencies that can replace each other the last is kept, and of frequencies that work only together all are kept.

With `compat` the published order is walked in the published way. Its file has a value for each position: larger =
earlier, 0 = removed from the start. Positions of equal value are dropped in one step. The file has 79 positions of a
32 x 32 plane (row 0, column 0 and DC's row) apart from their conjugates, and an orbit that has lost one of its two
positions acts with half its weight. The first drop is compared with the unfiltered images.
"""

import dataclasses
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from fsjax.engine import tile_size
from fsjax.fourier import dfm, masks, published_maps, spectrum
from fsjax.runtime import files, storage
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.search import stepwise
from fsjax.search.method import Method, Problem
from fsjax.search.stepwise import AnyArray, ImageBatch

DEFAULTS: Table = {
    "tolerance": (
        0.006,
        "share of a class's images that may be lost with an orbit; 6 of 1,000 as published. With `compat` numbers from "
        "1 on count images",
    ),
    "order": ("", "file of the published order, removal_order.pkl, for `compat`"),
    "compat": (False, "drop positions in the order of a file as the published code does, without their conjugates"),
}


def search(problem: Problem) -> dfm.DominantFrequencyMaps:
    """Return the frequencies that survive the elimination, and the best survivors within the config's shares.

    An orbit's score is the share of the class's images lost without it in its turn; -1 where it was dropped. At share 1
    a map holds all surviving orbits and is the published map. With `compat` positions are scored, and an orbit is as
    good as its better member.
    """
    options, model = problem.options, problem.searched_model
    # The parts that are dropped together, from the first turn to the last; all others are removed from the start.
    parts, order, order_file = spectrum.orbits(*problem.plane), removal_order(*problem.plane), {}
    if options.greedy.compat:
        values, numbers = np.unique(published_maps.read_order(options.greedy.order), return_inverse=True)
        parts, order = numbers.reshape(problem.plane).astype(np.int32), np.flatnonzero(values > 0)[::-1]
        order_file = {"path": options.greedy.order, "sha256": files.sha256(options.greedy.order)}
        # States under another order belong to another search.
        problem = dataclasses.replace(problem, identity=f"{problem.identity} {order_file['sha256']}")
    tile_images = tile_size.fit(model, resident_images=max(problem.counts), memory_mib=problem.run.memory_mib)
    partial_results = problem.partial_results({"batch_size": tile_size.image_batch_size(problem.counts, tile_images)})
    elimination = BackwardElimination(problem, parts, order, partial_results.layout["batch_size"])
    states = stepwise.run(problem, elimination, partial_results)
    return dfm.from_scores(
        (
            np.where(state.kept, state.lost / count, -1.0)[parts]
            for state, count in zip(states, problem.counts, strict=True)
        ),
        tuple(options.shares),
        mask=surviving_mask,
        **problem.attributes(
            sum(problem.counts) * elimination.steps,
            correct_before=[int(state.correct_before) for state in states],
            correct_with_all_kept=[int(state.correct) for state in states],
            positions_kept=[int(state.kept[parts].sum()) for state in states],
            order=order_file,
        ),
    )


class EliminationState(NamedTuple):
    """The kept parts, the images lost with each part in its turn, and the correct images now and at the start."""

    kept: Bool[AnyArray, " parts"]
    lost: Int[AnyArray, " parts"]
    correct: Int[AnyArray, ""]
    correct_before: Int[AnyArray, ""]


# Inputs of steps: the part whose turn it is (-1 in the first step), the class, and the images it may cost.
EliminationInputs: TypeAlias = tuple[Int[AnyArray, "*steps"], ...]


class BackwardElimination(stepwise.StepwiseSearch[EliminationState]):
    """A task for each class. Its first step drops nothing and counts the correct images before."""

    def __init__(self, problem: Problem, parts: Int[np.ndarray, "h w"], order: Int[np.ndarray, " n"], batch_size: int):
        self.count, self.steps = len(problem.counts), 1 + len(order)
        self.images_per_step = round(sum(problem.counts) / len(problem.counts))
        self._problem, self._parts, self._order, self._batch_size = problem, parts, order, batch_size
        self._model, self._spectra = problem.searched_model, jax.jit(spectrum.spectra)
        self._part_numbers = np.arange(parts.max() + 1)

    def initial_state(self, task: int) -> EliminationState:
        zero = np.zeros((), np.int32)
        kept = np.isin(self._part_numbers, self._order)
        return EliminationState(kept, lost=np.zeros(len(kept), np.int32), correct=zero, correct_before=zero)

    def inputs(self, task: int) -> EliminationInputs:
        tolerance = self._problem.options.greedy.tolerance
        images = round(tolerance * self._problem.counts[task] if tolerance < 1 else tolerance)
        parts = np.concatenate([[-1], self._order]).astype(np.int32)
        return parts, np.full(self.steps, task, np.int32), np.full(self.steps, images, np.int32)

    def batches(self, task: int) -> list[ImageBatch]:
        images, most = self._problem.images(task), max(self._problem.counts)
        batches = stepwise.cut_batches(images, np.ones(len(images), bool), self._batch_size, most)
        return [batch._replace(images=np.asarray(self._spectra(batch.images))) for batch in batches]

    def measure(
        self, params: PyTree, shared: tuple, state: EliminationState, inputs: EliminationInputs, batch: ImageBatch
    ) -> Int[Array, ""]:
        part, label, _ = inputs
        kept = state.kept & (self._part_numbers != part)
        if self._problem.options.greedy.compat:
            kept |= part < 0  # the first drop is compared with the unfiltered images
        logits = self._model.apply(params, self._model.filtered(batch.images, kept[self._parts][None])[0])
        return ((logits.argmax(-1) == label) & batch.weights).sum()

    def update(self, state: EliminationState, inputs: EliminationInputs, measured: Int[Array, ""]) -> EliminationState:
        (part, _, tolerance), lost = inputs, state.correct - measured
        first, drop = part < 0, (part >= 0) & (lost <= tolerance)
        return EliminationState(
            kept=jnp.where(drop, state.kept & (self._part_numbers != part), state.kept),
            lost=jnp.where(self._part_numbers == part, lost, state.lost),
            correct=jnp.where(first | drop, measured, state.correct),
            correct_before=jnp.where(first, measured, state.correct_before),
        )


def removal_order(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the orbits from low to high frequency: squares around DC outwards, each walked by angle; DC last.

    On a plane that is not square the squares are rectangles of its shape.
    """
    vertical, horizontal = map(spectrum.per_orbit, spectrum.frequencies(height, width))
    # Rounded, so that the sides of a square are equal; the angle is the angle of the member in the upper half.
    ring = np.round(np.maximum(abs(vertical), abs(horizontal)) * max(height, width), 6)
    angle = np.round(np.arctan2(vertical, horizontal) % np.pi, 6)
    order = np.lexsort((angle, ring))
    return np.append(order[ring[order] > 0], order[ring[order] == 0])


def surviving_mask(scores: Float[np.ndarray, "height width"], share: float) -> Bool[np.ndarray, "height width"]:
    """Return the best of the surviving orbits within a share, and of each orbit the surviving members."""
    kept, orbits = scores >= 0, spectrum.orbits(*scores.shape)
    best = spectrum.per_orbit(np.maximum(scores, spectrum.conjugate(scores)))
    sizes = np.bincount(orbits[kept], minlength=len(best))
    return masks.best(best, sizes, masks.budget(share, *scores.shape))[orbits] & kept


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    own, tolerance = options.greedy, options.greedy.tolerance
    if not (0 <= tolerance < 1 or (own.compat and tolerance > 0 and float(tolerance).is_integer())):
        number = " or a whole number of images" if own.compat else ""
        raise InputError(f"search.greedy.tolerance: got {tolerance}; expected a share in [0, 1){number}")
    if bool(own.order) != own.compat:
        expected = "the file of the published order, removal_order.pkl" if own.compat else "no file without compat"
        raise InputError(f"search.greedy.order: got {own.order or 'nothing'}; expected {expected}")
    if own.compat and (order := published_maps.read_order(own.order)).shape != plane:
        got, expected = (" x ".join(map(str, size)) for size in (order.shape, plane))
        raise InputError(f"search.greedy.order: got {own.order} of {got}; expected {expected}, as the images have")


METHOD = Method(
    search,
    DEFAULTS,
    _check,
    # The first step drops nothing.
    lambda options, counts, plane: sum(counts) * (1 + len(spectrum.orbit_sizes(*plane))),
    scored="Share of the class's images lost without a frequency, in its turn; blank where it was dropped",
    drawable=lambda scores: np.where(scores < 0, np.nan, scores),
    mask=surviving_mask,
    reads=lambda options: [storage.path(options.greedy.order)] if options.greedy.compat else [],
)
