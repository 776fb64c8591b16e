"""Candidate masks of the hierarchical search: nested from stage to stage, and computed only when needed."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int

from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.hierarchical.stages import Stage

# Bytes of parent masks that are cached.
PARENT_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The masks of every stage, each a pure function of the seed, its stage, its index and the best of earlier stages.

    So none is stored: the 10 best of each of 1,000 classes would take 500 MB at 224 pixels, for each stage.

    Attributes:
      plane: (H, W).
      stages: of the search.
      seed: of everything drawn.
      share: of the patches that a mask keeps, P.
      compat: whether patches and draws are the published code's.
      best: for each finished stage, the indices of the N best candidates of each class, best first.
      ranking: each class's best orbits, best first. The first candidates of a further stage, one of each class and half
        of the stage at most, keep those that fit its budget.
    """

    plane: tuple[int, int]
    stages: tuple[Stage, ...]
    seed: int
    share: float
    compat: bool
    best: tuple[Int[np.ndarray, "classes _"], ...] = ()
    ranking: Int[np.ndarray, "ranked _"] = dataclasses.field(default_factory=lambda: np.zeros((0, 0), int))

    def masks(self, stage: int, start: int, stop: int) -> Bool[np.ndarray, "masks height width"]:
        """Return candidates start..stop-1 of a stage; stages are counted from 0."""
        return np.stack([self.mask(stage, index) for index in range(start, stop)])

    def mask(self, stage: int, index: int) -> Bool[np.ndarray, "height width"]:
        """Return a candidate: by turns of the plain grid, the shifted one, and both at half the share each."""
        of_stage, rng = self.stages[stage], generator(self.seed, Stream.HIERARCHICAL_CANDIDATE, stage, index)
        if of_stage.budget is not None and index < min(len(self.ranking), of_stage.count // 2):
            return self._fill(self.ranking[index], np.ones(self.plane, bool), of_stage.budget)
        parent = self.parent(stage, index) if stage else np.ones(self.plane, bool)
        if of_stage.budget is not None:
            size = int(parent.sum())
            target = of_stage.budget if size > of_stage.budget else int(of_stage.ratio * size)
            return self.trim(parent, target, rng)
        grids = (False,) if of_stage.patch == 1 else ((False,), (True,), (False, True))[index % 3]
        drawn = [self._draw(of_stage.patch, shifted, self.share / len(grids), rng) for shifted in grids]
        return np.logical_or.reduce(drawn) & parent

    def parent(self, stage: int, index: int) -> Bool[np.ndarray, "height width"]:
        """Return the mask that a candidate lies in: one of the N best of a random class of the stage before."""
        # As published, the three candidates of a pass have one parent.
        drawn_for = index - index % 3 if self.compat and self.stages[stage].patch > 1 else index
        rng, best = generator(self.seed, Stream.HIERARCHICAL_PARENT, stage, drawn_for), self.best[stage - 1]
        return self._cached_mask(stage - 1, int(best[rng.integers(best.shape[0]), rng.integers(best.shape[1])]))

    def trim(
        self, mask: Bool[np.ndarray, "height width"], positions: int, rng: np.random.Generator
    ) -> Bool[np.ndarray, "height width"]:
        """Keep as many of a mask's orbits, in random order, as fit into `positions`; at most one stays unused."""
        orbits = int(patches(self.plane, 1, False, self.compat).max()) + 1
        return self._fill(rng.permutation(orbits), mask, positions)

    def digest(self, identity: str) -> str:
        """Hash everything that determines the next stage's masks, together with `identity`."""
        fields = (identity, self.plane, self.stages[: len(self.best) + 1], self.seed, self.share, self.compat)
        digest = hashlib.sha256(repr(fields).encode())
        for table in (*self.best, self.ranking):
            digest.update(np.ascontiguousarray(table, np.int64).tobytes())
        return digest.hexdigest()

    def _draw(
        self, patch: int, shifted: bool, share: float, rng: np.random.Generator
    ) -> Bool[np.ndarray, "height width"]:
        """Keep a random share of the patches."""
        patch_of = patches(self.plane, patch, shifted, self.compat)
        inside = np.zeros(patch_of.max() + 1, bool)
        count = int(share * len(inside)) if self.compat else round(share * len(inside))
        inside[rng.permutation(len(inside))[: max(1, count)]] = True
        return inside[patch_of]

    def _fill(
        self, order: Int[np.ndarray, " orbits"], mask: Bool[np.ndarray, "height width"], positions: int
    ) -> Bool[np.ndarray, "height width"]:
        """Keep as many of a mask's orbits, in this order, as fit."""
        orbit = patches(self.plane, 1, False, self.compat)
        sizes = np.bincount(orbit[mask], minlength=orbit.max() + 1)
        inside = np.zeros(len(sizes), bool)
        inside[order[np.cumsum(sizes[order]) <= positions]] = True
        return inside[orbit] & mask

    @functools.cached_property
    def _cached_mask(self) -> Callable[[int, int], Bool[np.ndarray, "height width"]]:
        return functools.lru_cache(max(1, PARENT_BYTES // math.prod(self.plane)))(self.mask)


@functools.lru_cache(maxsize=64)
def patches(plane: tuple[int, int], patch: int, shifted: bool, compat: bool) -> Int[np.ndarray, "height width"]:
    """Return the number of the patch that each position of the centred plane belongs to.

    The plane is cut into patch x patch blocks from its top left corner or, shifted, from half a patch further, around
    its edges. A patch is a block with its image under a half-turn of the array, (r, c) -> (H-1-r, W-1-c); with
    `compat` just that. On an even plane the true conjugate of a block lies one row and column further, so otherwise
    each orbit goes as a whole where its last member in raster order lies. These patches are Hermitian and do not
    overlap, so a share of them is that share of the plane but for a row and a column of each. At size 1 they are the
    orbits, and nothing shifts.
    """
    if patch == 1 and not compat:
        return spectrum.orbits(*plane).astype(np.intp)
    counts = [side // patch for side in plane]
    # For each axis: the block of each index, and the block that a half-turn maps it to.
    blocks = [
        (np.arange(side) + shifted * (patch // 2)) // patch % count for side, count in zip(plane, counts, strict=True)
    ]
    turned = [(count - 1 + shifted - block) % count for block, count in zip(blocks, counts, strict=True)]
    pair = np.minimum(*(rows[:, None] * counts[1] + columns for rows, columns in (blocks, turned)))
    if not compat:
        positions = np.arange(math.prod(plane)).reshape(plane)
        pair = pair.ravel()[np.maximum(positions, spectrum.conjugate(positions))]
    return np.unique(pair, return_inverse=True)[1].reshape(plane)
