"""TPR and FPR of each class: on images as they are, and on images that a class's mask filters."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine import sharing, tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.results import Rates, Unfiltered
from fsjax.evaluation.statistics import wilson
from fsjax.fourier.dfm import WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults, Table, digest
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.runtime.workers import read_ahead
from fsjax.search import mask_rule, patch_maps

# Images whose spectra lie on a device at the same time.
GROUP = 2048


def evaluate_unfiltered(model: Model, test: Dataset) -> Unfiltered:
    """Evaluate a model on the test images as they are. Collective: every process must call this."""
    classes = len(test.classes)
    predict = make_predictor(model.apply, *model.mean_std)
    matrix = parallel.total(confusion_matrix(predict(model.params, test), test.labels, classes))
    rates = class_rates(matrix.T, np.bincount(test.labels, minlength=classes))
    return Unfiltered(float(np.trace(matrix) / len(test)), rates.tpr, rates.fpr, matrix)


def confusion_matrix(
    predictions: Iterable[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n outputs"]]],
    labels: Int[np.ndarray, " images"],
    classes: int,
) -> Int[np.ndarray, "classes classes"]:
    """Count images by true class (rows) and predicted class (columns), from batches of (indices, logits).

    Images predicted as an output beyond the classes are in no column.
    """
    counts = np.zeros((classes, classes), np.int64)
    for indices, logits in predictions:
        predicted = logits.argmax(-1)
        known = predicted < classes
        np.add.at(counts, (labels[indices][known], predicted[known]), 1)
    return counts


class Filterer:
    """Engine and storage for images that masks filter after normalisation. Collective; memory_mib as in config.run.

    A restart with as many processes computes only the counts that the directory lacks.
    """

    def __init__(self, model: Model, images: int, memory_mib: int = 0, directory: Path | None = None):
        tile_images = tile_size.fit(model, resident_images=min(GROUP, images), memory_mib=memory_mib)
        self._store = PartialResults(directory, {"tile_images": tile_images}, model.params)
        # The same size in all processes and after a restart, although their free memory differs.
        tile_images = self._store.layout["tile_images"]
        self.engine = Engine(model, statistics=("predicted_target",), tile_images=tile_images)
        self._mean_std = model.mean_std

    def rates(
        self, dataset: Dataset, masks: Bool[np.ndarray, "shares classes height width"], label: str
    ) -> list[Rates]:
        """Return the rates of images filtered by each class's mask, for each share; `label` names the progress bar."""
        shares, classes = masks.shape[:2]
        targets = np.tile(np.arange(classes), shares)
        counts = self.counts(dataset, masks.reshape(-1, *masks.shape[2:]), targets, label)
        sizes = np.bincount(dataset.labels, minlength=classes)
        return [class_rates(at_share, sizes) for at_share in np.split(counts, shares)]

    def counts(
        self,
        dataset: Dataset,
        masks: Bool[np.ndarray, "masks height width"],
        targets: Int[np.ndarray, " masks"],
        label: str,
    ) -> Int[np.ndarray, "masks true_classes"]:
        """Count the images of each true class that are predicted as a mask's target when filtered by that mask."""
        key, engine, classes = digest((masks, targets, dataset.labels))[:16], self.engine, len(dataset.classes)
        totals = np.zeros((len(masks), classes), np.int64)
        batch_size = min(engine.tile_images, GROUP, len(dataset))
        tile_masks = engine.perturbations_per_tile(batch_size)
        blocks = sharing.share_pairs(
            len(dataset), len(masks), batch_size=batch_size, tile_masks=tile_masks, resident_images=GROUP
        )

        def read(block: sharing.Block) -> tuple[Table, Int[np.ndarray, " missing"], np.ndarray | None]:
            """Return the counts of a block, which of its masks they lack, and the images where they lack any."""
            name = "-".join(str(end) for part in block for end in (part.start, part.stop))
            table = self._store.table(f"{key}/{name}", np.empty((classes, len(block.masks))))
            missing = np.flatnonzero(np.isnan(table.values).any(0))
            if not len(missing):
                return table, missing, None
            return table, missing, np.asarray(normalise(dataset.images(np.array(block.images)), *self._mean_std))

        total = sum(len(block.images) * len(block.masks) for block in blocks)
        with Progress(label, total, "masked images") as progress:
            for block, (table, missing, images) in read_ahead(read, blocks):
                count, rows = len(block.images), slice(block.masks.start, block.masks.stop)
                progress.skip((len(block.masks) - len(missing)) * count)
                if images is not None:
                    labels = dataset.labels[block.images]
                    weights = np.eye(classes, dtype=np.float32)[labels]
                    batches = engine.image_batches(images, labels, weights, size=batch_size)
                    del images  # the devices have them now, and the next images are read

                    def on_tile(masks: int, count: int = count) -> None:
                        progress.update(masks * count)

                    tiles = engine.tiles(batches, masks[rows], targets=targets[rows], items=missing)
                    table.fill(((items, sums["predicted_target"].T) for items, sums in tiles), on_tile)
                totals[rows] += np.rint(table.values.T).astype(np.int64)
        return parallel.total(totals)


def class_rates(predicted: Real[np.ndarray, "classes classes"], sizes: Int[np.ndarray, " classes"]) -> Rates:
    """Return rates, NaN where there is no image to count; row c of `predicted` counts images predicted as class c."""
    correct = np.diagonal(predicted)
    fpr = ratio(predicted.sum(1) - correct, sizes.sum() - sizes)
    return Rates(ratio(correct, sizes), wilson(correct, sizes), fpr)


def ratio(part: Real[np.ndarray, "*rows n"], whole: Int[np.ndarray, " n"]) -> Float[np.ndarray, "*rows n"]:
    """Return part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def grid_shares(maps: DominantFrequencyMaps, requested: tuple[float, ...]) -> tuple[float, ...]:
    """Return the requested shares that the maps lack, ascending, where they hold a whole patch.

    Empty without scores, or where the method's rule cuts other masks than the maps from them.
    """
    plane, patch = maps.masks.shape[2:], maps.provenance.get(WHOLE_PATCHES, 1)
    hold = [share for share in requested if patch == 1 or patch_maps.whole(share, plane, patch)]
    further = tuple(sorted(set(hold) - set(maps.shares)))
    if not further or maps.scores is None:
        return ()
    same = all(np.array_equal(masks_at(maps, share), maps.at(share)) for share in maps.shares)
    return further if same else ()


def masks_at(maps: DominantFrequencyMaps, share: float) -> Bool[np.ndarray, "classes height width"]:
    """Return the masks that the method cuts from its scores at any share in (0, 1]."""
    assert maps.scores is not None, "masks are made of scores"
    return np.stack([mask_rule(maps)(scores, share) for scores in maps.scores])
