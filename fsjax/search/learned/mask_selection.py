"""Masks of one size compared on images: how many stay the class, and how many of other classes are drawn to it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import sweep
from fsjax.search.other_images import OtherImages
from fsjax.search.problem import Problem

# (class, index of the share) -> orbits that are kept.
Mask: TypeAlias = Callable[[int, int], Bool[np.ndarray, " orbits"]]


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good each mask is for each class and share.

    Attributes:
      recognised: share of the judged images of the class that are called it, less `others` times that of other images.
      loss: mean cross-entropy to the class of the judged images, in nats, less `others` times that of other images.
      forward_passes: spent.
    """

    recognised: Float[np.ndarray, "classes shares masks"]
    loss: Float[np.ndarray, "classes shares masks"]
    forward_passes: int


def evaluate(problem: Problem, masks: Sequence[Mask], shares: int, others: OtherImages | None, name: str) -> Quality:
    """Return how good masks are for each class and share. Collective: every process must call this.

    Args:
      problem: config.search.learned gives the number of judged images, and the weight of others.
      masks: each for every class and share.
      shares: their number.
      others: images that the masks are to draw none of; None = only the class's own images count.
      name: of the folder of partial results.
    """
    model, classes, count = problem.searched_model, range(len(problem.counts)), shares * len(masks)
    images_of = np.array([_image_counts(problem, label, others) for label in classes])
    layout = tile_size.layout(model, images_of.sum(1).tolist(), memory_mib=problem.run.memory_mib)
    partial_results, orbits = problem.partial_results(layout, name), spectrum.orbits(*problem.plane)
    engine = Engine(model, statistics=("correct", "loss"), tile_images=partial_results.layout["tile_images"])

    def tiles(label: int, numbers: Int[np.ndarray, " numbers"]) -> tuple[int, sweep.Tiles]:
        images, weights = judged_images(problem, label, others)
        labels, size = np.full(len(images), label), partial_results.layout["chunk"]
        batches = engine.image_batches(images, labels, weights, size=size)

        def make(start: int, stop: int) -> Bool[np.ndarray, "numbers height width"]:
            pairs = [divmod(number, len(masks)) for number in range(start, stop)]
            return np.stack([masks[index](label, share)[orbits] for share, index in pairs])

        sums = sweep.finite_tiles(engine, batches, LazyArray(count, make), numbers, problem.classes[label])
        return len(images), ((items, np.stack([of["correct"].T, of["loss"].T])) for items, of in sums)

    # Of the class's own images and of others, which are asked for the class as well.
    sums = sweep.fill(problem, partial_results, (2, 2, count), tiles, f"evaluate {name} masks")
    rates = sums / np.maximum(images_of, 1)[:, None, :, None]
    quality = rates[:, :, 0] - problem.options.learned.others * rates[:, :, 1]
    recognised, loss = quality.reshape(len(classes), 2, shares, len(masks)).swapaxes(0, 1)
    return Quality(recognised, loss, int(images_of.sum()) * count)


def judged_images(
    problem: Problem, label: int, others: OtherImages | None
) -> tuple[Float[np.ndarray, "n height width channels"], Float[np.ndarray, "n 2"]]:
    """Return the images that a class's masks are judged on, and which are its own (1, 0) and which of others (0, 1)."""
    rng, images = generator(problem.seed, Stream.MASK_SELECTION_IMAGES, label), problem.images(label)
    own, rest = _image_counts(problem, label, others)
    images = images[np.sort(rng.choice(len(images), own, replace=False))]
    if others is not None:
        rows = np.flatnonzero(others.labels != label)
        images = np.concatenate([images, others.images[np.sort(rng.choice(rows, rest, replace=False))]])
    return images, np.repeat(np.eye(2, dtype=np.float32), [own, rest], axis=0)


def _image_counts(problem: Problem, label: int, others: OtherImages | None) -> tuple[int, int]:
    """Return how many images of a class and of others are judged."""
    most = problem.options.learned.judged
    available = 0 if others is None else int((others.labels != label).sum())
    return min(most, problem.counts[label]), min(most, available)
