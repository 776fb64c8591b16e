"""The stage search: dominant frequency maps of each class."""

import re

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.image_selection import sample_of_class
from fsjax.data.preprocess import normalise
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.experiment.workspace import Workspace
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import budget
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.versions import versions

# Classes whose maps TensorBoard and Weights & Biases show, and pixels of a picture's shorter side at least.
_MOST_SHOWN, _LEAST_PIXELS = 40, 128
# These writers make paths of names.
_UNSAFE = re.compile(r"[^-.\w]")


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of search that cannot be used."""
    search.check(config.search, (config.data.image_size, config.data.image_size))


def problem(workspace: Workspace, seed: int) -> search.Problem:
    """Return the search problem of config.search; the seed draws the searched images, and seeds the method."""
    config, classifier = workspace.config, workspace.classifier
    dataset = workspace.dataset(config.search.split)
    classifier.check_classes(dataset.classes, f"data split {config.search.split}")
    per_class, labels = config.search.images_per_class, range(len(dataset.classes))
    indices = [sample_of_class(dataset.labels, label, per_class, seed) for label in labels]
    for name, chosen in zip(dataset.classes, indices, strict=True):
        if not len(chosen):
            raise InputError(f"search: class {name!r} has no image in the searched split")
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
        directory=workspace.directory / "search" / config.search.method,
        metrics=workspace.metrics,
    )


def _search(workspace: Workspace) -> None:
    maps = search.run(problem(workspace, workspace.config.seed))
    if parallel.is_main_process():
        maps.save(workspace.maps_file)
        for share in maps.shares:
            _show(workspace, maps, share)


def _show(workspace: Workspace, maps: DominantFrequencyMaps, share: float) -> None:
    """Write the maps at a share as pictures, kept frequencies dark; the step is the number of positions it allows."""
    masks = maps.at(share)[:_MOST_SHOWN]
    names = [f"{label}_{_UNSAFE.sub('_', name)}" for label, name in enumerate(maps.classes)]
    enlarged = np.ones(2 * [-(-_LEAST_PIXELS // min(masks.shape[1:]))], np.uint8)
    pictures = {name: 255 * np.kron(~mask, enlarged) for name, mask in zip(names, masks, strict=False)}
    workspace.metrics.images(f"maps_{maps.method}", budget(share, *masks.shape[1:]), pictures)


STAGE = Stage(
    name="search",
    fields=("search",),
    needs=(train.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda workspace: [workspace.maps_file],
    run=_search,
    reads=lambda workspace: search.reads(workspace.config.search),
    partial=lambda config: True,
)
