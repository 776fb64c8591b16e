"""Stages of the hierarchical search: patch sizes and numbers of candidates, from config.search.hierarchical."""

import dataclasses
import math

from ml_collections import ConfigDict

from fsjax.fourier import masks
from fsjax.runtime.errors import InputError

# Published for this size; `published_patches` has the rule for all others.
PATCHES_224 = (56, 28, 14, 8, 4, 2)
# Planes with a longer side end with squares of 2 x 2, others with single orbits.
FINE_SIDE = 64
# Default number of candidates of the last stage; each stage before has half as many.
LAST_CANDIDATES = 2000


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the candidates of a stage have in common.

    Attributes:
      patch: side of the patches that they keep, in frequencies.
      count: how many there are.
      budget: positions that one may keep, in a further stage; None = no limit, as published.
      ratio: share of the parent that one keeps, in a further stage, where the parent is within the budget.
      shares: of config.search.shares, that the stage serves.
    """

    patch: int
    count: int
    budget: int | None = None
    ratio: float = 1.0
    # Not in the representation, which partial results are tied to.
    shares: tuple[float, ...] = dataclasses.field(default=(), repr=False)


def plan(options: ConfigDict, plane: tuple[int, int]) -> tuple[Stage, ...]:
    """Return the stages of a search: the published ones, then those that lead to smaller shares."""
    own = options.hierarchical
    patches = published_patches(own, plane)
    counts = _candidates(own, len(patches))
    if own.compat:
        # In passes of three; at size 1, where there is no shifted grid, a pass has one candidate.
        counts = tuple(count // 3 * (1 if patch == 1 else 3) for patch, count in zip(patches, counts, strict=True))
    reached = own.share ** len(patches)
    stages = [Stage(patch, count) for patch, count in zip(patches, counts, strict=True)]
    stages[-1] = dataclasses.replace(stages[-1], shares=tuple(share for share in options.shares if share >= reached))
    for share in sorted({share for share in options.shares if share < reached}, reverse=True):
        steps = max(1, round(math.log(share / reached) / math.log(own.share)))
        ratio = (share / reached) ** (1 / steps)
        between = [masks.budget(reached * ratio**step, *plane) for step in range(1, steps)]
        stages += [Stage(1, counts[-1], budget, ratio) for budget in between]
        stages.append(Stage(1, counts[-1], masks.budget(share, *plane), ratio, (share,)))
        reached = share
    return tuple(stages)


def check(options: ConfigDict, plane: tuple[int, int]) -> None:
    """Raise InputError for fields that cannot be used on this plane."""
    own, size = options.hierarchical, f"{plane[0]} x {plane[1]}"
    if own.compat and plane[0] != plane[1]:
        raise InputError(f"search.hierarchical.compat: got images of {size}; expected square ones")
    patches, sides = published_patches(own, plane), _sides(plane, own.compat)
    if list(patches) != sorted(set(patches) & set(sides), reverse=True):
        raise InputError(
            f"search.hierarchical.patches: got {','.join(map(str, patches))!r} for images of {size}; "
            f"expected descending sizes of {', '.join(map(str, sides)) or 'none'}"
        )
    least, candidates = 3 if own.compat else 1, _candidates(own, len(patches))
    if len(candidates) != len(patches) or min(candidates) < least:
        raise InputError(
            f"search.hierarchical.candidates: got {own.candidates!r}; "
            f"expected {len(patches)} numbers, one for each patch size, {least} or more"
        )
    if own.keep < 1:
        raise InputError(f"search.hierarchical.keep: got {own.keep}; expected 1 or more")
    if not 0 < own.share < 1:
        raise InputError(f"search.hierarchical.share: got {own.share}; expected a number between 0 and 1")


def published_patches(own: ConfigDict, plane: tuple[int, int]) -> tuple[int, ...]:
    """Return the patch sizes of the published stages: the field's, or else chosen for the plane.

    The first is the largest that fits into a quarter of the shorter side, each further one the largest that fits into
    half of the one before.
    """
    if own.patches:
        return _numbers("patches", own.patches)
    if plane == (224, 224):
        return PATCHES_224
    patches: list[int] = []
    largest = min(plane) // 4
    while fitting := [side for side in _sides(plane, own.compat) if side <= largest]:
        patches.append(fitting[-1])
        largest = patches[-1] // 2
    return tuple(patches[:-1] if max(plane) > FINE_SIDE and len(patches) > 1 else patches) or (1,)


def _sides(plane: tuple[int, int], compat: bool) -> list[int]:
    """Return the patch sizes that the plane can be cut into, ascending."""
    sides = [side for side in range(1, min(plane) + 1) if not any(length % side for length in plane)]
    if compat:
        # Half of the blocks lie in the top half, and the half-turn maps shifted blocks to blocks.
        sides = [side for side in sides if plane[0] % (2 * side) == 0 and (side == 1 or side % 2 == 0)]
    return sides


def _candidates(own: ConfigDict, stages: int) -> tuple[int, ...]:
    if own.candidates:
        return _numbers("candidates", own.candidates)
    return tuple(max(3, LAST_CANDIDATES >> (stages - 1 - stage)) for stage in range(stages))


def _numbers(field: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise InputError(f"search.hierarchical.{field}: got {text!r}; expected whole numbers between commas") from error
