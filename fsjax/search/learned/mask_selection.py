"""Masks of one size compared on images: how many stay the class, and how many of other classes are drawn to it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.tile import ImageBatch
from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.search.problem import Problem, check_finite
from fsjax.search.throughput import Throughput

# (class, index of the share) -> orbits that are kept.
Mask: TypeAlias = Callable[[int, int], Bool[np.ndarray, " orbits"]]
# Images that all classes are compared with, drawn from all classes as evenly as can be.
_OTHERS = 512


@dataclasses.dataclass(frozen=True)
class OtherImages:
    """Images of all classes; for a class those of other classes count.

    Attributes:
      images: [n, H, W, C], normalised.
      labels: class of each.
    """

    images: Float[np.ndarray, "n height width channels"]
    labels: Int[np.ndarray, " n"]


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


def draw_others(problem: Problem) -> OtherImages:
    """Return images drawn by seed; of a thousand classes some have no image among them."""
    rng = generator(problem.seed, Stream.MASK_SELECTION_OTHERS)
    each = max(2, -(-_OTHERS // len(problem.counts)))
    classes = np.arange(len(problem.counts))
    if each * len(classes) > 2 * _OTHERS:
        classes = np.sort(rng.choice(classes, _OTHERS // each, replace=False))
    images, labels = [], []
    for label in classes.tolist():
        of_class = problem.images(label)
        rows = np.sort(rng.choice(len(of_class), min(each, len(of_class)), replace=False))
        images.append(of_class[rows])
        labels += [label] * len(rows)
    return OtherImages(np.concatenate(images), np.array(labels))


def evaluate(problem: Problem, masks: Sequence[Mask], shares: int, others: OtherImages | None, name: str) -> Quality:
    """Return how good masks are for each class and share. Collective: every process must call this.

    Args:
      problem: its option `judged` says how many images of the class and of others are judged, `others` the weight of
        the latter.
      masks: each for every class and share.
      shares: how many there are.
      others: images that the masks are to draw none of; None = only the class's own images count.
      name: of the folder, in the problem's, of partial results.
    """
    model, classes, count = problem.searched_model, range(len(problem.counts)), shares * len(masks)
    images_of = np.array([_image_counts(problem, label, others) for label in classes])
    layout = tile_size.layout(model, images_of.sum(1).tolist(), memory_mib=problem.run.memory_mib)
    partial_results = problem.partial_results(layout, name)
    layout = partial_results.layout
    engine = Engine(model, statistics=("correct", "loss"), tile_images=layout["tile_images"])
    # Of the class's own images and of others, which are asked for the class as well.
    sums = np.empty((len(classes), 2, 2, count))
    tables = [partial_results.table(label, sums[label]) for label in classes]
    own = classes[parallel.share(len(classes))]
    missing = {label: np.flatnonzero(np.isnan(sums[label, 0, 0])) for label in own}
    left = sum(map(len, missing.values()))
    with Progress(f"evaluate {name} masks", len(own) * count, "masks", done=len(own) * count - left) as progress:
        throughput = Throughput(problem, progress, partial_results)
        for label in own:
            if not len(missing[label]):
                continue
            images, weights = judged_images(problem, label, others)
            batches = engine.image_batches(images, np.full(len(images), label), weights, size=layout["chunk"])
            tiles = _evaluate_class(problem, engine, batches, masks, label, missing[label])

            def on_tile(masks: int, images: int = weights.shape[0]) -> None:
                throughput.count(masks, masks * images)

            tables[label].fill(tiles, on_tile)
    rates = parallel.merge(sums) / np.maximum(images_of, 1)[:, None, :, None]
    quality = rates[:, :, 0] - problem.options.learned.others * rates[:, :, 1]
    recognised, loss = quality.reshape(len(classes), 2, shares, len(masks)).swapaxes(0, 1)
    return Quality(recognised, loss, int(images_of.sum()) * count)


def judged_images(
    problem: Problem, label: int, others: OtherImages | None
) -> tuple[Float[np.ndarray, "n height width channels"], Float[np.ndarray, "n 2"]]:
    """Return the images that a class's masks are judged on, and which are its own (1, 0) and which of others (0, 1)."""
    rng, (own, rest) = (
        generator(problem.seed, Stream.MASK_SELECTION_IMAGES, label),
        _image_counts(problem, label, others),
    )
    images = problem.images(label)
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


def _evaluate_class(
    problem: Problem, engine: Engine, batches: list[ImageBatch], masks: Sequence[Mask], label: int, numbers: np.ndarray
) -> Iterator[tuple[Int[np.ndarray, " numbers"], Float[np.ndarray, "2 2 numbers"]]]:
    """Yield numbers of (share, mask) pairs, tile by tile, and how many images are recognised and the sum of losses."""

    def make(start: int, stop: int) -> Bool[np.ndarray, "numbers height width"]:
        pairs = [divmod(number, len(masks)) for number in numbers[start:stop].tolist()]
        orbits = spectrum.orbits(*problem.plane)
        return np.stack([masks[index](label, share)[orbits] for share, index in pairs])

    for start, stop, sums in engine.tiles(batches, LazyArray(len(numbers), make)):
        check_finite(sums["loss"], problem.classes[label])
        yield numbers[start:stop], np.stack([sums["correct"].T, sums["loss"].T])
