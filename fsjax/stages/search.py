"""Searches the frequencies that each class leans on."""

import numpy as np
from ml_collections import ConfigDict

from fsjax import parallel, search
from fsjax.data.chosen import drawn
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.errors import InputError
from fsjax.run import Run
from fsjax.stages import train
from fsjax.stages.stage import Stage, fingerprint
from fsjax.versions import versions


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of search that cannot be used."""
    search.check(config.search, (config.data.image_size, config.data.image_size))


def problem(current: Run, seed: int) -> search.Problem:
    """What config.search asks of the trained classifier; the seed is that of the images drawn and of the method."""
    config, model = current.config, current.classifier
    dataset = current.dataset(config.search.split)
    model.check_classes(dataset.classes, f"data split {config.search.split}")
    indices = [_searched(dataset, label, config.search.images_per_class, seed) for label in range(len(dataset.classes))]
    return search.Problem(
        apply=model.apply,
        params=model.variables,
        images=lambda label: np.asarray(normalise(dataset.images(indices[label]), *model.mean_std)),
        counts=tuple(len(chosen) for chosen in indices),
        classes=dataset.classes,
        image=(config.data.image_size, config.data.image_size, 3),
        options=config.search,
        run=config.run,
        searched_on=config.search.split,
        seed=seed,
        provenance={"fields": fingerprint(config, STAGE), **versions()},
        directory=current.directory / "search" / config.search.method,
        metrics=current.metrics,
        apply_bfloat16=model.apply_bfloat16,
    )


def _run(current: Run) -> None:
    asked = problem(current, current.config.seed)
    maps = search.SEARCHES[asked.options.method].search(asked)
    if parallel.is_main_process():
        maps.save(current.maps_file)


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
