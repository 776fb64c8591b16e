"""Predictions on band-filtered copies of the test set."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int, PyTree

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.selection import first_of_each_class
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.engine.tile_size import GROUP
from fsjax.evaluation import band_dynamics
from fsjax.evaluation.band_dynamics import f1
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training.evaluators.evaluator import EvaluatorContext

# Classes whose F1 goes to the metrics; the files have all.
_MOST_CLASSES = 20


class DynamicsEvaluator:
    """Classifies every copy of the test images that config.dynamics.keep lists, and writes dynamics/<step>.npz.

    Yields `f1_bands_<copy>`, the mean F1 over the classes, and `f1_class_<class>` on the original; all in [0, 1]. A
    training that is stopped and resumed writes the same files as without a stop; `read` reads them. Raises
    InputError where the test images have other classes than the training images.
    """

    def __init__(self, context: EvaluatorContext):
        options, test = context.config.dynamics, context.dataset("test")
        if test.classes != context.dataset("train").classes:
            raise InputError(
                f"data.test_split: {context.config.data.test_split!r} has other classes than the training images; "
                "expected the same classes"
            )
        self.context, self.copies = context, band_dynamics.parse(options.keep)
        self.dataset = test.subset(first_of_each_class(test.labels, options.images_per_class))

    def run(self, step: int, variables: PyTree) -> Iterator[tuple[str, float]]:
        """Write the confusion matrices of the network with these variables, and yield their F1."""
        counts, classes = self._count(variables), self.dataset.classes
        folder = self.context.directory / "dynamics"
        if parallel.is_main_process():
            for file in folder.glob("*.npz"):
                # From before a stop: the resumed training reaches these steps again.
                if file.stem.isdecimal() and int(file.stem) > step:
                    file.unlink()
            arrays = {"step": np.array(step), "keep": np.array(self.copies), "classes": np.array(classes)}
            files.write_npz(folder / f"{step:08d}.npz", confusion=counts, **arrays)
        scores = f1(counts)
        for copy, class_scores in zip(self.copies, scores, strict=True):
            yield f"f1_bands_{copy}", float(class_scores.mean())
        original = self.copies.index(band_dynamics.ORIGINAL)
        for name, score in zip(classes[:_MOST_CLASSES], scores[original], strict=False):
            yield f"f1_class_{name}", float(score)

    @functools.cached_property
    def _count(self) -> Callable:
        # On first use, since a finished training evaluates nothing.
        return make_counter(self.context, self.copies, self.dataset)


def make_counter(context: EvaluatorContext, copies: tuple[str, ...], dataset: Dataset) -> Callable:
    """Return count(variables) -> confusion int [copies, classes, classes]: rows true, columns predicted.

    Processes share the images, and all return the same. One compiled tile serves all calls.
    """
    network, size, classes = context.network, dataset.image_size, len(dataset.classes)
    variables, masks = network.init(0), band_dynamics.masks(copies, size, size)
    model, memory_mib = Model(network.apply, variables, (size, size, 3)), context.config.run.memory_mib
    # One size in all processes, although their free memory differs.
    tile_images = parallel.from_main(
        tile_size.fit(model, resident_images=min(GROUP, len(dataset)), memory_mib=memory_mib)
    )
    engine = Engine(model, statistics=("predicted",), tile_images=tile_images)
    batch_size = tile_size.image_batch_size([len(dataset)], min(tile_images, GROUP))
    starts, together = range(0, len(dataset), batch_size), GROUP // batch_size
    mine = starts[parallel.share(len(starts))]
    groups = [
        np.arange(start, min(start + together * batch_size, mine.stop, len(dataset))) for start in mine[::together]
    ]

    def count(variables: PyTree) -> Int[np.ndarray, "copies classes classes"]:
        # Without a safe point for SIGTERM, since the training loop saves first.
        trained, counts = engine.with_params(variables), np.zeros((len(masks), classes, classes), np.int64)
        for indices in groups:
            labels, images = dataset.labels[indices], normalise(dataset.images(indices), *context.mean_std)
            weights = np.eye(classes, dtype=np.float32)[labels]
            batches = engine.image_batches(images, labels, weights, size=batch_size)
            counts += np.rint(trained.sums(batches, masks)["predicted"]).astype(np.int64)
        return parallel.total(counts)

    return count


def read(directory: Path, steps: list[int]) -> Int[np.ndarray, "evaluations copies classes classes"]:
    """Return the confusion matrices that the evaluator wrote at these steps: rows true, columns predicted.

    Raises InputError for a file that is missing or damaged.
    """
    paths = [directory / "dynamics" / f"{step:08d}.npz" for step in steps]
    if missing := [path for path in paths if not path.exists()]:
        raise InputError(f"{missing[0]}: missing; delete the folder {directory} to train again")
    return np.stack([files.read_npz(file)["confusion"] for file in paths])


def last_step(directory: Path) -> int:
    """Return the step of the last evaluation in a workdir; raise InputError without any."""
    folder = directory / "dynamics"
    steps = [int(file.stem) for file in folder.glob("*.npz") if file.stem.isdecimal()]
    if not steps:
        raise InputError(f"{folder}: missing; delete the folder {directory} to train again")
    return max(steps)
