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
from fsjax.evaluation import first_look
from fsjax.experiment import forecast
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.callables import as_model
from fsjax.runtime import config_fields, storage
from fsjax.runtime.config_fields import check_number
from fsjax.runtime.errors import InputError
from fsjax.runtime.parallel import versions
from fsjax.runtime.random_streams import SEEDS
from fsjax.runtime.storage import Path
from fsjax.search.method import dataset_digest, make_problem, search_identity

# Images of each split on which a model is tried before anything long begins.
_TRIED = 4
# Items of a sequence that a first look shows in the call for the full answer.
_LONGEST = 12


def analyse(
    model: Any,
    *,
    train: Any,
    test: Any,
    classes: Sequence[str] | None = None,
    search: str | None = None,
    shares: Sequence[float] | None = None,
    pairs: int | None = None,
    grid: Sequence[float] | None = None,
    trigger_size: int | None = None,
    quick: bool = False,
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
      search: a name of fsjax.search.SEARCHES; None = graft, or removal for one class or a class of one image.
      shares: shares of the plane that the maps keep, in (0, 1]; None = (0.01, 0.05). Each has room for a patch with its
        conjugate; 0.01 has none below 15 x 15.
      pairs: pairs of test images for the verdict on a class; 0 = no verdicts; None = 120.
      grid: further shares, in (0, 1], at which TPR and FPR are measured; () = none; None = `evaluate.grid`.
      trigger_size: longer side of the largest images that are searched for triggers; 0 = never; None = 64.
      quick: a first look, by the preset of fsjax/evaluation/first_look.py; other arguments win over it.
      mean_std: mean and std of pixels in [0, 1], per channel, to normalise uint8 images or floats in [0, 1] with.
        None = arrays are normalised already.
      image_size: the model's size, for folders, a datasets.Dataset and images to resize.
      directory: folder of partial results, where the same call resumes after a kill; others are refused.
      **fields: patch, images_per_class (0 = all), resamples, precision, and the method's own, such as steps=100.

    Examples:
      >>> train, test = (images, labels), (test_images, test_labels)
      >>> result = fsjax.analyse(model, train=train, test=test, classes=names, shares=(0.05, 0.2))
      >>> result.verdicts[1].sentence
      'wave: shortcut by amplitude: 3.1 % of the plane control it (psi 1.00), and others like them do not...'
    """
    shares_given = (0.01, 0.05) if shares is None else tuple(np.sort(shares, axis=None).tolist())
    config = _config(model, seed, search, {"shares": shares_given, **fields}, pairs, grid, trigger_size)
    splits = _open_splits(config, {"train": train, "test": test}, classes, mean_std, image_size)
    if quick:
        own = {"search": search, "shares": shares, "pairs": pairs, "grid": grid, "trigger_size": trigger_size}
        given = {"train": train, "test": test, "classes": classes, **own, "mean_std": mean_std}
        given |= {"image_size": image_size, "seed": seed or None, **fields}
        _first_look(config, splits["test"], {name: value for name, value in given.items() if value is not None})
    if search is None:
        config.search.method = searches.default_method(forecast.searched_counts(config, splits["train"]))
    classifier = _open_model(model, splits, mean_std, config.search)
    work = {**forecast.search_work(config, splits["train"]), **forecast.judging_work(config, splits["test"])}
    forecast.announce("analyse:", config, classifier, work, splits["train"], splits["test"], quick="quick=True")
    folder = None if directory is None else storage.path(directory)
    maps = _search(config, classifier, splits["train"], folder and folder / "search" / config.search.method)
    return _judge(config, classifier, maps, splits["test"], folder)


def dominant_frequencies(
    model: Any,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    search: str | None = None,
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
      ((2, 3, 8, 8), [3, 3, 3])
      >>> np.argwhere(maps.scores[1] > 0.1).tolist()  # nats, on the centred plane: DC is at (4, 4)
      [[1, 2], [4, 4], [7, 6]]
    """
    check_number("memory_mib", memory_mib, whole=True)
    check_number("save_seconds", save_seconds)
    options = {"shares": tuple(np.ravel(shares).tolist()), "split": searched_on, "images_per_class": 0, **fields}
    config = _config(model, seed, search, options)
    config.run.memory_mib, config.run.save_seconds = memory_mib, float(save_seconds)
    splits = _open_splits(config, {"images": (images, labels)}, classes, mean_std, image_size)
    if search is None:
        config.search.method = searches.default_method(forecast.searched_counts(config, splits["images"]))
    classifier = _open_model(model, splits, mean_std, config.search)
    work = forecast.search_work(config, splits["images"])
    forecast.announce("dominant_frequencies:", config, classifier, work, splits["images"])
    return _search(config, classifier, splits["images"], None if directory is None else storage.path(directory))


def evaluate(
    model: Any,
    maps: DominantFrequencyMaps,
    test: Any,
    *,
    pairs: int | None = None,
    grid: Sequence[float] | None = None,
    trigger_size: int | None = None,
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
    config = _config(model, seed, None, {}, pairs, grid, trigger_size)
    splits = _open_splits(config, {"test": test}, maps.classes, mean_std, image_size)
    classifier = _open_model(model, splits, mean_std, None)
    if maps.masks.shape[2:] != classifier.image_shape[:2]:
        got, expected = (" x ".join(map(str, plane)) for plane in (maps.masks.shape[2:], classifier.image_shape[:2]))
        raise InputError(f"maps: got planes of {got}; expected {expected}, as the images of test have")
    with config.unlocked():
        config.search.method, config.search.shares, config.search.images_per_class = maps.method, maps.shares, 0
    config.report.share = max(maps.shares)
    work = forecast.judging_work(config, splits["test"])
    forecast.announce("evaluate:", config, classifier, work, test=splits["test"])
    return _judge(config, classifier, maps, splits["test"], None if directory is None else storage.path(directory))


def _config(
    model: Any,
    seed: int,
    search: str | None,
    options: Mapping[str, Any],
    pairs: int | None = None,
    grid: Sequence[float] | None = None,
    trigger_size: int | None = None,
) -> ConfigDict:
    """Return the fields that search, evaluation and report read, with the defaults of a run and these options."""
    check_number("seed", seed, SEEDS, whole=True)
    named = model[0] if isinstance(model, tuple) else model
    name = getattr(named, "__name__", type(named).__name__)
    found = searches.options(search or searches.DEFAULT, **options)
    config = ConfigDict(
        {
            "seed": seed,
            "data": {"source": "arrays", "name": "", "root": "", "image_size": 0},
            "model": {"name": "the model" if name in ("<lambda>", "partial", "Model") else name},
            "search": found,
            "evaluate": config_fields.config(evaluation.FIELDS, "evaluate"),
            "report": {"share": max(found.shares, default=0.0), "samples": 3, "attributions": 2, "first_look": ""},
            "run": {"memory_mib": 0, "save_seconds": 30.0},
        }
    )
    given = {"pairs": pairs, "grid": grid if grid is None else tuple(grid), "trigger_size": trigger_size}
    config_fields.update(config.evaluate, {field: value for field, value in given.items() if value is not None})
    config_fields.check(config.evaluate, "evaluate.")
    return config


def _open_splits(
    config: ConfigDict, given: Mapping[str, Any], classes: Sequence[str] | None, mean_std: Any, image_size: int | None
) -> dict[str, Dataset]:
    """Open the splits, and note in config.data what they are."""
    splits = open_splits(given, classes=classes, mean_std=parse_mean_std(mean_std), image_size=image_size)
    *_, last = splits.values()
    config.data.image_size = int(last.images(np.arange(1)).shape[1])
    if last.names:
        config.data.source = "folder"
    return splits


def _open_model(model: Any, splits: Mapping[str, Dataset], mean_std: Any, options: ConfigDict | None) -> Model:
    """Check config.search for the splits' images, and return the model after a trial on a few images."""
    first, *_ = splits.values()
    if options is not None:
        searches.check(options, first.images(np.arange(1)).shape[1:3])
    normalisation = parse_mean_std(mean_std)
    tried = np.concatenate([dataset.images(np.arange(min(_TRIED, len(dataset)))) for dataset in splits.values()])
    converted = as_model(model, np.asarray(normalise(tried, *normalisation)), max(2, len(first.classes)))
    if options is not None and options.precision == "bfloat16" and converted.apply_bfloat16 is None:
        raise InputError("precision: got 'bfloat16', which is up to the model; expected highest, tensorfloat32")
    return dataclasses.replace(converted, classes=first.classes, mean_std=normalisation)


def _first_look(config: ConfigDict, images: Dataset, given: Mapping[str, Any]) -> None:
    """Apply the preset, but for the given arguments."""
    own_fields = ("pairs", "grid", "trigger_size")
    groups = {"search": "search.method"} | {name: f"evaluate.{name}" for name in own_fields}
    own = config.search.get(config.search.method, {})
    names = {f"search.{config.search.method}.{name}" if name in own else f"search.{name}" for name in given}
    shown = [f"{name}={_shown(value)}" for name, value in given.items()]
    height, width = images.images(np.arange(1)).shape[1:3]
    full = f"fsjax.analyse(model, {', '.join(shown)})"
    first_look.apply(config, (height, width), names | {groups[name] for name in groups if name in given}, full)


def _shown(value: Any) -> str:
    """Return an argument as a call has it, and '...' for arrays and long sequences."""
    if isinstance(value, tuple | list) and len(value) <= _LONGEST:
        items = [_shown(item) for item in value]
        return "..." if "..." in items else repr(value)
    return repr(value) if isinstance(value, str | int | float) else "..."


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
