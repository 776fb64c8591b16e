"""The whole answer in one call: search the frequencies of a model, graft them, and give a verdict on each class."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

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
from fsjax.runtime.storage import Path
from fsjax.runtime.versions import versions
from fsjax.search.method import dataset_digest, make_problem, search_identity

# Images of each split that a model is tried on before anything long begins.
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
    """Find the frequencies that each class leans on, and decide for each class whether they are a shortcut.

    The stages `search` and `evaluate` of a run, with their defaults. Collective: in several processes every one calls
    this with the same arguments.

    Args:
      model: a callable, images [n, H, W, C] float32 normalised, for any n -> logits [n, K], that JAX can trace; a Flax
        NNX module; (module, variables) of Flax Linen; an Equinox module; a Keras model on JAX; a PyTorch
        module. In evaluation mode. Or `Result.model` of an earlier call, which is not compiled again.
      train: images that are searched: (images, labels) as arrays [n, H, W, C] and [n]; a folder `<class>/*.jpg`, as its
        path; a datasets.Dataset with one column of Image and one of ClassLabel; or a sequence of (image, label). Of
        each class 100, drawn by the seed (images_per_class).
      test: images that verdicts and rates rest on, in the same forms; others than those of train.
      classes: display names in index order, K at most; None = the folders' or the set's names, or '0', '1', ...
      search: a name of fsjax.search.SEARCHES.
      shares: of the plane that the maps keep, in (0, 1]; a verdict may rest on any up to the largest. Each has room for
        a patch with its conjugate, which 0.01 lacks below 15 x 15.
      mean_std: of pixels in [0, 1], per channel, that the model's images are normalised with; images are then uint8, or
        floats in [0, 1]. None = arrays are normalised already.
      image_size: of the model, for folders, a datasets.Dataset and images that are resized.
      seed: of all random draws.
      directory: of partial results: the same call goes on there after a kill, and begins anew for other images, weights
        or seeds with one line.
      **fields: patch, images_per_class (0 = all), resamples, precision, and the method's own, such as steps=100.

    Raises:
      InputError: a ValueError that names what cannot be used, before anything long begins.

    Examples:
      >>> train, test = (images, labels), (test_images, test_labels)
      >>> result = fsjax.analyse(model, train=train, test=test, classes=names, shares=(0.05, 0.2))
      >>> result.verdicts[1].sentence
      'wave: shortcut by amplitude: 3.1 % of the plane control it (psi 1.00), and others like them do not.'
    """
    where = None if directory is None else storage.path(directory)
    normalisation = parse_mean_std(mean_std)
    options = searches.options(search, shares=tuple(sorted(shares)), **fields)
    splits = open_splits({"train": train, "test": test}, classes=classes, mean_std=normalisation, image_size=image_size)
    # Before the model is tried on any image.
    searches.check(options, splits["test"].images(np.arange(1)).shape[1:3])
    classifier = _classifier(model, splits, normalisation)
    config = _config(options, model, classifier, splits["test"], seed)
    evaluation.check(config)
    maps = searches.run(
        make_problem(
            classifier,
            splits["train"],
            options=options,
            seed=seed,
            searched_on="train",
            run=config.run,
            provenance=versions(),
            directory=where and where / "search" / search,
            identity=search_identity(options, seed, splits["train"]),
        )
    )
    return _evaluated(config, classifier, maps, splits["test"], where)


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

    Args:
      model: as of `analyse`.
      maps: of the model's classes in index order, such as `dominant_frequencies` or `Result.maps` gives them.
      test: images that no search has seen, as of `analyse`. Maps that were searched on test images get no verdict.
      mean_std: as of `analyse`.
      image_size: as of `analyse`.
      seed: of the pairs.
      directory: of partial results.

    Raises:
      InputError: a ValueError that names what cannot be used.

    Examples:
      >>> maps = fsjax.dominant_frequencies(model, images, labels, num_classes=3, classes=names, shares=(0.05, 0.2))
      >>> [verdict.kind for verdict in fsjax.evaluate(model, maps, (test_images, test_labels)).verdicts]
      ['default class', 'shortcut', 'coarse']
    """
    where = None if directory is None else storage.path(directory)
    normalisation = parse_mean_std(mean_std)
    splits = open_splits({"test": test}, classes=maps.classes, mean_std=normalisation, image_size=image_size)
    classifier = _classifier(model, splits, normalisation)
    height, width = classifier.image_shape[:2]
    if maps.masks.shape[2:] != (height, width):
        got = " x ".join(map(str, maps.masks.shape[2:]))
        raise InputError(f"maps: got planes of {got}; expected {height} x {width}, as the images of test have")
    options = searches.options()
    with options.unlocked():
        options.method, options.shares, options.images_per_class = maps.method, maps.shares, 0
    return _evaluated(
        _config(options, model, classifier, splits["test"], seed), classifier, maps, splits["test"], where
    )


def _evaluated(
    config: ConfigDict, classifier: Model, maps: DominantFrequencyMaps, test: Dataset, directory: Path | None
) -> Result:
    """Return what the stage evaluate measures; outcomes of grafts are stored by the images they are of."""
    folder = directory and directory / "grafts" / dataset_digest(test).hex()[:16]
    measured = evaluation.measure(config, classifier, maps, test, folder)
    return Result(
        directory=directory,
        method=maps.method,
        maps=maps,
        classes=maps.classes,
        evaluation=measured,
        config=config.to_dict(),
        planted=None,
        model=classifier,
        test=test,
    )


def _classifier(model: Any, splits: dict[str, Dataset], mean_std: tuple[np.ndarray, np.ndarray]) -> Model:
    """Return the model with what its inputs and outputs mean, once it has given logits for a few images."""
    classes = splits["test"].classes
    tried = np.concatenate([_few(dataset, mean_std) for dataset in splits.values()])
    return dataclasses.replace(as_model(model, tried, len(classes)), classes=classes, mean_std=mean_std)


def _few(dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray]) -> Float32[np.ndarray, "few height width channels"]:
    spread = np.linspace(0, len(dataset) - 1, min(_TRIED, len(dataset))).round().astype(int)
    return np.asarray(normalise(dataset.images(spread), *mean_std))


def _config(options: ConfigDict, model: Any, classifier: Model, test: Dataset, seed: int) -> ConfigDict:
    """Return the fields that evaluation and report read, with the defaults of a run."""
    source = "folder" if test.names else "arrays"
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
