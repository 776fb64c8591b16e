"""Which images a classifier still calls a class when only some frequencies are left (METHOD 3)."""

import functools

import numpy as np
from jaxtyping import Bool, Int

from fsjax import interrupt, sharing
from fsjax.data.dataset import Images
from fsjax.data.preprocess import normalise
from fsjax.engine import Engine
from fsjax.progress import Progress

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
    classes = len(dataset.classes)
    totals = np.zeros((len(masks), classes), np.int64)
    chunk = min(engine.tile_images, len(dataset), GROUP)
    cut = {"chunk": chunk, "tile": engine.per_tile(chunk), "group": GROUP}
    mine = sharing.pieces(len(dataset), len(masks), **cut, alone=alone)
    with Progress(label, sum(len(one.images) * len(one.masks) for one in mine), "masked images") as progress:

        def tick(images: int, masks: int) -> None:
            progress.update(masks * images)
            interrupt.check()

        for indices, chosen in mine:
            labels, rows = dataset.labels[indices], slice(chosen.start, chosen.stop)
            images = np.asarray(normalise(dataset.images(np.array(indices)), *mean_std))
            chunks = engine.chunks(images, labels, np.eye(classes, dtype=np.float32)[labels], size=chunk)
            on_tile = functools.partial(tick, len(indices))
            found = engine.sums(chunks, masks[rows], targets=targets[rows], on_tile=on_tile)["called"]
            totals[rows] += np.rint(found).astype(np.int64)
    return totals if alone else sharing.total(totals)
