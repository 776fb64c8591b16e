"""Which images a classifier still calls a class when only some frequencies are left (METHOD 3)."""

import functools

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax import interrupt
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
) -> Float[np.ndarray, "masks classes"]:
    """Images of each true class that are called a mask's target class once they are filtered by that mask.

    Every image of the set is filtered by every mask, after normalisation. Row m over the class sizes gives the TPR of
    mask m at its target and, over the other classes, its FPR. The engine sums the statistic `called`; the label names
    the progress bar.
    """
    classes = len(dataset.classes)
    totals = np.zeros((len(masks), classes))
    with Progress(label, len(masks) * len(dataset), "masked images") as progress:

        def tick(images: int, masks: int) -> None:
            progress.update(masks * images)
            interrupt.check()

        for start in range(0, len(dataset), GROUP):
            indices = np.arange(start, min(start + GROUP, len(dataset)))
            labels = dataset.labels[indices]
            images = np.asarray(normalise(dataset.images(indices), *mean_std))
            weights = np.eye(classes, dtype=np.float32)[labels]
            chunks = engine.chunks(images, labels, weights, size=min(engine.tile_images, len(dataset)))
            on_tile = functools.partial(tick, len(indices))
            totals += engine.sums(chunks, masks, targets=targets, on_tile=on_tile)["called"]
    return totals
