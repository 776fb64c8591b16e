"""What each frequency is worth to a class, by the losses of candidate masks that are evaluated anyway."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.runtime import parallel
from fsjax.search.hierarchical.candidates import Candidates, patches

# Of more candidates so many, drawn at random, are looked at: a matrix is as large as their square.
MOST_CANDIDATES = 2048
# The ridge penalty, as a share of the sum of squares that a frequency has on average.
PENALTY = 0.05
# Where candidates, or their losses, are all alike there is nothing to divide by.
_LEAST = 1e-9
# Orbits and classes that are reckoned with at once.
_ORBITS, _CLASSES = 1024, 64


def ranking(
    candidates: Candidates, losses: list[Float[np.ndarray, "classes _"]], positions: int
) -> Int[np.ndarray, "classes orbits"]:
    """Each class's orbits by what they are worth to it, best first, as many as can be among so many positions.

    Every candidate is evaluated for every class, also those that descend from other classes' best. So a regression of
    a class's losses on which orbits a candidate keeps finds orbits that its own best candidates lack (`slopes`). It
    costs no forward pass.

    Args:
      candidates: of a search.
      losses: of those of each stage that is done.
      positions: of the plane.

    Returns:
      Numbers of `patches` of size 1.
    """
    number = np.repeat(np.arange(len(losses)), [of_stage.shape[1] for of_stage in losses])
    index = np.concatenate([np.arange(of_stage.shape[1]) for of_stage in losses])
    chosen = np.random.default_rng([candidates.seed, 3]).permutation(len(number))[:MOST_CANDIDATES]
    member = np.unique(patches(candidates.plane, 1, False, candidates.compat), return_index=True)[1]
    kept = np.stack([candidates.mask(int(number[i]), int(index[i])).ravel()[member] for i in chosen])
    found = []
    for of_classes in slopes(kept, np.concatenate(losses, axis=1)[:, chosen], number[chosen]):
        # Coarser than what the rounding of another machine changes: a search that goes on there finds the same.
        scale = np.abs(of_classes).max(axis=1, keepdims=True, initial=_LEAST)
        order = np.argsort(np.round(of_classes / scale, 6), axis=1, kind="stable")
        found.append(order[:, :positions].astype(np.float64))
    # The first process's, should they differ all the same.
    return parallel.merge(np.concatenate(found)).astype(int)


def slopes(
    kept: Bool[np.ndarray, "candidates orbits"],
    losses: Float[np.ndarray, "classes candidates"],
    stage: Int[np.ndarray, " candidates"],
) -> Iterator[Float[np.ndarray, "_ orbits"]]:
    """What keeping an orbit adds to a class's loss, some classes after others.

    By ridge regression with an intercept for each stage, solved in its dual form, whose matrix has a row a candidate
    whatever the size of the plane.
    """
    rows = np.eye(stage.max() + 1)[stage]

    def centred(values: Float[np.ndarray, "candidates _"]) -> Float[np.ndarray, "candidates _"]:
        """Less the mean of the stage."""
        return values - rows @ (rows.T @ values / np.maximum(rows.sum(0), 1)[:, None])

    parts = [kept[:, start : start + _ORBITS] for start in range(0, kept.shape[1], _ORBITS)]
    gram = np.zeros((len(kept), len(kept)))
    for part in parts:
        gram += part.astype(float) @ part.T
    gram = centred(gram)  # from one side, which is enough: the weights, too, sum to 0 in each stage
    gram[np.diag_indices(len(gram))] += max(_LEAST, PENALTY * np.trace(gram) / kept.shape[1])
    weights = np.linalg.solve(gram, centred(losses.T)).T
    for start in range(0, len(weights), _CLASSES):
        yield np.concatenate([weights[start : start + _CLASSES] @ part for part in parts], axis=1)
