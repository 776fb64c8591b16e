"""Pair the masks of two sets of maps."""

import dataclasses

import numpy as np

from fsjax.evaluation.rates import masks_at
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Two sets of maps with equally many masks: mask i of `left` is compared with mask i of `right`.

    `how` says in words where the masks come from.
    """

    left: DominantFrequencyMaps
    right: DominantFrequencyMaps
    how: str


def pair(left: DominantFrequencyMaps, right: DominantFrequencyMaps, shares: tuple[float, ...]) -> Pairing:
    """Pair the masks at the shares that both sides have, else masks cut from both sides' scores at `shares`.

    Where a side has no scores either, the side with fewer masks keeps them, and each meets the nearest of the other.
    Both sides are of the same classes and plane.
    """
    if common := sorted(set(left.shares) & set(right.shares)):
        return Pairing(_at(left, common), _at(right, common), "their own masks, at the shares that both have")
    if left.scores is not None and right.scores is not None:
        ordered = tuple(sorted(shares))
        how = "masks cut anew from the scores of each, as they have no share in common"
        return Pairing(_cut(left, ordered), _cut(right, ordered), how)
    fewer = left.shares if len(left.shares) <= len(right.shares) else right.shares
    return Pairing(
        _at(left, [left.nearest(share) for share in fewer]),
        _at(right, [right.nearest(share) for share in fewer]),
        "their own masks, at the nearest shares, as they have none in common",
    )


def class_names(left: DominantFrequencyMaps, right: DominantFrequencyMaps) -> tuple[str, ...]:
    """Return the names of the classes, from a side that has names; raise InputError for other classes or planes."""
    sizes = [" x ".join(map(str, maps.masks.shape[2:])) for maps in (left, right)]
    if sizes[0] != sizes[1]:
        raise InputError(f"left has maps of {sizes[0]}, right of {sizes[1]}; expected maps of one size")
    different = left.classes != right.classes and left.named and right.named
    if different or len(left.classes) != len(right.classes):
        raise InputError(
            f"left has maps of {_listed(left.classes)}, right of {_listed(right.classes)}; expected the same classes "
            "in the same order"
        )
    return left.classes if left.named else right.classes


def _at(maps: DominantFrequencyMaps, shares: list[float]) -> DominantFrequencyMaps:
    indices = [maps.shares.index(share) for share in shares]
    return dataclasses.replace(maps, masks=maps.masks[indices], shares=tuple(shares))


def _cut(maps: DominantFrequencyMaps, shares: tuple[float, ...]) -> DominantFrequencyMaps:
    return dataclasses.replace(maps, masks=np.stack([masks_at(maps, share) for share in shares]), shares=shares)


def _listed(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''})"
