"""What a network makes of band-filtered copies of the test set (METHOD 6), called by the training loop."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int, PyTree
from ml_collections import ConfigDict

from fsjax.data.chosen import first_of_each
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.engine import sharing, tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.tile import Chunk
from fsjax.evaluation import bands
from fsjax.evaluation.filtered import GROUP
from fsjax.evaluation.learning_curves import f1
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training.evaluators.context import Watched

# Of which the F1 goes to the metrics; the files have all.
_MOST_CLASSES = 20


def make(watched: Watched) -> Callable:
    """Returns evaluate(step, variables): every image of the test set on every copy that config.dynamics.keep lists.

    It leaves dynamics/<step>.npz in the workdir (`read` says what is in it) and yields `f1_bands_<copy>`, the mean F1
    over the classes, and `f1_class_<class>`, of each class on the original; all in [0, 1]. A training that is stopped
    and goes on leaves the files that an uninterrupted one leaves.

    Raises:
      InputError: the test images have other classes than the training images.
    """
    names, test = bands.parse(watched.config.dynamics.keep), watched.dataset("test")
    if test.classes != watched.dataset("train").classes:
        raise InputError(
            f"data.test_split: {watched.config.data.test_split!r} has other classes than the training images; "
            "expected the same ones"
        )
    dataset = test.subset(first_of_each(test.labels, watched.config.dynamics.images_per_class))
    original, folder = names.index(bands.ORIGINAL), watched.directory / "dynamics"

    @functools.cache
    def counter() -> Callable:
        # On first use: a training that is done evaluates nothing.
        return make_counter(watched, names, dataset)

    def evaluate(step: int, variables: PyTree) -> Iterator[tuple[str, float]]:
        counts = counter()({name: variables[name] for name in ("params", "batch_stats")})
        if parallel.is_main_process():
            for file in folder.glob("*.npz"):
                # Of a training that went further, was stopped and went on from before: it comes to them again.
                if file.stem.isdecimal() and int(file.stem) > step:
                    file.unlink()
            arrays = {"step": np.array(step), "keep": np.array(names), "classes": np.array(dataset.classes)}
            files.write_npz(folder / f"{step:08d}.npz", confusion=counts, **arrays)
        scores = f1(counts)
        for name, of_copy in zip(names, scores, strict=True):
            yield f"f1_bands_{name}", float(of_copy.mean())
        for name, score in zip(dataset.classes[:_MOST_CLASSES], scores[original], strict=False):
            yield f"f1_class_{name}", float(score)

    return evaluate


def make_counter(watched: Watched, names: tuple[str, ...], dataset: Dataset) -> Callable:
    """Returns count(variables) -> confusion int [copies, classes, classes]: rows true, columns predicted.

    Processes share the pairs of images and copies, and all return the same. The spectra of as many images as fit one
    group stay on the devices, and one compiled tile serves every call.
    """
    size, variables, classes = dataset.image_size, watched.network.init(0), len(dataset.classes)
    keep = bands.masks(names, size, size)
    tile_images = tile_size.fit(
        watched.network.apply,
        variables,
        (size, size, 3),
        resident_images=min(GROUP, len(dataset)),
        memory_mib=watched.config.run.memory_mib,
    )
    # One size in all processes, whatever memory each has free.
    tile_images = parallel.from_main(tile_images)
    engine = Engine(watched.network.apply, variables, statistics=("predicted",), tile_images=tile_images)
    chunk = tile_size.chunk_size([len(dataset)], min(tile_images, GROUP))
    tile_masks = engine.per_tile(chunk)
    mine = sharing.share_pairs(len(dataset), len(keep), batch_size=chunk, tile_masks=tile_masks, resident_images=GROUP)

    @functools.lru_cache(None if sum(len(indices) for indices, _ in mine) <= GROUP else 1)
    def chunks_of(indices: range) -> list[Chunk]:
        labels = dataset.labels[indices]
        images = np.asarray(normalise(dataset.images(np.array(indices)), *watched.mean_std))
        return engine.chunks(images, labels, np.eye(classes, dtype=np.float32)[labels], size=chunk)

    def count(variables: PyTree) -> Int[np.ndarray, "copies classes classes"]:
        # SIGTERM waits for the end: the training loop then saves, which nothing here may forestall.
        trained, counts = engine.with_params(variables), np.zeros((len(keep), classes, classes), np.int64)
        for indices, copies in mine:
            rows = slice(copies.start, copies.stop)
            found = trained.sums(chunks_of(indices), keep[rows])["predicted"]
            counts[rows] += np.rint(found).astype(np.int64)
        return sharing.total(counts)

    return count


def check(options: ConfigDict) -> None:
    """Raises InputError for a field of config.dynamics that the evaluator cannot use."""
    bands.parse(options.keep)
    if options.images_per_class < 0:
        raise InputError(f"dynamics.images_per_class: got {options.images_per_class}; expected 0 (all) or more")


def read(directory: Path, steps: list[int]) -> Int[np.ndarray, "evaluations copies classes classes"]:
    """The confusions that the evaluator left at these steps in a workdir: rows true, columns predicted.

    Raises:
      InputError: a file that is missing or damaged.
    """
    paths = [directory / "dynamics" / f"{step:08d}.npz" for step in steps]
    for file in paths:
        if not file.exists():
            raise _missing(file, directory)
    return np.stack([files.read_npz(file)["confusion"] for file in paths])


def last_step(directory: Path) -> int:
    """The step of the last evaluation that the evaluator left in a workdir; raises InputError without one."""
    folder = directory / "dynamics"
    found = [int(file.stem) for file in folder.glob("*.npz") if file.stem.isdecimal()]
    if not found:
        raise _missing(folder, directory)
    return max(found)


def _missing(path: Path, directory: Path) -> InputError:
    return InputError(f"{path}: missing; delete the folder {directory} to train anew")
