"""Predict images after all but some of their frequencies are removed."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fsjax.data.dataset import Images
from fsjax.data.normalisation import normalise
from fsjax.engine import sharing
from fsjax.engine.engine import Engine
from fsjax.evaluation.rates import class_rates
from fsjax.evaluation.results import Rates
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.progress import Progress
from fsjax.runtime.read_ahead import read_ahead

# Images whose spectra lie on a device at the same time.
GROUP = 2048


def filtered_rates(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "shares classes height width"],
    *,
    label: str,
) -> list[Rates]:
    """Return the rates at each share of images filtered by each class's mask. Collective, as `predicted_counts`."""
    shares, classes = masks.shape[:2]
    targets = np.tile(np.arange(classes), shares)
    counts = predicted_counts(engine, dataset, mean_std, masks.reshape(-1, *masks.shape[2:]), targets, label=label)
    sizes = np.bincount(dataset.labels, minlength=classes)
    return [class_rates(of_share, sizes) for of_share in np.split(counts, shares)]


def predicted_counts(
    engine: Engine,
    dataset: Images,
    mean_std: tuple[np.ndarray, np.ndarray],
    masks: Bool[np.ndarray, "masks *classes height width"] | UInt8[np.ndarray, "masks *classes height bytes"],
    targets: Int[np.ndarray, " masks"] | None,
    *,
    label: str,
    alone: bool = False,
) -> Int[np.ndarray, "masks of_classes"]:
    """Count the images of each true class that are predicted as a mask's target class when filtered by that mask.

    Every image of the set is filtered by every mask, after normalisation. Row m over the class sizes gives the TPR of
    mask m at its target and, over the other classes, its FPR. Without targets a mask is one for each class, [classes,
    H, W], an image is filtered by that of its own class, and the correct predictions are counted: one filter an image,
    whatever the number of classes. Collective, unless `alone`: processes share the pairs of images and masks, and all
    return the same.

    Args:
      engine: sums the statistic `predicted_target`; without targets `correct`.
      dataset: images with labels.
      mean_std: of pixels in [0, 1], per channel.
      masks: filters, or their bits, as in `tile.Perturbations`.
      targets: class of each mask.
      label: of the progress bar.
      alone: whether this process computes everything itself.
    """
    classes = len(dataset.classes)
    totals = np.zeros((len(masks), classes), np.int64)
    batch_size = min(engine.tile_images, GROUP)
    if targets is not None:
        batch_size = min(batch_size, len(dataset))
    options = {
        "batch_size": batch_size,
        "tile_masks": engine.perturbations_per_tile(batch_size),
        "resident_images": GROUP,
    }
    blocks = sharing.share_pairs(len(dataset), len(masks), **options, alone=alone)

    def read(block: sharing.Block) -> Float[np.ndarray, "images height width channels"]:
        return np.asarray(normalise(dataset.images(np.array(block.images)), *mean_std))

    with Progress(label, sum(len(block.images) * len(block.masks) for block in blocks), "masked images") as progress:
        for block, images in read_ahead(read, blocks):

            def on_tile(masks: int, images: int = len(block.images)) -> None:
                progress.update(masks * images)
                interrupt.check()

            labels, rows = dataset.labels[block.images], slice(block.masks.start, block.masks.stop)
            batches = engine.image_batches(images, labels, np.eye(classes, dtype=np.float32)[labels], size=batch_size)
            del images  # the devices have them now, and the next ones are read
            of_block = None if targets is None else targets[rows]
            (sums,) = engine.sums(batches, masks[rows], targets=of_block, on_tile=on_tile).values()
            totals[rows] += np.rint(sums).astype(np.int64)
    return totals if alone else parallel.total(totals)
