"""`imported`: no search; the maps of another workdir, of a file, or of the published code, to be judged on this model.

So the maps found on one model are tried on another: --config.search.method=imported --config.search.imported.maps=B.
"""

import dataclasses

from ml_collections import ConfigDict

from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import storage
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError
from fsjax.search.method import Method
from fsjax.search.problem import Problem

DEFAULTS: Table = {
    "maps": ("", "a workdir, one of its dfm/*.npz, or a published pickle"),
}


def search(problem: Problem) -> DominantFrequencyMaps:
    """The maps of search.imported.maps, at the shares that they have there.

    The provenance keeps, under `imported`, the file with its SHA-256, the method that made the maps and what it said.

    Raises:
      InputError: the file cannot be used, or is of other classes or another plane.
    """
    path = problem.options.imported.maps
    maps = published_maps.read_maps(path, classes=problem.classes, shares=tuple(problem.options.shares))
    if maps.classes != problem.classes and maps.named:
        raise InputError(
            f"search.imported.maps: {path} has maps of {', '.join(maps.classes[:4])}, ... ({len(maps.classes)}); "
            f"expected of the model's classes, {', '.join(problem.classes[:4])}, ... ({len(problem.classes)})"
        )
    if len(maps.classes) != len(problem.classes):
        raise InputError(
            f"search.imported.maps: {path} has maps of {len(maps.classes)} classes; expected {len(problem.classes)}"
        )
    if (found := maps.masks.shape[2:]) != problem.plane:
        raise InputError(
            f"search.imported.maps: {path} has maps of {found[0]} x {found[1]}; expected of {problem.plane[0]} x "
            f"{problem.plane[1]}, as the images are"
        )
    about = dict(maps.provenance)
    imported = {**about.pop("file"), "method": origin(maps), "provenance": about}
    return dataclasses.replace(
        maps,
        classes=problem.classes,
        method=problem.options.method,
        forward_equivalents=0,
        provenance={**problem.provenance, "imported": imported},
    )


def origin(maps: DominantFrequencyMaps) -> str:
    """Name of the method that made the maps, also where they were imported since."""
    return maps.provenance.get("imported", {}).get("method", maps.method)


def _check(options: ConfigDict, plane: tuple[int, int]) -> None:
    path = options.imported.maps
    if not path or not storage.path(path).exists():
        raise InputError(
            f"search.imported.maps: {f'{path} is not there' if path else 'empty'}; expected a workdir with maps, one "
            "of its dfm/*.npz, or a published pickle"
        )


METHOD = Method(
    search,
    DEFAULTS,
    _check,
    resamples=None,
    scored="Scores, as they were imported",
    reads=lambda options: [published_maps.file_of(options.imported.maps)],
)
