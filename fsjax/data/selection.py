"""Select images by class: the first images, a random sample, or pairs of donors and recipients for grafts."""

import dataclasses

import numpy as np
from jaxtyping import Int

from fsjax.runtime.random_streams import Stream, generator

Indices = Int[np.ndarray, " n"]
Labels = Int[np.ndarray, " images"]


def first_of_each_class(labels: Labels, count: int) -> Indices:
    """Return sorted indices of the first `count` images of each class; 0 = all."""
    indices = [np.flatnonzero(labels == label)[: count or None] for label in np.unique(labels)]
    return np.sort(np.concatenate(indices))


def sample_of_class(labels: Labels, label: int, count: int, seed: int) -> Indices:
    """Return sorted indices of `count` images of a class, drawn by seed; of all images where it has fewer; 0 = all."""
    members = np.flatnonzero(labels == label)
    if count and count < len(members):
        members = np.sort(generator(seed, Stream.CHOSEN_IMAGES, label).choice(members, count, replace=False))
    return members


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images, as indices into a data set."""

    donors: Indices  # images of the class
    recipients: Indices  # images of the other classes
    partners: Indices  # another image of the class for each donor
    companions: Indices  # another image of its class for each recipient; the recipient where it has none

    def __len__(self) -> int:
        return len(self.donors)


def images_by_class(labels: Labels, usable: Int[np.ndarray, " usable"]) -> dict[int, Indices]:
    """Return the usable images, given by their indices, of each class that has any."""
    # Sort once for all classes: a search for each class among all images takes half an hour on ImageNet.
    order = usable[np.argsort(labels[usable], kind="stable")]
    classes, first = np.unique(labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, first[1:]), strict=False))  # without images, split makes one part


def draw_pairs(images: dict[int, Indices], label: int, count: int, seed: int) -> Pairs:
    """Draw pairs for a class; none where the class has fewer than two images or no other class exists.

    Each round uses every donor once, and every recipient of a class once. The numbers of recipients from the other
    classes differ by one at most. images: from `images_by_class`.
    """
    members, others = images.get(label, ()), [other for other in images if other != label]
    if len(members) < 2 or not others:
        return Pairs(*np.zeros((4, 0), int))
    order = generator(seed, Stream.GRAFT_DONORS, label).permutation(members)
    places = np.arange(count)
    # A donor's partner is the next image of the order, in the second round the one after it, and so on.
    steps = 1 + places // len(members) % (len(members) - 1)
    rng = generator(seed, Stream.GRAFT_RECIPIENTS, label)
    classes = np.resize(rng.permutation(others), count)
    recipients, companions = np.empty((2, count), int)
    # Only the classes that were drawn: of 1,000 classes there are few.
    for other in np.unique(classes).tolist():
        drawn, here = rng.permutation(images[other]), classes == other
        recipients[here] = np.resize(drawn, here.sum())
        companions[here] = np.resize(np.roll(drawn, -1), here.sum())
    mixed = rng.permutation(count)
    donors, partners = order[places % len(members)], order[(places + steps) % len(members)]
    return Pairs(donors, recipients[mixed], partners, companions[mixed])
