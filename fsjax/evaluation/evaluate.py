"""The evaluate stage: unfiltered, filtered by every map and by its controls, and against the planted truth."""

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset, Images
from fsjax.data.image_selection import first_of_each_class
from fsjax.engine import sharing, tile_size
from fsjax.engine.engine import Engine
from fsjax.evaluation import controls, planted, results, share_grid
from fsjax.evaluation.confusion import confusion, false_positive_rate, true_positive_rate
from fsjax.evaluation.filtered import GROUP, called
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.statistics import numbers, wilson
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import budget
from fsjax.models.classifier import Classifier
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search import check_shares


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of config.evaluate that cannot be used."""
    if not 0 <= config.evaluate.threshold <= 1:
        raise InputError(f"evaluate.threshold: got {config.evaluate.threshold:g}; expected a TPR in [0, 1]")
    for field in ("random_masks", "control_images", "grid_images"):
        if config.evaluate[field] < 0:
            raise InputError(f"evaluate.{field}: got {config.evaluate[field]}; expected 0 or more")
    if config.evaluate.grid:
        check_shares(config.evaluate.grid, "evaluate.grid")


def run(
    config: ConfigDict, directory: Path, classifier: Classifier, maps: DominantFrequencyMaps, test: Dataset
) -> None:
    """Writes evaluation.json, keeping what other search methods have left in it.

    Args:
      config: of the run; the maps are held against controls at the share nearest to config.report.share, and masks cut
        from their scores are judged at the shares of config.evaluate.grid.
      directory: the workdir.
      classifier: that is judged.
      maps: of any method.
      test: the whole test set.
    """
    classifier.check_classes(test.classes, "data split test")
    file = directory / "evaluation.json"
    result = parallel.decide(lambda: results.read(file))
    sizes = np.bincount(test.labels, minlength=len(test.classes))
    result |= {"classes": list(test.classes), "images": sizes.tolist()}
    engine = make_engine(classifier, test, config.run.memory_mib)
    result["unfiltered"] = unfiltered(classifier, test, sizes)
    result[maps.method] = rates = filtered(classifier, engine, maps, test, sizes)
    if config.evaluate.random_masks:
        share = maps.nearest(config.report.share)
        at_share = rates[f"{share:g}"]
        at_share |= controlled(config, classifier, maps, test, share, at_share["tpr"], engine.tile_images)
    if shares := share_grid.shares_of(maps, tuple(config.evaluate.grid)):
        first = test.subset(first_of_each_class(test.labels, config.evaluate.grid_images))
        rates["grid"] = share_grid.measure(classifier, engine, maps, first, shares)
    if test.planted is not None:
        result["planted"] = reliance(classifier, engine, test, sizes)
        result[maps.method]["planted"] = recovery(maps, test)
    parallel.decide(lambda: files.write_json(file, result))


def make_engine(classifier: Classifier, test: Images, memory_mib: int) -> Engine:
    """The engine that `filtered` takes; memory_mib as in config.run. All processes have to call it."""
    tile_images = tile_size.fit(
        *(classifier.model.apply, classifier.model.params, classifier.model.image_shape),
        resident_images=min(GROUP, len(test)),
        memory_mib=memory_mib,
    )
    # One size in all processes, whatever memory each has free.
    tile_images = parallel.from_main(tile_images)
    return Engine(classifier.model.apply, classifier.model.params, statistics=("called",), tile_images=tile_images)


def unfiltered(classifier: Classifier, test: Dataset, sizes: np.ndarray) -> dict:
    """Accuracy, confusion matrix, TPR and FPR of the test set as it is."""
    predict = make_predictor(classifier.model.apply, *classifier.mean_std)
    counts = sharing.total(confusion(predict(classifier.model.params, test), test.labels, len(test.classes)))
    targets = np.arange(len(sizes))
    return {
        "accuracy": float(np.trace(counts) / len(test)),
        "tpr": numbers(true_positive_rate(counts.T, targets, sizes)),
        "fpr": numbers(false_positive_rate(counts.T, targets, sizes)),
        "confusion": counts.tolist(),
    }


def filtered(
    classifier: Classifier, engine: Engine, maps: DominantFrequencyMaps, test: Dataset, sizes: np.ndarray
) -> dict:
    """TPR, with its 95 % interval, and FPR of each class on the test set filtered by its map, at each share."""
    shares, classes = maps.masks.shape[:2]
    targets = np.tile(np.arange(classes), shares)
    masks = maps.masks.reshape(-1, *maps.masks.shape[2:])
    counts = called(engine, test, classifier.mean_std, masks, targets, label="evaluate")
    tpr = true_positive_rate(counts, targets, sizes).reshape(shares, classes)
    fpr = false_positive_rate(counts, targets, sizes).reshape(shares, classes)
    right = counts[np.arange(len(counts)), targets].reshape(shares, classes)
    intervals = wilson(right, np.tile(sizes, (shares, 1)))
    result = {"searched_on": maps.searched_on, "forward_equivalents": maps.forward_equivalents}
    for index, share in enumerate(maps.shares):
        result[f"{share:g}"] = {
            "tpr": numbers(tpr[index]),
            "tpr_ci": numbers(intervals[index]),
            "fpr": numbers(fpr[index]),
            "positions": maps.positions[index].tolist(),
        }
    return result


def controlled(
    config: ConfigDict,
    classifier: Classifier,
    maps: DominantFrequencyMaps,
    test: Dataset,
    share: float,
    tpr: list[float | None],
    tile_images: int,
) -> dict:
    """What trivial masks of the maps' sizes do at one of their shares, and the verdict."""
    judged = controls.judge(
        Engine(classifier.model.apply, classifier.model.params, statistics=("correct",), tile_images=tile_images),
        classifier.mean_std,
        maps.at(share),
        budget(share, *maps.masks.shape[2:]),
        test,
        images=config.evaluate.control_images,
        random_masks=config.evaluate.random_masks,
        seed=config.seed,
    )
    found = controls.summary(judged, np.array(tpr, float), config.evaluate.threshold, tested=maps.searched_on != "test")
    return {name: numbers(value) if isinstance(value, np.ndarray) else value for name, value in found.items()}


def reliance(classifier: Classifier, engine: Engine, test: Dataset, sizes: np.ndarray) -> dict:
    """For each class with planted orbits: its TPR without them, and with them alone."""
    assert test.planted is not None
    truth = truth_of(test.planted)
    labels = np.flatnonzero(truth.any((1, 2)))
    masks, targets = np.concatenate([~truth[labels], truth[labels]]), np.tile(labels, 2)
    counts = called(engine, test, classifier.mean_std, masks, targets, label="evaluate planted")
    without, alone = np.split(true_positive_rate(counts, targets, sizes), 2)
    return {
        test.classes[label]: {
            "fixed": bool(test.planted["fixed"][label].any()),
            "tpr_without": float(without[index]),
            "tpr_alone": float(alone[index]),
        }
        for index, label in enumerate(labels)
    }


def recovery(maps: DominantFrequencyMaps, test: Dataset) -> dict:
    """How well each class's scores rank its planted orbits."""
    assert test.planted is not None
    truth, scores = truth_of(test.planted), maps.scores
    return {
        test.classes[label]: planted.recovery(scores[label], truth[label])
        for label in np.flatnonzero(truth.any((1, 2)))
        if scores is not None
    }


def truth_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Planted positions of each class [classes, H, W]: fixed orbits, or the band whose orbits are raised at random."""
    return arrays["fixed"] | arrays["any"]
