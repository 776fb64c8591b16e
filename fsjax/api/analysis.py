"""Searches and verdicts for any model, with images as arrays, folders, data sets or pairs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from fsjax import search as searches
from fsjax.api.result import Result
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise, parse_mean_std
from fsjax.data.splits import open_splits
from fsjax.engine.model import Model
from fsjax.evaluation import evaluate as evaluation
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.callables import as_model
from fsjax.runtime import config_fields, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.parallel import versions
from fsjax.runtime.storage import Path
from fsjax.search.method import dataset_digest, make_problem, search_identity

# Images of each split on which a model is tried before anything long begins.
_TRIED = 4


def analyse(
    model: Any,
    *,
    train: Any,
    test: Any,
    classes: Sequence[str] | None = None,
    search: str = "removal",
    shares: Sequence[float] = (0.01, 0.05),
    mean_std: Any = None,
    image_size: int | None = None,
    seed: int = 0,
    directory: str | Path | None = None,
    **fields: Any,
) -> Result:
    """Find the frequencies that each class depends on, and decide for each class whether they are a shortcut.

    Runs the stages `search` and `evaluate` with their defaults. Collective: every process calls this alike.

    Args:
      model: a callable, images [n, H, W, C] float32 normalised, for any n -> logits [n, K], that JAX can trace; a Flax
        NNX module; (module, variables) of Flax Linen; an Equinox module; a Keras model on JAX; a PyTorch module, all in
        evaluation mode. Or `Result.model` of an earlier call, which is not compiled again.
      train: images to search, of which the seed draws 100 of each class (images_per_class): (images, labels) as arrays
        [n, H, W, C] and [n]; the path of a folder `<class>/*.jpg`; a datasets.Dataset with one column of Image and one
        of ClassLabel; or a sequence of (image, label).
      test: other images, in the same forms, for verdicts and rates.
      classes: display names in index order, K at most; None = the names of the folders or the set, or '0', '1', ...
      search: a name of fsjax.search.SEARCHES.
      shares: shares of the plane that the maps keep, in (0, 1]. Each has room for a patch with its conjugate; 0.01 has
        none below 15 x 15.
      mean_std: mean and std of pixels in [0, 1], per channel, to normalise uint8 images or floats in [0, 1] with.
        None = arrays are normalised already.
      image_size: the model's size, for folders, a datasets.Dataset and images to resize.
      directory: folder of partial results, where the same call resumes after a kill; others are refused.
      **fields: patch, images_per_class (0 = all), resamples, precision, and the method's own, such as steps=100.

    Examples:
      >>> train, test = (images, labels), (test_images, test_labels)
      >>> result = fsjax.analyse(model, train=train, test=test, classes=names, shares=(0.05, 0.2))
      >>> result.verdicts[1].sentence
      'wave: shortcut by amplitude: 3.1 % of the plane control it (psi 1.00), and others like them do not.'
    """
    options = searches.options(search, shares=tuple(sorted(shares)), **fields)
    given = {"train": train, "test": test}
    classifier, splits = _open(model, given, options, classes, mean_std, image_size)
    config = _config(options, model, classifier, splits["test"], seed)
    folder = None if directory is None else storage.path(directory)
    maps = _search(config, classifier, splits["train"], folder and folder / "search" / search)
    return _judge(config, classifier, maps, splits["test"], folder)


def dominant_frequencies(
    model: Any,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    search: str = "removal",
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    mean_std: Any = None,
    image_size: int | None = None,
    seed: int = 0,
    directory: str | Path | None = None,
    searched_on: str = "train",
    memory_mib: int = 0,
    save_seconds: int | float = 30,
    **fields: Any,
) -> DominantFrequencyMaps:
    """Find the dominant frequency maps of each class with one of the search methods. Collective.

    The arguments are as for `analyse`, except:

    Args:
      images: [n, H, W, C]; all are searched, unless images_per_class is set.
      labels: [n], class index of each image; every class has an image.
      searched_on: 'train' or 'test', recorded in the maps.
      memory_mib: memory of a device for the images, the weights and a tile; 0 = chosen automatically.
      save_seconds: seconds between two partial results.

    Examples:
      >>> maps = fsjax.dominant_frequencies(model, images, labels, classes=names, shares=(0.05, 0.2))
      >>> maps.masks.shape, maps.positions[0].tolist()  # of 64 positions, at the first share, by class
      ((2, 3, 8, 8), [3, 3, 2])
      >>> np.argwhere(maps.scores[1] > 0.1).tolist()  # nats, on the centred plane: DC is at (4, 4)
      [[1, 2], [7, 6]]
    """
    options = searches.options(search, shares=tuple(shares), split=searched_on, **{"images_per_class": 0, **fields})
    classifier, splits = _open(model, {"images": (images, labels)}, options, classes, mean_std, image_size)
    config = _config(options, model, classifier, splits["images"], seed)
    config.run.memory_mib, config.run.save_seconds = memory_mib, float(save_seconds)
    return _search(config, classifier, splits["images"], None if directory is None else storage.path(directory))


def evaluate(
    model: Any,
    maps: DominantFrequencyMaps,
    test: Any,
    *,
    mean_std: Any = None,
    image_size: int | None = None,
    seed: int = 0,
    directory: str | Path | None = None,
) -> Result:
    """Judge maps by grafts between test images, and measure the rates under them.

    The arguments are as for `analyse`, except:

    Args:
      maps: maps of the model's classes in index order, such as `dominant_frequencies` or `Result.maps`.
      test: images that were not searched. Maps searched on test images get no verdict.

    Examples:
      >>> maps = fsjax.dominant_frequencies(model, images, labels, classes=names, shares=(0.05, 0.2))
      >>> [verdict.kind for verdict in fsjax.evaluate(model, maps, (test_images, test_labels)).verdicts]
      ['default class', 'shortcut', 'coarse']
    """
    classifier, splits = _open(model, {"test": test}, None, maps.classes, mean_std, image_size)
    if maps.masks.shape[2:] != classifier.image_shape[:2]:
        got, expected = (" x ".join(map(str, plane)) for plane in (maps.masks.shape[2:], classifier.image_shape[:2]))
        raise InputError(f"maps: got planes of {got}; expected {expected}, as the images of test have")
    options = searches.options()
    with options.unlocked():
        options.method, options.shares, options.images_per_class = maps.method, maps.shares, 0
    config = _config(options, model, classifier, splits["test"], seed)
    return _judge(config, classifier, maps, splits["test"], None if directory is None else storage.path(directory))


def _open(
    model: Any,
    given: Mapping[str, Any],
    options: ConfigDict | None,
    classes: Sequence[str] | None,
    mean_std: Any,
    image_size: int | None,
) -> tuple[Model, dict[str, Dataset]]:
    """Open the splits, check config.search for their images, and return the model after a trial on a few images."""
    normalisation = parse_mean_std(mean_std)
    splits = open_splits(given, classes=classes, mean_std=normalisation, image_size=image_size)
    first, *_ = splits.values()
    if options is not None:
        searches.check(options, first.images(np.arange(1)).shape[1:3])
    tried = [dataset.images(np.arange(min(_TRIED, len(dataset)))) for dataset in splits.values()]
    converted = as_model(model, np.asarray(normalise(np.concatenate(tried), *normalisation)), len(first.classes))
    if options is not None and options.precision == "bfloat16" and converted.apply_bfloat16 is None:
        raise InputError("precision: got 'bfloat16', which is up to the model; expected highest, tensorfloat32")
    return dataclasses.replace(converted, classes=first.classes, mean_std=normalisation), splits


def _search(config: ConfigDict, classifier: Model, dataset: Dataset, folder: Path | None) -> DominantFrequencyMaps:
    problem = make_problem(
        classifier,
        dataset,
        options=config.search,
        seed=config.seed,
        searched_on=config.search.split,
        run=config.run,
        provenance=versions(),
        directory=folder,
        identity=search_identity(config.search, config.seed, dataset),
    )
    return searches.run(problem)


def _judge(
    config: ConfigDict, classifier: Model, maps: DominantFrequencyMaps, test: Dataset, directory: Path | None
) -> Result:
    # Other test images have partial results of their own.
    folder = directory and directory / "grafts" / dataset_digest(test).hex()[:16]
    measured = evaluation.measure(config, classifier, maps, test, folder)
    return Result(directory, maps.method, maps, measured, config.to_dict(), model=classifier, test=test)


def _config(options: ConfigDict, model: Any, classifier: Model, images: Dataset, seed: int) -> ConfigDict:
    """Return the fields that search, evaluation and report read, with the defaults of a run."""
    source = "folder" if images.names else "arrays"
    named = model[0] if isinstance(model, tuple) else model
    name = getattr(named, "__name__", type(named).__name__)
    return ConfigDict(
        {
            "seed": seed,
            "data": {"source": source, "name": "", "root": "", "image_size": classifier.image_shape[0]},
            "model": {"name": "the model" if name in ("<lambda>", "partial", "Model") else name},
            "search": options,
            "evaluate": config_fields.config(evaluation.FIELDS, "evaluate"),
            "report": {"share": max(options.shares), "samples": 3, "attributions": 2},
            "run": {"memory_mib": 0, "save_seconds": 30.0},
        }
    )
