"""The stage search: dominant frequency maps of each class."""

import re
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.experiment.stage import Stage, Workspace, fingerprint
from fsjax.experiment.stages import train
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import budget
from fsjax.runtime import parallel
from fsjax.runtime.parallel import versions
from fsjax.search.method import make_problem

# TensorBoard and Weights & Biases show the maps of the first classes, enlarged to this width in pixels.
_MOST_SHOWN, _LEAST_PIXELS = 40, 128
# These writers turn names into paths.
_UNSAFE = re.compile(r"[^-.\w]")


def check(config: ConfigDict) -> None:
    """Raise InputError for a bad field of search."""
    search.check(config.search, (config.data.image_size, config.data.image_size))


def problem(workspace: Workspace, seed: int) -> search.Problem:
    """Return the search problem of config.search; the seed draws the searched images and seeds the method."""
    config = workspace.config
    return make_problem(
        workspace.classifier,
        workspace.dataset(config.search.split),
        options=config.search,
        seed=seed,
        searched_on=config.search.split,
        run=config.run,
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
    """Write the maps at a share as pictures, kept frequencies dark; the step is the number of positions allowed."""
    masks = maps.at(share)[:_MOST_SHOWN]
    names = [f"{label}_{_UNSAFE.sub('_', name)}" for label, name in enumerate(maps.classes)]
    enlarged = np.ones(2 * [-(-_LEAST_PIXELS // min(masks.shape[1:]))], np.uint8)
    pictures = {name: 255 * np.kron(~mask, enlarged) for name, mask in zip(names, masks, strict=False)}
    workspace.metrics.images(f"maps_{maps.method}", budget(share, *masks.shape[1:]), pictures)


def _cost(config: ConfigDict, datasets: Mapping[str, Dataset]) -> int:
    plane = (config.data.image_size, config.data.image_size)
    return search.forward_passes(config.search, np.bincount(datasets[config.search.split].labels).tolist(), plane)


STAGE = Stage(
    name="search",
    fields=("search",),
    needs=(train.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda workspace: [workspace.maps_file],
    run=_search,
    reads=lambda workspace: search.selected(workspace.config.search).reads(workspace.config.search),
    partial=lambda config: f"search/{config.search.method}",
    splits=lambda config: (config.search.split,),
    cost=_cost,
)
