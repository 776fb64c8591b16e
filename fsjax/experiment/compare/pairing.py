"""Which masks of two sets of maps are held against each other."""

import dataclasses

import numpy as np

from fsjax.evaluation.share_grid import masks_at
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two sets of maps with as many masks each: mask i of the left one is compared with mask i of the right one.

    `how` says, in words, where these masks come from.
    """

    left: DominantFrequencyMaps
    right: DominantFrequencyMaps
    how: str


def pair(left: DominantFrequencyMaps, right: DominantFrequencyMaps, shares: tuple[float, ...]) -> Paired:
    """The masks at the shares that both sides have; without such, both sides' scores cut at other ones.

    Where there are no scores either, the side with fewer masks keeps them and the other gives its nearest to each.

    Args:
      left, right: of the same classes and plane.
      shares: to cut scores at.
    """
    if common := sorted(set(left.shares) & set(right.shares)):
        return Paired(_at(left, common), _at(right, common), "their own masks, at the shares that both have")
    if left.scores is not None and right.scores is not None:
        cut = tuple(sorted(shares))
        how = "masks cut anew from the scores of each, as they have no share in common"
        return Paired(_cut(left, cut), _cut(right, cut), how)
    fewer = left.shares if len(left.shares) <= len(right.shares) else right.shares
    return Paired(
        _at(left, [left.nearest(share) for share in fewer]),
        _at(right, [right.nearest(share) for share in fewer]),
        "their own masks, at the nearest shares, as they have none in common",
    )


def class_names(left: DominantFrequencyMaps, right: DominantFrequencyMaps) -> tuple[str, ...]:
    """The names of the classes, by whichever side has some.

    Raises:
      InputError: the sides are of different classes or planes.
    """
    sizes = [" x ".join(map(str, maps.masks.shape[2:])) for maps in (left, right)]
    if sizes[0] != sizes[1]:
        raise InputError(f"left has maps of {sizes[0]}, right of {sizes[1]}; expected maps of one size")
    different = left.classes != right.classes and left.named and right.named
    if different or len(left.classes) != len(right.classes):
        raise InputError(
            f"left has maps of {_listed(left.classes)}, right of {_listed(right.classes)}; expected of the same "
            "classes in the same order"
        )
    return left.classes if left.named else right.classes


def _at(maps: DominantFrequencyMaps, shares: list[float]) -> DominantFrequencyMaps:
    indices = [maps.shares.index(share) for share in shares]
    return dataclasses.replace(maps, masks=maps.masks[indices], shares=tuple(shares))


def _cut(maps: DominantFrequencyMaps, shares: tuple[float, ...]) -> DominantFrequencyMaps:
    return dataclasses.replace(maps, masks=np.stack([masks_at(maps, share) for share in shares]), shares=shares)


def _listed(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''})"
