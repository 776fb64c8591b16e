"""How a classifier predicts images of which only some frequencies are left (METHOD 3)."""

import functools

import numpy as np
from jaxtyping import Bool, Int

from fsjax.data.dataset import Images
from fsjax.data.preprocess import normalise
from fsjax.engine import sharing
from fsjax.engine.engine import Engine
from fsjax.fourier.masks import Packed
from fsjax.runtime import interrupt
from fsjax.runtime.progress import Progress

# Images whose spectra lie on a device at the same time.
GROUP = 2048


def predicted_counts(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "masks height width"],
    targets: Int[np.ndarray, " masks"],
    *,
    label: str,
    alone: bool = False,
) -> Int[np.ndarray, "masks classes"]:
    """Count the images of each true class that are predicted as a mask's target class when filtered by that mask.

    Every image of the set is filtered by every mask, after normalisation. Row m over the class sizes gives the TPR of
    mask m at its target and, over the other classes, its FPR. Collective, unless `alone`: processes share the pairs of
    images and masks, and all return the same.

    Args:
      engine: sums the statistic `predicted_target`.
      dataset: images with labels.
      mean_std: of pixels in [0, 1], per channel.
      masks: filters.
      targets: class of each mask.
      label: of the progress bar.
      alone: whether this process computes everything itself.
    """
    chunk = min(engine.tile_images, len(dataset), GROUP)
    return _counts(
        engine, dataset, mean_std, masks, targets, statistic="predicted_target", chunk=chunk, label=label, alone=alone
    )


def correct_counts(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "kinds classes height width"] | Packed,
    *,
    label: str,
    alone: bool = False,
) -> Int[np.ndarray, "kinds classes"]:
    """Count the images of each class that are predicted correctly when filtered by the class's own mask of each kind.

    As `predicted_counts`, but an image goes through one filter of each kind, whatever the number of classes. The engine
    sums the statistic `correct`.
    """
    chunk = min(engine.tile_images, GROUP)
    return _counts(engine, dataset, mean_std, masks, None, statistic="correct", chunk=chunk, label=label, alone=alone)


def _counts(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "masks *classes height width"] | Packed,
    targets: Int[np.ndarray, " masks"] | None,
    *,
    statistic: str,
    chunk: int,
    label: str,
    alone: bool,
) -> Int[np.ndarray, "masks of_classes"]:
    """Sum the statistic over the images of each class."""
    classes = len(dataset.classes)
    totals = np.zeros((len(masks), classes), np.int64)
    options = {"batch_size": chunk, "tile_masks": engine.perturbations_per_tile(chunk), "resident_images": GROUP}
    pieces = sharing.share_pairs(len(dataset), len(masks), **options, alone=alone)
    work = sum(len(piece.images) * len(piece.masks) for piece in pieces)
    with Progress(label, work, "masked images") as progress:

        def tick(images: int, masks: int) -> None:
            progress.update(masks * images)
            interrupt.check()

        for indices, chosen in pieces:
            labels, rows = dataset.labels[indices], slice(chosen.start, chosen.stop)
            images = np.asarray(normalise(dataset.images(np.array(indices)), *mean_std))
            chunks = engine.image_batches(images, labels, np.eye(classes, dtype=np.float32)[labels], size=chunk)
            sums = engine.sums(
                chunks,
                masks[rows],
                targets=None if targets is None else targets[rows],
                on_tile=functools.partial(tick, len(indices)),
            )
            totals[rows] += np.rint(sums[statistic]).astype(np.int64)
    return totals if alone else sharing.total(totals)
