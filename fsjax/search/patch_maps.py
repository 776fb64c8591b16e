"""Maps of methods that score patches: unions of whole patches, at the shares of the search and at any other."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.fourier import dfm, masks, patches
from fsjax.runtime.errors import InputError
from fsjax.search.method import MaskRule, Problem

# A share with fewer whole patches is warned of: the next patch would change much of the map.
FEW = 4


def cut(
    problem: Problem, planes: Iterable[Float[np.ndarray, "height width"]], forward_equivalents: int, **provenance: Any
) -> dfm.DominantFrequencyMaps:
    """Return the maps at config.search.shares of the `patches.position_scores` of each class.

    Their provenance has the side of the patches that they are unions of under dfm.WHOLE_PATCHES.
    """
    patch = problem.options.patch
    return dfm.from_scores(
        planes,
        tuple(problem.options.shares),
        mask=rule(patch),
        **problem.attributes(forward_equivalents, **provenance, **({dfm.WHOLE_PATCHES: patch} if patch > 1 else {})),
    )


def rule(patch: int) -> MaskRule:
    """Return (scores of a class, share in (0, 1]) -> its mask, of the best whole patches within the share."""
    if patch == 1:
        return masks.within_share
    return lambda scores, share: patches.best(scores, masks.budget(share, *scores.shape), patch)


def whole(share: float, plane: tuple[int, int], patch: int) -> int:
    """Return how many patches, with their conjugates, a share of the plane holds for certain."""
    return masks.budget(share, *plane) // patches.largest(*plane, patch)


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raise InputError for a share of config.search.shares that may hold no patch."""
    for share in options.shares:
        if not whole(share, plane, options.patch):
            most = patches.largest(*plane, options.patch)
            # Rounded up, so that it has room for the patch.
            least = np.ceil(1e4 * most / (plane[0] * plane[1])) / 1e4
            smaller = [side for side in range(1, options.patch) if plane[0] % side == plane[1] % side == 0]
            fitting = [side for side in smaller if whole(share, plane, side)]
            other = f", or search.patch={fitting[-1]}" if fitting else ""
            raise InputError(
                f"search.shares: got {share:g}, {masks.budget(share, *plane)} of {plane[0]} x {plane[1]} frequencies, "
                f"which holds no {_name(options.patch)}; expected {least:g} or more{other}"
            )


def few(shares: Iterable[float], plane: tuple[int, int], patch: int) -> list[str]:
    """Return a sentence for each share that has room for fewer than FEW whole patches."""
    counts = [(share, whole(share, plane, patch)) for share in sorted(shares)]
    more = "a larger share, or a smaller search.patch, shows more" if patch > 1 else "a larger share shows more"
    return [
        f"A map at {100 * share:g} % has room for {count} {_name(patch, count)}, which is coarse: {more}."
        for share, count in counts
        if count < FEW
    ]


def _name(patch: int, count: int = 1) -> str:
    if patch == 1:
        return "frequency with its conjugate" if count == 1 else "frequencies with their conjugates"
    square = f"{patch} x {patch} frequencies"
    return f"patch of {square} with its conjugate" if count == 1 else f"patches of {square} with their conjugates"
