"""Pairs of images for grafts: donors of a class, and recipients of the others."""

import dataclasses

import numpy as np
from jaxtyping import Int

from fsjax.runtime.random_streams import Stream, generator

Indices = Int[np.ndarray, " n"]


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


def by_class(labels: Int[np.ndarray, " images"], usable: Int[np.ndarray, " usable"]) -> dict[int, Indices]:
    """Return the images that pairs are drawn from, by class, for classes that have any.

    Args:
      labels: class of each image.
      usable: indices of the images to draw from.
    """
    # Sorted once for all classes: to look for each class among all images takes half an hour on ImageNet.
    order = usable[np.argsort(labels[usable], kind="stable")]
    classes, first = np.unique(labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, first[1:]), strict=False))  # of no images, split makes one part


def draw(images: dict[int, Indices], label: int, count: int, seed: int) -> Pairs:
    """Draw pairs for a class; none where it has fewer than two images, or where there is no other class.

    Every donor is used once before one comes again, and so is every recipient of a class; the other classes give
    equally many recipients, up to one.

    Args:
      images: of `by_class`.
      label: the class.
      count: of pairs.
      seed: of the draws.
    """
    own, others = images.get(label, ()), [other for other in images if other != label]
    if len(own) < 2 or not others:
        return Pairs(*np.zeros((3, 0), int))
    order = generator(seed, Stream.GRAFT_DONORS, label).permutation(own)
    places = np.arange(count)
    # The next image of the order, in a second round the one after it, and so on: a donor meets many partners.
    steps = 1 + places // len(own) % (len(own) - 1)
    rng = generator(seed, Stream.GRAFT_RECIPIENTS, label)
    classes = np.resize(rng.permutation(others), count)
    recipients = np.empty(count, int)
    for other in others:
        recipients[classes == other] = np.resize(rng.permutation(images[other]), (classes == other).sum())
    return Pairs(order[places % len(own)], rng.permutation(recipients), order[(places + steps) % len(own)])
