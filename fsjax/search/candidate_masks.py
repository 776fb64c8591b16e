"""Candidate masks of the hierarchical search: nested from stage to stage, and computed only when needed."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.fourier import spectrum
from fsjax.fourier.spectrum import Mask
from fsjax.runtime import parallel
from fsjax.runtime.random_streams import Stream, generator

# Bytes of parent masks that are cached.
PARENT_BYTES = 2**26
# Limit of the candidates in the regression, drawn at random: its matrix grows with their square.
MOST_CANDIDATES = 2048
# Ridge penalty, as a share of an orbit's mean sum of squares.
PENALTY = 0.05
# Smallest divisor and penalty, for candidates or losses that are all alike.
_LEAST = 1e-9
# Orbits in one matrix product.
_ORBITS = 1024


@dataclasses.dataclass(frozen=True)
class Stage:
    """Side of the kept patches, number of candidates, and the shares of config.search.shares that the stage serves.

    A further stage has a budget of positions, and the ratio of a parent within the budget that a candidate keeps.
    """

    patch: int
    count: int
    budget: int | None = None
    ratio: float = 1.0
    # Not in the representation, which partial results are tied to.
    shares: tuple[float, ...] = dataclasses.field(default=(), repr=False)


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The masks of every stage, each a pure function of the seed, its stage, its index and the best of earlier stages.

    So no mask is stored: the 10 best of each of 1,000 classes would take 500 MB at 224 pixels, for each stage.

    A mask keeps `share` of the patches. `best` has the indices of each class's N best candidates for each finished
    stage, `ranking` its best orbits, both best first. The first candidates of a further stage, at most half of the
    stage, belong to one class each and keep its best orbits within the budget.
    """

    plane: tuple[int, int]
    stages: tuple[Stage, ...]
    seed: int
    share: float
    best: tuple[Int[np.ndarray, "classes _"], ...] = ()
    ranking: Int[np.ndarray, "ranked _"] = dataclasses.field(default_factory=lambda: np.zeros((0, 0), int))

    def masks(self, stage: int, start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
        """Return candidates start..stop-1 of a stage; stages are counted from 0."""
        return np.stack([self.mask(stage, index) for index in range(start, stop)])

    def mask(self, stage: int, index: int) -> Mask:
        """Return a candidate: from the plain grid, the shifted grid, and both at half the share each, in turn."""
        settings, rng = self.stages[stage], generator(self.seed, Stream.HIERARCHICAL_CANDIDATE, stage, index)
        if settings.budget is not None and index < min(len(self.ranking), settings.count // 2):
            return self._fill(self.ranking[index], np.ones(self.plane, bool), settings.budget)
        parent = self.parent(stage, index) if stage else np.ones(self.plane, bool)
        if settings.budget is not None:
            size = int(parent.sum())
            target = settings.budget if size > settings.budget else int(settings.ratio * size)
            return self.trim(parent, target, rng)
        grids = (False,) if settings.patch == 1 else ((False,), (True,), (False, True))[index % 3]
        drawn = np.zeros(self.plane, bool)
        for shifted in grids:
            numbers = patch_numbers(self.plane, settings.patch, shifted)
            patches = rng.permutation(numbers.max() + 1)
            drawn |= np.isin(numbers, patches[: max(1, round(self.share / len(grids) * len(patches)))])
        return drawn & parent

    def parent(self, stage: int, index: int) -> Mask:
        """Return the mask that contains a candidate: one of the N best of a random class in the stage before."""
        rng, best = generator(self.seed, Stream.HIERARCHICAL_PARENT, stage, index), self.best[stage - 1]
        return self._cached_mask(stage - 1, int(best[rng.integers(best.shape[0]), rng.integers(best.shape[1])]))

    def trim(self, mask: Mask, positions: int, rng: np.random.Generator) -> Mask:
        """Keep as many of a mask's orbits, in random order, as fit into `positions`; at most one stays unused."""
        return self._fill(rng.permutation(len(spectrum.orbit_sizes(*self.plane))), mask, positions)

    def digest(self, identity: str) -> str:
        """Hash everything that determines the next stage's masks, together with `identity`."""
        fields = (identity, self.plane, self.stages[: len(self.best) + 1], self.seed, self.share)
        digest = hashlib.sha256(repr(fields).encode())
        for table in (*self.best, self.ranking):
            digest.update(np.ascontiguousarray(table, np.int64).tobytes())
        return digest.hexdigest()

    def _fill(self, order: Int[np.ndarray, " orbits"], mask: Mask, positions: int) -> Mask:
        """Keep as many of a mask's orbits, in this order, as fit."""
        orbit = spectrum.orbits(*self.plane)
        sizes = np.bincount(orbit[mask], minlength=orbit.max() + 1)
        inside = np.zeros(len(sizes), bool)
        inside[order[np.cumsum(sizes[order]) <= positions]] = True
        return inside[orbit] & mask

    @functools.cached_property
    def _cached_mask(self) -> Callable[[int, int], Mask]:
        return functools.lru_cache(max(1, PARENT_BYTES // math.prod(self.plane)))(self.mask)


@functools.lru_cache(maxsize=64)
def patch_numbers(plane: tuple[int, int], patch: int, shifted: bool) -> Int[np.ndarray, "height width"]:
    """Return the number of the patch that each position of the centred plane belongs to.

    The plane is cut into patch x patch blocks from its top left corner or, shifted, from half a patch further, around
    its edges. A patch is a block with its image under a half-turn of the array, (r, c) -> (H-1-r, W-1-c). On an even
    plane the true conjugate of a block lies one row and column further, so each orbit belongs as a whole to the patch
    of its last member in raster order. Patches are thus Hermitian and do not overlap. At size 1 they are the orbits.
    """
    if patch == 1:
        return spectrum.orbits(*plane).astype(np.intp)
    counts = [side // patch for side in plane]
    # For each axis: the block of each index, and the block that a half-turn maps it to.
    blocks = [
        (np.arange(side) + shifted * (patch // 2)) // patch % count for side, count in zip(plane, counts, strict=True)
    ]
    turned = [(count - 1 + shifted - block) % count for block, count in zip(blocks, counts, strict=True)]
    pair = np.minimum(*(rows[:, None] * counts[1] + columns for rows, columns in (blocks, turned)))
    positions = np.arange(math.prod(plane)).reshape(plane)
    pair = pair.ravel()[np.maximum(positions, spectrum.conjugate(positions))]
    return np.unique(pair, return_inverse=True)[1].reshape(plane)


def rank_orbits(
    candidates: Candidates, losses: list[Float[np.ndarray, "classes _"]], positions: int
) -> Int[np.ndarray, "classes orbits"]:
    """Return the orbits, at most `positions`, that lower each class's loss most where a candidate keeps them.

    Every candidate is evaluated for every class, also the descendants of other classes' best candidates. So a
    regression of a class's losses on the kept orbits (`regression_slopes`) finds orbits that its best candidates lack,
    without a forward pass. `losses` are of every candidate of each finished stage.
    """
    stage = np.repeat(np.arange(len(losses)), [stage_losses.shape[1] for stage_losses in losses])
    index = np.concatenate([np.arange(stage_losses.shape[1]) for stage_losses in losses])
    sampled = generator(candidates.seed, Stream.HIERARCHICAL_REGRESSION).permutation(len(stage))[:MOST_CANDIDATES]
    first_position = np.unique(spectrum.orbits(*candidates.plane), return_index=True)[1]
    keeps = np.stack([candidates.mask(int(stage[i]), int(index[i])).ravel()[first_position] for i in sampled])
    slopes = regression_slopes(keeps, np.concatenate(losses, axis=1)[:, sampled], stage[sampled])
    # Rounded beyond the differences between machines, so that a search gives the same result on another machine.
    scales = np.abs(slopes).max(axis=1, initial=_LEAST)
    rounded = (np.round(row / scale, 6) for row, scale in zip(slopes, scales, strict=True))
    ranking = [np.argsort(row, kind="stable")[:positions].tolist() for row in rounded]
    return np.array(parallel.from_main(ranking))


def regression_slopes(
    keeps: Bool[np.ndarray, "candidates orbits"],
    losses: Float[np.ndarray, "classes candidates"],
    stage: Int[np.ndarray, " candidates"],
) -> Float[np.ndarray, "classes orbits"]:
    """Return how much keeping an orbit adds to a class's loss.

    Ridge regression with an intercept for each stage, in its dual form, whose matrix has a row for each candidate.
    """
    in_stage = np.eye(stage.max() + 1)[stage]

    def centred(values: Float[np.ndarray, "candidates _"]) -> Float[np.ndarray, "candidates _"]:
        return values - in_stage @ (in_stage.T @ values / np.maximum(in_stage.sum(0), 1)[:, None])

    blocks = [keeps[:, start : start + _ORBITS] for start in range(0, keeps.shape[1], _ORBITS)]
    gram = sum(block.astype(float) @ block.T for block in blocks)
    gram = centred(gram)  # one side is enough: the weights, too, sum to 0 in each stage
    gram[np.diag_indices(len(gram))] += max(_LEAST, PENALTY * np.trace(gram) / keeps.shape[1])
    weights = np.linalg.solve(gram, centred(losses.T)).T
    return np.concatenate([weights @ block for block in blocks], axis=1)
