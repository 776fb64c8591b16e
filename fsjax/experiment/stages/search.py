"""Searches the frequencies that each class leans on."""

import re

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.chosen import drawn
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.experiment.run import Run
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import budget
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.versions import versions

# Classes whose maps are pictures on the boards, and what their shorter side has at least.
_MOST_SHOWN, _LEAST_PIXELS = 40, 128
# Boards make paths of names.
_NO_NAME = re.compile(r"[^-.\w]")


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of search that cannot be used."""
    search.check(config.search, (config.data.image_size, config.data.image_size))


def problem(current: Run, seed: int) -> search.Problem:
    """What config.search asks of the trained classifier; the seed is that of the images drawn and of the method."""
    config, classifier = current.config, current.classifier
    dataset = current.dataset(config.search.split)
    classifier.check_classes(dataset.classes, f"data split {config.search.split}")
    indices = [_searched(dataset, label, config.search.images_per_class, seed) for label in range(len(dataset.classes))]
    return search.Problem(
        model=classifier.model,
        images=lambda label: np.asarray(normalise(dataset.images(indices[label]), *classifier.mean_std)),
        counts=tuple(len(chosen) for chosen in indices),
        classes=dataset.classes,
        options=config.search,
        run=config.run,
        searched_on=config.search.split,
        seed=seed,
        provenance={"fields": fingerprint(config, STAGE), **versions()},
        directory=current.directory / "search" / config.search.method,
        metrics=current.metrics,
    )


def _run(current: Run) -> None:
    asked = problem(current, current.config.seed)
    maps = search.run(asked)
    if parallel.is_main_process():
        maps.save(current.maps_file)
        for share in maps.shares:
            _show(current, maps, share)


def _show(current: Run, maps: DominantFrequencyMaps, share: float) -> None:
    """Pictures of the maps at a share for the boards, kept frequencies dark; their step is the positions it allows."""
    masks = maps.at(share)[:_MOST_SHOWN]
    names = [f"{label}_{_NO_NAME.sub('_', name)}" for label, name in enumerate(maps.classes)]
    enlarged = np.ones(2 * [-(-_LEAST_PIXELS // min(masks.shape[1:]))], np.uint8)
    pictures = {name: 255 * np.kron(~mask, enlarged) for name, mask in zip(names, masks, strict=False)}
    current.metrics.images(f"maps_{maps.method}", budget(share, *masks.shape[1:]), pictures)


def _searched(dataset: Dataset, label: int, count: int, seed: int) -> np.ndarray:
    """Indices of the images of a class that are searched: all, or `count` drawn by seed."""
    of_class = drawn(dataset.labels, label, count, seed)
    if not len(of_class):
        raise InputError(f"search: class {dataset.classes[label]!r} has no image in the searched split")
    return of_class


STAGE = Stage(
    name="search",
    fields=("search",),
    needs=(train.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda run: [run.maps_file],
    run=_run,
    reads=lambda run: search.reads(run.config.search),
    partial=lambda config: True,
)
