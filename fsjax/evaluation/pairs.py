"""Pairs of images for grafts: donors of a class, and recipients of the others."""

import dataclasses

import numpy as np
from jaxtyping import Int

from fsjax.runtime.random_streams import Stream, generator


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Images of n pairs, as indices into a data set.

    Attributes:
      donors: images of the class.
      recipients: images of the other classes.
      partners: for each donor another image of the class.
    """

    donors: Int[np.ndarray, " n"]
    recipients: Int[np.ndarray, " n"]
    partners: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.donors)


def draw(
    labels: Int[np.ndarray, " images"], usable: Int[np.ndarray, " usable"], label: int, count: int, seed: int
) -> Pairs:
    """Draw pairs for a class; none where it has fewer than two usable images, or where there is no other class.

    Every donor is used once before one comes again, and so is every recipient of a class; the other classes give
    equally many recipients, up to one.

    Args:
      labels: class of each image.
      usable: indices of the images to draw from.
      label: the class.
      count: of pairs.
      seed: of the draws.
    """
    by_class = {other: usable[labels[usable] == other] for other in np.unique(labels[usable]).tolist()}
    own = by_class.pop(label, usable[:0])
    if len(own) < 2 or not by_class:
        return Pairs(*np.zeros((3, 0), int))
    order = generator(seed, Stream.GRAFT_DONORS, label).permutation(own)
    places = np.arange(count)
    # The next image of the order, in a second round the one after it, and so on: a donor meets many partners.
    steps = 1 + places // len(own) % (len(own) - 1)
    rng = generator(seed, Stream.GRAFT_RECIPIENTS, label)
    classes = np.resize(rng.permutation(list(by_class)), count)
    recipients = np.empty(count, int)
    for other, images in by_class.items():
        recipients[classes == other] = np.resize(rng.permutation(images), (classes == other).sum())
    return Pairs(order[places % len(own)], rng.permutation(recipients), order[(places + steps) % len(own)])
