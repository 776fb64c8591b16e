"""Which images a classifier still calls a class when only some frequencies are left (METHOD 3)."""

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

# Images whose spectra lie on a device at once.
GROUP = 2048


def called(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "masks height width"],
    targets: Int[np.ndarray, " masks"],
    *,
    label: str,
    alone: bool = False,
) -> Int[np.ndarray, "masks classes"]:
    """Images of each true class that are called a mask's target class once they are filtered by that mask.

    Every image of the set is filtered by every mask, after normalisation. Row m over the class sizes gives the TPR of
    mask m at its target and, over the other classes, its FPR. Processes share the pairs of images and masks, and all
    return the same, unless this one has the set for itself (`alone`). The engine sums the statistic `called`; the
    label names the progress bar.
    """
    chunk = min(engine.tile_images, len(dataset), GROUP)
    return _counts(engine, dataset, mean_std, masks, targets, statistic="called", chunk=chunk, label=label, alone=alone)


def staying(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "kinds classes height width"] | Packed,
    *,
    label: str,
    alone: bool = False,
) -> Int[np.ndarray, "kinds classes"]:
    """Images of each class that are called that class once they are filtered by the class's own mask of each kind.

    As `called`, but that an image goes through as many filters as there are kinds, whatever the number of classes; the
    engine sums the statistic `correct`, in chunks of its tile_images.
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
    """The statistic summed over the images of each class."""
    classes = len(dataset.classes)
    totals = np.zeros((len(masks), classes), np.int64)
    options = {"batch_size": chunk, "tile_masks": engine.per_tile(chunk), "resident_images": GROUP}
    mine = sharing.share_pairs(len(dataset), len(masks), **options, alone=alone)
    with Progress(label, sum(len(one.images) * len(one.masks) for one in mine), "masked images") as progress:

        def tick(images: int, masks: int) -> None:
            progress.update(masks * images)
            interrupt.check()

        for indices, chosen in mine:
            labels, rows = dataset.labels[indices], slice(chosen.start, chosen.stop)
            images = np.asarray(normalise(dataset.images(np.array(indices)), *mean_std))
            chunks = engine.chunks(images, labels, np.eye(classes, dtype=np.float32)[labels], size=chunk)
            on_tile = functools.partial(tick, len(indices))
            of_masks = None if targets is None else targets[rows]
            found = engine.sums(chunks, masks[rows], targets=of_masks, on_tile=on_tile)[statistic]
            totals[rows] += np.rint(found).astype(np.int64)
    return totals if alone else sharing.total(totals)
