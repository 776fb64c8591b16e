"""TPR and FPR of each class: on images as they are, and on images that a class's mask filters."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.selection import Labels, images_by_class
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.results import Rates, Unfiltered
from fsjax.evaluation.statistics import wilson
from fsjax.fourier.dfm import WHOLE_PATCHES, DominantFrequencyMaps
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults, digest
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path
from fsjax.runtime.workers import read_ahead
from fsjax.search import mask_rule, patch_maps

# Images of the pool that FPR rests on, at most.
POOL = 2000

Masks = Bool[np.ndarray, "shares targets height width"]
Rows = Int[np.ndarray, "..."]


def evaluate_unfiltered(model: Model, test: Dataset, partial_results: PartialResults | None = None) -> Unfiltered:
    """Evaluate a model on the test images as they are. Collective: every process must call this.

    A restart predicts only the images that the partial results lack.
    """
    classes, predicted = len(test.classes), np.empty(len(test))
    item = f"unfiltered/{digest((test.labels, np.array(model.matmul_precision)))[:16]}"
    table = (partial_results or PartialResults(None, {}, model.params)).table(item, predicted)
    missing, _ = table.claim()
    with Progress("evaluate unfiltered", len(test), "images", done=len(test) - len(missing)) as progress:
        predict = make_predictor(model.apply, *model.mean_std, precision=model.matmul_precision)
        batches = predict(model.params, test, known=np.isfinite(predicted))
        table.fill(((rows, logits.argmax(-1).astype(float)) for rows, logits in batches), progress.update)
    matrix = confusion_matrix(test.labels, parallel.merge(predicted).astype(int), classes)
    rates = unfiltered_rates(matrix, np.bincount(test.labels, minlength=classes))
    return Unfiltered(float(np.trace(matrix) / len(test)), rates.tpr, rates.fpr, matrix)


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> Int[np.ndarray, "classes classes"]:
    """Count images by true class (rows) and predicted class (columns).

    Images predicted as an output beyond the classes are in no column.
    """
    counts = np.zeros((classes, classes), np.int64)
    known = predicted < classes
    np.add.at(counts, (labels[known], predicted[known]), 1)
    return counts


def unfiltered_rates(confusion: Int[np.ndarray, "classes classes"], images: Int[np.ndarray, " classes"]) -> Rates:
    """Return the rates of a confusion matrix; `images` has also those that are in no column."""
    right = np.diagonal(confusion)
    return class_rates(right, confusion.sum(0) - right, images, images.sum() - images)


class Filterer:
    """Engine and storage for images that masks filter after normalisation. Collective; memory_mib as in config.run.

    A restart computes only the counts that the directory lacks. `seed` draws the pool that FPR rests on.
    """

    def __init__(self, model: Model, images: int, memory_mib: int = 0, directory: Path | None = None, *, seed: int = 0):
        tile_images = tile_size.fit(model, resident_images=min(POOL, images), memory_mib=memory_mib)
        self.partial_results = PartialResults(directory, {"tile_images": tile_images}, model.params)
        # The same size in all processes and after a restart, although their free memory differs.
        tile_images = self.partial_results.layout["tile_images"]
        self.engine = Engine(model, statistics=("predicted_target",), tile_images=tile_images)
        self._mean_std, self._seed = model.mean_std, seed
        self._arithmetic = np.array((model.matmul_precision, model.transform))

    def rates(self, dataset: Dataset, masks: Masks, label: str) -> list[Rates]:
        """Return the rates of images filtered by each class's mask, for each share; `label` names the progress bar.

        TPR is of all images of the class, FPR of the other classes' images in the pool.
        """
        classes, pool = masks.shape[1], draw_pool(len(dataset), self._seed)
        right, wrong = self.counts(dataset, masks, np.arange(classes), pool, label)
        sizes, pooled = (np.bincount(labels, minlength=classes) for labels in (dataset.labels, dataset.labels[pool]))
        return [class_rates(*at_share, sizes, len(pool) - pooled) for at_share in zip(right, wrong, strict=True)]

    def counts(
        self, dataset: Dataset, masks: Masks, targets: Rows, pool: Rows, label: str
    ) -> Int[np.ndarray, "2 shares targets"]:
        """Count the images that are predicted as a mask's target when filtered by that mask.

        First all images of the target class, and then the other images in the pool.
        """
        key = digest((masks, targets, dataset.labels, pool, self._arithmetic))[:16]
        beyond = images_by_class(dataset.labels, np.setdiff1d(np.arange(len(dataset)), pool))
        own = [beyond.get(int(target), pool[:0]) for target in targets]
        total = len(masks) * (len(targets) * len(pool) + sum(map(len, own)))
        with Progress(label, total, "masked images") as progress:
            found = self._pool_counts(key, dataset, masks, targets, pool, progress)
            found[0] += self._own_counts(key, dataset, masks, targets, own, progress)
        return found.astype(np.int64)

    def _pool_counts(
        self, key: str, dataset: Dataset, masks: Masks, targets: Rows, pool: Rows, progress: Progress
    ) -> Float[np.ndarray, "2 shares targets"]:
        """Count the images of the pool, all of which every mask filters: of the target class, and the others."""
        values, of_masks = np.empty((2, len(masks) * len(targets))), np.tile(targets, len(masks))
        table = self.partial_results.table(f"{key}/pool", values)
        _, mine = table.claim()
        progress.skip((len(of_masks) - len(mine)) * len(pool))  # the other processes' too
        if len(mine) and len(pool):
            images, labels = normalise(dataset.images(pool), *self._mean_std), dataset.labels[pool]
            weights = np.eye(len(dataset.classes), dtype=np.float32)[labels]
            size = tile_size.image_batch_size([len(pool)], self.engine.tile_images)
            batches = self.engine.image_batches(images, labels, weights, size=size)

            def counted() -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "2 n"]]]:
                flat = masks.reshape(-1, *masks.shape[2:])
                for items, sums in self.engine.tiles(batches, flat, targets=of_masks, items=mine):
                    called = np.rint(sums["predicted_target"])
                    right = called[np.arange(len(items)), of_masks[items]]
                    yield items, np.stack([right, called.sum(1) - right])

            table.fill(counted(), lambda count: progress.update(count * len(pool)))
        return np.nan_to_num(parallel.merge(values)).reshape(2, *masks.shape[:2])

    def _own_counts(
        self, key: str, dataset: Dataset, masks: Masks, targets: Rows, own: list[Rows], progress: Progress
    ) -> Float[np.ndarray, "shares targets"]:
        """Count each target's own images, which its own masks alone filter."""
        shares, right = len(masks), np.zeros(masks.shape[:2])
        if not any(map(len, own)):
            return right
        size = tile_size.image_batch_size([len(rows) for rows in own], self.engine.tile_images)
        # A tile takes no more masks than a class has.
        engine = self.engine.with_tile(min(self.engine.tile_images, size * -(-shares // parallel.mesh().size)))
        at = np.repeat(np.arange(len(own)), [-(-len(rows) // size) for rows in own])
        pieces = [rows[start : start + size] for rows in own for start in range(0, len(rows), size)]
        units, values = shares * np.array([len(rows) for rows in pieces]), np.empty((shares, len(pieces)))
        table = self.partial_results.table(f"{key}/own", values)
        _, mine = table.claim()
        progress.skip(int(units.sum() - units[mine].sum()))

        def read(piece: int) -> Float[np.ndarray, "n height width channels"]:
            return normalise(dataset.images(pieces[piece]), *self._mean_std)

        def counted() -> Iterator[tuple[Int[np.ndarray, " 1"], Float[np.ndarray, "shares 1"]]]:
            for piece, images in read_ahead(read, mine.tolist()):
                batches = engine.image_batches(images, dataset.labels[pieces[piece]], size=size)
                called = engine.sums(batches, masks[:, at[piece]], targets=np.full(shares, targets[at[piece]]))
                yield np.array([piece]), np.rint(called["predicted_target"])
                progress.update(int(units[piece]))

        table.fill(counted(), lambda _: None)
        np.add.at(right.T, at, parallel.merge(values).T)
        return right


def draw_pool(images: int, seed: int) -> Rows:
    """Return the sorted indices of the images that FPR rests on: POOL drawn by seed, or all of fewer."""
    if images <= POOL:
        return np.arange(images)
    return np.sort(generator(seed, Stream.RATE_POOL).choice(images, POOL, replace=False))


def filtered_passes(images: int, classes: int, shares: int) -> int:
    """Return the forward passes of the rates under masks of each class at some shares, on this many images."""
    pool = min(images, POOL)
    return shares * (classes * pool + images - pool)


def class_rates(
    right: Real[np.ndarray, " classes"],
    wrong: Real[np.ndarray, " classes"],
    images: Int[np.ndarray, " classes"],
    others: Int[np.ndarray, " classes"],
    copies: int = 1,
) -> Rates:
    """Return rates, NaN where there is no image to count.

    `right` of a class's images and `wrong` of other classes' images, `others`, are predicted as the class. `copies`
    images show the same picture; intervals count a picture once.
    """
    limits = [wilson(part / copies, whole / copies) for part, whole in ((right, images), (wrong, others))]
    return Rates(ratio(right, images), limits[0], ratio(wrong, others), limits[1], others)


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
