"""Masks of one size compared on images: how many stay the class, and how many of other classes are drawn to it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import graft_model
from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search import sweep
from fsjax.search.graft import OtherImages
from fsjax.search.method import Problem

# (class, index of the share) -> orbits that are kept.
Mask: TypeAlias = Callable[[int, int], Bool[np.ndarray, " orbits"]]
# Images, or pairs of them, and their sides.
Judged: TypeAlias = tuple[Float[np.ndarray, " n *image"], Float[np.ndarray, "n 2"]]


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good each mask is for each class and share.

    Attributes:
      recognised: share of the first side of the judged images (`judged_images`) that is called the class, less `others`
        times that of the second side.
      loss: mean cross-entropy of the first side to the class, in nats, less `others` times that of the second side.
      forward_passes: spent.
    """

    recognised: Float[np.ndarray, "classes shares masks"]
    loss: Float[np.ndarray, "classes shares masks"]
    forward_passes: int


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Masks that were compared, each for every class and share.

    Attributes:
      named: the masks, each with a name, which several may have.
      quality: of them.
    """

    named: list[tuple[str, Mask]]
    quality: Quality

    def beside(self, others: "Candidates") -> "Candidates":
        """Return these and then the others, for the same classes and shares."""
        own, further = self.quality, others.quality
        quality = Quality(
            np.concatenate([own.recognised, further.recognised], -1),
            np.concatenate([own.loss, further.loss], -1),
            own.forward_passes + further.forward_passes,
        )
        return Candidates(self.named + others.named, quality)

    @functools.cached_property
    def best(self) -> Int[np.ndarray, "classes shares"]:
        """Place of the mask with the most images recognised, of equal ones of that with the smallest loss."""
        return np.lexsort((self.quality.loss, -self.quality.recognised), axis=-1)[..., 0]

    @property
    def recognised_by_best(self) -> Float[np.ndarray, "classes shares"]:
        """`Quality.recognised` of the best masks."""
        return np.take_along_axis(self.quality.recognised, self.best[..., None], -1)[..., 0]

    def best_masks(self, label: int) -> Bool[np.ndarray, "shares orbits"]:
        """Return the best mask of a class at each share."""
        return np.stack([self.named[place][1](label, share) for share, place in enumerate(self.best[label].tolist())])


def evaluate(problem: Problem, masks: Sequence[Mask], shares: int, others: OtherImages | None, name: str) -> Quality:
    """Return how good masks are for each class and share. Collective: every process must call this.

    Args:
      problem: config.search.learned gives the number of judged images, and the weight of others.
      masks: each for every class and share.
      shares: their number.
      others: images of other classes; None = only the class's own images count.
      name: of the folder of partial results.
    """
    model, classes, count = problem.searched_model, range(len(problem.counts)), shares * len(masks)
    if problem.options.learned.objective == "graft":
        model = graft_model(model)
    images_of = np.array([_image_counts(problem, label, others) for label in classes])
    layout = tile_size.layout(model, images_of.sum(1).tolist(), memory_mib=problem.run.memory_mib)
    partial_results, orbits = problem.partial_results(layout, name), spectrum.orbits(*problem.plane)
    engine = Engine(model, statistics=("correct", "loss"), tile_images=partial_results.layout["tile_images"])

    def read(label: int) -> Judged:
        return judged_images(problem, label, others)

    def tiles(label: int, judged: Judged, numbers: Int[np.ndarray, " numbers"]) -> tuple[int, sweep.Tiles]:
        images, weights = judged
        labels, size = np.full(len(images), label), partial_results.layout["chunk"]
        batches = engine.image_batches(images, labels, weights, size=size)

        def make(start: int, stop: int) -> Bool[np.ndarray, "numbers height width"]:
            pairs = [divmod(number, len(masks)) for number in range(start, stop)]
            return np.stack([masks[index](label, share)[orbits] for share, index in pairs])

        sums = sweep.finite_tiles(engine, batches, LazyArray(count, make), numbers, problem.classes[label])
        return len(images), ((items, np.stack([of["correct"].T, of["loss"].T])) for items, of in sums)

    # Of both sides, which are asked for the class.
    sums = sweep.fill(problem, partial_results, (2, 2, count), read, tiles, f"evaluate {name} masks")
    rates = sums / np.maximum(images_of, 1)[:, None, :, None]
    quality = rates[:, :, 0] - problem.options.learned.others * rates[:, :, 1]
    recognised, loss = quality.reshape(len(classes), 2, shares, len(masks)).swapaxes(0, 1)
    return Quality(recognised, loss, int(images_of.sum()) * count)


def judged_images(problem: Problem, label: int, others: OtherImages | None) -> Judged:
    """Return the images that a class's masks are judged on, and their sides.

    The first side (1, 0) should be called the class and the second (0, 1) not: for `specific` images of the class and
    of others, for `graft` pairs in which others receive from the class and in which it receives from others.
    """
    rng, most = generator(problem.seed, Stream.MASK_SELECTION_IMAGES, label), problem.options.learned.judged

    def drawn(images: Float[np.ndarray, "n height width channels"]) -> Float[np.ndarray, "m height width channels"]:
        return images[np.sort(rng.choice(len(images), min(most, len(images)), replace=False))]

    images = drawn(problem.images(label))
    if others is not None:
        rest = drawn(others.images[others.labels != label])
        if problem.options.learned.objective == "graft":
            images, rest = grafts(images, rest)
        images = np.concatenate([images, rest])
    return images, np.repeat(np.eye(2, dtype=np.float32), _image_counts(problem, label, others), axis=0)


def grafts(
    images: Float[np.ndarray, "n height width channels"], others: Float[np.ndarray, "m height width channels"]
) -> tuple[Float[np.ndarray, "most 2 height width channels"], Float[np.ndarray, "most 2 height width channels"]]:
    """Return pairs (recipient, donor) of others with images of the class, and the same the other way round."""
    rows = np.arange(max(len(images), len(others)))
    pairs = np.stack([others[rows % len(others)], images[rows % len(images)]], axis=1)
    return pairs, pairs[:, ::-1]


def _image_counts(problem: Problem, label: int, others: OtherImages | None) -> tuple[int, int]:
    """Return how many images of each side are judged."""
    most = problem.options.learned.judged
    available = 0 if others is None else int((others.labels != label).sum())
    own, rest = min(most, problem.counts[label]), min(most, available)
    return (max(own, rest),) * 2 if problem.options.learned.objective == "graft" else (own, rest)
