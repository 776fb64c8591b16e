"""Rank each class's orbits by a regression of the losses of candidate masks, at no extra forward pass."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.runtime import parallel
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.hierarchical.candidates import Candidates, patches

# Candidates in the regression at most, drawn at random: its matrix grows with their square.
MOST_CANDIDATES = 2048
# Ridge penalty, as a share of the mean sum of squares of an orbit.
PENALTY = 0.05
# Smallest divisor and penalty, for candidates or losses that are all alike.
_LEAST = 1e-9
# Orbits and classes in one matrix product.
_ORBITS, _CLASSES = 1024, 64


def rank_orbits(
    candidates: Candidates, losses: list[Float[np.ndarray, "classes _"]], positions: int
) -> Int[np.ndarray, "classes orbits"]:
    """Return the orbits that lower each class's loss most where a candidate keeps them, best first.

    Every candidate is evaluated for every class, also those that descend from other classes' best. So a regression of
    a class's losses on the orbits that candidates keep (`slopes`) finds orbits that its own best candidates lack.

    Args:
      candidates: of the search.
      losses: of every candidate of each finished stage.
      positions: of the plane that a ranking has to fill; at most as many orbits are returned.

    Returns:
      Numbers of `patches` of size 1.
    """
    stage = np.repeat(np.arange(len(losses)), [of_stage.shape[1] for of_stage in losses])
    index = np.concatenate([np.arange(of_stage.shape[1]) for of_stage in losses])
    sampled = generator(candidates.seed, Stream.HIERARCHICAL_REGRESSION).permutation(len(stage))[:MOST_CANDIDATES]
    first_position = np.unique(patches(candidates.plane, 1, False, candidates.compat), return_index=True)[1]
    keeps = np.stack([candidates.mask(int(stage[i]), int(index[i])).ravel()[first_position] for i in sampled])
    rankings = []
    for of_classes in slopes(keeps, np.concatenate(losses, axis=1)[:, sampled], stage[sampled]):
        # Rounded to more than another machine's arithmetic changes, so that a search that goes on there finds the same.
        scale = np.abs(of_classes).max(axis=1, keepdims=True, initial=_LEAST)
        order = np.argsort(np.round(of_classes / scale, 6), axis=1, kind="stable")
        rankings.append(order[:, :positions].astype(np.float64))
    # The first process's, should they differ all the same.
    return parallel.merge(np.concatenate(rankings)).astype(int)


def slopes(
    keeps: Bool[np.ndarray, "candidates orbits"],
    losses: Float[np.ndarray, "classes candidates"],
    stage: Int[np.ndarray, " candidates"],
) -> Iterator[Float[np.ndarray, "_ orbits"]]:
    """Yield, some classes at a time, how much keeping an orbit adds to a class's loss.

    Ridge regression with an intercept for each stage, solved in its dual form, whose matrix has a row for each
    candidate on a plane of any size.
    """
    in_stage = np.eye(stage.max() + 1)[stage]

    def centred(values: Float[np.ndarray, "candidates _"]) -> Float[np.ndarray, "candidates _"]:
        return values - in_stage @ (in_stage.T @ values / np.maximum(in_stage.sum(0), 1)[:, None])

    column_ranges = [keeps[:, start : start + _ORBITS] for start in range(0, keeps.shape[1], _ORBITS)]
    gram = np.zeros((len(keeps), len(keeps)))
    for columns in column_ranges:
        gram += columns.astype(float) @ columns.T
    gram = centred(gram)  # from one side, which is enough: the weights, too, sum to 0 in each stage
    gram[np.diag_indices(len(gram))] += max(_LEAST, PENALTY * np.trace(gram) / keeps.shape[1])
    weights = np.linalg.solve(gram, centred(losses.T)).T
    for start in range(0, len(weights), _CLASSES):
        of_classes = weights[start : start + _CLASSES]
        yield np.concatenate([of_classes @ columns for columns in column_ranges], axis=1)
